//! What a limit says: that it was reached, and what it still gives. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::counter::Line;
use super::quantity::Quantity;
use super::window::Window;

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// Calls in some time.
    Requests,
    /// Tokens of either kind in some time.
    Tokens,
    /// Money in some time.
    Money,
    /// Calls at the same time.
    Concurrency,
    /// Weir counts as many levels as it can: its own bound, not the caller's.
    Levels,
}

/// A limit was reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limit of {} reached at `{level}`", self.words())]
pub struct LimitExceeded {
    /// Where: a tenant path, `key`, or a path and whose share of it.
    pub level: Arc<str>,
    /// Which limit.
    pub kind: LimitKind,
    /// What it counts.
    pub quantity: Quantity,
    /// In which time; `None` for Weir's own bound.
    pub window: Option<Window>,
    /// The limit itself; money in nano-dollars.
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
    /// Where: a tenant path, `key`, or a path and whose share of it.
    pub level: Arc<str>,
    /// In which time.
    pub window: Window,
    /// Per window; money in nano-dollars.
    pub limit: u64,
    /// Left now.
    pub remaining: u64,
    /// Until all of it is there again, if nobody takes more; [`Duration::MAX`] where it never comes back.
    pub reset: Duration,
}

/// The tightest quotas of a caller now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remaining {
    /// Tokens, of rates and budgets alike.
    pub tokens: Option<Standing>,
    /// Money, in nano-dollars.
    pub money: Option<Standing>,
}

impl LimitKind {
    /// Of the quantity that a line counts.
    pub fn of(quantity: Quantity) -> Self {
        match quantity {
            Quantity::Requests => LimitKind::Requests,
            Quantity::InputTokens | Quantity::OutputTokens | Quantity::Tokens => LimitKind::Tokens,
            Quantity::Money => LimitKind::Money,
            Quantity::Concurrency => LimitKind::Concurrency,
        }
    }
}

impl LimitExceeded {
    /// The line was reached; `None` as the wait: none helps, or none is known.
    pub fn at(line: &Line, retry_after: Option<Duration>, too_large: bool, standing: Option<Standing>) -> Self {
        Self {
            level: Arc::clone(&line.level),
            kind: LimitKind::of(line.quantity),
            quantity: line.quantity,
            window: Some(line.window),
            limit: line.cap,
            retry_after,
            too_large,
            standing,
        }
    }

    /// Weir counts as many levels as it can.
    pub fn levels(level: &Arc<str>, levels_max: usize) -> Self {
        Self {
            level: Arc::clone(level),
            kind: LimitKind::Levels,
            quantity: Quantity::Concurrency,
            window: None,
            limit: u64::try_from(levels_max).unwrap_or(u64::MAX),
            retry_after: None,
            too_large: false,
            standing: None,
        }
    }

    /// Whether it is a budget, which is used up, and not a rate, which drains.
    pub fn is_budget(&self) -> bool {
        self.window.as_ref().is_some_and(Window::is_budget)
    }

    /// The limit in words: `60 requests per minute`, `12.5 dollars per month (UTC)`.
    fn words(&self) -> String {
        match self.window {
            None => format!("{} counted tenants and keys", self.limit),
            Some(window) => format!("{} {}", self.quantity.words(self.limit), window.words()).trim_end().to_owned(),
        }
    }
}

impl Standing {
    /// What the line still gives.
    pub fn of(line: &Line, remaining: u64, reset: Duration) -> Self {
        Self { level: Arc::clone(&line.level), window: line.window, limit: line.cap, remaining, reset }
    }

    /// Puts it in the place of one that gives more.
    pub fn keep_tightest(self, tightest: &mut Option<Standing>) {
        if tightest.as_ref().is_none_or(|known| self.remaining < known.remaining) {
            *tightest = Some(self);
        }
    }
}
