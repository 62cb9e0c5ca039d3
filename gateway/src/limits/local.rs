//! The counter of one process: a [`Ledger`] per shard, all of an organisation in one, so that a call takes all of its
//! lines or none under one lock.
//!
//! A budget whose past is not known asks the book of usage before its first hold: one call asks, those that come
//! meanwhile wait for it, and where the book can't be read they are refused.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::budget::{self, Budget};
use super::counter::{Ask, Counter, Granted, Line, NotGranted, Spent};
use super::exceeded::Remaining;
use super::ledger::{Denied, Ledger, Room};
use super::quantity::Amounts;
use super::turns::Turns;
use super::window::{Span, Window};
use crate::clock;

/// Shards; each has its own lock.
const SHARDS: usize = 64;
/// One shard, and so one organisation, has at most this part of all lines: the half.
const SHARD_PART: usize = 2;
/// How often one call asks for a past that moved on while it was asked for.
const SEED_ROUNDS_MAX: usize = 4;
/// Every window of every calendar begins at a whole quarter of an hour.
const QUARTER_MS: u64 = 900_000;
/// How long the book of usage may take for one answer, and how long a call waits for another one that asks it.
const BOOK_WAIT_MAX: Duration = Duration::from_secs(2);

/// Whose time the counter goes by.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The system's, since a moment not after the first call.
    System(Instant),
    /// Nanoseconds that somebody sets.
    Given(Arc<AtomicU64>),
}

/// Counts in this process.
pub struct Local {
    clock: Clock,
    book: Option<Arc<dyn Spent>>,
    lines_max: usize,
    tracked: AtomicUsize,
    hasher: RandomState,
    shards: [Mutex<Ledger>; SHARDS],
    /// Who asks the book; never together with the ledger's lock.
    asking: Turns,
}

impl Clock {
    /// Nanoseconds now.
    pub fn now_ns(&self) -> u64 {
        match self {
            Clock::System(epoch) => {
                let passed = clock::instant().saturating_duration_since(*epoch);
                u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
            }
            Clock::Given(ns) => ns.load(Ordering::Acquire),
        }
    }
}

impl Local {
    /// Counts nothing yet. `book` tells what was used before this process began; without one nothing was.
    pub fn new(clock: Clock, book: Option<Arc<dyn Spent>>, lines_max: usize) -> Self {
        let has_book = book.is_some();
        Self {
            clock,
            book,
            lines_max,
            tracked: AtomicUsize::new(0),
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::new(Ledger::new(has_book))),
            asking: Turns::default(),
        }
    }

    /// The same by the system's clock, with Weir's own bound of lines.
    pub fn system(epoch: Instant, book: Arc<dyn Spent>) -> Self {
        Self::new(Clock::System(epoch), Some(book), super::LEVELS_TRACKED_MAX)
    }

    /// Runs `once` on the organisation's ledger and keeps the count of all lines.
    fn with<T>(&self, org: &str, once: impl FnOnce(&mut Ledger, u64, Room) -> T) -> T {
        let [first, ..] = &self.shards;
        let mut ledger = self.shards.get(self.shard(org)).unwrap_or(first).lock();
        // Read under the lock: time never goes back within a shard.
        let now_ns = self.clock.now_ns();
        let before = ledger.len();
        let others = self.tracked.load(Ordering::Relaxed).saturating_sub(before);
        let room = Room { others, lines_max: self.lines_max, own_max: self.lines_max.div_ceil(SHARD_PART) };
        let answer = once(&mut ledger, now_ns, room);
        self.count(before, ledger.len());
        answer
    }

    fn count(&self, before: usize, after: usize) {
        if after >= before {
            self.tracked.fetch_add(after.saturating_sub(before), Ordering::Relaxed);
        } else {
            self.tracked.fetch_sub(before.saturating_sub(after), Ordering::Relaxed);
        }
    }

    fn shard(&self, name: &str) -> usize {
        usize::try_from(self.hasher.hash_one(name) >> 32).unwrap_or_default() % SHARDS
    }

    /// Asks the book for the past of these lines, unless somebody else did meanwhile.
    async fn seed(&self, ask: &Ask, unseeded: &[(usize, Span)]) -> Result<(), NotGranted> {
        for (at, _) in unseeded {
            let Some(line) = ask.lines.get(*at) else { continue };
            let _turn = self.asking.of(line, BOOK_WAIT_MAX).await?;
            let Some(span) = self.with(&ask.org, |ledger, _, _| ledger.unknown(line, ask.born_ms)) else { continue };
            let uses = match &self.book {
                None => Vec::new(),
                Some(book) => past(book.as_ref(), line, ask.born_ms, span).await?,
            };
            self.with(&ask.org, |ledger, _, _| ledger.seed(line, ask.born_ms, span, &uses));
        }
        Ok(())
    }
}

