//! How many: requests and tokens per minute and calls at the same time, at every level of the tenant path and per key.
//!
//! Owns the counters, which outlive every World; the rules come with each call. All levels of a path share their
//! organisation's lock, so that a call takes all of them or none. Refuses with [`LimitExceeded`], whose wait is true.
//! Start at [`Limits`]; [`bucket`] has the arithmetic.

pub mod bucket;
pub mod concurrency;
pub mod counter;
pub mod estimate;
pub mod headers;
pub mod quantity;
pub mod rate;
pub mod reservation;
pub mod rule;
pub mod rules;
mod state;
pub mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::identity::Subject;
use bucket::Refused;
pub use concurrency::Slot;
pub use reservation::Reservation;
pub use rules::LimitRules;
use rules::{Level, Plan};
use state::{State, States};

/// Shards of the counters; each has its own lock, and an organisation is all in one.
const SHARDS: usize = 64;
/// Levels (tenants and keys) with counters at the same time. About 300 bytes each. At the cap a call that needs another
/// one is refused: serving it uncounted would be a way around every limit.
pub const LEVELS_TRACKED_MAX: usize = 262_144;

/// The counters of every level; a cheap handle.
#[derive(Clone)]
pub struct Limits(Arc<Shared>);

/// What the handle, the slots and the reservations share.
pub(crate) struct Shared {
    epoch: Instant,
    levels_max: usize,
    tracked: AtomicUsize,
    shards: [Mutex<States>; SHARDS],
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// Requests per minute.
    Requests,
    /// Tokens per minute.
    Tokens,
    /// Calls at the same time.
    Concurrency,
    /// Weir counts as many levels as it can: its own bound, not the caller's.
    Levels,
}

/// A limit was reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limit of {limit} {} reached at `{level}`", kind.text())]
pub struct LimitExceeded {
    /// Where: a tenant path, or `key`.
    pub level: Arc<str>,
    /// Which limit.
    pub kind: LimitKind,
    /// The limit itself.
    pub limit: u64,
    /// The same call passes after this wait if nobody else takes its place; `None` where that can't be known, or never.
    pub retry_after: Option<Duration>,
    /// The call alone is larger than the limit: no wait helps.
    pub too_large: bool,
    /// The level's quota now, for the headers; `None` for limits without one.
    pub standing: Option<Standing>,
}

/// What a quota still gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Where: a tenant path, or `key`.
    pub level: Arc<str>,
    /// Per minute.
    pub limit: u64,
    /// Left now.
    pub remaining: u64,
    /// Until all of it is there again, if nobody takes more.
    pub reset: Duration,
}

impl LimitKind {
    /// Words for a message.
    pub fn text(self) -> &'static str {
        match self {
            LimitKind::Requests => "requests per minute",
            LimitKind::Tokens => "tokens per minute",
            LimitKind::Concurrency => "calls at the same time",
            LimitKind::Levels => "counted tenants and keys",
        }
    }
}

impl Limits {
    /// Empty counters. `epoch` is any moment not after the first call.
    pub fn new(epoch: Instant) -> Self {
        Self::bounded(epoch, LEVELS_TRACKED_MAX)
    }

    fn bounded(epoch: Instant, levels_max: usize) -> Self {
        Self(Arc::new(Shared {
            epoch,
            levels_max,
            tracked: AtomicUsize::new(0),
            shards: std::array::from_fn(|_| Mutex::default()),
        }))
    }

    /// What needs no body: calls at the same time, then requests per minute, innermost level first, so that a key that
    /// runs wild meets its own limit and spends nothing of its organisation's.
    ///
    /// A request that an outer level refuses has been counted by the levels inside of it.
    pub fn throttle(&self, rules: &LimitRules, subject: &Subject, now: Instant) -> Result<Slot, LimitExceeded> {
        let plan = rules.plan(subject);
        let now_ns = self.0.ns(now);
        let mut states = self.0.states(&plan);
        for (entered, level) in plan.levels.iter().enumerate() {
            if let Err(exceeded) = self.0.enter(&mut states, level, now_ns) {
                leave(&mut states, plan.levels.iter().take(entered));
                return Err(exceeded);
            }
        }
        match pass(&mut states, &plan, now_ns) {
            Ok(requests) => {
                drop(states);
                Ok(Slot { shared: Arc::clone(&self.0), plan, requests })
            }
            Err(exceeded) => {
                leave(&mut states, plan.levels.iter());
                Err(exceeded)
            }
        }
    }

