#![allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

use chrono_tz::Tz;

use super::*;

const HOUR: u64 = 3_600_000;
const DAY: Window = Window::Calendar { unit: CalendarUnit::Day, zone: Tz::Europe__Berlin };

fn known(window: Window, at: u64) -> Budget {
    let mut budget = Budget::new(window);
    let span = budget.unknown(at).unwrap();
    budget.seed(at, span, &[]);
    budget
}

#[test]
fn nothing_is_known_before_it_is_asked_for_and_once_is_enough() {
    let at = 1_790_000_000_000;
    let mut budget = Budget::new(DAY);
    let span = budget.unknown(at).unwrap();
    let next = Budget::end_ms(DAY, at);
    assert_eq!((span.to_ms, next - span.from_ms), (u64::MAX, 24 * HOUR));
    budget.seed(at, span, &[(span.from_ms, 7), (next + 24 * HOUR, 1)]);
    budget.seed(at, span, &[(span.from_ms, 7)]);
    assert_eq!((budget.unknown(at), budget.committed(at)), (None, 7));
    // Days after it begin at nothing but what was said of them; a day before it has to be asked for.
    assert_eq!((budget.unknown(next), budget.committed(next), budget.committed(next + 24 * HOUR)), (None, 0, 1));
    let before = budget.unknown(span.from_ms - 1).unwrap();
    assert_eq!(before.to_ms, span.from_ms);
    budget.seed(span.from_ms - 1, before, &[(before.from_ms, 5)]);
    assert_eq!((budget.committed(span.from_ms - 1), budget.committed(at)), (5, 7));
    assert!(budget.unknown(before.from_ms - 1).is_some());
}

#[test]
fn a_calendar_counts_where_the_zones_clocks_say() {
    // The day of 25 hours in Berlin: 2026-10-25, from 22:00 to 23:00 UTC.
    let (from, to) = (1_792_879_200_000, 1_792_969_200_000);
    let mut budget = known(DAY, from);
    budget.take(from, 1);
    budget.take(to - 1, 2);
    budget.take(to, 4);
    assert_eq!((budget.committed(from), budget.committed(to)), (3, 4));
    assert_eq!(budget.wait_ms(from, 10, 10), Some(25 * HOUR));
    assert_eq!(budget.wait_ms(from, 11, 10), None);
}

#[test]
fn windows_that_are_long_over_are_forgotten_and_asked_for_again() {
    let mut budget = known(Window::Calendar { unit: CalendarUnit::Hour, zone: Tz::UTC }, 0);
    for hour in 0..10 {
        budget.take(hour * HOUR, 1);
    }
    assert_eq!((budget.committed(9 * HOUR), budget.committed.len()), (1, CALENDARS_KEPT));
    assert_eq!(budget.unknown(0), Some(Span { from_ms: 0, to_ms: HOUR }));
    // A late settlement of a window that is forgotten changes nothing.
    budget.settle(0, 1, 0);
    assert_eq!(budget.committed.len(), CALENDARS_KEPT);
}

#[test]
fn every_rolling_window_that_a_birth_lies_in_has_to_have_room() {
    let ms = 60 * 1_000;
    let begin = 100 * ms;
    let mut budget = known(Window::Rolling { ms }, begin);
    budget.take(begin + 30_000, 100);
    // A clock that was set back: this birth shares windows with the one after it.
    assert_eq!(budget.committed(begin), 100);
    budget.take(begin, 10);
    assert_eq!(budget.committed(begin + 30_000), 110);
    // Sixty steps after its end the first one is out of the window, and the second one alone is left.
    assert_eq!((budget.committed(begin + 60_999), budget.committed(begin + 61_000)), (110, 100));
    assert_eq!(budget.wait_ms(begin + 30_000, 5, 105), Some(31_000));
    assert_eq!(budget.wait_ms(begin + 30_000, 6, 105), Some(61_000));
    assert_eq!(budget.reset_ms(begin + 30_000), Some(61_000));
}

#[test]
fn a_rolling_window_knows_its_past_step_by_step_and_forgets_it() {
    let ms = 60 * 1_000;
    let mut budget = Budget::new(Window::Rolling { ms });
    let at = 100 * ms + 500;
    let span = budget.unknown(at).unwrap();
    assert_eq!(span, Span { from_ms: 100 * ms - 60_000, to_ms: u64::MAX });
    budget.seed(at, span, &[(span.from_ms, 3), (100 * ms, 4)]);
    assert_eq!((budget.committed(at), budget.committed(at + 1_000)), (7, 4));
    for steps in 1..=300 {
        budget.take(at + steps * 1_000, 1);
    }
    assert_eq!((budget.committed.len(), budget.committed(at + 300_000)), (STEPS_KEPT, 61));
    assert_eq!(budget.unknown(at + 300_000), None);
    // The steps up to the 56th are forgotten.
    assert_eq!(budget.unknown(at).unwrap().to_ms, 100 * ms + 57_000);
}

#[test]
fn the_largest_amounts_are_exact() {
    let mut budget = known(Window::Total, 0);
    budget.take(1, u64::MAX);
    budget.take(2, u64::MAX);
    assert_eq!(budget.committed(3), u128::from(u64::MAX) * 2);
    budget.settle(1, u64::MAX, 1);
    budget.settle(2, u64::MAX, 0);
    assert_eq!((budget.committed(3), budget.wait_ms(3, 1, 1), budget.reset_ms(3)), (1, None, None));
}
