//! Requests per minute of one level, by governor. The state decides; this file gives it the time and reads its answer.
//!
//! governor can neither be asked without taking nor give back, so what is left at other moments is computed from the
//! last answer, rounded so that a wait told to a client is never too short.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// The time that the owner gives, in nanoseconds; governor asks for it within the same call.
#[derive(Debug, Clone)]
struct Given(Arc<AtomicU64>);

impl Clock for Given {
    type Instant = Duration;
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// Requests per minute of one level; a whole minute's quota is the largest burst.
#[derive(Debug)]
pub struct Rate {
    quota: NonZeroU32,
    clock: Given,
    limiter: RateLimiter<NotKeyed, InMemoryState, Given, StateInformationMiddleware>,
    full_at_ns: u64,
}

/// What a level still lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passes {
    /// Requests that could come now.
    pub requests: u32,
    /// Nanoseconds until the whole quota is there again.
    pub full_in_ns: u64,
}

impl Rate {
    /// A full quota.
    pub fn new(quota: NonZeroU32, now_ns: u64) -> Self {
        let clock = Given(Arc::new(AtomicU64::new(now_ns)));
        let limiter = RateLimiter::direct_with_clock(Quota::per_minute(quota), clock.clone())
            .with_middleware::<StateInformationMiddleware>();
        Self { quota, clock, limiter, full_at_ns: now_ns }
    }

    /// The quota, in requests per minute.
    pub fn quota(&self) -> NonZeroU32 {
        self.quota
    }

    /// Lets one request through, or tells the nanoseconds to wait for the next.
    pub fn take(&mut self, now_ns: u64) -> Result<Passes, u64> {
        self.clock.0.store(now_ns, Ordering::Relaxed);
        match self.limiter.check() {
            Ok(snapshot) => {
                let requests = snapshot.remaining_burst_capacity();
                let used = u64::from(self.quota.get().saturating_sub(requests));
                let full_in_ns = used.saturating_mul(self.interval_ns());
                self.full_at_ns = now_ns.saturating_add(full_in_ns);
                Ok(Passes { requests, full_in_ns })
            }
            Err(not_until) => {
                let wait = not_until.wait_time_from(Duration::from_nanos(now_ns));
                Err(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX).max(1))
            }
        }
    }

    /// What is left, at least.
    pub fn left(&self, now_ns: u64) -> Passes {
        let full_in_ns = self.full_at_ns.saturating_sub(now_ns);
        let used = u32::try_from(full_in_ns.div_ceil(self.interval_ns())).unwrap_or(u32::MAX);
        Passes { requests: self.quota.get().saturating_sub(used), full_in_ns }
    }

    /// Nanoseconds until a request would surely pass; 0 if one would now.
    pub fn wait_ns(&self, now_ns: u64) -> u64 {
        let others = u64::from(self.quota.get().saturating_sub(1)).saturating_mul(self.interval_ns());
        self.full_at_ns.saturating_sub(now_ns).saturating_sub(others)
    }

    /// Whether a new state would answer the same.
    pub fn is_idle(&self, now_ns: u64) -> bool {
        now_ns >= self.full_at_ns
    }

    /// Changes the quota. What was used stays used: a reload is no way to a fresh quota.
    pub fn change(&mut self, quota: NonZeroU32, now_ns: u64) {
        let used = self.quota.get().saturating_sub(self.left(now_ns).requests).min(quota.get());
        *self = Self::new(quota, now_ns);
        let Some(used) = NonZeroU32::new(used) else { return };
        // A new limiter has room for its whole quota, and `used` is no more than that.
        if let Ok(Ok(_)) = self.limiter.check_n(used) {
            let full_in_ns = u64::from(used.get()).saturating_mul(self.interval_ns());
            self.full_at_ns = now_ns.saturating_add(full_in_ns);
        }
    }

    fn interval_ns(&self) -> u64 {
        let interval = Quota::per_minute(self.quota).replenish_interval();
        u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(quota: u32) -> Rate {
        Rate::new(NonZeroU32::new(quota).unwrap(), 0)
    }

    #[test]
    fn remaining_reset_and_wait_are_true() {
        let mut rate = rate(60);
        assert_eq!(rate.take(0), Ok(Passes { requests: 59, full_in_ns: SECOND }));
        for left in (0..59).rev() {
            assert_eq!(rate.take(0).unwrap().requests, left);
        }
        assert_eq!(rate.take(0), Err(SECOND));
        assert_eq!(rate.wait_ns(0), SECOND);
        assert!(rate.take(SECOND - 1).is_err());
        assert_eq!(rate.take(SECOND).unwrap().requests, 0);
        assert!(!rate.is_idle(60 * SECOND));
        assert_eq!(rate.left(61 * SECOND), Passes { requests: 60, full_in_ns: 0 });
        assert!(rate.is_idle(61 * SECOND));
    }

    #[test]
    fn what_is_left_between_two_answers_is_never_promised_too_high() {
        let mut rate = rate(7);
        let mut now = 0;
        for step in 0..2_000_u64 {
            now += (step * 7_919_777_777) % (20 * SECOND);
            let (promised, wait) = (rate.left(now).requests, rate.wait_ns(now));
            match rate.take(now) {
                Ok(passes) => assert!(passes.requests + 1 >= promised),
                Err(true_wait) => assert!(promised == 0 && wait >= true_wait),
            }
        }
    }

    #[test]
    fn a_changed_quota_keeps_what_was_used() {
        let mut rate = rate(10);
        for _ in 0..8 {
            rate.take(0).unwrap();
        }
        rate.change(NonZeroU32::new(20).unwrap(), 0);
        assert_eq!(rate.take(0).unwrap().requests, 11);
        rate.change(NonZeroU32::new(5).unwrap(), 0);
        assert_eq!(rate.take(0), Err(12 * SECOND));
    }
}