    /// Holds tokens at every level of the path, or at none.
    pub fn reserve(
        &self,
        rules: &LimitRules,
        subject: &Subject,
        tokens: u64,
        now: Instant,
    ) -> Result<Reservation, LimitExceeded> {
        let plan = rules.plan(subject);
        let mut standing = None;
        if plan.limits_tokens {
            let now_ns = self.0.ns(now);
            let mut states = self.0.states(&plan);
            self.0.check_tokens(&mut states, &plan, tokens, now_ns)?;
            standing = hold(&mut states, &plan, tokens, now_ns);
        }
        Ok(Reservation { shared: Arc::clone(&self.0), plan, tokens, used: 0, standing })
    }

    /// The tightest token quota of the caller's path now; `None` where none is limited. Takes nothing.
    pub fn remaining(&self, rules: &LimitRules, subject: &Subject, now: Instant) -> Option<Standing> {
        let plan = rules.plan(subject);
        let now_ns = self.0.ns(now);
        let mut states = self.0.states(&plan);
        let mut tightest = None;
        for level in &plan.levels {
            let Some(quota) = level.rule.tokens_per_minute else { continue };
            let left = states.get_mut(&level.id).map(|state| state.bucket(quota, now_ns).left(now_ns));
            let left = left.unwrap_or(bucket::Left { tokens: quota.get(), full_in_ns: 0 });
            keep_tightest(&mut tightest, level, quota.get(), left.tokens, left.full_in_ns);
        }
        tightest
    }

    /// Forgets idle levels. Called now and then from outside of any call, so that calls rarely have to.
    pub fn sweep(&self, now: Instant) {
        let now_ns = self.0.ns(now);
        for shard in &self.0.shards {
            let mut states = shard.lock();
            let before = states.len();
            states.sweep(now_ns);
            self.0.tracked.fetch_sub(before.saturating_sub(states.len()), Ordering::Relaxed);
        }
    }

    /// Levels with counters now.
    pub fn tracked(&self) -> usize {
        self.0.tracked.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Nanoseconds since the epoch.
    pub(crate) fn ns(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    /// The counters of the plan's organisation, locked.
    fn states(&self, plan: &Plan) -> MutexGuard<'_, States> {
        let [first, ..] = &self.shards;
        // The upper half: the lower one picks the place within the shard's own table.
        let index = usize::try_from(plan.org_hash >> 32).unwrap_or_default() % SHARDS;
        self.shards.get(index).unwrap_or(first).lock()
    }

    /// Makes the counters of a level that has none yet.
    fn create<'a>(&self, states: &'a mut States, level: &Level, now_ns: u64) -> Result<&'a mut State, LimitExceeded> {
        let before = states.len();
        let others = self.tracked.load(Ordering::Relaxed).saturating_sub(before);
        states.create(&level.id, others, self.levels_max, now_ns);
        self.tracked.fetch_add(states.len().saturating_sub(before), Ordering::Relaxed);
        self.tracked.fetch_sub(before.saturating_sub(states.len()), Ordering::Relaxed);
        states.get_mut(&level.id).ok_or_else(|| LimitExceeded {
            level: Arc::clone(&level.name),
            kind: LimitKind::Levels,
            limit: u64::try_from(self.levels_max).unwrap_or(u64::MAX),
            retry_after: None,
            too_large: false,
            standing: None,
        })
    }

    /// Counts the call in at one level.
    fn enter(&self, states: &mut States, level: &Level, now_ns: u64) -> Result<(), LimitExceeded> {
        let limit = level.rule.concurrency;
        let has_room = match states.get_mut(&level.id) {
            Some(state) => state.running.enter(limit),
            None => self.create(states, level, now_ns)?.running.enter(limit),
        };
        if has_room {
            return Ok(());
        }
        Err(LimitExceeded {
            level: Arc::clone(&level.name),
            kind: LimitKind::Concurrency,
            limit: limit.map_or(0, |limit| limit.get().into()),
            retry_after: None,
            too_large: false,
            standing: None,
        })
    }

    /// Whether the tokens fit at every level; takes nothing. What never fits is told before what fits later, and of
    /// several waits the longest, or it would not be true.
    fn check_tokens(&self, states: &mut States, plan: &Plan, tokens: u64, now_ns: u64) -> Result<(), LimitExceeded> {
        let mut latest: Option<LimitExceeded> = None;
        for level in &plan.levels {
            let Some(quota) = level.rule.tokens_per_minute else { continue };
            let bucket = match states.get_mut(&level.id) {
                Some(state) => state.bucket(quota, now_ns),
                None => self.create(states, level, now_ns)?.bucket(quota, now_ns),
            };
            let Err(refused) = bucket.check(tokens, now_ns) else { continue };
            let left = bucket.left(now_ns);
            let wait = match refused {
                Refused::TooLarge => None,
                Refused::Later { wait_ns } => Some(Duration::from_nanos(wait_ns)),
            };
            let exceeded = LimitExceeded {
                level: Arc::clone(&level.name),
                kind: LimitKind::Tokens,
                limit: quota.get(),
                retry_after: wait,
                too_large: wait.is_none(),
                standing: Some(standing(level, quota.get(), left.tokens, left.full_in_ns)),
            };
            if exceeded.too_large {
                return Err(exceeded);
            }
            if latest.as_ref().is_none_or(|known| known.retry_after < exceeded.retry_after) {
                latest = Some(exceeded);
            }
        }
        latest.map_or(Ok(()), Err)
    }
}

