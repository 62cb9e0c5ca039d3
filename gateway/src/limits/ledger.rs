//! Every line of the organisations that share one lock, and the holds that calls have on them. Pure: the owner gives
//! the
//! time, and asks the book of usage where a budget needs to know what was used before.
//!
//! ```text
//!   reserve ──► live ──(ttl without a renewal)──► expired ──► settled
//!                 │  ▲                              │  ▲         │
//!                 │  └── extend, renew ─────────────┘  │         ▼
//!                 └────────── settle ──────────────────┴──► remembered a while, so that a late or doubled
//!                                                           settlement corrects and never doubles
//! ```
//!
//! An expired hold leaves its places among running calls; what it holds of budgets stays charged until it is settled.
//! Start at [`Ledger::reserve`].

mod hold;
mod line;

use std::collections::HashMap;
use std::sync::Arc;

use super::counter::{Ask, Granted, HOLD_OVER, Line};
use super::exceeded::{LimitExceeded, Remaining};
use super::quantity::{Amounts, Quantity};
use super::window::{Span, Window};
use hold::{Hold, Holds, Life};
use line::Counted;

/// Lines of one shard before it first looks for idle ones; afterwards twice what was left.
const SWEEP_MIN: usize = 1_024;
/// Nanoseconds between two looks for idle lines at the cap: such a look reads the whole shard.
const SWEEP_PAUSE_NS: u64 = 1_000_000_000;
/// A budget that nobody asked for in so long may be forgotten, where the book of usage knows it: everything that was
/// settled is written there by then.
const IDLE_NS: u64 = 3_600_000_000_000;

/// Lines and holds.
#[derive(Debug, Default)]
pub struct Ledger {
    lines: HashMap<Arc<str>, Counted>,
    holds: Holds,
    /// Whether a budget that is forgotten can be asked for again.
    has_book: bool,
    sweep_at: usize,
    swept_ns: Option<u64>,
}

/// How many lines may be counted.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Lines outside of this ledger.
    pub others: usize,
    /// Lines in all.
    pub lines_max: usize,
    /// Lines of this ledger: whoever names a new end-user in each call must not take everybody's room.
    pub own_max: usize,
}

/// Why no hold was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// A limit was reached.
    Exceeded(LimitExceeded),
    /// What was used of these lines before is not known: (place among the call's lines, the span to ask for). Asked
    /// again once they are seeded, it gets an answer.
    Unseeded(Vec<(usize, Span)>),
    /// The hold can't be taken or grow: a short code.
    Unavailable(&'static str),
}

impl Ledger {
    /// Empty. `has_book`: whether what was used before can be asked for.
    pub fn new(has_book: bool) -> Self {
        Self { has_book, ..Self::default() }
    }

    /// Takes a hold at every line, or at none.
    ///
    /// # Errors
    /// Why not; nothing was taken.
    pub fn reserve(&mut self, ask: &Ask, now_ns: u64, room: Room) -> Result<Granted, Denied> {
        self.expire(now_ns);
        match self.holds.life(ask.call) {
            None => {}
            Some(Life::Settled) => return Err(Denied::Unavailable(HOLD_OVER)),
            Some(Life::Live | Life::Expired) => {
                self.extend(ask, &Amounts::default(), now_ns)?;
                return Ok(self.granted(ask, now_ns));
            }
        }
        if self.holds.is_full() {
            return Err(Denied::Unavailable("holds_full"));
        }
        self.create_missing(ask, now_ns, room)?;
        self.all_known(ask)?;
        self.check(ask, |line| Some(asked(ask, line)), now_ns)?;
        for line in ask.lines.iter() {
            if let Some(counted) = self.lines.get_mut(&line.id) {
                counted.take(line, asked(ask, line), ask.born_ms, now_ns);
                counted.live = counted.live.saturating_add(1);
            }
        }
        self.holds.begin(ask, now_ns);
        Ok(self.granted(ask, now_ns))
    }

