//! How a batch is chosen under the token budget, and who gives pages up when they run out.
//!
//! ```text
//! budget 8    │ A:1 │ B:1 │ C: 6 of its prompt's 20 │            A and B decode, C's prompt comes in pieces
//! next step   │ A:1 │ B:1 │ C: 6                    │ …
//! ```
//! No deadlock: whoever needs a page takes it from younger or blocked choices; so the oldest choice that can go on
//! always does, and it fits alone because admission refused what could not.

use super::sequence::Sequence;
use super::{RUNNING_MAX, Scheduler};
use std::time::Instant;

/// What one choice does in the step that is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub key: u64,
    pub call: u64,
    /// Tokens to compute.
    pub len: usize,
    /// Whether the next token is drawn after them.
    pub samples: bool,
}

/// A batch in the making.
struct Draft {
    parts: Vec<Part>,
    budget: usize,
}

impl Draft {
    /// Tokens that this call will draw in this step.
    fn samples_of(&self, call: u64) -> u64 {
        let count = self.parts.iter().filter(|part| part.samples && part.call == call).count();
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    fn add(&mut self, part: Part) {
        self.budget = self.budget.saturating_sub(part.len);
        self.parts.push(part);
    }

    fn remove(&mut self, key: u64) {
        if let Some(at) = self.parts.iter().position(|part| part.key == key) {
            self.budget = self.budget.saturating_add(self.parts.remove(at).len);
        }
    }
}

/// Whether a waiting choice may start now.
enum Admission {
    Starts,
    /// Not it, but perhaps one behind it.
    Waits,
    /// Nobody behind it either: first come, first served.
    Closed,
}

impl Scheduler {
    /// Chooses the next batch; empty when nobody can go on.
    pub(super) fn choose(&mut self, now: Instant) -> Vec<Part> {
        let mut draft = Draft { parts: Vec::new(), budget: self.executor.spec().batch_tokens_max };
        for key in self.keys(|sequence| sequence.running && sequence.remaining() == 1) {
            self.place(key, &mut draft, now);
        }
        for key in self.keys(|sequence| sequence.running && sequence.remaining() > 1) {
            self.place(key, &mut draft, now);
        }
        for key in self.keys(|sequence| !sequence.running) {
            match self.admit(key, &draft) {
                Admission::Starts => self.place(key, &mut draft, now),
                Admission::Waits => {}
                Admission::Closed => break,
            }
        }
        draft.parts
    }

    fn keys(&self, which: impl Fn(&Sequence) -> bool) -> Vec<u64> {
        self.sequences.iter().filter(|(_, sequence)| which(sequence)).map(|(key, _)| *key).collect()
    }

    /// Gives a running choice its part of the batch, as far as budget, reader, allowance and pages go.
    fn place(&mut self, key: u64, draft: &mut Draft, now: Instant) {
        let Some(sequence) = self.sequences.get(&key).filter(|sequence| sequence.running) else { return };
        let Some(call) = self.calls.get_mut(&sequence.call) else { return };
        if !call.reader_keeps_up() {
            return;
        }
        let mut len = sequence.chunk_len(draft.budget);
        let mut samples = len > 0 && len == sequence.remaining();
        if samples && !call.may_sample(draft.samples_of(sequence.call)) {
            call.starved_since.get_or_insert(now);
            len = len.saturating_sub(1);
            samples = false;
        }
        let (call, end) = (sequence.call, sequence.computed.saturating_add(len));
        if len > 0 && self.make_room(key, end, draft) {
            draft.add(Part { key, call, len, samples });
        }
    }

    /// Grows a choice's table to `end` positions, if need be at the cost of others. `false`: it waits.
    fn make_room(&mut self, key: u64, end: usize, draft: &mut Draft) -> bool {
        let page_tokens = self.executor.spec().page_tokens;
        // Each turn but the last preempts a running choice, so there are at most as many turns as choices.
        loop {
            let Some(sequence) = self.sequences.get_mut(&key) else { return false };
            if sequence.table.grow(end, page_tokens, &mut self.pool) {
                return true;
            }
            let Some(victim) = self.victim(key) else { return false };
            self.preempt(victim);
            draft.remove(victim);
        }
    }

    /// Who gives pages up for `key`: the youngest that can't go on anyway, else the youngest that arrived later.
    fn victim(&self, key: u64) -> Option<u64> {
        let holders = || self.sequences.iter().rev().filter(|(other, held)| **other != key && held.running);
        let is_blocked = |held: &Sequence| self.calls.get(&held.call).is_none_or(super::call::Call::is_blocked);
        let blocked = holders().find(|(_, held)| is_blocked(held) && !held.table.pages().is_empty());
        blocked.or_else(|| holders().find(|(other, _)| **other > key)).map(|(other, _)| *other)
    }

    /// Takes all pages of a choice; it waits again, at the place of its age, and is recomputed.
    fn preempt(&mut self, key: u64) {
        if let Some(sequence) = self.sequences.get_mut(&key) {
            sequence.table.clear(&mut self.pool);
            sequence.computed = 0;
            sequence.running = false;
            self.meters.preemptions.increment(1);
        }
    }

    /// Starts a waiting choice when all its known tokens will find pages beside those promised to the running.
    fn admit(&mut self, key: u64, draft: &Draft) -> Admission {
        let page_tokens = self.executor.spec().page_tokens;
        let running = self.sequences.values().filter(|sequence| sequence.running);
        let (count, promised) = running.fold((0usize, 0usize), |(count, promised), sequence| {
            let missing = sequence.table.missing(sequence.len(), page_tokens);
            (count.saturating_add(1), promised.saturating_add(missing))
        });
        if draft.budget == 0 || count >= RUNNING_MAX {
            return Admission::Closed;
        }
        let Some(sequence) = self.sequences.get(&key) else { return Admission::Waits };
        if self.calls.get(&sequence.call).is_none_or(super::call::Call::is_blocked) {
            return Admission::Waits;
        }
        let shareable = sequence.shareable_pages(page_tokens);
        let leader = sequence.leader.and_then(|leader| self.sequences.get(&leader)).filter(|leader| leader.running);
        let ready = leader.is_none_or(|leader| leader.computed >= shareable.saturating_mul(page_tokens));
        if !ready {
            return Admission::Waits;
        }
        let shared = if leader.is_some() { shareable } else { 0 };
        let missing = sequence.table.missing(sequence.len(), page_tokens).saturating_sub(shared);
        if missing.saturating_add(promised) > self.pool.free() {
            return Admission::Closed;
        }
        self.start(key, shared, page_tokens);
        Admission::Starts
    }

    /// Marks a choice as running; with its leader's first `shared` pages if there are any.
    fn start(&mut self, key: u64, shared: usize, page_tokens: usize) {
        // Taken out for a moment, because two choices are touched: the leader's table is read.
        let Some(mut sequence) = self.sequences.remove(&key) else { return };
        if shared > 0
            && let Some(leader) = sequence.leader.and_then(|leader| self.sequences.get(&leader))
        {
            sequence.table.share_from(&leader.table, shared, &mut self.pool);
            sequence.computed = shared.saturating_mul(page_tokens);
        }
        sequence.running = true;
        self.sequences.insert(key, sequence);
    }
}
