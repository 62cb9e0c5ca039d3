//! Whether the shared counter is asked at all. Pure.
//!
//! ```text
//!   closed ──(so many failures, one after the other)──► open ──(a probe succeeds)──► closed
//! ```
//!
//! Only the keeper of the connection probes, so that no call waits for a server that is away.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Open or closed.
#[derive(Debug)]
pub(super) struct Breaker {
    failures_max: NonZeroU32,
    failures: AtomicU32,
    is_open: AtomicBool,
}

impl Breaker {
    pub(super) fn new(failures_max: NonZeroU32) -> Self {
        Self { failures_max, failures: AtomicU32::new(0), is_open: AtomicBool::new(false) }
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    pub(super) fn succeeded(&self) {
        // Almost always it is zero already, and reading is cheaper than writing.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// Counts a failure; true where this one opened it.
    pub(super) fn failed(&self) -> bool {
        let before = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n.saturating_add(1)));
        let failures = before.unwrap_or_else(|n| n).saturating_add(1);
        failures >= self.failures_max.get() && !self.is_open.swap(true, Ordering::AcqRel)
    }

    /// A probe succeeded; true where it was open.
    pub(super) fn close(&self) -> bool {
        self.failures.store(0, Ordering::Relaxed);
        self.is_open.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_by_a_probe() {
        let breaker = Breaker::new(NonZeroU32::new(3).unwrap());
        for _ in 0..10 {
            assert!(!breaker.failed() && !breaker.failed());
            breaker.succeeded();
        }
        assert!(!breaker.is_open());
        assert_eq!([breaker.failed(), breaker.failed(), breaker.failed()], [false, false, true]);
        assert!(breaker.is_open() && !breaker.failed());
        // A call that was under way when it opened does not close it.
        breaker.succeeded();
        assert!(breaker.is_open());
        assert!(breaker.close() && !breaker.is_open() && !breaker.close());
    }
}