    /// Adds to the hold's budgets at every line, or at none, and renews it. An expired hold lives again if its places
    /// are still free.
    ///
    /// # Errors
    /// Why not; nothing was taken.
    pub fn extend(&mut self, ask: &Ask, more: &Amounts, now_ns: u64) -> Result<(), Denied> {
        self.expire(now_ns);
        let revived = match self.holds.life(ask.call) {
            None => return Err(Denied::Unavailable("hold_unknown")),
            Some(Life::Settled) => return Err(Denied::Unavailable(HOLD_OVER)),
            Some(Life::Live) => false,
            Some(Life::Expired) => true,
        };
        let wanted = |line: &Line| match line.window {
            Window::Now => revived.then_some(1),
            Window::Rate { .. } => None,
            Window::Calendar { .. } | Window::Rolling { .. } | Window::Total => {
                Some(more.of(line.quantity)).filter(|amount| *amount > 0)
            }
        };
        self.check(ask, wanted, now_ns)?;
        for line in ask.lines.iter() {
            let Some(counted) = self.lines.get_mut(&line.id) else { continue };
            if line.window.is_budget() {
                counted.take(line, more.of(line.quantity), ask.born_ms, now_ns);
            }
            counted.live = counted.live.saturating_add(u32::from(revived));
        }
        self.holds.grow(ask, more, now_ns);
        Ok(())
    }

    /// Ends the hold at what was used: gives the rest back, or takes what is missing, even beyond the cap. A second
    /// settlement takes the place of the first.
    pub fn settle(&mut self, ask: &Ask, used: &Amounts, now_ns: u64) {
        let Some(hold) = self.holds.get(ask.call) else { return };
        let before = hold.clone();
        // Of a rate nothing is given back once its hold has drained as a use.
        let rates = if before.life == Life::Live { *used } else { before.rates.most(used) };
        let ended = Hold { budgets: *used, rates, life: Life::Settled, ..before.clone() };
        for line in before.lines.iter() {
            let Some(counted) = self.lines.get_mut(&line.id) else { continue };
            counted.settle(line, &before, used, now_ns);
            counted.live = counted.live.saturating_sub(u32::from(before.life == Life::Live));
        }
        self.holds.end(ask.call, ended);
    }

    /// Holds that nobody renewed leave their places.
    pub fn expire(&mut self, now_ns: u64) {
        while let Some(hold) = self.holds.expired(now_ns) {
            for line in hold.lines.iter() {
                if let Some(counted) = self.lines.get_mut(&line.id) {
                    counted.live = counted.live.saturating_sub(1);
                    counted.expire(line, &hold, now_ns);
                }
            }
        }
    }

    /// What has to be asked for before calls of that birth can be counted at the line.
    pub fn unknown(&mut self, line: &Line, born_ms: u64) -> Option<Span> {
        self.lines.get_mut(&line.id).and_then(|counted| counted.unknown(born_ms))
    }

    /// Puts in what was used of the line in `span`, by the moment of a birth.
    pub fn seed(&mut self, line: &Line, born_ms: u64, span: Span, uses: &[(u64, u64)]) {
        if let Some(counted) = self.lines.get_mut(&line.id) {
            counted.seed(born_ms, span, uses);
        }
    }

    /// The tightest token and money quotas of these lines. A line that was never asked is still full, where it is no
    /// budget.
    pub fn remaining(&mut self, lines: &[Line], born_ms: u64, now_ns: u64) -> Remaining {
        let mut remaining = Remaining::default();
        for line in lines {
            let kept = match line.quantity {
                Quantity::Tokens | Quantity::InputTokens | Quantity::OutputTokens => &mut remaining.tokens,
                Quantity::Money => &mut remaining.money,
                Quantity::Requests | Quantity::Concurrency => continue,
            };
            let standing = match self.lines.get_mut(&line.id) {
                Some(counted) => counted.standing(line, born_ms, now_ns),
                None => Counted::new(line, now_ns).standing(line, born_ms, now_ns),
            };
            if let Some(standing) = standing {
                standing.keep_tightest(kept);
            }
        }
        remaining
    }

    /// Forgets what is idle.
    pub fn sweep(&mut self, now_ns: u64) {
        self.expire(now_ns);
        let has_book = self.has_book;
        self.lines.retain(|_, counted| !counted.is_idle(has_book, now_ns));
        self.sweep_at = self.lines.len().saturating_mul(2);
        self.swept_ns = Some(now_ns);
    }

    /// Lines that are counted.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Holds that run.
    pub fn live(&self) -> usize {
        self.holds.live()
    }

