//! What a budget will have cost when its window ends, and when it is used up. Pure, in whole nano-dollars.
//!
//! A day that is yet to come is expected to cost what the same weekday did on average over the last four weeks; with
//! less than four weeks of history, what the last seven whole days did on average (or as many as there are). Of today
//! the rest is expected, by the time that is left of it. Divisions round down. There is no forecast before the first
//! whole day is over.

use crate::limits::window::Span;

/// Weeks that a weekday's average looks back.
const WEEKS: usize = 4;
/// Days of a week.
const WEEK: usize = 7;
/// Days of history that are asked for.
pub const HISTORY_DAYS: u64 = 28;
/// Furthest day that is looked at for when a budget is used up.
const HORIZON_DAYS: usize = 400;

/// What a day cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    /// When it is.
    pub span: Span,
    /// Nano-dollars.
    pub nano: i64,
}

/// How days to come were estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Average of the same weekday over four weeks.
    SameWeekday,
    /// Average of up to seven days.
    TrailingDays,
}

/// What is to be expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Forecast {
    /// How.
    pub method: Method,
    /// Nano-dollars at the window's end; `None` where it has none.
    pub nano: Option<i64>,
    /// Unix milliseconds when the budget is used up, if that is before the window's end or within 400 days.
    pub used_up_ms: Option<u64>,
}

/// Looks ahead. `days` are whole days in order without a gap, and today as the last one, of which `now_ms` has come;
/// `spent` is what the window has cost so far, `end_ms` its end.
pub fn forecast(days: &[Day], now_ms: u64, cap: u64, spent: i64, end_ms: Option<u64>) -> Option<Forecast> {
    let (today, whole) = days.split_last()?;
    if whole.is_empty() {
        return None;
    }
    let method = if whole.len() >= WEEK.saturating_mul(WEEKS) { Method::SameWeekday } else { Method::TrailingDays };
    let cap = i128::from(cap);
    let mut sum = i128::from(spent);
    let mut used_up_ms = (sum >= cap).then_some(now_ms);
    let length = today.span.to_ms.saturating_sub(today.span.from_ms).max(1);
    let end = end_ms.unwrap_or(u64::MAX);
    let mut from_ms = now_ms;
    for ahead in 0..HORIZON_DAYS {
        let to_ms = today.span.to_ms.saturating_add(length.saturating_mul(u64::try_from(ahead).unwrap_or(u64::MAX)));
        let to_ms = to_ms.min(end);
        if from_ms >= end {
            break;
        }
        let part = to_ms.saturating_sub(from_ms);
        let cost = share(expected(whole, ahead, method), part, length);
        let after = sum.saturating_add(cost);
        if used_up_ms.is_none() && after >= cap && cost > 0 {
            let into = cap.saturating_sub(sum).saturating_mul(i128::from(part)).checked_div(cost).unwrap_or(0);
            used_up_ms = Some(from_ms.saturating_add(u64::try_from(into).unwrap_or(0)));
        }
        sum = after;
        from_ms = to_ms;
        if end_ms.is_none() && used_up_ms.is_some() {
            break;
        }
    }
    // A window that the horizon doesn't reach has no forecast rather than a wrong one.
    let reached = end_ms.filter(|end| from_ms >= *end);
    let nano = reached.map(|_| i64::try_from(sum).unwrap_or(i64::MAX));
    Some(Forecast { method, nano, used_up_ms })
}

/// What a day so many days ahead of today is expected to cost.
fn expected(whole: &[Day], ahead: usize, method: Method) -> i128 {
    let of: Vec<i64> = match method {
        // Behind `whole` comes today, then the days ahead: the same weekday lies a multiple of seven before.
        Method::SameWeekday => {
            let back = WEEK.saturating_sub(ahead.checked_rem(WEEK).unwrap_or(0));
            let nth = |week: usize| back.saturating_add(week.saturating_mul(WEEK));
            let at = |back: usize| whole.len().checked_sub(back).and_then(|at| whole.get(at));
            (0..WEEKS).filter_map(|week| at(nth(week))).map(|day| day.nano).collect()
        }
        Method::TrailingDays => whole.iter().rev().take(WEEK).map(|day| day.nano).collect(),
    };
    let sum: i128 = of.iter().map(|nano| i128::from(*nano)).sum();
    let count = i128::try_from(of.len()).unwrap_or(1);
    sum.checked_div_euclid(count).unwrap_or(0).max(0)
}

fn share(of: i128, part: u64, whole: u64) -> i128 {
    of.saturating_mul(i128::from(part)).checked_div(i128::from(whole)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;

    fn days(costs: &[i64]) -> Vec<Day> {
        let day = |(at, nano): (u64, &i64)| Day {
            span: Span { from_ms: at.saturating_mul(DAY), to_ms: at.saturating_add(1).saturating_mul(DAY) },
            nano: *nano,
        };
        (0_u64..).zip(costs).map(day).collect()
    }

    #[test]
    fn little_history_is_averaged_and_today_counts_for_its_rest() {
        // Three whole days of 10 on average; today at noon; the window ends three days after today.
        let days = days(&[6, 12, 12, 3]);
        let now = 3 * DAY + DAY / 2;
        let seen = forecast(&days, now, 1_000, 33, Some(7 * DAY)).unwrap();
        let want = Forecast { method: Method::TrailingDays, nano: Some(33 + 5 + 30), used_up_ms: None };
        assert_eq!(seen, want);
        // 43 is reached when half of tomorrow is over.
        let seen = forecast(&days, now, 43, 33, Some(7 * DAY)).unwrap();
        assert_eq!(seen.used_up_ms, Some(4 * DAY + DAY / 2));
        assert_eq!(forecast(&days, now, 33, 33, Some(7 * DAY)).unwrap().used_up_ms, Some(now));
        // Without an end: used up in time, but no sum at an end.
        let seen = forecast(&days, now, 433, 33, None).unwrap();
        assert_eq!((seen.nano, seen.used_up_ms), (None, Some(43 * DAY + DAY / 2)));
        assert_eq!(forecast(&days[3..], now, 43, 3, Some(7 * DAY)), None, "no whole day yet");
    }

    #[test]
    fn weekdays_are_told_apart_after_four_weeks() {
        // 28 whole days: every seventh, beginning with the first, costs 70, the others 1; today is like the first.
        let mut costs: Vec<i64> = (0..28).map(|day| if day % 7 == 0 { 70 } else { 1 }).collect();
        costs.push(0);
        let days = days(&costs);
        let seen = forecast(&days, 28 * DAY, 10_000, 0, Some(36 * DAY)).unwrap();
        // Today and the day a week from it cost 70, the six between them 1.
        assert_eq!((seen.method, seen.nano), (Method::SameWeekday, Some(70 + 6 + 70)));
    }
}