/// Gives back the places at these levels.
fn leave<'a>(states: &mut States, levels: impl Iterator<Item = &'a Level>) {
    for level in levels {
        if let Some(state) = states.get_mut(&level.id) {
            state.running.leave();
        }
    }
}

/// Counts one request at every level that limits them, innermost first; answers the tightest.
fn pass(states: &mut States, plan: &Plan, now_ns: u64) -> Result<Option<Standing>, LimitExceeded> {
    let mut tightest = None;
    for level in &plan.levels {
        let Some(quota) = level.rule.requests_per_minute else { continue };
        let Some(state) = states.get_mut(&level.id) else { continue };
        match state.rate(quota, now_ns).take(now_ns) {
            Ok(passes) => {
                keep_tightest(&mut tightest, level, quota.get().into(), passes.requests.into(), passes.full_in_ns);
            }
            Err(wait_ns) => return Err(too_many_requests(states, plan, level, wait_ns, now_ns)),
        }
    }
    Ok(tightest)
}

/// The refusal of one level. Its wait covers every level of the path: those inside have just counted this request and
/// those outside were not asked.
fn too_many_requests(states: &mut States, plan: &Plan, level: &Level, wait_ns: u64, now_ns: u64) -> LimitExceeded {
    let mut wait_ns = wait_ns;
    for other in plan.levels.iter().filter(|other| other.id != level.id) {
        let Some(quota) = other.rule.requests_per_minute else { continue };
        if let Some(state) = states.get_mut(&other.id) {
            wait_ns = wait_ns.max(state.rate(quota, now_ns).wait_ns(now_ns));
        }
    }
    let limit = level.rule.requests_per_minute.map_or(0, |quota| quota.get().into());
    let full_in_ns =
        states.get_mut(&level.id).and_then(|state| state.requests.as_ref()).map(|r| r.left(now_ns).full_in_ns);
    LimitExceeded {
        level: Arc::clone(&level.name),
        kind: LimitKind::Requests,
        limit,
        retry_after: Some(Duration::from_nanos(wait_ns)),
        too_large: false,
        standing: Some(standing(level, limit, 0, full_in_ns.unwrap_or(wait_ns))),
    }
}

/// Takes the tokens at every level that limits them, after all of them were checked under the same lock.
fn hold(states: &mut States, plan: &Plan, tokens: u64, now_ns: u64) -> Option<Standing> {
    let mut tightest = None;
    for level in &plan.levels {
        let Some(quota) = level.rule.tokens_per_minute else { continue };
        let Some(state) = states.get_mut(&level.id) else { continue };
        if let Ok(left) = state.bucket(quota, now_ns).take(tokens, now_ns) {
            keep_tightest(&mut tightest, level, quota.get(), left.tokens, left.full_in_ns);
        }
    }
    tightest
}

fn keep_tightest(tightest: &mut Option<Standing>, level: &Level, limit: u64, remaining: u64, full_in_ns: u64) {
    if tightest.as_ref().is_none_or(|known| remaining < known.remaining) {
        *tightest = Some(standing(level, limit, remaining, full_in_ns));
    }
}

fn standing(level: &Level, limit: u64, remaining: u64, full_in_ns: u64) -> Standing {
    Standing { level: Arc::clone(&level.name), limit, remaining, reset: Duration::from_nanos(full_in_ns) }
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limits").field("tracked", &self.tracked()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
