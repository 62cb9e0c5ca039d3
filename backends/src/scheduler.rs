//! THE STORY of one step: what continuous batching does, in the order in which it does it.
//!
//! Owns the live calls, their choices, and which page belongs to whom. Every step computes one batch: the decoding
//! choices' last tokens first, then pieces of waiting prompts until the token budget is full; so a long prompt never
//! stops the others' streams, and a new call never waits for the end of a batch. First come, first served; when pages
//! run out the youngest gives its pages up and is recomputed later. Reads no clock, no socket; `drive.rs` is the thread
//! that turns it, `intake.rs` what comes in from outside, `plan.rs` how a batch is chosen.

mod call;
mod drive;
mod gpu;
mod intake;
mod plan;
mod sequence;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // an overflow in a test is a failed test
mod tests;
mod text;

pub use call::event_channel;
pub use drive::{Engine, EngineGone, Reading, SubmitError};
pub use intake::{PageCounts, Refused};

use crate::core::{Event, FinishReason};
use crate::executor::{Chunk, Executor, ExecutorError, StepOutput, StepPlan};
use crate::kv::check::{self, Broken};
use crate::kv::pages::PagePool;
use crate::language::Language;
use crate::metrics::Meters;
use call::Call;
use plan::Part;
use sequence::Sequence;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a choice waits for its call's allowance to be renewed before it ends.
pub const ALLOWANCE_PAUSE: Duration = Duration::from_secs(2);
/// Choices that may hold pages at once.
pub const RUNNING_MAX: usize = 64;
/// Choices that may wait for pages; a call that would go past this is refused.
pub const WAITING_MAX: usize = 256;

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// A batch was computed; there may be more to do.
    Stepped,
    /// Choices live, but all wait for their reader or their allowance.
    Blocked,
    /// Nobody is here.
    Idle,
}

/// The calls of one engine and the pages they share.
pub struct Scheduler {
    executor: Box<dyn Executor>,
    language: Arc<dyn Language>,
    meters: Meters,
    pool: PagePool,
    calls: HashMap<u64, Call>,
    /// By age: a smaller key arrived earlier. Keys are never reused.
    sequences: BTreeMap<u64, Sequence>,
    next_key: u64,
    time: gpu::Time,
}

impl Scheduler {
    /// A scheduler without calls.
    pub fn new(executor: Box<dyn Executor>, language: Arc<dyn Language>, meters: Meters) -> Self {
        let pool = PagePool::new(executor.spec().pages_total);
        let (calls, sequences) = (HashMap::new(), BTreeMap::new());
        Self { executor, language, meters, pool, calls, sequences, next_key: 1, time: gpu::Time::default() }
    }

    /// One step. `clock` is read at its beginning and when the batch is computed.
    pub fn step(&mut self, clock: &dyn Fn() -> Instant) -> Progress {
        let now = clock();
        // Before anybody leaves: who held pages until now pays for them until now.
        self.reside(now);
        // Before planning, so that the pages of those who left serve those who stay in this very step.
        self.drop_abandoned();
        // Before planning: who waited too long for an allowance must not hold pages against the others.
        self.end_starved(now);
        // Before computing, because it decides who computes: it takes and gives pages, and marks who is starved.
        let parts = self.choose(now);
        if parts.is_empty() {
            return self.rest();
        }
        // The only place where time is spent. Nothing of a choice changes before its result is there.
        let result = self.compute(&parts);
        let computed = clock();
        self.meters.step_seconds.record(computed.saturating_duration_since(now));
        // Before choices end: their last counts hold this step's share.
        self.share_step(&parts, now, computed);
        self.reside(computed);
        match result {
            // Draws tokens, shows text, ends choices; ended ones free their pages at once, not at the next step.
            Ok(output) => self.advance(&parts, output, computed),
            // The batch is lost and with it the calls in it; those outside it go on.
            Err(error) => self.fail(&parts, &error),
        }
        self.observe();
        Progress::Stepped
    }

