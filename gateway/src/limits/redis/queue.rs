//! Settlements on their way to Redis. A place is kept by each reservation, so that putting one in never waits and never
//! fails; they are told in order of their coming, again and again, until Redis knows them.
//!
//! What is not told when the gateway ends stays charged at what was held: the safe side. [`Work::run`] gives it back to
//! its caller, and the gateway's next start settles it at what its ledger says ([`super::lost`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};

use super::link::Away;
use super::lost::Lost;
use super::{Failed, Shared};
use crate::exchange::CallId;
use crate::limits::counter::{Ask, UsedBy};
use crate::limits::quantity::Amounts;
use crate::telemetry::metric::limits as metric;

/// Calls that hold something, and settlements that wait. As many as the journal takes; about 300 bytes each.
const PLACES: usize = 65_536;
/// Settlements that are told together.
const BATCH: usize = 128;
/// The pause after a failure, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A settlement to be told.
#[derive(Debug, Clone)]
pub struct Job {
    /// The call.
    pub ask: Ask,
    /// What it used.
    pub used: Amounts,
}

/// Where settlements are put.
pub(super) struct Queue {
    sender: mpsc::Sender<Job>,
    put: Arc<AtomicU64>,
    told: watch::Receiver<u64>,
}

/// A place that is kept for one settlement.
pub(super) struct Waiting {
    permit: mpsc::OwnedPermit<Job>,
    put: Arc<AtomicU64>,
}

/// The work behind the scenes: keeps the connection and tells the settlements.
#[must_use = "without it nothing is counted"]
pub struct Work {
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<Job>,
    told: watch::Sender<u64>,
    flush_max: Duration,
    /// What an earlier run left.
    lost: Option<Lost>,
}

pub(super) fn new(shared: Arc<Shared>, flush_max: Duration) -> (Queue, Work) {
    let (sender, jobs) = mpsc::channel(PLACES);
    let (told, seen) = watch::channel(0);
    (Queue { sender, put: Arc::default(), told: seen }, Work { shared, jobs, told, flush_max, lost: None })
}

impl Queue {
    /// A place; `None` where as many calls run and settlements wait as may.
    pub(super) fn place(&self) -> Option<Waiting> {
        let permit = self.sender.clone().try_reserve_owned().ok()?;
        Some(Waiting { permit, put: Arc::clone(&self.put) })
    }

    pub(super) fn put(&self, place: Waiting, job: Job) {
        place.put(job);
    }

    /// Puts in a settlement that has no place of its own. Where there is none it is dropped, and what was held stays
    /// charged.
    pub(super) fn put_late(&self, job: Job) {
        match self.place() {
            Some(place) => place.put(job),
            None => metric::settlements_dropped(1),
        }
    }

    pub(super) fn has_untold(&self) -> bool {
        *self.told.borrow() < self.put.load(Ordering::Acquire)
    }

    /// Waits until everything that was put in before is told.
    pub(super) async fn told(&self) {
        let put = self.put.load(Ordering::Acquire);
        // The work is gone: then nothing more is told.
        drop(self.told.clone().wait_for(|told| *told >= put).await);
    }
}

impl Waiting {
    pub(super) fn put(self, job: Job) {
        // Counted first, so that whoever waits for what was put in never misses it.
        self.put.fetch_add(1, Ordering::AcqRel);
        drop(self.permit.send(job));
    }
}

impl Work {
    /// Settles also what this gateway's earlier runs left: at what the ledger says of each call, the `interrupted` ones
    /// among them (calls that the journal found open, with their organisations).
    pub fn after(mut self, ledger: Arc<dyn UsedBy>, interrupted: Vec<(Arc<str>, CallId)>) -> Self {
        self.lost = Some(Lost { ledger, interrupted });
        self
    }

    /// Works until `stop`, then tells what is left, within the settings' time. Gives what could not be told.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Vec<Job> {
        let (shared, flush_max) = (Arc::clone(&self.shared), self.flush_max);
        let mut batch = Vec::new();
        let lost = self.lost.take();
        let ending = async {
            if let Some(lost) = lost {
                lost.tell(&shared).await;
            }
            std::future::pending::<()>().await;
        };
        let working = async {
            // It ends when the counter is gone and all is told.
            while self.tell_next(&mut batch).await {}
        };
        tokio::select! {
            () = shared.link.keep() => {}
            () = working => {}
            () = ending => {}
            () = stop => {}
        }
        self.jobs.close();
        let flush = async { while !(batch.is_empty() && self.jobs.is_empty()) && self.tell_next(&mut batch).await {} };
        let flush = tokio::time::timeout(flush_max, flush);
        tokio::select! {
            () = shared.link.keep() => {}
            done = flush => drop(done),
        }
        while let Ok(job) = self.jobs.try_recv() {
            batch.push(job);
        }
        if !batch.is_empty() {
            tracing::warn!(count = batch.len(), "settlements of limits could not be told; what was held stays charged");
            metric::settlements_dropped(u64::try_from(batch.len()).unwrap_or(u64::MAX));
        }
        batch
    }

    /// Takes settlements and tells them; false where no more can come. Cancelled, those that are not told yet stay in
    /// `batch`.
    async fn tell_next(&mut self, batch: &mut Vec<Job>) -> bool {
        if batch.is_empty() && self.jobs.recv_many(batch, BATCH).await == 0 {
            return false;
        }
        let mut pause = PAUSE_MIN;
        while !batch.is_empty() {
            metric::settlements_waiting(self.jobs.len().saturating_add(batch.len()));
            let before = batch.len();
            keep_last(batch);
            let done = join_all(batch.iter().map(|job| self.shared.settle(job))).await;
            let mut results = done.iter();
            batch.retain(|_| results.next().is_some_and(Result::is_err));
            let told = u64::try_from(before.saturating_sub(batch.len())).unwrap_or(u64::MAX);
            self.told.send_modify(|count| *count = count.saturating_add(told));
            if batch.is_empty() {
                break;
            }
            self.shared.link.answers().await;
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
        metric::settlements_waiting(self.jobs.len());
        true
    }
}

/// Of two settlements of one hold the later counts, and they may be told in any order: the earlier one is left out.
fn keep_last(batch: &mut Vec<Job>) {
    let mut last: HashMap<CallId, usize> = HashMap::with_capacity(batch.len());
    last.extend(batch.iter().enumerate().map(|(at, job)| (job.ask.call, at)));
    if last.len() == batch.len() {
        return;
    }
    let mut at = 0_usize;
    batch.retain(|job| {
        let is_last = last.get(&job.ask.call) == Some(&at);
        at = at.saturating_add(1);
        is_last
    });
}

impl From<Away> for Failed {
    fn from(away: Away) -> Self {
        Failed::Away(away)
    }
}
