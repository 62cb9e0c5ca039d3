//! The lines in front of deployments that take only so many calls at once: instead of a refusal, a bounded wait in an
//! order that is fair between tenants ([`super::fair`]).
//!
//! Owns the lines; what a deployment takes is its rule's, and comes with each call. Refuses with [`Saturated`] who
//! would
//! have to wait too long, or where too many wait already.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::fair::{Claim, Entered, Fair};
use crate::clock;

/// How many calls a deployment takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueRule {
    /// Calls at once.
    pub slots: u32,
    /// Calls that may wait.
    pub waiting_max: usize,
    /// Longest wait.
    pub wait_max: Duration,
}

/// A deployment is busy, and there is no room to wait, or the wait was too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saturated {
    /// When a place is likely.
    pub retry_after: Duration,
}

/// The lines of every deployment that has one.
#[derive(Debug, Default)]
pub struct Queues(Mutex<HashMap<Arc<str>, Arc<Queue>>>);

/// One deployment's line.
#[derive(Debug, Default)]
pub struct Queue(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    fair: Fair,
    waiting: HashMap<u64, oneshot::Sender<()>>,
    slots: u32,
    /// How long a call runs, in milliseconds: a moving mean.
    runs_ms: u64,
}

/// A place among the calls that a deployment takes; dropping it lets the next one in.
#[derive(Debug)]
pub struct Seat {
    queue: Arc<Queue>,
    since: Instant,
}

impl Queues {
    /// The line of a deployment.
    pub fn of(&self, deployment: &Arc<str>) -> Arc<Queue> {
        Arc::clone(self.0.lock().entry(Arc::clone(deployment)).or_default())
    }

    /// Calls that wait, by deployment.
    pub fn waiting(&self) -> Vec<(Arc<str>, usize)> {
        self.0.lock().iter().map(|(name, queue)| (Arc::clone(name), queue.0.lock().fair.waiting())).collect()
    }
}

impl Queue {
    /// Whether a call would run at once.
    pub fn is_free(&self, rule: &QueueRule) -> bool {
        let line = self.0.lock();
        line.fair.running() < rule.slots && line.fair.waiting() == 0
    }

    /// Takes a place, at once or after a wait. Dropping the future gives the place in the line up.
    ///
    /// # Errors
    /// Nobody else may wait, or the wait was too long.
    pub async fn enter(self: &Arc<Self>, claim: &Claim, rule: &QueueRule) -> Result<Seat, Saturated> {
        let (ticket, told) = {
            let mut line = self.0.lock();
            line.slots = rule.slots;
            match line.fair.enter(claim, rule.slots, rule.waiting_max) {
                Entered::Now => return Ok(self.seat()),
                Entered::Full => return Err(line.saturated()),
                Entered::Waits(ticket) => {
                    let (tell, told) = oneshot::channel();
                    line.waiting.insert(ticket, tell);
                    (ticket, told)
                }
            }
        };
        let mut place = Place { queue: self, ticket: Some(ticket) };
        match tokio::time::timeout(rule.wait_max, told).await {
            Ok(Ok(())) => {
                place.ticket = None;
                Ok(self.seat())
            }
            Ok(Err(_)) | Err(_) => Err(self.0.lock().saturated()),
        }
    }

    fn seat(self: &Arc<Self>) -> Seat {
        Seat { queue: Arc::clone(self), since: clock::instant() }
    }

    /// Lets whoever is next in; those who went away meanwhile are passed over.
    fn next(&self, line: &mut Line, mut admitted: Option<u64>) {
        while let Some(ticket) = admitted {
            if line.waiting.remove(&ticket).is_some_and(|tell| tell.send(()).is_ok()) {
                admitted = line.fair.admit(line.slots);
            } else {
                admitted = line.fair.leave(line.slots);
            }
        }
    }
}

impl Line {
    /// When a place is likely: those in front, at the pace of late.
    fn saturated(&self) -> Saturated {
        let waiting = u64::try_from(self.fair.waiting()).unwrap_or(u64::MAX).saturating_add(1);
        let ms = waiting.saturating_mul(self.runs_ms).checked_div(self.slots.into()).unwrap_or(0);
        Saturated { retry_after: Duration::from_millis(ms.clamp(1_000, 60_000)) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let ran = clock::instant().saturating_duration_since(self.since);
        let ran_ms = u64::try_from(ran.as_millis()).unwrap_or(u64::MAX);
        let mut line = self.queue.0.lock();
        line.runs_ms = line.runs_ms.saturating_mul(7).saturating_add(ran_ms) / 8;
        let slots = line.slots;
        let admitted = line.fair.leave(slots);
        self.queue.next(&mut line, admitted);
    }
}

/// A place in the line; dropped, it is given up.
struct Place<'a> {
    queue: &'a Arc<Queue>,
    ticket: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut line = self.queue.0.lock();
        line.waiting.remove(&ticket);
        if !line.fair.cancel(ticket) {
            // It was let in at the very moment at which it went away: its place goes to the next.
            let slots = line.slots;
            let admitted = line.fair.leave(slots);
            self.queue.next(&mut line, admitted);
        }
    }
}

#[cfg(test)]
mod tests;
