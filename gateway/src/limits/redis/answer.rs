//! What the scripts answer, in the words of the seam. Pure.

use std::time::Duration;

use crate::limits::counter::{Ask, Granted, Line};
use crate::limits::exceeded::{LimitExceeded, Standing};
use crate::limits::quantity::{Amounts, Quantity};
use crate::limits::window::{CalendarUnit, Window};

/// An answer about a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// With what each line still gives: its place among the call's lines first.
    Granted(Granted, Vec<(usize, Standing)>),
    Full(LimitExceeded),
    /// Places among the call's lines whose past is not known, each with the moment from which on it is.
    Unseeded(Vec<(usize, Option<u64>)>),
    /// The call is settled already.
    Over,
}

/// Reads the words of `take.lua`; `None` where they make no sense.
pub(super) fn read(ask: &Ask, words: &[String]) -> Option<Answer> {
    let (first, rest) = words.split_first()?;
    match first.as_str() {
        "ok" => granted(ask, rest),
        "full" => full(ask, rest).map(Answer::Full),
        "unseeded" => unseeded(rest).map(Answer::Unseeded),
        "over" => Some(Answer::Over),
        _ => None,
    }
}

/// The line that the call alone is larger than: no wait helps, and no script need be asked.
pub(super) fn too_large(ask: &Ask, wanted: impl Fn(&Line) -> u64) -> Option<LimitExceeded> {
    let line = ask.lines.iter().find(|line| wanted(line) > line.cap)?;
    Some(LimitExceeded::at(line, None, true, None))
}

/// What a new call takes at the line.
pub(super) fn asked(ask: &Ask, line: &Line) -> u64 {
    match line.window {
        Window::Rate { .. } => ask.rates.of(line.quantity),
        Window::Now => 1,
        Window::Calendar { .. } | Window::Rolling { .. } | Window::Total => ask.budgets.of(line.quantity),
    }
}

/// What a hold that grows takes at the line.
pub(super) fn grown(more: &Amounts, line: &Line) -> u64 {
    match line.window {
        Window::Rate { .. } | Window::Now => 0,
        Window::Calendar { .. } | Window::Rolling { .. } | Window::Total => more.of(line.quantity),
    }
}

fn place(word: &str) -> Option<usize> {
    word.parse::<usize>().ok()?.checked_sub(1)
}

fn unseeded(words: &[String]) -> Option<Vec<(usize, Option<u64>)>> {
    let one = |two: &[String]| match two {
        [at, known] => Some((place(at)?, known.parse().ok())),
        _ => None,
    };
    words.chunks(2).map(one).collect()
}

fn granted(ask: &Ask, words: &[String]) -> Option<Answer> {
    let (mut granted, mut left) = (Granted::default(), Vec::with_capacity(words.len() / 3));
    for three in words.chunks(3) {
        let [at, remaining, reset] = three else { return None };
        let at = place(at)?;
        let line = ask.lines.get(at)?;
        let (_, reset) = waits(line, ask.born_ms, -1, reset.parse().ok()?);
        let standing = Standing::of(line, remaining.parse().ok()?, reset.unwrap_or(Duration::MAX));
        if let (Window::Rate { .. }, Some(kept)) = (line.window, kept_as(&mut granted, line.quantity)) {
            standing.clone().keep_tightest(kept);
        }
        left.push((at, standing));
    }
    Some(Answer::Granted(granted, left))
}

fn kept_as(granted: &mut Granted, quantity: Quantity) -> Option<&mut Option<Standing>> {
    match quantity {
        Quantity::Requests => Some(&mut granted.requests),
        Quantity::Tokens | Quantity::InputTokens | Quantity::OutputTokens => Some(&mut granted.tokens),
        Quantity::Money | Quantity::Concurrency => None,
    }
}

/// Of several lines without room the one that has to be waited for longest, or the wait would not be true.
fn full(ask: &Ask, words: &[String]) -> Option<LimitExceeded> {
    let mut worst: Option<LimitExceeded> = None;
    for four in words.chunks(4) {
        let [at, wait, remaining, reset] = four else { return None };
        let line = ask.lines.get(place(at)?)?;
        let (wait, reset): (i64, i64) = (wait.parse().ok()?, reset.parse().ok()?);
        let (wait, reset) = waits(line, ask.born_ms, wait, reset);
        let standing = match line.window {
            Window::Now => None,
            Window::Rate { .. } | Window::Calendar { .. } | Window::Rolling { .. } | Window::Total => {
                Some(Standing::of(line, remaining.parse().ok()?, reset.unwrap_or(Duration::MAX)))
            }
        };
        let exceeded = LimitExceeded::at(line, wait, false, standing);
        let rank = |exceeded: &LimitExceeded| (exceeded.retry_after.is_none(), exceeded.retry_after);
        if worst.as_ref().is_none_or(|known| rank(&exceeded) > rank(known)) {
            worst = Some(exceeded);
        }
    }
    worst
}

/// The wait until the call fits and the time until all of it is there: a script says microseconds for rates and moments
/// for rolling windows; for those of the calendar it is known here.
fn waits(line: &Line, born_ms: u64, wait: i64, reset: i64) -> (Option<Duration>, Option<Duration>) {
    let known = |n: i64| u64::try_from(n).ok();
    let until = |at_ms: u64| Duration::from_millis(at_ms.saturating_sub(born_ms));
    match line.window {
        Window::Rate { .. } => (known(wait).map(Duration::from_micros), known(reset).map(Duration::from_micros)),
        Window::Rolling { .. } => (known(wait).map(until), known(reset).map(until)),
        Window::Calendar { unit, zone } => {
            let end = until(CalendarUnit::span(unit, zone, born_ms).to_ms);
            (Some(end), Some(end))
        }
        Window::Total | Window::Now => (None, None),
    }
}
