//! How much of one budget is committed in each of its windows: a calendar's units, the steps of a rolling length, or
//! one
//! for ever. Pure.
//!
//! A use belongs to the window of its call's birth. What was used before this count began is asked for once
//! ([`Budget::unknown`]) and put in ([`Budget::seed`]); until then nothing is granted. Calls of a rolling window may be
//! born earlier than others that were counted already: every window that a birth lies in has to have room.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::window::{CalendarUnit, ROLLING_STEPS, Span, Window};

/// Calendar windows that are remembered: the present one and those that calls still run in or a clock that was set back
/// may fall into.
const CALENDARS_KEPT: usize = 4;
/// Steps of rolling windows that are remembered, for the same reasons: four windows of which every step was used.
const STEPS_KEPT: usize = 244;

/// One budget's windows.
#[derive(Debug, Clone)]
pub struct Budget {
    window: Window,
    /// The calendar's window that was looked up last: looking one up costs more than everything else here.
    latest: Span,
    /// Committed amounts by the first millisecond of their window or step.
    committed: BTreeMap<u64, u128>,
    /// Everything that was born from here on has been counted here.
    known_from: Option<u64>,
}

impl Budget {
    /// Knows nothing yet.
    pub fn new(window: Window) -> Self {
        Self { window, latest: Span { from_ms: 0, to_ms: 0 }, committed: BTreeMap::new(), known_from: None }
    }

    /// The window that it counts in.
    pub fn window(&self) -> Window {
        self.window
    }

    /// What has to be asked for before a call of this birth can be counted. The first time without an end: a clock that
    /// was set back may have written down uses of later days.
    pub fn unknown(&mut self, born_ms: u64) -> Option<Span> {
        let span = self.span(born_ms);
        match self.window {
            Window::Rolling { ms } => {
                let from_ms = span.from_ms.saturating_sub(behind(ms));
                let to_ms = self.known_from.unwrap_or(u64::MAX);
                (from_ms < to_ms).then_some(Span { from_ms, to_ms })
            }
            Window::Calendar { .. } | Window::Total | Window::Rate { .. } | Window::Now => {
                let is_known = self.known_from.is_some_and(|known| span.from_ms >= known);
                let to_ms = if self.known_from.is_none() { u64::MAX } else { span.to_ms };
                (!is_known && !self.committed.contains_key(&span.from_ms)).then_some(Span { to_ms, ..span })
            }
        }
    }

    /// Puts in what was used in `span` before: amounts by the moment of a birth. Does nothing where that is known
    /// meanwhile.
    pub fn seed(&mut self, born_ms: u64, span: Span, uses: &[(u64, u64)]) {
        if self.unknown(born_ms) != Some(span) {
            return;
        }
        // Now it is known, even that nothing was used.
        self.committed.entry(span.from_ms).or_default();
        for (at_ms, used) in uses {
            let from_ms = self.span(*at_ms).from_ms;
            let committed = self.committed.entry(from_ms).or_default();
            *committed = committed.saturating_add(u128::from(*used));
        }
        let is_rolling = matches!(self.window, Window::Rolling { .. });
        if self.known_from.is_none() || is_rolling {
            self.known_from = Some(span.from_ms);
        }
    }

    /// The end of the calendar's window or the step that the birth lies in.
    pub fn end_ms(window: Window, born_ms: u64) -> u64 {
        Self::new(window).span(born_ms).to_ms
    }

    /// Committed in the fullest of the windows that the birth lies in.
    pub fn committed(&mut self, born_ms: u64) -> u128 {
        let from_ms = self.span(born_ms).from_ms;
        self.fullest(from_ms)
    }

    /// Takes so much more.
    pub fn take(&mut self, born_ms: u64, amount: u64) {
        let from_ms = self.span(born_ms).from_ms;
        let committed = self.committed.entry(from_ms).or_default();
        *committed = committed.saturating_add(u128::from(amount));
        self.forget_old();
    }

    /// Puts what was `used` in the place of what was `held`. Of a window that is forgotten nothing is left to change.
    pub fn settle(&mut self, born_ms: u64, held: u64, used: u64) {
        let from_ms = self.span(born_ms).from_ms;
        if let Some(committed) = self.committed.get_mut(&from_ms) {
            *committed = committed.saturating_add(u128::from(used)).saturating_sub(u128::from(held));
        }
    }

