//! Every quantity in every time, with small and absurd amounts; calendars on the days on which clocks are changed, on a
//! leap day, at the end of months.

use chrono::DateTime;

use super::*;
use crate::limits::window::Span;

const DAY_MS: u64 = 24 * HOUR_MS;
const QUANTITIES: [Quantity; 5] =
    [Quantity::Requests, Quantity::InputTokens, Quantity::OutputTokens, Quantity::Tokens, Quantity::Money];
const UNITS: [CalendarUnit; 4] = [CalendarUnit::Hour, CalendarUnit::Day, CalendarUnit::Week, CalendarUnit::Month];
/// Amounts of a rate go to here; the configuration takes no larger one.
const RATE_MAX: u64 = 1 << 50;
/// The largest amounts that the configuration takes: of tokens, and of money.
const TOKENS_MAX: u64 = 9_000_000_000_000_000;
const MONEY_MAX: u64 = 999_999_999_999_999_999;

/// Exactly the amount fits, one more does not, and the wait that is told is enough.
pub(super) async fn every_amount_in_every_window_is_kept(stand: &dyn Stand) {
    let lengths = [1_000, 2_000, 7_000, 60_000, HOUR_MS, 7 * DAY_MS, 366 * DAY_MS];
    let rates = lengths.map(|ms| Window::Rate { ms });
    let budgets =
        lengths.map(|ms| Window::Rolling { ms }).into_iter().chain(UNITS.map(calendar)).chain([Window::Total]);
    let budgets: Vec<Window> = budgets.collect();
    for quantity in QUANTITIES {
        for cap in [1, 2, 999, RATE_MAX] {
            for window in rates {
                a_rate_is_kept(stand, quantity, cap, window).await;
            }
        }
        for cap in [1, 2, 999, RATE_MAX, TOKENS_MAX, MONEY_MAX] {
            for window in &budgets {
                a_budget_is_kept(stand, quantity, cap, *window).await;
            }
        }
    }
}

async fn a_rate_is_kept(stand: &dyn Stand, quantity: Quantity, cap: u64, window: Window) {
    let what = format!("{quantity:?} {cap} {window:?}");
    let calls = Calls::new(stand, &[(quantity, cap, window)]);
    let ask = |amount| calls.ask(Amounts::only(quantity, amount), BORN_MS);
    let whole = ask(cap);
    calls.reserve(&whole).await.unwrap_or_else(|refused| panic!("{what}: {refused}"));
    // Of the largest a millionth: a double doesn't know its single ones.
    let more = (cap / 1_000_000).max(1);
    let refused = calls.reserve(&ask(more)).await.unwrap_err();
    assert!(!refused.too_large, "{what}: {refused}");
    let wait = refused.retry_after.unwrap();
    let Window::Rate { ms } = window else { panic!("{what}") };
    assert!(wait > Duration::ZERO && wait <= Duration::from_millis(ms), "{what}: {wait:?}");
    stand.pass(wait).await;
    let second = ask(more);
    calls.reserve(&second).await.unwrap_or_else(|refused| panic!("{what}, after {wait:?}: {refused}"));
    assert!(calls.reserve(&ask(cap + 1)).await.unwrap_err().too_large, "{what}");
    calls.settle(&whole, whole.rates).await;
    calls.settle(&second, second.rates).await;
}

async fn a_budget_is_kept(stand: &dyn Stand, quantity: Quantity, cap: u64, window: Window) {
    let what = format!("{quantity:?} {cap} {window:?}");
    let calls = Calls::new(stand, &[(quantity, cap, window)]);
    let ask = |amount, born_ms| calls.ask(Amounts::only(quantity, amount), born_ms);
    let whole = ask(cap, BORN_MS);
    calls.reserve(&whole).await.unwrap_or_else(|refused| panic!("{what}: {refused}"));
    let refused = calls.reserve(&ask(1, BORN_MS)).await.unwrap_err();
    assert!(!refused.too_large, "{what}: {refused}");
    assert!(calls.reserve(&ask(cap + 1, BORN_MS)).await.unwrap_err().too_large, "{what}");
    let length = match window {
        Window::Rolling { ms } => ms,
        Window::Calendar { .. } | Window::Total | Window::Rate { .. } | Window::Now => 0,
    };
    // In no stretch of the length that is stated there is more than the amount.
    assert!(calls.reserve(&ask(1, BORN_MS + length.saturating_sub(1))).await.is_err() || length == 0, "{what}");
    match refused.retry_after {
        None => assert_eq!(window, Window::Total, "{what}"),
        Some(wait) => {
            let wait_ms = u64::try_from(wait.as_millis()).unwrap();
            assert!(calls.reserve(&ask(cap, BORN_MS + wait_ms - 1)).await.is_err(), "{what}");
            let next = ask(cap, BORN_MS + wait_ms);
            calls.reserve(&next).await.unwrap_or_else(|refused| panic!("{what}, after {wait:?}: {refused}"));
            calls.settle(&next, next.budgets).await;
        }
    }
    calls.settle(&whole, whole.budgets).await;
}

/// A window is full from its first millisecond to its last, and the next one is empty.
pub(super) async fn calendars_are_kept_when_clocks_are_changed(stand: &dyn Stand) {
    let moments = [
        // The hour that comes twice in Berlin, and the one that is left out.
        "2026-10-25T00:30:00.000Z",
        "2026-10-25T01:30:00.000Z",
        "2027-03-28T01:00:00.000Z",
        // Half an hour back in Lord Howe.
        "2027-04-03T15:00:00.000Z",
        "2027-04-03T14:59:59.999Z",
        "2028-02-29T23:59:59.999Z",
        "2027-01-31T00:00:00.000Z",
        "2027-01-31T23:59:59.999Z",
        "2026-12-31T23:30:00.000Z",
    ];
    let zones = ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "America/New_York", "Pacific/Apia"];
    for moment in moments {
        let at_ms = u64::try_from(DateTime::parse_from_rfc3339(moment).unwrap().timestamp_millis()).unwrap();
        for zone in zones {
            for unit in UNITS {
                let zone: Tz = zone.parse().unwrap();
                let what = format!("{unit:?} {zone} {moment}");
                let calls = Calls::new(stand, &[(Quantity::Money, 10, Window::Calendar { unit, zone })]);
                let Span { from_ms, to_ms } = unit.span(zone, at_ms);
                let whole = calls.ask(nano(10), at_ms);
                calls.reserve(&whole).await.unwrap_or_else(|refused| panic!("{what}: {refused}"));
                for born_ms in [from_ms, at_ms, to_ms - 1] {
                    let refused = calls.reserve(&calls.ask(nano(1), born_ms)).await.unwrap_err();
                    assert_eq!(refused.retry_after, Some(Duration::from_millis(to_ms - born_ms)), "{what}");
                }
                for born_ms in [from_ms - 1, to_ms] {
                    let other = calls.ask(nano(10), born_ms);
                    calls.reserve(&other).await.unwrap_or_else(|refused| panic!("{what} {born_ms}: {refused}"));
                    calls.settle(&other, nano(10)).await;
                }
                calls.settle(&whole, nano(10)).await;
            }
        }
    }
}
