//! What the provider was asked, and what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use crate::clock;
use crate::http1::Head;

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Running,
    /// The script came to its end.
    Ended,
    /// The peer closed the connection before the script's end.
    Closed(Instant),
}

/// One request.
#[derive(Debug)]
pub struct Received {
    /// Its head.
    pub head: Head,
    /// Its body, exactly.
    pub body: Bytes,
    /// When its last byte was there.
    pub at: Instant,
    sent: AtomicUsize,
    fate: watch::Sender<Fate>,
}

impl Received {
    pub(super) fn new(head: Head, body: Bytes) -> Self {
        Self { head, body, at: Instant::now(), sent: AtomicUsize::new(0), fate: watch::Sender::new(Fate::Running) }
    }

    pub(super) fn end(&self) {
        self.fate.send_replace(Fate::Ended);
    }

    pub(super) fn close(&self) {
        self.fate.send_replace(Fate::Closed(Instant::now()));
    }

    pub(super) fn send(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Parts of the answer that were written so far: its head, then each send of the script.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// The path asked for.
    pub fn path(&self) -> &str {
        self.head.word(1)
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    /// The body as JSON; `null` where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// When the peer closed the connection in the middle of the answer.
    ///
    /// # Panics
    /// It does not do so soon, or the answer came to its end.
    pub async fn closed_early(&self) -> Instant {
        let mut fate = self.fate.subscribe();
        let changed = fate.wait_for(|fate| *fate != Fate::Running);
        let fate = *clock::soon("the upstream connection closes", changed).await.expect("the sender lives in self");
        match fate {
            Fate::Closed(at) => at,
            Fate::Running | Fate::Ended => panic!("the answer came to its end, the connection was not closed early"),
        }
    }

    /// Waits until the script has come to its end.
    ///
    /// # Panics
    /// It does not soon, or the peer closed before.
    pub async fn ended(&self) {
        let mut fate = self.fate.subscribe();
        let changed = fate.wait_for(|fate| *fate != Fate::Running);
        let fate = *clock::soon("the script's end", changed).await.expect("the sender lives in self");
        assert_eq!(fate, Fate::Ended, "the peer closed before the answer's end");
    }
}

/// All requests in the order of their arrival.
#[derive(Debug, Default)]
pub struct Records {
    list: Mutex<Vec<Arc<Received>>>,
    count: watch::Sender<usize>,
}

impl Records {
    pub(super) fn add(&self, received: Arc<Received>) {
        let mut list = self.list.lock();
        list.push(received);
        self.count.send_replace(list.len());
    }

    pub(super) fn count(&self) -> usize {
        self.list.lock().len()
    }

    pub(super) fn all(&self) -> Vec<Arc<Received>> {
        self.list.lock().clone()
    }

    pub(super) async fn wait(&self, number: usize) -> Arc<Received> {
        let mut count = self.count.subscribe();
        count.wait_for(|count| *count > number).await.expect("the sender lives in self");
        self.list.lock()[number].clone()
    }
}