    /// A new line is counted before anything is taken, or the call is refused: serving it uncounted would be a
    /// way
    /// around every limit. A line for a caller that nobody saw before is made here, in the same step that takes its
    /// hold.
    fn create_missing(&mut self, ask: &Ask, now_ns: u64, room: Room) -> Result<(), Denied> {
        if self.missing(ask).next().is_none() {
            return Ok(());
        }
        let is_full = |ledger: &Self| {
            let wanted = ledger.lines.len().saturating_add(ledger.missing(ask).count());
            wanted > room.own_max || wanted.saturating_add(room.others) > room.lines_max
        };
        let rested = self.swept_ns.is_none_or(|swept| now_ns.saturating_sub(swept) >= SWEEP_PAUSE_NS);
        if self.lines.len() >= self.sweep_at.max(SWEEP_MIN) || (rested && is_full(self)) {
            self.sweep(now_ns);
        }
        // INVARIANT: from here on nothing is forgotten until all of the call's lines are taken.
        if is_full(self) {
            let level = self.missing(ask).next().map_or_else(|| Arc::clone(&ask.org), |line| Arc::clone(&line.level));
            return Err(Denied::Exceeded(LimitExceeded::levels(&level, room.lines_max)));
        }
        let missing: Vec<Line> = self.missing(ask).cloned().collect();
        self.lines.extend(missing.iter().map(|line| (Arc::clone(&line.id), Counted::new(line, now_ns))));
        Ok(())
    }

    fn missing<'a>(&'a self, ask: &'a Ask) -> impl Iterator<Item = &'a Line> {
        ask.lines.iter().filter(|line| self.lines.get(&line.id).is_none_or(|counted| !counted.fits(line)))
    }

    fn all_known(&mut self, ask: &Ask) -> Result<(), Denied> {
        let mut unseeded = Vec::new();
        for (at, line) in ask.lines.iter().enumerate() {
            if let Some(span) = self.unknown(line, ask.born_ms) {
                unseeded.push((at, span));
            }
        }
        if unseeded.is_empty() { Ok(()) } else { Err(Denied::Unseeded(unseeded)) }
    }

    /// Whether what is wanted fits at every line; takes nothing. What never fits is told before what fits later, and of
    /// several waits the longest, or it would not be true.
    fn check(&mut self, ask: &Ask, wanted: impl Fn(&Line) -> Option<u64>, now_ns: u64) -> Result<(), Denied> {
        let mut worst: Option<LimitExceeded> = None;
        for line in ask.lines.iter() {
            let (Some(amount), Some(counted)) = (wanted(line), self.lines.get_mut(&line.id)) else { continue };
            let Err(full) = counted.check(line, amount, ask.born_ms, now_ns) else { continue };
            let standing = counted.standing(line, ask.born_ms, now_ns);
            let exceeded = LimitExceeded::at(line, full.wait, full.too_large, standing);
            if worst.as_ref().is_none_or(|known| is_worse(&exceeded, known)) {
                worst = Some(exceeded);
            }
        }
        worst.map_or(Ok(()), |exceeded| Err(Denied::Exceeded(exceeded)))
    }

    fn granted(&mut self, ask: &Ask, now_ns: u64) -> Granted {
        let mut granted = Granted::default();
        for line in ask.lines.iter() {
            let Window::Rate { .. } = line.window else { continue };
            let kept = match line.quantity {
                Quantity::Requests => &mut granted.requests,
                Quantity::Tokens | Quantity::InputTokens | Quantity::OutputTokens => &mut granted.tokens,
                Quantity::Money | Quantity::Concurrency => continue,
            };
            if let Some(counted) = self.lines.get_mut(&line.id) {
                counted.keep_tightest(line, now_ns, kept);
            }
        }
        granted
    }
}

/// What the call takes at the line when it begins.
fn asked(ask: &Ask, line: &Line) -> u64 {
    match line.window {
        Window::Rate { .. } => ask.rates.of(line.quantity),
        Window::Now => 1,
        Window::Calendar { .. } | Window::Rolling { .. } | Window::Total => ask.budgets.of(line.quantity),
    }
}

/// What never fits is worse than what fits later; no known wait is worse than a short one.
fn is_worse(one: &LimitExceeded, other: &LimitExceeded) -> bool {
    let rank = |exceeded: &LimitExceeded| {
        (exceeded.too_large, exceeded.retry_after.is_none(), exceeded.retry_after.unwrap_or_default())
    };
    rank(one) > rank(other)
}

#[cfg(test)]
mod tests;
