//! The thread that makes events of records and appends them. It alone writes; while it can't, the queue fills.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::event::{self, Written};
use super::{Record, Shared};
use crate::telemetry::metric;

/// Lines that are appended with one write.
const BATCH_BYTES: usize = 256 << 10;
/// Longest sleep while there is nothing to write.
const LOOK: Duration = Duration::from_millis(50);
/// Pause before a failed write is tried again.
const RETRY: Duration = Duration::from_millis(100);

pub(super) fn start(receiver: Receiver<Box<Record>>, shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let work = move || Writer { receiver, shared, lines: Vec::new(), count: 0, failing: false }.run();
    Builder::new().name("weir-decisions".to_owned()).spawn(work)
}

struct Writer {
    receiver: Receiver<Box<Record>>,
    shared: Arc<Shared>,
    lines: Vec<u8>,
    count: u64,
    failing: bool,
}

impl Writer {
    fn run(mut self) {
        loop {
            match self.receiver.recv_timeout(LOOK) {
                Ok(record) => self.batch(&record),
                // Nobody offers a record any more once the log is ending: an empty queue is the end.
                Err(RecvTimeoutError::Timeout) if self.is_ending() => break,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Err(error) = self.shared.files.lock().sync() {
            tracing::error!(%error, "the decision log could not be synced");
        }
    }

    fn is_ending(&self) -> bool {
        self.shared.ending.load(Ordering::Acquire)
    }

    fn batch(&mut self, first: &Record) {
        self.lines.clear();
        self.count = 0;
        self.take(first);
        while self.lines.len() < BATCH_BYTES {
            let Ok(record) = self.receiver.try_recv() else { break };
            self.take(&record);
        }
        if self.count == 0 {
            return;
        }
        while !self.append() {
            if self.is_ending() {
                self.shared.drop_some(self.count);
                return;
            }
            std::thread::park_timeout(RETRY);
        }
        metric::decisions_written(self.count);
    }

    fn take(&mut self, record: &Record) {
        let number = self.shared.number.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let begun = self.lines.len();
        match event::write(record, number, &mut self.lines) {
            Written::Dropped => metric::decisions_dropped("policy", 1),
            Written::Plain => {}
            Written::Masked => metric::decisions_masked("masked"),
            Written::Skeleton => metric::decisions_masked("failed"),
        }
        let Some(line) = self.lines.get(begun..).filter(|line| !line.is_empty()) else { return };
        self.shared.recent.add(line);
        self.lines.push(b'\n');
        self.count = self.count.saturating_add(1);
    }

    fn append(&mut self) -> bool {
        let appended = self.shared.files.lock().append(&self.lines);
        match appended {
            Ok(true) => {
                self.failing = false;
                return true;
            }
            Ok(false) if !self.failing => tracing::error!("the spool of the decision log is full"),
            Err(error) if !self.failing => tracing::error!(%error, "the decision log can't be written"),
            Ok(false) | Err(_) => {}
        }
        self.failing = true;
        false
    }
}
