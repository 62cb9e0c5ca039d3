//! One call as the scheduler sees it: its reader, its counts, its allowance.

use crate::core::{Counts, Event, GpuTime};
use std::time::Instant;
use tokio::sync::mpsc;

/// Events that may wait for a call's reader, per choice. A slower reader pauses its own choices and nobody else's.
const EVENTS_PER_CHOICE: usize = 64;
/// Events that ending a call may need per choice: the rest of its text and the finish, kept free at all times.
const EVENTS_RESERVED: usize = 2;
/// What one step may add per choice.
const EVENTS_PER_STEP: usize = 2;

/// The channel between the scheduler and the reader of a call with this many choices.
pub fn event_channel(choices: usize) -> (mpsc::Sender<Event>, mpsc::Receiver<Event>) {
    mpsc::channel(choices.saturating_mul(EVENTS_PER_CHOICE).max(1))
}

/// A call that has at least one live choice.
#[derive(Debug)]
pub(super) struct Call {
    pub id: Option<String>,
    pub events: mpsc::Sender<Event>,
    pub counts: Counts,
    /// Its time of the machine so far.
    pub gpu: GpuTime,
    /// Its live choices.
    pub sequences: Vec<u64>,
    /// Completion tokens that it may make over all choices.
    pub allowance: Option<u64>,
    /// The allowance will not grow any more: at its end the call ends, without a pause.
    pub is_last: bool,
    /// Since when a choice waits for the allowance to be renewed.
    pub starved_since: Option<Instant>,
    pub arrived: Instant,
}

impl Call {
    /// Tells the reader. A reader that hung up is found by [`Call::is_abandoned`]; room was kept by
    /// [`Call::reader_keeps_up`], so a full channel can't be met and would only cost the event.
    pub fn tell(&self, event: Event) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(event) {
            tracing::error!("an event found its channel full");
        }
    }

    /// Whether the reader went away.
    pub fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }

    /// Whether a step's events still fit, with room left to end every choice.
    pub fn reader_keeps_up(&self) -> bool {
        let need = self.sequences.len().saturating_mul(EVENTS_PER_STEP.saturating_add(EVENTS_RESERVED));
        self.events.capacity() >= need
    }

    /// Whether another token may be drawn when `planned` are planned already.
    pub fn may_sample(&self, planned: u64) -> bool {
        self.allowance.is_none_or(|allowance| self.counts.completion.saturating_add(planned) < allowance)
    }

    /// Whether its choices can't go on by themselves now.
    pub fn is_blocked(&self) -> bool {
        self.starved_since.is_some() || !self.reader_keeps_up()
    }
}
