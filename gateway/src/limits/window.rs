//! In which time a limit counts: a rate that drains, a calendar's unit in a time zone, a rolling length. Pure.

use chrono::{DateTime, Datelike, Days, LocalResult, Months, NaiveDate, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;

/// Steps of a rolling window's length: what leaves it, leaves by steps of its length divided by this.
pub const ROLLING_STEPS: u64 = 60;

/// In which time a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Window {
    /// So much in any so many milliseconds, draining evenly (generic cell rate algorithm); all of it is the largest
    /// burst.
    Rate {
        /// Milliseconds; at least 1.
        ms: u64,
    },
    /// From one boundary of the calendar to the next, where the clocks show that zone's time.
    Calendar {
        /// Hour, day, week or month.
        unit: CalendarUnit,
        /// The zone.
        zone: Tz,
    },
    /// The last so many milliseconds, in steps of a sixtieth: what was used counts up to a step longer, never shorter.
    Rolling {
        /// Milliseconds; at least [`ROLLING_STEPS`].
        ms: u64,
    },
    /// For ever: what is used up does not come back.
    Total,
    /// At this moment: calls that run.
    Now,
}

/// Units of a calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CalendarUnit {
    /// An hour.
    Hour,
    /// A day; 23 to 25 hours where clocks are changed.
    Day,
    /// Monday to Sunday.
    Week,
    /// A month.
    Month,
}

/// A span of Unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Milliseconds, inclusive.
    pub from_ms: u64,
    /// Milliseconds, exclusive.
    pub to_ms: u64,
}

const HOUR_MS: u64 = 3_600_000;

impl Window {
    /// Whether holds are kept on it: what is used up in it stays used up until it ends.
    pub fn is_budget(&self) -> bool {
        match self {
            Window::Calendar { .. } | Window::Rolling { .. } | Window::Total => true,
            Window::Rate { .. } | Window::Now => false,
        }
    }

    /// Name within a counter's name; two windows of the same name are the same.
    pub fn name(&self) -> String {
        match self {
            Window::Rate { ms } => format!("rate-{ms}"),
            Window::Calendar { unit, zone } => format!("{}@{zone}", unit.name()),
            Window::Rolling { ms } => format!("rolling-{ms}"),
            Window::Total => "total".to_owned(),
            Window::Now => "now".to_owned(),
        }
    }

    /// Words for a message, after an amount: `per minute`, `per calendar month (Europe/Berlin)`.
    pub fn words(&self) -> String {
        match self {
            Window::Rate { ms } => format!("per {}", length(*ms)),
            Window::Calendar { unit, zone } => format!("per calendar {} ({zone})", unit.name()),
            Window::Rolling { ms } => format!("in any {}", length(*ms)),
            Window::Total => "in all".to_owned(),
            Window::Now => String::new(),
        }
    }
}

/// A length of time in its largest whole unit.
fn length(ms: u64) -> String {
    let units = [("day", 24 * HOUR_MS), ("hour", HOUR_MS), ("minute", 60_000), ("second", 1_000), ("ms", 1)];
    let fits = units.into_iter().find(|(_, unit)| ms >= *unit && ms.is_multiple_of(*unit));
    match fits {
        Some((name, unit)) if unit == ms => name.to_owned(),
        Some((name @ "ms", _)) => format!("{ms} {name}"),
        Some((name, unit)) => format!("{} {name}s", ms.checked_div(unit).unwrap_or(ms)),
        None => format!("{ms} ms"),
    }
}

impl CalendarUnit {
    /// Name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            CalendarUnit::Hour => "hour",
            CalendarUnit::Day => "day",
            CalendarUnit::Week => "week",
            CalendarUnit::Month => "month",
        }
    }

    /// The unit's span that this moment lies in.
    pub fn span(self, zone: Tz, at_ms: u64) -> Span {
        let everything = Span { from_ms: 0, to_ms: u64::MAX };
        let Some(at) = i64::try_from(at_ms).ok().and_then(DateTime::<Utc>::from_timestamp_millis) else {
            return everything;
        };
        let date = at.with_timezone(&zone).date_naive();
        let (first, next) = match self {
            CalendarUnit::Hour => return hour(zone, at_ms),
            CalendarUnit::Day => (Some(date), date.checked_add_days(Days::new(1))),
            CalendarUnit::Week => {
                let first = date.checked_sub_days(Days::new(date.weekday().num_days_from_monday().into()));
                (first, first.and_then(|first| first.checked_add_days(Days::new(7))))
            }
            CalendarUnit::Month => {
                let first = date.with_day(1);
                (first, first.and_then(|first| first.checked_add_months(Months::new(1))))
            }
        };
        let span = first.zip(next).map(|(first, next)| Span { from_ms: begin(zone, first), to_ms: begin(zone, next) });
        span.unwrap_or(everything)
    }
}

/// The clock's hour, in zones whose offset is no whole hour too. Where clocks are changed by a part of an hour, it is
/// cut off at the change, so that each moment lies in one.
fn hour(zone: Tz, at_ms: u64) -> Span {
    let of_hour = of_hour_ms(zone, at_ms);
    let into = at_ms.saturating_add(of_hour) % HOUR_MS;
    let (from_ms, to_ms) = (at_ms.saturating_sub(into), at_ms.saturating_sub(into).saturating_add(HOUR_MS));
    let changed = |ms: u64| of_hour_ms(zone, ms) != of_hour;
    let last_ms = to_ms.saturating_sub(1);
    Span {
        from_ms: if changed(from_ms) { boundary(from_ms, at_ms, |ms| !changed(ms)) } else { from_ms },
        to_ms: if changed(last_ms) { boundary(at_ms, last_ms, changed) } else { to_ms },
    }
}

/// What a zone's offset from UTC has beyond whole hours, at a moment. Milliseconds.
fn of_hour_ms(zone: Tz, at_ms: u64) -> u64 {
    use chrono::Offset;
    let at = i64::try_from(at_ms).ok().and_then(DateTime::<Utc>::from_timestamp_millis).unwrap_or_default();
    let offset_s = at.with_timezone(&zone).offset().fix().local_minus_utc();
    u64::try_from(i64::from(offset_s).rem_euclid(3_600)).unwrap_or(0).saturating_mul(1_000)
}

/// The first moment of a span for which something holds that holds at its last, and not at its first.
fn boundary(first_ms: u64, last_ms: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut without, mut with) = (first_ms, last_ms);
    while with.saturating_sub(without) > 1 {
        let middle = without.midpoint(with);
        if holds(middle) { with = middle } else { without = middle }
    }
    with
}

/// The first moment of a day. Where midnight is skipped, the moment of the change; where it comes twice, the first.
fn begin(zone: Tz, day: NaiveDate) -> u64 {
    let midnight = day.and_time(NaiveTime::MIN);
    let ms = match zone.from_local_datetime(&midnight) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.timestamp_millis(),
        LocalResult::None => {
            // The offset before the gap turns the skipped midnight into the moment of the change itself.
            let before = midnight.checked_sub_signed(chrono::TimeDelta::hours(3)).unwrap_or(midnight);
            let offset = zone.offset_from_local_datetime(&before).earliest();
            let utc = offset.map(|offset| {
                use chrono::Offset;
                midnight.checked_sub_offset(offset.fix()).unwrap_or(midnight)
            });
            utc.unwrap_or(midnight).and_utc().timestamp_millis()
        }
    };
    u64::try_from(ms).unwrap_or(0)
}

#[cfg(test)]
mod tests;
