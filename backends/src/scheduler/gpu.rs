//! Whose the machine's time was: each step's time shared among those it worked for, pages by how long they are held.
//!
//! All in whole microseconds since the first step, so that differences add up to what the clock showed, and by the
//! largest remainder, so that shares add up to what is shared. What nobody took is counted as idle. Pure but for the
//! engine's meters.

use super::Scheduler;
use super::plan::Part;
use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

/// Where the engine's own clock stands.
#[derive(Debug, Default)]
pub(super) struct Time {
    /// Zero of the microseconds.
    first: Option<Instant>,
    /// Up to when pages are paid for.
    resided_us: u64,
    /// When the last step was computed.
    computed_us: u64,
}

impl Time {
    fn at(&mut self, now: Instant) -> u64 {
        let first = *self.first.get_or_insert(now);
        u64::try_from(now.saturating_duration_since(first).as_micros()).unwrap_or(u64::MAX)
    }
}

impl Scheduler {
    /// Shares a step's time among what it computed: a prompt's part by its tokens, a choice that makes a token as one.
    pub(super) fn share_step(&mut self, parts: &[Part], begun: Instant, computed: Instant) {
        let (begun, computed) = (self.time.at(begun), self.time.at(computed));
        let idle = begun.saturating_sub(self.time.computed_us);
        self.time.computed_us = computed;
        self.meters.gpu.idle.increment(idle);
        let weights: Vec<u64> = parts.iter().map(|part| u64::try_from(part.len).unwrap_or(u64::MAX)).collect();
        for (part, share) in parts.iter().zip(shares(computed.saturating_sub(begun), &weights)) {
            let is_prefill = self
                .sequences
                .get(&part.key)
                .is_none_or(|sequence| part.len > 1 || sequence.computed < sequence.prompt.len());
            let Some(call) = self.calls.get_mut(&part.call) else { continue };
            let (sum, meter) = match is_prefill {
                true => (&mut call.gpu.prefill_us, &self.meters.gpu.prefill),
                false => (&mut call.gpu.decode_us, &self.meters.gpu.decode),
            };
            *sum = sum.saturating_add(share);
            meter.increment(share);
        }
    }

    /// Charges the time since the last such moment to those who hold pages, by their part of all pages.
    pub(super) fn reside(&mut self, now: Instant) {
        let now_us = self.time.at(now);
        let took = now_us.saturating_sub(self.time.resided_us);
        self.time.resided_us = now_us;
        let held = self.held_pages();
        if took == 0 || held.is_empty() {
            return;
        }
        // Free pages are nobody's, and so is their time: the last weight.
        let free = u64::try_from(self.pool.free()).unwrap_or(u64::MAX);
        let weights: Vec<u64> = held.values().copied().chain([free]).collect();
        for (call, share) in held.keys().zip(shares(took, &weights)) {
            if let Some(call) = self.calls.get_mut(call) {
                call.gpu.kv_us = call.gpu.kv_us.saturating_add(share);
                self.meters.gpu.kv.increment(share);
            }
        }
    }

    /// Pages by call; one that several choices share counts once.
    fn held_pages(&self) -> BTreeMap<u64, u64> {
        let mut held = BTreeMap::new();
        let mut seen: Option<(u64, HashSet<u32>)> = None;
        // The choices of one call have neighbouring keys.
        for sequence in self.sequences.values().filter(|sequence| !sequence.table.pages().is_empty()) {
            let pages = sequence.table.pages();
            let is_alone = self.calls.get(&sequence.call).is_some_and(|call| call.sequences.len() == 1);
            let fresh = if is_alone {
                pages.len()
            } else {
                let (_, known) = match &mut seen {
                    Some(known) if known.0 == sequence.call => known,
                    other => other.insert((sequence.call, HashSet::new())),
                };
                pages.iter().filter(|page| known.insert(**page)).count()
            };
            let sum: &mut u64 = held.entry(sequence.call).or_default();
            *sum = sum.saturating_add(u64::try_from(fresh).unwrap_or(u64::MAX));
        }
        held
    }
}

/// Parts of `total` by weight that add up to it exactly: each gets its whole part, the largest remainders one more.
/// Nothing is shared where all weights are zero.
fn shares(total: u64, weights: &[u64]) -> Vec<u64> {
    let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    let mut parts = Vec::with_capacity(weights.len());
    let mut remainders = Vec::with_capacity(weights.len());
    for (at, weight) in weights.iter().enumerate() {
        // Two numbers of 64 bits: their product fits.
        let product = u128::from(total).saturating_mul(u128::from(*weight));
        let whole = product.checked_div(sum).unwrap_or(0);
        parts.push(u64::try_from(whole).unwrap_or(u64::MAX));
        remainders.push((product.checked_rem(sum).unwrap_or(0), at));
    }
    let given: u64 = parts.iter().fold(0, |given, part| given.saturating_add(*part));
    let left = if sum == 0 { 0 } else { usize::try_from(total.saturating_sub(given)).unwrap_or(usize::MAX) };
    // The largest first; of equals the earlier.
    remainders.sort_by(|(a, at), (b, other)| b.cmp(a).then(at.cmp(other)));
    for (_, at) in remainders.into_iter().take(left) {
        if let Some(part) = parts.get_mut(at) {
            *part = part.saturating_add(1);
        }
    }
    parts
}

#[cfg(test)]
mod tests;
