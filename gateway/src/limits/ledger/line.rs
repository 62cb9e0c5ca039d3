//! The count of one line: a rate that drains, a budget, or the calls that run.

use std::num::NonZeroU64;
use std::time::Duration;

use super::IDLE_NS;
use super::hold::{Hold, Life};
use crate::limits::bucket::{Bucket, Refused};
use crate::limits::budget::Budget;
use crate::limits::counter::Line;
use crate::limits::exceeded::Standing;
use crate::limits::quantity::Amounts;
use crate::limits::window::{Span, Window};

/// One line's count.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) tally: Tally,
    /// Holds on it that live; where calls at the same time are counted, this is the count.
    pub(super) live: u32,
    asked_ns: u64,
}

#[derive(Debug)]
pub(super) enum Tally {
    Rate(Bucket),
    Budget(Budget),
    Running,
}

/// What is wanted does not fit.
pub(super) struct Full {
    pub(super) wait: Option<Duration>,
    pub(super) too_large: bool,
}

impl Counted {
    pub(super) fn new(line: &Line, now_ns: u64) -> Self {
        let tally = match line.window {
            Window::Rate { ms } => Tally::Rate(Bucket::over(quota(line), ms, now_ns)),
            Window::Calendar { .. } | Window::Rolling { .. } | Window::Total => Tally::Budget(Budget::new(line.window)),
            Window::Now => Tally::Running,
        };
        Self { tally, live: 0, asked_ns: now_ns }
    }

    /// Whether it counts as the line says.
    pub(super) fn fits(&self, line: &Line) -> bool {
        match (&self.tally, line.window) {
            (Tally::Rate(_), Window::Rate { .. }) | (Tally::Running, Window::Now) => true,
            (Tally::Budget(budget), window) => budget.window() == window,
            (Tally::Rate(_) | Tally::Running, _) => false,
        }
    }

    pub(super) fn check(&mut self, line: &Line, amount: u64, born_ms: u64, now_ns: u64) -> Result<(), Full> {
        self.asked_ns = now_ns;
        if amount > line.cap {
            return Err(Full { wait: None, too_large: true });
        }
        match &mut self.tally {
            Tally::Rate(bucket) => {
                changed(bucket, line, now_ns).check(amount, now_ns).map_err(|refused| match refused {
                    Refused::TooLarge => Full { wait: None, too_large: true },
                    Refused::Later { wait_ns } => Full { wait: Some(Duration::from_nanos(wait_ns)), too_large: false },
                })
            }
            Tally::Budget(budget) => {
                let wanted = budget.committed(born_ms).saturating_add(u128::from(amount));
                if wanted <= u128::from(line.cap) {
                    return Ok(());
                }
                let wait = budget.wait_ms(born_ms, amount, line.cap).map(Duration::from_millis);
                Err(Full { wait, too_large: false })
            }
            Tally::Running => {
                let running = u64::from(self.live).saturating_add(amount);
                if running <= line.cap { Ok(()) } else { Err(Full { wait: None, too_large: false }) }
            }
        }
    }

    pub(super) fn take(&mut self, line: &Line, amount: u64, born_ms: u64, now_ns: u64) {
        match &mut self.tally {
            // It fits: that was checked under the same lock.
            Tally::Rate(bucket) => drop(changed(bucket, line, now_ns).take(amount, now_ns)),
            Tally::Budget(budget) => budget.take(born_ms, amount),
            Tally::Running => {}
        }
    }

    /// Puts what was used in the place of what the hold was charged.
    pub(super) fn settle(&mut self, line: &Line, hold: &Hold, used: &Amounts, now_ns: u64) {
        let used = used.of(line.quantity);
        match &mut self.tally {
            Tally::Rate(bucket) => {
                let charged = hold.rates.of(line.quantity);
                match hold.life {
                    Life::Live => bucket.settle(charged, used, now_ns),
                    // The hold has drained as a use since: only what is missing is added.
                    Life::Expired | Life::Settled => bucket.settle(0, used.saturating_sub(charged), now_ns),
                }
            }
            Tally::Budget(budget) => budget.settle(hold.born_ms, hold.budgets.of(line.quantity), used),
            Tally::Running => {}
        }
    }

    /// A hold on it that nobody renewed counts as used from now on; a budget's stays what it is.
    pub(super) fn expire(&mut self, line: &Line, hold: &Hold, now_ns: u64) {
        if let Tally::Rate(bucket) = &mut self.tally {
            let charged = hold.rates.of(line.quantity);
            bucket.settle(charged, charged, now_ns);
        }
    }

    pub(super) fn unknown(&mut self, born_ms: u64) -> Option<Span> {
        match &mut self.tally {
            Tally::Budget(budget) => budget.unknown(born_ms),
            Tally::Rate(_) | Tally::Running => None,
        }
    }

    pub(super) fn seed(&mut self, born_ms: u64, span: Span, uses: &[(u64, u64)]) {
        if let Tally::Budget(budget) = &mut self.tally {
            budget.seed(born_ms, span, uses);
        }
    }

    /// What it still gives; `None` where that isn't known.
    pub(super) fn standing(&mut self, line: &Line, born_ms: u64, now_ns: u64) -> Option<Standing> {
        match &mut self.tally {
            Tally::Rate(bucket) => {
                let left = changed(bucket, line, now_ns).left(now_ns);
                Some(Standing::of(line, left.tokens, Duration::from_nanos(left.full_in_ns)))
            }
            Tally::Budget(budget) => {
                if budget.unknown(born_ms).is_some() {
                    return None;
                }
                let left = u128::from(line.cap).saturating_sub(budget.committed(born_ms));
                let reset = budget.reset_ms(born_ms).map_or(Duration::MAX, Duration::from_millis);
                Some(Standing::of(line, u64::try_from(left).unwrap_or(u64::MAX), reset))
            }
            Tally::Running => None,
        }
    }

    /// A rate's standing in the place of one that gives more.
    pub(super) fn keep_tightest(&mut self, line: &Line, now_ns: u64, tightest: &mut Option<Standing>) {
        let Tally::Rate(bucket) = &mut self.tally else { return };
        let left = bucket.left(now_ns);
        if tightest.as_ref().is_none_or(|known| left.tokens < known.remaining) {
            *tightest = Some(Standing::of(line, left.tokens, Duration::from_nanos(left.full_in_ns)));
        }
    }

    /// Whether a new count would answer the same, or could be asked to; then this one may be forgotten.
    pub(super) fn is_idle(&mut self, has_book: bool, now_ns: u64) -> bool {
        let rests = match &mut self.tally {
            Tally::Rate(bucket) => bucket.is_idle(now_ns),
            Tally::Budget(_) => has_book && now_ns.saturating_sub(self.asked_ns) >= IDLE_NS,
            Tally::Running => true,
        };
        rests && self.live == 0
    }
}

fn quota(line: &Line) -> NonZeroU64 {
    // A cap of nothing is told apart before the bucket is asked, which needs something to drain.
    NonZeroU64::new(line.cap).unwrap_or(NonZeroU64::MIN)
}

/// The bucket under the line's present quota.
fn changed<'a>(bucket: &'a mut Bucket, line: &Line, now_ns: u64) -> &'a mut Bucket {
    let quota = quota(line);
    if bucket.quota() != quota {
        bucket.change(quota, now_ns);
    }
    bucket
}
