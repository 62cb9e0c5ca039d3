//! How many: calls at the same time and requests per minute before the body is read; requests, tokens and money in any
//! window once it is known what a call may use.
//!
//! Two steps, since the first needs no body. [`Limits::throttle`] counts in this process, at every level of the tenant
//! path and per key, innermost first. [`Limits::reserve`] holds on every [`counter::Line`] that applies to the call,
//! all
//! or none, with the [`Counter`] that was chosen at start: in this process or shared by several. Both kinds of state
//! outlive every World; the rules come with each call. Refuses with [`LimitExceeded`], whose wait is true, and where a
//! count can't be had at all. Start at [`Limits`]; [`counter`] says what every counter keeps, [`ledger`] how.

pub mod bucket;
pub mod budget;
pub mod concurrency;
pub mod counter;
pub mod estimate;
pub mod exceeded;
pub mod headers;
pub mod ledger;
pub mod local;
pub mod quantity;
pub mod rate;
pub mod redis;
pub mod reservation;
pub mod rule;
pub mod rules;
mod state;
mod turns;
pub mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::identity::Subject;
pub use concurrency::Slot;
use counter::{Ask, Counter, NotGranted, Spent};
pub use exceeded::{LimitExceeded, LimitKind, Remaining, Standing};
use local::{Clock, Local};
use quantity::{Amounts, Quantity};
pub use reservation::{Asked, Renewer, Reservation};
pub use rules::LimitRules;
use rules::{Level, Plan};
use state::{State, States};
use window::Window;

/// Shards of the counters; each has its own lock, and an organisation is all in one.
const SHARDS: usize = 64;
/// Levels (tenants and keys) with counters at the same time, and as many lines of limits. About 300 bytes each. At the
/// cap a call that needs another one is refused: serving it uncounted would be a way around every limit.
pub const LEVELS_TRACKED_MAX: usize = 262_144;
/// A hold that is not renewed for so long is over: its place among running calls is free.
pub const HOLD_TTL: Duration = Duration::from_secs(30);
/// Length of the windows of `requests_per_minute` and `tokens_per_minute`.
const MINUTE_MS: u64 = 60_000;

/// The counters of every level; a cheap handle.
#[derive(Clone)]
pub struct Limits(Arc<Shared>);

/// What the handle, the slots and the reservations share.
pub(crate) struct Shared {
    epoch: Instant,
    levels_max: usize,
    tracked: AtomicUsize,
    shards: [Mutex<States>; SHARDS],
    counter: Arc<dyn Counter>,
    /// Whether other processes count with the same counter.
    is_shared: bool,
}

impl Limits {
    /// Empty counters of this process alone, which knows of no use before it. `epoch` is any moment not after the first
    /// call.
    pub fn new(epoch: Instant) -> Self {
        Self::bounded(epoch, LEVELS_TRACKED_MAX)
    }

    /// Counters of this process alone. `book` tells what was used before it began.
    pub fn local(epoch: Instant, book: Arc<dyn Spent>) -> Self {
        let counter = Local::new(Clock::System(epoch), Some(book), LEVELS_TRACKED_MAX);
        Self::of(epoch, LEVELS_TRACKED_MAX, Arc::new(counter), false)
    }

    /// Holds are taken with a counter that other processes share; only the throttle counts in this one.
    pub fn shared(epoch: Instant, counter: Arc<dyn Counter>) -> Self {
        Self::of(epoch, LEVELS_TRACKED_MAX, counter, true)
    }

    fn bounded(epoch: Instant, levels_max: usize) -> Self {
        Self::of(epoch, levels_max, Arc::new(Local::new(Clock::System(epoch), None, levels_max)), false)
    }

    fn of(epoch: Instant, levels_max: usize, counter: Arc<dyn Counter>, is_shared: bool) -> Self {
        Self(Arc::new(Shared {
            epoch,
            levels_max,
            tracked: AtomicUsize::new(0),
            shards: std::array::from_fn(|_| Mutex::default()),
            counter,
            is_shared,
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

    /// Holds what the call may use at every limit that applies to it, or at none: `rates` are charged at once,
    /// `budgets`
    /// may grow while the call runs. Does not wait unless a counter must be asked elsewhere.
    ///
    /// # Errors
    /// A limit was reached, or the counter can't be asked and a limit's rule is to refuse then.
    pub async fn reserve(
        &self,
        rules: &LimitRules,
        subject: &Subject,
        asked: &Asked<'_>,
        rates: Amounts,
        budgets: Amounts,
    ) -> Result<Reservation, NotGranted> {
        let (org, lines) = rules.lines(subject, asked, self.0.is_shared);
        let ask = Ask { call: asked.call, org, lines, rates, budgets, born_ms: asked.born_ms, ttl: HOLD_TTL };
        Reservation::take(Arc::clone(&self.0.counter), ask).await
    }

    /// The caller's tightest token and money quotas now, as far as they are known without waiting. Takes nothing.
    pub fn remaining(&self, rules: &LimitRules, subject: &Subject, asked: &Asked<'_>) -> Remaining {
        let (org, lines) = rules.lines(subject, asked, self.0.is_shared);
        if lines.is_empty() {
            return Remaining::default();
        }
        self.0.counter.remaining(&org, &lines, asked.born_ms)
    }

    /// Forgets idle levels and lines. Called now and then from outside of any call, so that calls rarely have to.
    pub fn sweep(&self, now: Instant) {
        let now_ns = self.0.ns(now);
        for shard in &self.0.shards {
            let mut states = shard.lock();
            let before = states.len();
            states.sweep(now_ns);
            self.0.tracked.fetch_sub(before.saturating_sub(states.len()), Ordering::Relaxed);
        }
        self.0.counter.sweep();
    }

    /// Gives back what was taken in advance; called once, before the gateway ends.
    pub fn finish(&self) {
        self.0.counter.finish();
    }

    /// Levels and lines with counters now.
    pub fn tracked(&self) -> usize {
        self.0.tracked.load(Ordering::Relaxed).saturating_add(self.0.counter.tracked())
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
        states.get_mut(&level.id).ok_or_else(|| LimitExceeded::levels(&level.name, self.levels_max))
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
            quantity: Quantity::Concurrency,
            window: Some(Window::Now),
            limit: limit.map_or(0, |limit| limit.get().into()),
            retry_after: None,
            too_large: false,
            standing: None,
        })
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
                let standing = standing(level, quota.get().into(), passes.requests.into(), passes.full_in_ns);
                standing.keep_tightest(&mut tightest);
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
        quantity: Quantity::Requests,
        window: Some(Window::Rate { ms: MINUTE_MS }),
        limit,
        retry_after: Some(Duration::from_nanos(wait_ns)),
        too_large: false,
        standing: Some(standing(level, limit, 0, full_in_ns.unwrap_or(wait_ns))),
    }
}

fn standing(level: &Level, limit: u64, remaining: u64, full_in_ns: u64) -> Standing {
    let (level, window) = (Arc::clone(&level.name), Window::Rate { ms: MINUTE_MS });
    Standing { level, window, limit, remaining, reset: Duration::from_nanos(full_in_ns) }
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limits").field("tracked", &self.tracked()).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod sim;
#[cfg(test)]
pub(crate) mod suite;
#[cfg(test)]
mod tests;
