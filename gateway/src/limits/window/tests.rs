//! Calendars against the clocks of every zone.
#![allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

use super::*;

fn ms(text: &str) -> u64 {
    u64::try_from(DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()).unwrap()
}

#[test]
fn calendar_units_begin_where_the_zones_clocks_say() {
    let cases = [
        (CalendarUnit::Day, "UTC", "2026-11-25T13:30:00Z", "2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z"),
        // Clocks go forward: a day of 23 hours; and back: one of 25.
        (CalendarUnit::Day, "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
        (CalendarUnit::Day, "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
        // Midnight that is skipped: Cairo went forward at 00:00 on 2023-04-28.
        (CalendarUnit::Day, "Africa/Cairo", "2023-04-28T12:00:00Z", "2023-04-27T22:00:00Z", "2023-04-28T21:00:00Z"),
        (CalendarUnit::Month, "Asia/Shanghai", "2026-02-28T16:00:00Z", "2026-02-28T16:00:00Z", "2026-03-31T16:00:00Z"),
        (CalendarUnit::Month, "Asia/Shanghai", "2026-02-28T15:59:59Z", "2026-01-31T16:00:00Z", "2026-02-28T16:00:00Z"),
        (
            CalendarUnit::Month,
            "America/New_York",
            "2028-02-29T12:00:00Z",
            "2028-02-01T05:00:00Z",
            "2028-03-01T05:00:00Z",
        ),
        (CalendarUnit::Week, "UTC", "2026-11-29T23:59:59Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
        (CalendarUnit::Hour, "Asia/Kathmandu", "2026-11-25T13:20:00Z", "2026-11-25T13:15:00Z", "2026-11-25T14:15:00Z"),
    ];
    for (unit, zone, at, from, to) in cases {
        let span = unit.span(zone.parse().unwrap(), ms(at));
        assert_eq!((span.from_ms, span.to_ms), (ms(from), ms(to)), "{unit:?} {zone} {at}");
    }
}

#[test]
fn windows_are_told_in_their_largest_whole_unit() {
    let cases = [(60_000, "minute"), (1_000, "second"), (90_000, "90 seconds"), (172_800_000, "2 days"), (7, "7 ms")];
    for (ms, text) in cases {
        assert_eq!(Window::Rate { ms }.words(), format!("per {text}"));
    }
    let month = Window::Calendar { unit: CalendarUnit::Month, zone: Tz::UTC };
    assert_eq!((month.words(), month.name()), ("per calendar month (UTC)".to_owned(), "month@UTC".to_owned()));
}

#[test]
fn every_moment_lies_in_its_own_span_and_spans_meet() {
    let units = [CalendarUnit::Day, CalendarUnit::Week, CalendarUnit::Month];
    // Every zone there is, through two years with a leap day in one of them.
    for zone in chrono_tz::TZ_VARIANTS {
        for unit in units {
            walk(unit, zone, ms("2027-11-01T00:00:00Z"), ms("2029-01-02T00:00:00Z"));
        }
    }
    // Zones whose clocks were changed oddly: by half an hour, by two, at midnight, over a whole day, every Ramadan.
    let odd = [
        ("Australia/Lord_Howe", "2026-03-20T00:00:00Z"),
        ("Australia/Lord_Howe", "2026-09-20T00:00:00Z"),
        ("Antarctica/Troll", "2026-03-20T00:00:00Z"),
        ("Africa/Cairo", "2023-04-20T00:00:00Z"),
        ("America/Sao_Paulo", "2018-10-25T00:00:00Z"),
        ("Pacific/Apia", "2011-12-20T00:00:00Z"),
        ("Africa/Casablanca", "2026-02-01T00:00:00Z"),
        ("Asia/Pyongyang", "2018-04-25T00:00:00Z"),
        ("America/Caracas", "2016-04-20T00:00:00Z"),
        ("Asia/Kathmandu", "2026-01-01T00:00:00Z"),
        ("America/St_Johns", "2026-03-01T00:00:00Z"),
    ];
    for (zone, from) in odd {
        for unit in [CalendarUnit::Hour].into_iter().chain(units) {
            walk(unit, zone.parse().unwrap(), ms(from), ms(from) + 40 * 24 * HOUR_MS);
        }
    }
}

/// Each span holds its moments, begins where the last one ended, and is as long as the calendar says.
fn walk(unit: CalendarUnit, zone: Tz, from_ms: u64, until_ms: u64) {
    let day = 24 * HOUR_MS;
    let (shortest, longest) = match unit {
        CalendarUnit::Hour => (HOUR_MS / 2, HOUR_MS),
        CalendarUnit::Day => (day - 3 * HOUR_MS, day + 3 * HOUR_MS),
        CalendarUnit::Week => (7 * day - 3 * HOUR_MS, 7 * day + 3 * HOUR_MS),
        CalendarUnit::Month => (28 * day - 3 * HOUR_MS, 31 * day + 3 * HOUR_MS),
    };
    let mut at = from_ms;
    while at < until_ms {
        let span = unit.span(zone, at);
        assert!(span.from_ms <= at && at < span.to_ms, "{unit:?} {zone} {at} {span:?}");
        let length = span.to_ms - span.from_ms;
        // Samoa left a day out.
        let is_apia = zone == Tz::Pacific__Apia;
        assert!(is_apia || (shortest..=longest).contains(&length), "{unit:?} {zone} {at} {length}");
        for within in [span.from_ms, span.from_ms.midpoint(span.to_ms), span.to_ms - 1] {
            assert_eq!(unit.span(zone, within), span, "{unit:?} {zone} {within}");
        }
        assert_eq!(unit.span(zone, span.to_ms).from_ms, span.to_ms, "{unit:?} {zone} {at}");
        at = span.to_ms;
    }
}
