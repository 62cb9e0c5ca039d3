//! The decision log: every decision in OPA's event shape, to files or to a server. Off unless switched on.
//!
//! Start at [`DecisionLog`]: a call hands a [`Record`] over and goes on; one thread makes the [`event`], masks it and
//! appends it to [`files`]; for a server, [`ship`] sends what lies there. Lossless up to its bounds: a full disk or an
//! unreachable server fills the spool, then the queue, and only then a named setting decides between refusing calls and
//! dropping decisions, which is counted and noted. What is in the queue when the process is killed is lost.

pub mod event;
pub mod files;
pub mod hook;
pub mod mask;
pub mod recent;
pub mod record;
pub mod rules;
pub mod ship;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::config::settings::{DecisionLogSettings, DecisionSink, LogFull};
use crate::telemetry::metric;
use files::Files;
use recent::Recent;
pub use record::Record;
pub use rules::Rules;

/// Decisions that wait for the writer: about a second of a busy gateway, at less than a kilobyte each.
const QUEUE: usize = 8_192;

/// Why the log can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("decision log in `{}`: {source}", folder.display())]
pub struct OpenFault {
    /// Its folder.
    pub folder: PathBuf,
    /// Why.
    pub source: std::io::Error,
}

/// No more decisions can be kept, and the configuration says that calls are refused then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the decision log is full")]
pub struct LogIsFull;

/// What became of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// All of it that should be kept is.
    Whole,
    /// The log is full, and the setting says that the call goes on.
    Dropped,
}

/// The running log. Whatever World a call has, its decision goes here.
pub struct DecisionLog {
    open: Option<Open>,
}

struct Open {
    sender: SyncSender<Box<Record>>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the caller's side, the writer and the shipper know of each other.
struct Shared {
    files: Mutex<Files>,
    recent: Recent,
    ending: AtomicBool,
    number: AtomicU64,
    /// Decisions dropped because nothing could be kept.
    dropped: AtomicU64,
    sink: DecisionSink,
}

impl DecisionLog {
    /// A log that keeps nothing.
    pub fn off() -> Self {
        Self { open: None }
    }

    /// Opens the folder and starts the writer, unless the log is off.
    ///
    /// # Errors
    /// The folder can't be used.
    pub fn open(settings: &DecisionLogSettings) -> Result<Self, OpenFault> {
        let kept = match &settings.sink {
            DecisionSink::Off => return Ok(Self::off()),
            DecisionSink::File { kept } => files::Bound::Files(*kept),
            DecisionSink::Http { spool_bytes_max, .. } => files::Bound::Bytes(*spool_bytes_max),
        };
        let fault = |source| OpenFault { folder: settings.folder.clone(), source };
        let files = Files::open(&settings.folder, settings.file_bytes_max, kept).map_err(fault)?;
        let shared = Arc::new(Shared {
            files: Mutex::new(files),
            recent: Recent::default(),
            ending: AtomicBool::new(false),
            number: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            sink: settings.sink.clone(),
        });
        let (sender, receiver) = sync_channel(QUEUE);
        let thread = writer::start(receiver, shared.clone()).map_err(fault)?;
        Ok(Self { open: Some(Open { sender, shared, thread: Mutex::new(Some(thread)) }) })
    }

    /// Whether decisions are kept: then a call finds out what its record needs.
    pub fn is_on(&self) -> bool {
        self.open.is_some()
    }

    /// Takes a decision, without waiting. What is to become of it when the log is full is `full`'s business.
    ///
    /// # Errors
    /// The log is full and calls are refused then.
    pub fn keep(&self, make: impl FnOnce() -> Option<Record>, full: LogFull) -> Result<Kept, LogIsFull> {
        let Some(open) = &self.open else { return Ok(Kept::Whole) };
        let Some(record) = make() else { return Ok(Kept::Whole) };
        match open.sender.try_send(Box::new(record)) {
            Ok(()) => Ok(Kept::Whole),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                open.shared.drop_some(1);
                match full {
                    LogFull::DropNew => Ok(Kept::Dropped),
                    LogFull::Refuse => Err(LogIsFull),
                }
            }
        }
    }

    /// Decisions dropped so far because nothing could be kept.
    pub fn dropped(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.shared.dropped.load(Ordering::Relaxed))
    }

    /// The last decisions, as they were written, oldest first; at most so many.
    pub fn recent(&self, most: usize) -> Vec<Arc<[u8]>> {
        self.open.as_ref().map_or_else(Vec::new, |open| open.shared.recent.last(most))
    }

    /// Bytes in files that are not sent yet, for a log that sends.
    pub fn spooled(&self) -> Option<u64> {
        let open = self.open.as_ref()?;
        match open.shared.sink {
            DecisionSink::Http { .. } => Some(open.shared.files.lock().bytes()),
            DecisionSink::Off | DecisionSink::File { .. } => None,
        }
    }

    /// Writes what is in the queue and ends the writer. Blocks.
    pub fn end(&self) {
        let Some(open) = &self.open else { return };
        open.shared.ending.store(true, Ordering::Release);
        let thread = open.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the writer of the decision log panicked");
        }
    }
}

impl Shared {
    fn drop_some(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
        metric::decisions_dropped("full", count);
    }
}

impl Drop for DecisionLog {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests;
