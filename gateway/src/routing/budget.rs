//! Retries cost the upstream: in the long run at most a tenth of the calls may be repeated.
//!
//! Without this, every call would be tried several times while an upstream is down, and a wave of repeats would knock
//! it over again when it comes back.

use std::sync::atomic::{AtomicI64, Ordering};

/// Thousandths of a retry that one call earns.
const EARNED: i64 = 100;
/// Thousandths that one retry costs.
const COST: i64 = 1_000;
/// Most that can be saved up: 20 retries in a row after a quiet time.
const SAVED_MAX: i64 = 20_000;

/// The purse of retries, shared by all calls of a node.
#[derive(Debug)]
pub struct RetryBudget(AtomicI64);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicI64::new(SAVED_MAX))
    }
}

impl RetryBudget {
    /// One more call: earns a tenth of a retry.
    pub fn earn(&self) {
        if self.0.load(Ordering::Relaxed) < SAVED_MAX {
            self.0.fetch_add(EARNED, Ordering::Relaxed);
        }
    }

    /// Pays for one retry, or says no.
    pub fn spend(&self) -> bool {
        let pay = |saved: i64| saved.checked_sub(COST).filter(|left| *left >= 0);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_end_at_a_tenth_of_the_calls() {
        let budget = RetryBudget::default();
        let mut retries = 0;
        for _ in 0..10_000 {
            budget.earn();
            retries += i32::from(budget.spend());
        }
        assert!((1_000..=1_030).contains(&retries), "{retries}");
    }
}
