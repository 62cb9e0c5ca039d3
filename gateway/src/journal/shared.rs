//! What calls and the writer thread share: places, the queue, the growing segment, progress.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::thread::Thread;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::JournalFull;
use super::entry::Closing;
use super::frame::{self, Kind};
use super::segment::{Position, SEGMENT_BYTES, Tail};
use crate::audit::AuditNote;
use crate::audit::sink::FILE_BYTES;
use crate::bounds::JOURNAL_QUEUE;
use crate::config::settings::Durability;

/// What becomes one line of the audit log.
#[derive(Debug)]
pub(super) enum Entry {
    /// A call that ended.
    Call(Closing),
    /// Anything else.
    Note(AuditNote),
}

impl Entry {
    /// Appends the entry's frame.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        match self {
            Entry::Call(closing) => frame::encode(out, Kind::Closing, closing),
            Entry::Note(note) => frame::encode(out, Kind::Note, note),
        }
    }
}

/// An entry on its way, with the first segment that holds an opening of its call.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) entry: Entry,
    pub(super) opened_in: Option<u64>,
    /// The place behind it, once it lies in the file.
    pub(super) end: Option<Position>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Bounded by the places.
    pub(super) entries: Vec<Handed>,
    /// Entries, here and with the writer, that lie in no file yet. While there are any, none is appended at once:
    /// the order of the file is the order of the queue.
    pub(super) unplaced: usize,
    /// Entries handed over so far.
    pub(super) handed: u64,
    /// Somebody waits for the projection.
    pub(super) flush: bool,
}

/// How far the writer is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// Appends that survive a power loss.
    pub(super) synced: u64,
    /// Entries in the store and the audit log.
    pub(super) projected: u64,
    /// The last sync failed: whoever waits for one gives up.
    pub(super) failed: bool,
}

/// What tests set otherwise.
pub(super) struct Setup {
    /// Called after each step of the writer; tests copy the data folder there.
    pub(super) hook: Option<Box<dyn Fn(&'static str) + Send + Sync>>,
    /// A segment is left for the next one beyond this size.
    pub(super) segment_bytes: u64,
    /// The same for a file of the audit log.
    pub(super) audit_bytes: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self { hook: None, segment_bytes: SEGMENT_BYTES, audit_bytes: FILE_BYTES }
    }
}

impl Setup {
    pub(super) fn step(&self, name: &'static str) {
        if let Some(hook) = &self.hook {
            hook(name);
        }
    }
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "segments of {} bytes", self.segment_bytes)
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) durability: Durability,
    pub(super) tail: Mutex<Tail>,
    pub(super) queue: Mutex<Queue>,
    pub(super) progress: watch::Sender<Progress>,
    /// Set by whoever sees a write fail, cleared by the writer alone.
    pub(super) failing: AtomicBool,
    /// The store's server is away; the journal keeps what it can't take.
    pub(super) away: AtomicBool,
    /// The writer sleeps and must be woken for new work.
    pub(super) idle: AtomicBool,
    pub(super) stop: AtomicBool,
    pub(super) wake: OnceLock<Thread>,
    pub(super) setup: Setup,
    /// Free places: one per call from its birth until it is projected.
    places: AtomicUsize,
}

impl Shared {
    pub(super) fn new(tail: Tail, durability: Durability, setup: Setup) -> Self {
        Self {
            durability,
            tail: Mutex::new(tail),
            queue: Mutex::default(),
            progress: watch::Sender::new(Progress::default()),
            failing: AtomicBool::new(false),
            away: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            wake: OnceLock::new(),
            setup,
            places: AtomicUsize::new(JOURNAL_QUEUE),
        }
    }

    pub(super) fn take_place(&self) -> Result<(), JournalFull> {
        if self.failing.load(Ordering::Acquire) {
            return Err(JournalFull::Failing);
        }
        let taken = self.places.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| free.checked_sub(1));
        taken.map(|_| ()).map_err(|_| JournalFull::Places)
    }

    /// Nothing is in flight: every place is free.
    pub(super) fn reset_places(&self) {
        self.places.store(JOURNAL_QUEUE, Ordering::Release);
    }

    /// Places in use.
    pub(super) fn backlog(&self) -> usize {
        JOURNAL_QUEUE.saturating_sub(self.places.load(Ordering::Relaxed))
    }

    pub(super) fn give_places(&self, count: usize) {
        self.places.fetch_add(count, Ordering::AcqRel);
    }

    /// Puts an entry whose place was taken before into the queue, and into the file where that works at once: then it
    /// survives the process from here on. What can't be written now is written by the writer, in the same order.
    ///
    /// The queue's lock is taken before the tail's and held over the append: places in the file follow the queue.
    pub(super) fn hand(&self, entry: Entry, opened_in: Option<u64>) {
        let step = if matches!(entry, Entry::Call(_)) { "closing appended" } else { "note appended" };
        let mut bytes = Vec::with_capacity(1024);
        let encoded = entry.encode(&mut bytes).is_ok();
        let mut queue = self.queue.lock();
        let end = (encoded && queue.unplaced == 0).then(|| self.append(&bytes)).flatten();
        if end.is_none() {
            queue.unplaced = queue.unplaced.saturating_add(1);
        }
        queue.entries.push(Handed { entry, opened_in, end });
        queue.handed = queue.handed.saturating_add(1);
        drop(queue);
        if end.is_some() {
            self.setup.step(step);
        }
        self.wake_if_idle();
    }

    /// Appends whole frames; `None`, and no more calls, where that fails.
    fn append(&self, bytes: &[u8]) -> Option<Position> {
        let mut tail = self.tail.lock();
        if tail.append(bytes).is_err() {
            self.failing.store(true, Ordering::Release);
            return None;
        }
        Some(Position { segment: tail.number, offset: tail.len })
    }

    /// The number of entries handed over, all of which the writer shall now project at once.
    pub(super) fn flush_wanted(&self) -> u64 {
        let mut queue = self.queue.lock();
        queue.flush = true;
        let handed = queue.handed;
        drop(queue);
        self.wake_now();
        handed
    }

    pub(super) fn end(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake_now();
    }

    /// Work was added. The fence pairs with the writer's: it sees the work, or this sees that it is idle.
    pub(super) fn wake_if_idle(&self) {
        fence(Ordering::SeqCst);
        if self.idle.load(Ordering::Relaxed) && self.idle.swap(false, Ordering::AcqRel) {
            self.wake_now();
        }
    }

    fn wake_now(&self) {
        if let Some(thread) = self.wake.get() {
            thread.unpark();
        }
    }
}
