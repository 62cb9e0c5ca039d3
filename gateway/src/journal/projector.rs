//! Makes audit lines and usage rows of written entries: lines first, then one transaction with rows and both heads.
//!
//! A crash between the two leaves lines that the store does not know of; the next start adopts them, so that no
//! line and no row is ever written twice.

use std::collections::{HashSet, VecDeque};

use tokio::runtime::Runtime;

use super::JournalError;
use super::segment::Position;
use super::shared::{Entry, Handed, Shared};
use crate::audit::record::{self, Link};
use crate::audit::sink::{Sink, SinkError};
use crate::exchange::CallId;
use crate::store::projection::{Projected, Projection};

/// An entry that is in the journal.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) handed: Handed,
    /// The place behind it.
    pub(super) end: Position,
}

#[derive(Debug)]
pub(super) struct Projector {
    pub(super) runtime: Runtime,
    pub(super) projection: Projection,
    pub(super) sink: Sink,
    /// Entries whose line a start found in the log already.
    pub(super) adopted: HashSet<CallId>,
    /// Leading entries of the queue whose lines are in the log, but whose rows are not in the store.
    pub(super) lined: usize,
    pub(super) position: Position,
}

impl Projector {
    /// Projects the first `count` entries. On an error it can be called again with as many or more.
    pub(super) fn project(
        &mut self,
        written: &VecDeque<Written>,
        count: usize,
        shared: &Shared,
    ) -> Result<(), JournalError> {
        let Some(last) = count.checked_sub(1).and_then(|last| written.get(last)) else { return Ok(()) };
        if self.lined < count {
            self.write_lines(written, count)?;
            shared.setup.step("audit appended");
            self.sink.sync().map_err(SinkError::from)?;
            shared.setup.step("audit synced");
        }
        let to = Projected { position: last.end, audit: self.sink.head() };
        let closings = written.iter().take(count).filter_map(|written| match &written.handed.entry {
            Entry::Call(closing) => Some(closing),
            Entry::Note(_) => None,
        });
        self.runtime.block_on(self.projection.commit(closings, &to))?;
        self.position = last.end;
        self.lined = 0;
        shared.setup.step("store committed");
        Ok(())
    }

    fn write_lines(&mut self, written: &VecDeque<Written>, count: usize) -> Result<(), SinkError> {
        let adopted = &self.adopted;
        let fresh = written.iter().take(count).skip(self.lined).map(|written| &written.handed.entry);
        self.sink.append(|out, link| {
            let fresh = fresh.filter(|entry| adopted.is_empty() || !adopted.contains(&id(entry)));
            write_all(out, link, fresh)
        })?;
        self.lined = count;
        Ok(())
    }

    /// Before segments are deleted: what was committed must survive a power loss.
    pub(super) fn checkpoint(&mut self) -> Result<(), JournalError> {
        Ok(self.runtime.block_on(self.projection.checkpoint())?)
    }
}

fn write_all<'a>(
    out: &mut Vec<u8>,
    link: Link,
    entries: impl Iterator<Item = &'a Entry>,
) -> Result<Link, serde_json::Error> {
    let mut link = link;
    for entry in entries {
        link = match entry {
            Entry::Call(closing) => record::write_call(out, &link, closing)?,
            Entry::Note(note) => record::write_note(out, &link, note)?,
        };
    }
    Ok(link)
}

fn id(entry: &Entry) -> CallId {
    match entry {
        Entry::Call(closing) => closing.call,
        Entry::Note(note) => note.id,
    }
}
