//! The writer's thread: writes closings, syncs within 2 ms, projects every 50 ms, deletes what is projected.
//!
//! It sleeps by timer while there is work and is woken only out of idleness, so a busy gateway pays no wake-up per
//! call. What can't be written is kept and tried again; meanwhile no new call is admitted.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::projector::{Projector, Written};
use super::replay::Replay;
use super::segment::{self, Position};
use super::shared::{Handed, Progress, Setup, Shared};
use super::{JournalError, start};
use crate::bounds::PROJECTION_BATCH;
use crate::clock;
use crate::config::settings::Durability;
use crate::store::{StoreError, StoreUrl};

/// Longest time that an append waits for its sync.
const SYNC_EVERY: Duration = Duration::from_millis(2);
/// Longest time that a written entry waits for its projection. Longer batches cost less per call.
const PROJECT_EVERY: Duration = Duration::from_millis(50);
/// Between two tries while writes fail.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// Between two tries of a projection while the store's server is away.
const AWAY_EVERY: Duration = Duration::from_secs(1);
/// Sleep without any work; whoever adds some wakes the thread.
const IDLE: Duration = Duration::from_secs(60);

type Ready = oneshot::Sender<Result<(Arc<Shared>, Replay), JournalError>>;

/// The thread's whole life. The data folder's lock is given back when it ends.
pub(super) fn run(data: &Path, store: &StoreUrl, durability: Durability, setup: Setup, lock: File, ready: Ready) {
    let started = start::start(data, store, durability, setup);
    let (mut writer, replay) = match started {
        Ok(started) => started,
        Err(error) => {
            drop(lock);
            // A caller that went away has no use for the error.
            drop(ready.send(Err(error)));
            return;
        }
    };
    let shared = Arc::clone(&writer.shared);
    let ended = Ended(Arc::clone(&shared));
    if ready.send(Ok((shared, replay))).is_ok() {
        writer.work();
    }
    drop(ended);
    drop(lock);
}

/// Whatever ends the thread, a panic too: without it no call is admitted.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.failing.store(true, Ordering::Release);
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) folder: PathBuf,
    pub(super) projector: Projector,
    /// Handed over, not yet in the journal.
    pub(super) unwritten: Vec<Handed>,
    /// In the journal, not yet projected.
    pub(super) written: VecDeque<Written>,
    pub(super) synced: u64,
    pub(super) projected_at: Instant,
    /// The store's server is away: not tried before then. Calls go on while there are places for them.
    pub(super) away_until: Option<Instant>,
    /// Whether a server that is away is waited for: while calls run, not at the start and not at the end.
    pub(super) patient: bool,
    /// Oldest segment that still lies in the folder.
    pub(super) oldest: u64,
    pub(super) flush: bool,
    pub(super) buffer: Vec<u8>,
}

impl Writer {
    fn work(&mut self) {
        loop {
            self.patient = !self.shared.stop.load(Ordering::Acquire);
            let taken = self.take();
            let appended = self.shared.tail.lock().appended;
            let has_work = taken || appended != self.synced;
            let result = self.pass();
            self.report(&result);
            if self.shared.stop.load(Ordering::Acquire) && (self.is_done() || result.is_err()) {
                return;
            }
            self.sleep(has_work, result.is_err());
        }
    }

    /// Takes the queue over.
    fn take(&mut self) -> bool {
        let mut queue = self.shared.queue.lock();
        self.flush |= std::mem::take(&mut queue.flush);
        let taken = !queue.entries.is_empty();
        if self.unwritten.is_empty() {
            std::mem::swap(&mut self.unwritten, &mut queue.entries);
        } else {
            self.unwritten.append(&mut queue.entries);
        }
        taken
    }

    fn is_done(&self) -> bool {
        self.unwritten.is_empty() && self.written.is_empty() && self.shared.queue.lock().entries.is_empty()
    }

    /// One pass over everything there is to do. The first failure ends it; the next pass goes on from there.
    pub(super) fn pass(&mut self) -> Result<(), JournalError> {
        let written = self.write();
        // Openings wait for this sync, also while closings find no room.
        self.sync()?;
        written?;
        self.rotate()?;
        self.project()?;
        self.delete()
    }

    /// Moves on what lies in the file already, and writes what found no room when it was handed over.
    fn write(&mut self) -> Result<(), JournalError> {
        loop {
            let placed = self.unwritten.iter().take_while(|handed| handed.end.is_some()).count();
            for handed in self.unwritten.drain(..placed) {
                if let Some(end) = handed.end {
                    self.written.push_back(Written { handed, end });
                }
            }
            if self.unwritten.is_empty() {
                return Ok(());
            }
            self.place()?;
        }
    }

    /// Writes a chunk of what lies in no file yet, with one write.
    fn place(&mut self) -> Result<(), JournalError> {
        let count = self.unwritten.len().min(PROJECTION_BATCH);
        self.buffer.clear();
        let mut ends = Vec::with_capacity(count);
        for handed in self.unwritten.iter().take(count) {
            handed.entry.encode(&mut self.buffer)?;
            ends.push(self.buffer.len());
        }
        // Held over the append, so that nobody's entry gets an earlier place and a later turn.
        let mut queue = self.shared.queue.lock();
        let mut tail = self.shared.tail.lock();
        let (segment, base) = (tail.number, tail.len);
        let appended = tail.append(&self.buffer);
        drop(tail);
        if appended.is_ok() {
            queue.unplaced = queue.unplaced.saturating_sub(count);
        }
        drop(queue);
        appended.map_err(|error| self.error("written", error))?;
        for (handed, end) in self.unwritten.iter_mut().zip(ends) {
            let offset = base.saturating_add(u64::try_from(end).unwrap_or(u64::MAX));
            handed.end = Some(Position { segment, offset });
        }
        self.shared.setup.step("closings appended");
        Ok(())
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        let tail = self.shared.tail.lock();
        let (file, appended) = (Arc::clone(&tail.file), tail.appended);
        drop(tail);
        if appended == self.synced {
            return Ok(());
        }
        let synced = file.sync_data();
        self.progress(|progress| progress.failed = synced.is_err());
        synced.map_err(|error| self.error("written", error))?;
        self.synced = appended;
        self.progress(|progress| progress.synced = appended);
        self.shared.setup.step("journal synced");
        Ok(())
    }

