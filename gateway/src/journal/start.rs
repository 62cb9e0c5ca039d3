//! The start: store, audit log and segments are brought to one state before the first call.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use super::projector::{Projector, Written};
use super::replay::{self, Replay, Scan};
use super::segment::{Position, Tail};
use super::shared::{Entry, Handed, Progress, Setup, Shared};
use super::writer::Writer;
use super::{JOURNAL_FOLDER, JournalError, note, segment};
use crate::audit::AuditNote;
use crate::audit::sink::{Found, Head, Sink};
use crate::clock;
use crate::config::settings::Durability;
use crate::exchange::Outcome;
use crate::store::projection::{Projected, Projection};
use crate::store::sqlite::Create;
use crate::store::{Store, StoreError, StoreUrl};

/// Opens everything, replays, and returns the writer with nothing left to do.
pub(super) fn start(
    data: &Path,
    store: &StoreUrl,
    durability: Durability,
    setup: Setup,
) -> Result<(Writer, Replay), JournalError> {
    let fail = |source| JournalError::Io { path: data.to_owned(), verb: "opened", source };
    let folder = data.join(JOURNAL_FOLDER);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(fail)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
    let (projection, known) = runtime.block_on(connect(data, store))?;
    let (sink, found) = Sink::open(data, known.audit, setup.audit_bytes).map_err(fail)?;
    let scan = replay::scan(&folder, known.position).map_err(fail)?;
    let oldest = segment::numbers(&folder).map_err(fail)?.first().copied();
    let number = scan.last.max(known.position.segment).saturating_add(1);
    let tail = Tail::create(&folder, number).map_err(fail)?;
    let mut projector =
        Projector { runtime, projection, sink, adopted: Default::default(), lined: 0, position: known.position };
    let now_ms = clock::unix_ms();
    let repairs = repairs(&scan, &found, now_ms);
    projector.adopted.extend(found.adopted);
    let mut writer = Writer {
        shared: Arc::new(Shared::new(tail, durability, setup)),
        folder,
        projector,
        unwritten: Vec::new(),
        written: Default::default(),
        synced: 0,
        projected_at: clock::instant(),
        away_until: None,
        patient: false,
        oldest: oldest.unwrap_or(number),
        flush: true,
        buffer: Vec::new(),
    };
    let replay = writer.replay(scan, repairs, now_ms)?;
    Ok((writer, replay))
}

async fn connect(data: &Path, at: &StoreUrl) -> Result<(Projection, Projected), StoreError> {
    Store::open(at, Create::IfMissing).await?.close().await;
    let mut projection = Projection::connect(at, data).await?;
    let nothing = Projected { position: Position::default(), audit: Head::GENESIS };
    let known = projection.read().await?.unwrap_or(nothing);
    Ok((projection, known))
}

fn repairs(scan: &Scan, found: &Found, now_ms: u64) -> Vec<AuditNote> {
    let mut notes = Vec::new();
    for torn in &scan.torn {
        notes.push(
            note("journal_tail_cut", now_ms)
                .with("segment", &torn.segment)
                .with("offset", &torn.offset)
                .with("bytes", &torn.bytes),
        );
    }
    if found.cut_bytes > 0 {
        notes.push(note("audit_tail_cut", now_ms).with("bytes", &found.cut_bytes));
    }
    if found.missing {
        notes.push(note("audit_records_missing", now_ms));
    }
    notes
}

impl Writer {
    /// Projects what the last run left and closes the calls that it left open.
    fn replay(&mut self, scan: Scan, repairs: Vec<AuditNote>, now_ms: u64) -> Result<Replay, JournalError> {
        let mut replay = Replay { projected_late: scan.entries.len(), repairs, ..Replay::default() };
        self.written.extend(scan.entries.into_iter().map(|(entry, end)| Written { handed: alone(entry), end }));
        for openings in scan.open.into_values() {
            let closing = replay::closing_of(openings, now_ms, Outcome::Interrupted, "interrupted");
            replay.interrupted.extend(closing);
        }
        let closings = replay.interrupted.iter().cloned().map(Entry::Call);
        let notes = replay.repairs.iter().cloned().map(Entry::Note);
        self.unwritten.extend(closings.chain(notes).map(alone));
        self.pass()?;
        // Everything before the new segment is projected, and no call is open.
        self.projector.position = self.projector.position.max(self.here());
        self.delete()?;
        self.projector.adopted.clear();
        self.shared.reset_places();
        let synced = self.synced;
        self.shared.progress.send_replace(Progress { synced, ..Progress::default() });
        Ok(replay)
    }

    fn here(&self) -> Position {
        let tail = self.shared.tail.lock();
        Position { segment: tail.number, offset: tail.len }
    }
}

fn alone(entry: Entry) -> Handed {
    Handed { entry, opened_in: None, end: None }
}
