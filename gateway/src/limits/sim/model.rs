//! What limits mean: every call that ever was, in a list. Slow, exact, and without any of the counters' arithmetic.

use std::sync::Arc;

use crate::limits::counter::{Ask, Line};
use crate::limits::quantity::Amounts;
use crate::limits::window::{CalendarUnit, ROLLING_STEPS, Window};

/// Where a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    Running,
    /// Nobody cares for it any more.
    Lost,
    Settled,
}

/// What a call wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    Begin,
    Grow,
    /// To grow, and its place back.
    Revive,
}

/// A call that was granted.
#[derive(Debug, Clone)]
pub struct Call {
    pub ask: Ask,
    pub node: usize,
    pub held: Amounts,
    pub used: Amounts,
    pub life: Life,
    /// When it was granted or renewed, in passed time.
    renewed_ms: u64,
}

/// A limit without room for what is wanted.
#[derive(Debug)]
#[allow(dead_code, reason = "shown where a test fails")]
pub struct Full {
    pub level: Arc<str>,
    pub cap: u64,
    pub amount: u64,
    pub committed: i128,
}

/// All calls, what was used before them, and the time that has passed.
pub struct Model {
    lines: Arc<[Line]>,
    pub calls: Vec<Call>,
    past: Vec<(Arc<str>, u64, u64)>,
    pub passed_ms: u64,
    /// Whether any call used more than it was charged before: then a window may be above its cap.
    in_debt: bool,
}

impl Call {
    pub fn new(ask: Ask, node: usize, passed_ms: u64) -> Self {
        let (held, used) = (ask.budgets, Amounts::default());
        Self { ask, node, held, used, life: Life::Running, renewed_ms: passed_ms }
    }

    pub fn grow(&mut self, more: &Amounts, passed_ms: u64) {
        self.held = self.held.plus(more);
        self.renewed_ms = passed_ms;
    }

    /// Whether it has its place among those that run.
    pub fn is_live(&self, passed_ms: u64) -> bool {
        self.life != Life::Settled && !self.is_expired(passed_ms)
    }

    pub fn is_expired(&self, passed_ms: u64) -> bool {
        let ttl = u64::try_from(self.ask.ttl.as_millis()).unwrap_or(u64::MAX);
        self.renewed_ms.saturating_add(ttl) <= passed_ms
    }

    /// What budgets are charged for it: what it used, or all that it holds until that is known.
    pub fn charged(&self) -> Amounts {
        if self.life == Life::Settled { self.used } else { self.held }
    }
}

impl Model {
    pub fn new(lines: Arc<[Line]>) -> Self {
        Self { lines, calls: Vec::new(), past: Vec::new(), passed_ms: 0, in_debt: false }
    }

    /// What was used is known, or known better.
    pub fn settle(&mut self, at: usize, used: Amounts) {
        let call = &mut self.calls[at];
        let before = call.charged();
        self.in_debt |= used.input_tokens > before.input_tokens
            || used.output_tokens > before.output_tokens
            || used.nano > before.nano;
        (call.used, call.life) = (used, Life::Settled);
    }

    /// Whether nobody was born after this moment.
    pub fn is_last(&self, born_ms: u64) -> bool {
        let calls = self.calls.iter().map(|call| call.ask.born_ms);
        calls.chain(self.past.iter().map(|(_, at_ms, _)| *at_ms)).all(|at_ms| at_ms <= born_ms)
    }

    /// Uses that the book knows of.
    pub fn past(&mut self, line: &Line, at_ms: u64, used: u64) {
        self.past.push((Arc::clone(&line.id), at_ms, used));
    }

    /// The first limit without room for so much.
    pub fn full(&self, amounts: &Amounts, born_ms: u64, wants: Wants) -> Option<Full> {
        self.lines.iter().find_map(|line| self.full_line(line, amounts, born_ms, wants))
    }

    /// The limit of that level, if it has no room beside what gateways may have leased and not used (a slice each), and
    /// what others draw that come at the same moment, until another limit refuses them.
    pub fn full_but_leased(
        &self,
        level: &str,
        amounts: &Amounts,
        born_ms: u64,
        wants: Wants,
        others: u64,
    ) -> Option<Full> {
        let line = self.lines.iter().find(|line| &*line.level == level)?;
        let amount = amounts.of(line.quantity);
        let slices = line.lease.map(|slice| slice.get() * u64::try_from(super::NODES).unwrap() + others * amount);
        let more = Amounts::only(line.quantity, amount + slices.unwrap_or(0));
        let full = self.full_line(line, &more, born_ms, wants)?;
        Some(Full { amount, ..full })
    }

    fn full_line(&self, line: &Line, amounts: &Amounts, born_ms: u64, wants: Wants) -> Option<Full> {
        let (amount, committed, matters) = if line.window.is_budget() {
            let amount = amounts.of(line.quantity);
            // What grows by nothing is not asked whether it fits.
            (amount, self.fullest(line, born_ms), wants == Wants::Begin || amount > 0)
        } else {
            let live = self.calls.iter().filter(|call| call.is_live(self.passed_ms)).count();
            (1, i128::try_from(live).unwrap(), wants != Wants::Grow)
        };
        let is_full = matters && committed + i128::from(amount) > i128::from(line.cap);
        is_full.then(|| Full { level: line.level.clone(), cap: line.cap, amount, committed })
    }

    /// Charged in the fullest window that a call of this birth lies in.
    pub fn fullest(&self, line: &Line, born_ms: u64) -> i128 {
        let charges = self.charges(line);
        let sum = |within: &dyn Fn(u64) -> bool| {
            charges.iter().filter(|(at, _)| within(*at)).map(|(_, amount)| i128::from(*amount)).sum()
        };
        match line.window {
            Window::Calendar { unit, zone } => {
                let span = CalendarUnit::span(unit, zone, born_ms);
                sum(&|at| span.from_ms <= at && at < span.to_ms)
            }
            Window::Rolling { ms } => {
                let (step, born) = (ms.div_ceil(ROLLING_STEPS), born_ms / ms.div_ceil(ROLLING_STEPS));
                let ends = charges.iter().map(|(at, _)| at / step).chain([born]);
                let ends = ends.filter(|end| *end >= born && *end <= born + ROLLING_STEPS);
                ends.map(|end| sum(&|at| at / step <= end && at / step + ROLLING_STEPS >= end)).max().unwrap_or(0)
            }
            Window::Total | Window::Rate { .. } | Window::Now => sum(&|_| true),
        }
    }

    fn charges(&self, line: &Line) -> Vec<(u64, u64)> {
        let past = self.past.iter().filter(|(id, ..)| *id == line.id).map(|(_, at, used)| (*at, *used));
        let calls = self.calls.iter().map(|call| (call.ask.born_ms, call.charged().of(line.quantity)));
        past.chain(calls).collect()
    }

    /// Whether every window holds no more than its cap.
    ///
    /// # Errors
    /// The one that does.
    pub fn within_caps(&self) -> Result<(), String> {
        if self.in_debt {
            return Ok(());
        }
        for line in self.lines.iter() {
            if line.window.is_budget() {
                let most = self.charges(line).iter().map(|(at, _)| self.fullest(line, *at)).max().unwrap_or(0);
                if most > i128::from(line.cap) {
                    return Err(format!("{most} in a window of {line:?}"));
                }
            } else {
                let live = self.calls.iter().filter(|call| call.is_live(self.passed_ms)).count();
                if live > usize::try_from(line.cap).unwrap() {
                    return Err(format!("{live} calls at the same time, of {}", line.cap));
                }
            }
        }
        Ok(())
    }
}