/// What the book knows of the span, by window or step. Most know nothing, which one question tells; the rest is found
/// by
/// halving whatever isn't empty.
async fn past(book: &dyn Spent, line: &Line, born_ms: u64, span: Span) -> Result<Vec<(u64, u64)>, NotGranted> {
    let now_to_ms = Budget::end_ms(line.window, born_ms).min(span.to_ms);
    let (head, tail) = (Span { to_ms: now_to_ms, ..span }, Span { from_ms: now_to_ms, ..span });
    let all = ask(book, line, span).await?;
    let (mut uses, mut spans) = (Vec::new(), Vec::new());
    if all > 0 {
        let of_now = if tail.from_ms < tail.to_ms { ask(book, line, head).await? } else { all };
        spans.push((head, of_now));
        spans.push((tail, all.saturating_sub(of_now)));
    }
    while let Some((Span { from_ms, to_ms }, used)) = spans.pop() {
        let step = match line.window {
            Window::Rolling { ms } => budget::step(ms),
            Window::Calendar { .. } if from_ms < now_to_ms => u64::MAX,
            Window::Calendar { .. } => QUARTER_MS,
            Window::Total | Window::Rate { .. } | Window::Now => u64::MAX,
        };
        let steps = to_ms.saturating_sub(from_ms).div_ceil(step);
        if used == 0 {
            continue;
        }
        if steps <= 1 {
            uses.push((from_ms, used));
            continue;
        }
        let middle_ms = from_ms.saturating_add(steps.div_ceil(2).saturating_mul(step)).min(to_ms);
        let (early, late) = (Span { from_ms, to_ms: middle_ms }, Span { from_ms: middle_ms, to_ms });
        let of_early = ask(book, line, early).await?;
        spans.extend([(early, of_early), (late, used.saturating_sub(of_early))]);
    }
    Ok(uses)
}

async fn ask(book: &dyn Spent, line: &Line, span: Span) -> Result<u64, NotGranted> {
    let answer = tokio::time::timeout(BOOK_WAIT_MAX, book.spent(line, span)).await;
    answer.map_err(|_elapsed| NotGranted::Unavailable { why: "ledger_slow" })?
}

#[async_trait]
impl Counter for Local {
    async fn reserve(&self, ask: &Ask) -> Result<Granted, NotGranted> {
        for _ in 0..SEED_ROUNDS_MAX {
            let unseeded = match self.with(&ask.org, |ledger, now_ns, room| ledger.reserve(ask, now_ns, room)) {
                Ok(granted) => return Ok(granted),
                Err(Denied::Unseeded(unseeded)) => unseeded,
                Err(denied) => return Err(denied.into()),
            };
            self.seed(ask, &unseeded).await?;
        }
        Err(NotGranted::Unavailable { why: "ledger_moving" })
    }

    async fn extend(&self, ask: &Ask, more: &Amounts) -> Result<(), NotGranted> {
        Ok(self.with(&ask.org, |ledger, now_ns, _| ledger.extend(ask, more, now_ns))?)
    }

    /// What was held is in the ledger already.
    fn settle(&self, ask: &Ask, _held: &Amounts, used: &Amounts) {
        self.with(&ask.org, |ledger, now_ns, _| ledger.settle(ask, used, now_ns));
    }

    fn remaining(&self, org: &str, lines: &[Line], born_ms: u64) -> Remaining {
        self.with(org, |ledger, now_ns, _| ledger.remaining(lines, born_ms, now_ns))
    }

    fn sweep(&self) {
        for shard in &self.shards {
            let mut ledger = shard.lock();
            let before = ledger.len();
            ledger.sweep(self.clock.now_ns());
            self.count(before, ledger.len());
        }
    }

    fn tracked(&self) -> usize {
        self.tracked.load(Ordering::Relaxed)
    }
}

impl From<Denied> for NotGranted {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Exceeded(exceeded) => NotGranted::Exceeded(exceeded),
            Denied::Unavailable(why) => NotGranted::Unavailable { why },
            Denied::Unseeded(_) => NotGranted::Unavailable { why: "ledger_unread" },
        }
    }
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").field("tracked", &self.tracked()).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests;
