//! Tokens held for one call at every level of its path at once.
//!
//! Dropped before the upstream was called, a Reservation gives everything back; dropped after that without a settlement
//! it counts as used in full: hanging up is no way to call for free.

use std::sync::Arc;

use super::rules::Plan;
use super::{Shared, Standing};
use crate::clock;

/// Tokens held for one call.
#[must_use = "the tokens are given back when this is dropped"]
pub struct Reservation {
    pub(super) shared: Arc<Shared>,
    pub(super) plan: Arc<Plan>,
    pub(super) tokens: u64,
    pub(super) used: u64,
    pub(super) standing: Option<Standing>,
}

impl Reservation {
    /// Tokens held.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The tightest token quota of the path after this hold; `None` where none is limited.
    pub fn standing(&self) -> Option<&Standing> {
        self.standing.as_ref()
    }

    /// From here on the upstream may have worked: without a settlement all that is held counts as used.
    pub fn mark_called(&mut self) {
        self.used = self.tokens;
    }

    /// Ends the hold with what was used: gives the rest back, or takes what is missing.
    pub fn settle(mut self, tokens_used: u64) {
        self.used = tokens_used;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.plan.limits_tokens {
            return;
        }
        let now_ns = self.shared.ns(clock::instant());
        let mut states = self.shared.states(&self.plan);
        for level in self.plan.levels.iter().filter(|level| level.rule.tokens_per_minute.is_some()) {
            if let Some(bucket) = states.get_mut(&level.id).and_then(|state| state.tokens.as_mut()) {
                bucket.settle(self.tokens, self.used, now_ns);
            }
        }
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation")
            .field("key", &self.plan.key)
            .field("tokens", &self.tokens)
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}