    /// Checks the page bookkeeping against the tables of all live choices.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), Broken> {
        check::check(&self.pool, self.sequences.values().map(|sequence| &sequence.table))
    }

    fn drop_abandoned(&mut self) {
        let abandoned: Vec<u64> =
            self.calls.iter().filter(|(_, call)| call.is_abandoned()).map(|(key, _)| *key).collect();
        for key in abandoned {
            self.meters.hang_ups.increment(1);
            self.forget(key);
        }
    }

    fn end_starved(&mut self, now: Instant) {
        let starved: Vec<u64> = self
            .calls
            .iter()
            .filter(|(_, call)| {
                call.starved_since
                    .is_some_and(|since| call.is_last || now.saturating_duration_since(since) >= ALLOWANCE_PAUSE)
            })
            .map(|(key, _)| *key)
            .collect();
        for key in starved {
            self.end_call(key, FinishReason::Allowance, now);
        }
    }

    fn compute(&mut self, parts: &[Part]) -> Result<StepOutput, ExecutorError> {
        let chunks: Vec<Chunk<'_>> = parts
            .iter()
            .filter_map(|part| {
                let sequence = self.sequences.get(&part.key)?;
                Some(Chunk {
                    slot: part.key,
                    pos: sequence.computed,
                    tokens: sequence.next_tokens(part.len),
                    pages: sequence.table.pages(),
                    wants_logits: part.samples,
                })
            })
            .collect();
        let tokens: u32 = parts.iter().map(|part| u32::try_from(part.len).unwrap_or(u32::MAX)).sum();
        self.meters.step_tokens.record(tokens);
        let wanted = parts.iter().filter(|part| part.samples).count();
        let output = self.executor.step(&StepPlan { chunks })?;
        if output.logits.len() != wanted {
            return Err(ExecutorError::Compute(format!("{} rows of logits for {wanted}", output.logits.len())));
        }
        Ok(output)
    }

    fn advance(&mut self, parts: &[Part], output: StepOutput, now: Instant) {
        let mut rows = output.logits.into_iter();
        for part in parts {
            if let Some(sequence) = self.sequences.get_mut(&part.key) {
                sequence.computed = sequence.computed.saturating_add(part.len);
            }
            if part.samples
                && let Some(row) = rows.next()
            {
                self.draw(part.key, row, now);
            }
        }
    }

    /// One more token of one choice.
    fn draw(&mut self, key: u64, mut row: Vec<f32>, now: Instant) {
        let Some(sequence) = self.sequences.get_mut(&key) else { return };
        let Some(call) = self.calls.get_mut(&sequence.call) else { return };
        let (shown, end) = match sequence.take(&mut row, &*self.language) {
            Ok(taken) => taken,
            Err(error) => {
                let call = sequence.call;
                return self.fail_call(call, &error.to_string());
            }
        };
        call.counts.completion = call.counts.completion.saturating_add(1);
        self.meters.generation_tokens.increment(1);
        match sequence.last_token_at.replace(now) {
            Some(before) => self.meters.inter_token_seconds.record(now.saturating_duration_since(before)),
            None => self.meters.first_token_seconds.record(now.saturating_duration_since(call.arrived)),
        }
        let delta =
            Event::Delta { choice: sequence.choice, text: shown.text, scores: shown.scores, counts: call.counts };
        call.tell(delta);
        if let Some(reason) = end {
            self.finish(key, reason, now);
        }
    }

    /// A choice ends: its reader learns why, its pages are free.
    fn finish(&mut self, key: u64, reason: FinishReason, now: Instant) {
        let Some(mut sequence) = self.sequences.remove(&key) else { return };
        sequence.table.clear(&mut self.pool);
        let Some(call) = self.calls.get_mut(&sequence.call) else { return };
        call.sequences.retain(|other| *other != key);
        self.meters.finished(reason, now.saturating_duration_since(call.arrived));
        call.tell(Event::Finish { choice: sequence.choice, reason, counts: call.counts, gpu: call.gpu });
        if call.sequences.is_empty() {
            self.calls.remove(&sequence.call);
        }
    }

    /// Ends all choices of a call from outside; text that was held back is shown first.
    fn end_call(&mut self, key: u64, reason: FinishReason, now: Instant) {
        let choices = self.calls.get(&key).map(|call| call.sequences.clone()).unwrap_or_default();
        for choice in choices {
            if let (Some(sequence), Some(call)) = (self.sequences.get_mut(&choice), self.calls.get(&key)) {
                let rest = sequence.text.flush();
                if !rest.text.is_empty() || !rest.scores.is_empty() {
                    let (choice, counts) = (sequence.choice, call.counts);
                    call.tell(Event::Delta { choice, text: rest.text, scores: rest.scores, counts });
                }
            }
            self.finish(choice, reason, now);
        }
    }

    fn fail(&mut self, parts: &[Part], error: &ExecutorError) {
        tracing::error!(%error, "a step failed");
        let mut calls: Vec<u64> = parts.iter().map(|part| part.call).collect();
        calls.dedup();
        for key in calls {
            self.fail_call(key, "the engine could not compute this answer");
        }
    }

    fn fail_call(&mut self, key: u64, message: &str) {
        if let Some(call) = self.calls.get(&key) {
            self.meters.failures.increment(1);
            call.tell(Event::Failed { message: message.to_owned(), counts: call.counts });
        }
        self.forget(key);
    }

    /// Frees all that a call holds and says nothing to its reader.
    fn forget(&mut self, key: u64) {
        let Some(call) = self.calls.remove(&key) else { return };
        for choice in call.sequences {
            if let Some(mut sequence) = self.sequences.remove(&choice) {
                sequence.table.clear(&mut self.pool);
            }
        }
    }

    fn rest(&self) -> Progress {
        self.observe();
        if !self.sequences.is_empty() {
            return Progress::Blocked;
        }
        let state = self.check();
        assert!(state.is_ok(), "the page bookkeeping holds when idle: {state:?}");
        Progress::Idle
    }

    fn observe(&self) {
        let running = self.sequences.values().filter(|sequence| sequence.running).count();
        let share = |part: usize, whole: usize| {
            f64::from(u32::try_from(part).unwrap_or(u32::MAX))
                / f64::from(u32::try_from(whole.max(1)).unwrap_or(u32::MAX))
        };
        self.meters.running.set(share(running, 1));
        self.meters.waiting.set(share(self.sequences.len().saturating_sub(running), 1));
        let owned = self.pool.total().saturating_sub(self.pool.free());
        self.meters.kv_usage.set(share(owned, self.pool.total()));
    }
}