    /// Leaves a segment that is large enough. Appends between the last sync and the swap are synced here.
    fn rotate(&mut self) -> Result<(), JournalError> {
        let mut tail = self.shared.tail.lock();
        if tail.len < self.shared.setup.segment_bytes {
            return Ok(());
        }
        let left = tail.rotate(&self.folder).map_err(|error| self.error("written", error))?;
        drop(tail);
        left.sync_data().map_err(|error| self.error("written", error))?;
        self.shared.setup.step("segment rotated");
        Ok(())
    }

    fn project(&mut self) -> Result<(), JournalError> {
        let now = clock::instant();
        if self.patient && self.away_until.is_some_and(|until| now < until) {
            return Ok(());
        }
        match self.project_due(now) {
            Err(JournalError::Store(StoreError::Away(error))) if self.patient => {
                self.shared.away.store(true, Ordering::Release);
                if self.away_until.replace(clock::instant().checked_add(AWAY_EVERY).unwrap_or(now)).is_none() {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, "the store's server is away: the journal keeps what it can't take");
                }
                Ok(())
            }
            Ok(()) => {
                if self.away_until.take().is_some() {
                    self.shared.away.store(false, Ordering::Release);
                    tracing::info!("the store's server is back");
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn project_due(&mut self, now: Instant) -> Result<(), JournalError> {
        let is_due = self.flush
            || self.shared.stop.load(Ordering::Acquire)
            || now.saturating_duration_since(self.projected_at) >= PROJECT_EVERY;
        while self.written.len() >= PROJECTION_BATCH || (is_due && !self.written.is_empty()) {
            let count = self.written.len().min(PROJECTION_BATCH);
            self.projector.project(&self.written, count, &self.shared)?;
            self.projected_at = now;
            self.release(count);
        }
        self.flush &= !self.written.is_empty();
        Ok(())
    }

    /// The first `count` entries are on record: their places are free.
    fn release(&mut self, count: usize) {
        let mut tail = self.shared.tail.lock();
        for written in self.written.drain(..count) {
            if let Some(segment) = written.handed.opened_in {
                tail.count_closing(segment);
            }
        }
        drop(tail);
        self.shared.give_places(count);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.progress(|progress| progress.projected = progress.projected.saturating_add(count));
    }

    /// Deletes segments, oldest first, that neither an open call nor the projection needs.
    pub(super) fn delete(&mut self) -> Result<(), JournalError> {
        let needed = self.shared.tail.lock().needed_from(self.projector.position);
        if self.oldest >= needed {
            return Ok(());
        }
        self.projector.checkpoint()?;
        while self.oldest < needed {
            match std::fs::remove_file(segment::path(&self.folder, self.oldest)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.error("written", error)),
                _ => self.oldest = self.oldest.saturating_add(1),
            }
            self.shared.setup.step("segment deleted");
        }
        segment::sync_folder(&self.folder).map_err(|error| self.error("written", error))
    }

    fn progress(&self, change: impl FnOnce(&mut Progress)) {
        self.shared.progress.send_modify(change);
    }

    fn error(&self, verb: &'static str, source: io::Error) -> JournalError {
        JournalError::Io { path: self.folder.clone(), verb, source }
    }

    /// Admits calls again once a whole pass and a probe worked; says so once, not with every try.
    fn report(&self, result: &Result<(), JournalError>) {
        match result {
            Err(error) => {
                if !self.shared.failing.swap(true, Ordering::AcqRel) {
                    let error: &dyn std::error::Error = error;
                    tracing::error!(error, "the journal can't be written: new calls are refused");
                }
            }
            Ok(()) if self.shared.failing.load(Ordering::Acquire) => {
                if self.shared.tail.lock().probe().is_ok() {
                    self.shared.failing.store(false, Ordering::Release);
                    tracing::info!("the journal can be written again");
                }
            }
            Ok(()) => {}
        }
    }

    /// Sleeps until the next sync, projection or probe; out of idleness whoever adds work wakes it.
    fn sleep(&self, has_work: bool, has_failed: bool) {
        if has_failed || self.shared.failing.load(Ordering::Acquire) {
            return std::thread::park_timeout(PROBE_EVERY);
        }
        if has_work {
            return std::thread::park_timeout(SYNC_EVERY);
        }
        let wait = if self.written.is_empty() {
            IDLE
        } else if let Some(until) = self.away_until {
            until.saturating_duration_since(clock::instant())
        } else {
            PROJECT_EVERY.saturating_sub(clock::instant().saturating_duration_since(self.projected_at))
        };
        self.shared.idle.store(true, Ordering::Relaxed);
        // Pairs with the fence in `wake_if_idle`: work added before it is seen here, work added later wakes.
        fence(Ordering::SeqCst);
        let queue = self.shared.queue.lock();
        let is_quiet = queue.entries.is_empty() && !queue.flush;
        drop(queue);
        let is_synced = self.shared.tail.lock().appended == self.synced;
        if is_quiet && is_synced && !self.shared.stop.load(Ordering::Acquire) {
            std::thread::park_timeout(wait.max(Duration::from_millis(1)));
        }
        self.shared.idle.store(false, Ordering::Relaxed);
    }
}
