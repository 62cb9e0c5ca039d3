//! The journal: one append-only file per node, an opening before the upstream is called, a closing at settle.
//!
//! Usage rows and audit records are projections of it, so neither exists without the other. Owns the data folder's
//! lock, the [`JournalPermit`] that every call takes at its birth, and the writer thread. Refuses new calls while
//! it can't write. Start at [`Journal::open`]; [`writer`] is the thread, [`replay`] what a start makes of the
//! files it finds, [`segment`] the file, [`frame`] the bytes.

pub mod entry;
mod frame;
mod permit;
mod projector;
pub mod replay;
pub(crate) mod segment;
mod shared;
mod start;
mod writer;

#[cfg(test)]
mod cost_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
pub(crate) mod fixture;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

pub use entry::{Closing, Opening};
pub use permit::JournalPermit;
pub use replay::Replay;
pub use segment::Position;

use crate::audit::AuditNote;
use crate::audit::sink::SinkError;
use crate::config::settings::Durability;
use crate::store::{STORE_FILE, StoreError, StoreUrl};
use shared::{Entry, Shared};

/// Folder of the segments in the data folder.
pub const JOURNAL_FOLDER: &str = "journal";
const LOCK_FILE: &str = "lock";

/// Why the journal could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another gateway has the data folder.
    #[error("another weir process uses the data folder `{0}`")]
    Locked(PathBuf),
    /// The file system.
    #[error("the journal in `{path}` can't be {verb}")]
    Io {
        /// Data folder.
        path: PathBuf,
        /// What failed: `opened`, `read`, `written`.
        verb: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An entry that is no JSON.
    #[error("a journal entry can't be encoded")]
    Encode(#[from] serde_json::Error),
    /// The store.
    #[error("the journal's projection failed")]
    Store(#[from] StoreError),
    /// The audit log.
    #[error("the journal's projection failed")]
    Audit(#[from] SinkError),
    /// The entry was appended, but it is not certain that it survives a power loss.
    #[error("the journal could not be synced in time")]
    NotSynced,
    /// The deadline passed, or the writer is gone.
    #[error("the journal was not written out in time")]
    NotFlushed,
}

/// No place, or no disk: the call is refused, and may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JournalFull {
    /// Every place of the queue is held by a call in flight or not yet projected.
    #[error("too many calls are in flight")]
    Places,
    /// Writes fail (full disk, i/o error); a probe is made every 100 ms.
    #[error("the journal can't be written")]
    Failing,
}

/// The node's journal. Cloning shares it; [`Journal::shutdown`] ends it.
#[derive(Debug, Clone)]
pub struct Journal {
    shared: Arc<Shared>,
    owner: Arc<Owner>,
}

/// The last clone to go ends the writer, which writes out what it has.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Journal {
    /// Takes the data folder's lock, repairs and replays what the last run left, and starts the writer.
    /// When this returns, everything that was in the files is in the store and in the audit log.
    ///
    /// The store is the data folder's own file.
    pub async fn open(data: &Path, durability: Durability) -> Result<(Self, Replay), JournalError> {
        Self::open_with(data, durability, shared::Setup::default()).await
    }

    /// The same with a store that may lie elsewhere.
    pub async fn open_on(
        data: &Path,
        store: &StoreUrl,
        durability: Durability,
    ) -> Result<(Self, Replay), JournalError> {
        Self::open_all(data, store, durability, shared::Setup::default()).await
    }

    async fn open_with(
        data: &Path,
        durability: Durability,
        setup: shared::Setup,
    ) -> Result<(Self, Replay), JournalError> {
        Self::open_all(data, &StoreUrl::from(&data.join(STORE_FILE)), durability, setup).await
    }

    async fn open_all(
        data: &Path,
        store: &StoreUrl,
        durability: Durability,
        setup: shared::Setup,
    ) -> Result<(Self, Replay), JournalError> {
        let fail = |source| JournalError::Io { path: data.to_owned(), verb: "opened", source };
        let lock = lock(data)?;
        let (ready, started) = oneshot::channel();
        let (folder, store) = (data.to_owned(), store.clone());
        let thread = std::thread::Builder::new()
            .name("weir-journal".to_owned())
            .spawn(move || writer::run(&folder, &store, durability, setup, lock, ready))
            .map_err(fail)?;
        let (shared, replay) = started.await.map_err(|_| JournalError::NotFlushed)??;
        shared.wake.set(thread.thread().clone()).map_err(|_| JournalError::NotFlushed)?;
        let owner = Arc::new(Owner { shared: Arc::clone(&shared), thread: Mutex::new(Some(thread)) });
        Ok((Self { shared, owner }, replay))
    }

    /// Takes a place in the queue for one call. Never waits.
    pub fn permit(&self) -> Result<JournalPermit, JournalFull> {
        self.shared.take_place()?;
        Ok(JournalPermit::new(Arc::clone(&self.shared)))
    }

    /// Whether calls are admitted at the moment: for readiness.
    pub fn admits(&self) -> bool {
        !self.shared.failing.load(Ordering::Acquire)
    }

    /// Whether the store's server is away: what it can't take waits in the journal, as long as there are places.
    pub fn is_store_away(&self) -> bool {
        self.shared.away.load(Ordering::Acquire)
    }

    /// Calls that are running or wait to be projected.
    pub fn backlog(&self) -> usize {
        self.shared.backlog()
    }

    /// Puts a record that is no call into the audit log, by way of the journal. Never waits.
    pub fn note(&self, note: AuditNote) -> Result<(), JournalFull> {
        self.shared.take_place()?;
        self.shared.hand(Entry::Note(note), None);
        Ok(())
    }

    /// Waits until everything that was handed over is written, synced and projected.
    pub async fn flush(&self, deadline: Duration) -> Result<(), JournalError> {
        let handed = self.shared.flush_wanted();
        let mut progress = self.shared.progress.subscribe();
        let done = progress.wait_for(|progress| progress.projected >= handed);
        match tokio::time::timeout(deadline, done).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(JournalError::NotFlushed),
        }
    }

    /// Flushes, ends the writer and gives the data folder's lock back. What is not flushed by the deadline stays in
    /// the journal's files for the next start, unless they can't be written.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), JournalError> {
        let flushed = self.flush(deadline).await;
        self.shared.end();
        let thread = self.owner.thread.lock().take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join());
            if tokio::time::timeout(deadline.max(Duration::from_secs(1)), joined).await.is_err() {
                return Err(JournalError::NotFlushed);
            }
        }
        flushed
    }
}

/// A new audit note's id and time from the clock.
pub fn note(event: &str, at_ms: u64) -> AuditNote {
    let seconds = at_ms.checked_div(1000).unwrap_or_default();
    let millis = u32::try_from(at_ms.checked_rem(1000).unwrap_or_default()).unwrap_or_default();
    let time = uuid::Timestamp::from_unix(uuid::NoContext, seconds, millis.saturating_mul(1_000_000));
    AuditNote::new(uuid::Uuid::new_v7(time), event, at_ms)
}

/// Whether the data folder is free: no gateway works in it at this moment.
///
/// # Errors
/// One does, or the folder can't be used.
pub fn is_free(data: &Path) -> Result<(), JournalError> {
    lock(data).map(drop)
}

/// One writer per data folder: the lock lives as long as the writer's thread.
fn lock(data: &Path) -> Result<File, JournalError> {
    let fail = |source| JournalError::Io { path: data.to_owned(), verb: "opened", source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(fail)?;
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(data.join(LOCK_FILE)).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::Locked(data.to_owned())),
        Err(TryLockError::Error(source)) => Err(fail(source)),
    }
}