    /// Milliseconds from this birth until a call that asks for so much, born then, fits; `None`: never.
    pub fn wait_ms(&mut self, born_ms: u64, amount: u64, cap: u64) -> Option<u64> {
        if amount > cap {
            return None;
        }
        let span = self.span(born_ms);
        let room = u128::from(cap.saturating_sub(amount));
        match self.window {
            Window::Calendar { .. } => Some(span.to_ms.saturating_sub(born_ms)),
            Window::Total | Window::Rate { .. } | Window::Now => None,
            Window::Rolling { ms } => {
                let length = behind(ms).saturating_add(step(ms));
                let leaving = self.committed.keys().map(|from_ms| from_ms.saturating_add(length));
                let fits = leaving.filter(|at| *at > span.from_ms).find(|at| self.fullest(*at) <= room);
                fits.map(|at| at.saturating_sub(born_ms))
            }
        }
    }

    /// Milliseconds from this birth until all of it is there again; `None`: never.
    pub fn reset_ms(&mut self, born_ms: u64) -> Option<u64> {
        let span = self.span(born_ms);
        match self.window {
            Window::Calendar { .. } => Some(span.to_ms.saturating_sub(born_ms)),
            Window::Rolling { ms } => {
                let last = self.committed.last_key_value().map_or(0, |(from_ms, _)| *from_ms);
                Some(last.saturating_add(behind(ms)).saturating_add(step(ms)).saturating_sub(born_ms))
            }
            Window::Total | Window::Rate { .. } | Window::Now => None,
        }
    }

    /// The calendar's window or the step that the birth lies in.
    fn span(&mut self, born_ms: u64) -> Span {
        match self.window {
            Window::Calendar { unit, zone } => {
                if born_ms < self.latest.from_ms || born_ms >= self.latest.to_ms {
                    self.latest = CalendarUnit::span(unit, zone, born_ms);
                }
                self.latest
            }
            Window::Rolling { ms } => {
                let step = step(ms);
                let from_ms = born_ms.saturating_sub(born_ms.checked_rem(step).unwrap_or(0));
                Span { from_ms, to_ms: from_ms.saturating_add(step) }
            }
            Window::Total | Window::Rate { .. } | Window::Now => Span { from_ms: 0, to_ms: u64::MAX },
        }
    }

    /// Committed in the fullest window that holds the one or the step which begins here.
    fn fullest(&self, from_ms: u64) -> u128 {
        let Window::Rolling { ms } = self.window else {
            return self.committed.get(&from_ms).copied().unwrap_or(0);
        };
        let later = (Bound::Excluded(from_ms), Bound::Included(from_ms.saturating_add(behind(ms))));
        let ends = self.committed.range(later).map(|(later, _)| *later);
        ends.map(|end| self.ending(end, ms)).fold(self.ending(from_ms, ms), u128::max)
    }

    /// Committed in the rolling window whose last step begins here.
    fn ending(&self, last_ms: u64, ms: u64) -> u128 {
        let steps = self.committed.range(last_ms.saturating_sub(behind(ms))..=last_ms);
        steps.fold(0, |sum, (_, committed)| sum.saturating_add(*committed))
    }

    /// What is forgotten has to be asked for again, should a call still be born there.
    fn forget_old(&mut self) {
        match self.window {
            Window::Rolling { ms } => {
                while self.committed.len() > STEPS_KEPT
                    && let Some((oldest, _)) = self.committed.pop_first()
                {
                    self.known_from = self.known_from.max(Some(oldest.saturating_add(step(ms))));
                }
            }
            Window::Calendar { .. } | Window::Total | Window::Rate { .. } | Window::Now => {
                while self.committed.len() > CALENDARS_KEPT {
                    self.committed.pop_first();
                    let oldest = self.committed.first_key_value().map(|(from_ms, _)| *from_ms);
                    self.known_from = self.known_from.max(oldest);
                }
            }
        }
    }
}

/// Milliseconds of one step of a rolling window; rounded up, so that all steps together are never shorter than it.
pub fn step(ms: u64) -> u64 {
    ms.div_ceil(ROLLING_STEPS).max(1)
}

/// From the first step of a rolling window to its last one: the step of a birth and all that the length reaches back
/// from its end. What was used leaves up to a step late, and never early.
fn behind(ms: u64) -> u64 {
    step(ms).saturating_mul(ROLLING_STEPS)
}

#[cfg(test)]
mod tests;
