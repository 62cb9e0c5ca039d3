//! One bucket of tokens per minute, or per any other length: a generic cell rate algorithm with costs above one and
//! settling. Pure.
//!
//! Everything is counted in shares: one token is as many shares as the length has nanoseconds, and the bucket drains
//! `quota` shares per nanosecond, so that every instant has an exact whole number and nothing drifts. A hold is taken
//! when a call begins and settled when
//! its use is known:
//!
//! ```text
//!   level    ████████░░░░░░│      what admission looks at: uses and holds, both draining since they were taken
//!   settled  ███           │      uses only, each charged when it was settled
//!   held        ▒▒▒▒▒▒     │      holds that run, not draining
//!            0             quota
//! ```
//!
//! Giving a hold back lowers `level`, but never below `settled + held`: while a hold lay in the bucket it drained in
//! place of idle time, and giving all of it back would let through more than the quota.
//!
//! Refuses: what doesn't fit now ([`Refused::Later`], with the true wait) and what never fits ([`Refused::TooLarge`]).

use std::num::NonZeroU64;

/// Milliseconds of a minute.
const MINUTE_MS: u64 = 60_000;
/// Nanoseconds of a millisecond.
const MS_NS: u64 = 1_000_000;
/// Quotas that a bucket may be in debt when calls used more than they held; the rest of such a debt is forgiven, so
/// that nobody waits longer than this many lengths plus one.
const DEBT_QUOTAS_MAX: u128 = 1;

/// A bucket; full when made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    quota: NonZeroU64,
    /// Shares of one token: nanoseconds of the length.
    token: u128,
    level: u128,
    settled: u128,
    held: u128,
    at_ns: u64,
}

/// What a bucket can still give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Tokens that a call could take now.
    pub tokens: u64,
    /// Nanoseconds until the bucket is full again, if nobody takes more.
    pub full_in_ns: u64,
}

/// Why a call gets no tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The same call succeeds after this wait, if nobody else takes tokens meanwhile.
    Later {
        /// Nanoseconds, rounded up.
        wait_ns: u64,
    },
    /// The call asks for more than the whole quota.
    TooLarge,
}

impl Bucket {
    /// A full bucket of `quota` tokens per minute; that is also the largest burst.
    pub fn new(quota: NonZeroU64, now_ns: u64) -> Self {
        Self::over(quota, MINUTE_MS, now_ns)
    }

    /// A full bucket of `quota` tokens per `ms` milliseconds (no less than one).
    pub fn over(quota: NonZeroU64, ms: u64, now_ns: u64) -> Self {
        let token = u128::from(ms.max(1)).saturating_mul(MS_NS.into());
        Self { quota, token, level: 0, settled: 0, held: 0, at_ns: now_ns }
    }

    /// The quota, in tokens per length.
    pub fn quota(&self) -> NonZeroU64 {
        self.quota
    }

    /// Whether `tokens` fit now; takes nothing.
    pub fn check(&mut self, tokens: u64, now_ns: u64) -> Result<(), Refused> {
        self.drain(now_ns);
        if tokens > self.quota.get() {
            return Err(Refused::TooLarge);
        }
        let wanted = self.level.saturating_add(self.shares(tokens));
        match wanted.checked_sub(self.capacity()) {
            None | Some(0) => Ok(()),
            Some(above) => Err(Refused::Later { wait_ns: self.drained_in_ns(above) }),
        }
    }

    /// Holds `tokens`, or says why not.
    pub fn take(&mut self, tokens: u64, now_ns: u64) -> Result<Left, Refused> {
        self.check(tokens, now_ns)?;
        self.level = self.level.saturating_add(self.shares(tokens));
        self.held = self.held.saturating_add(self.shares(tokens));
        Ok(self.left(now_ns))
    }

    /// Ends a hold of `held` tokens of which `used` were used: gives the rest back, or takes the difference, even into
    /// debt.
    pub fn settle(&mut self, held: u64, used: u64, now_ns: u64) {
        self.drain(now_ns);
        self.held = self.held.saturating_sub(self.shares(held));
        self.settled = self.settled.saturating_add(self.shares(used)).min(self.debt_max());
        // INVARIANT: giving back never lowers the level below what is settled and still held.
        let floor = self.level.min(self.settled.saturating_add(self.held));
        let level = self.level.saturating_add(self.shares(used)).saturating_sub(self.shares(held));
        self.level = level.max(floor).min(self.debt_max());
    }

    /// Changes the quota; what was used and is held stays so.
    pub fn change(&mut self, quota: NonZeroU64, now_ns: u64) {
        self.drain(now_ns);
        self.quota = quota;
        self.level = self.level.min(self.debt_max());
        self.settled = self.settled.min(self.debt_max());
    }

    /// What is left now.
    pub fn left(&mut self, now_ns: u64) -> Left {
        self.drain(now_ns);
        let free = self.capacity().saturating_sub(self.level);
        let tokens = u64::try_from(free.checked_div(self.token).unwrap_or_default()).unwrap_or(u64::MAX);
        Left { tokens, full_in_ns: self.drained_in_ns(self.level) }
    }

    /// Whether the bucket remembers nothing: a new one would answer the same.
    pub fn is_idle(&mut self, now_ns: u64) -> bool {
        self.drain(now_ns);
        self.level == 0 && self.held == 0
    }

    /// Lets the time since the last look drain the bucket. A `now` before that changes nothing.
    fn drain(&mut self, now_ns: u64) {
        let passed = u128::from(now_ns.saturating_sub(self.at_ns));
        let drained = passed.saturating_mul(u128::from(self.quota.get()));
        self.level = self.level.saturating_sub(drained);
        self.settled = self.settled.saturating_sub(drained);
        self.at_ns = self.at_ns.max(now_ns);
    }

    fn drained_in_ns(&self, shares: u128) -> u64 {
        u64::try_from(shares.div_ceil(u128::from(self.quota.get()))).unwrap_or(u64::MAX)
    }

    fn capacity(&self) -> u128 {
        self.shares(self.quota.get())
    }

    fn shares(&self, tokens: u64) -> u128 {
        u128::from(tokens).saturating_mul(self.token)
    }

    fn debt_max(&self) -> u128 {
        self.capacity().saturating_mul(DEBT_QUOTAS_MAX.saturating_add(1))
    }
}

#[cfg(test)]
mod tests;
