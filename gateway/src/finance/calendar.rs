//! Days, months and hours of a time zone, with their names. Pure.

use chrono::{DateTime, Datelike, Timelike, Utc};
use chrono_tz::Tz;

use crate::limits::window::{CalendarUnit, Span};

/// Most units that one report is divided into: a year of hours, or 27 years of days.
pub const UNITS_MAX: usize = 10_000;

/// A unit of the calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// `2026-11`, `2026-11-25`, `2026-11-25T13:00`.
    pub name: String,
    /// When it is, cut to what was asked for.
    pub span: Span,
}

/// A span that has more units than a report may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the span has more than {UNITS_MAX} of these: ask for a shorter one")]
pub struct TooMany;

/// The units that the span touches, oldest first, the first and the last cut at its ends.
///
/// # Errors
/// There are too many.
pub fn units(unit: CalendarUnit, zone: Tz, within: Span) -> Result<Vec<Named>, TooMany> {
    let mut all = Vec::new();
    let mut at_ms = within.from_ms;
    while at_ms < within.to_ms {
        if all.len() >= UNITS_MAX {
            return Err(TooMany);
        }
        let span = unit.span(zone, at_ms);
        let cut = Span { from_ms: at_ms, to_ms: span.to_ms.min(within.to_ms) };
        all.push(Named { name: name(unit, zone, at_ms), span: cut });
        at_ms = span.to_ms.max(at_ms.saturating_add(1));
    }
    Ok(all)
}

/// What the unit around a moment is called.
pub fn name(unit: CalendarUnit, zone: Tz, at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(DateTime::<Utc>::from_timestamp_millis).unwrap_or_default();
    let at = at.with_timezone(&zone);
    let (year, month, day) = (at.year(), at.month(), at.day());
    match unit {
        // An hour that clocks show twice has two names.
        CalendarUnit::Hour => format!("{year:04}-{month:02}-{day:02}T{:02}:00{}", at.hour(), at.format("%:z")),
        CalendarUnit::Day => format!("{year:04}-{month:02}-{day:02}"),
        CalendarUnit::Week => at.format("%G-W%V").to_string(),
        CalendarUnit::Month => format!("{year:04}-{month:02}"),
    }
}

/// The month that a text such as `2026-11` names.
pub fn month(zone: Tz, text: &str) -> Option<Span> {
    let (year, month) = text.split_once('-')?;
    if year.len() != 4 || month.len() != 2 {
        return None;
    }
    // Noon of the second day is in that month wherever on earth.
    let day = chrono::NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, 2)?;
    let noon = day.and_hms_opt(12, 0, 0)?.and_utc().timestamp_millis();
    let at_ms = u64::try_from(noon).ok()?;
    let span = CalendarUnit::Month.span(zone, at_ms);
    (name(CalendarUnit::Month, zone, at_ms) == text).then_some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> u64 {
        u64::try_from(DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()).unwrap()
    }

    #[test]
    fn a_span_is_cut_into_the_zones_days() {
        let zone: Tz = "Asia/Kolkata".parse().unwrap();
        let within = Span { from_ms: ms("2026-11-24T18:00:00Z"), to_ms: ms("2026-11-26T00:00:00Z") };
        let days = units(CalendarUnit::Day, zone, within).unwrap();
        let names: Vec<_> = days.iter().map(|day| day.name.as_str()).collect();
        assert_eq!(names, ["2026-11-24", "2026-11-25", "2026-11-26"]);
        assert_eq!(days.first().unwrap().span, Span { from_ms: within.from_ms, to_ms: ms("2026-11-24T18:30:00Z") });
        assert!(days.windows(2).all(|pair| matches!(pair, [a, b] if a.span.to_ms == b.span.from_ms)));
        assert_eq!(days.last().unwrap().span.to_ms, within.to_ms);
    }

    #[test]
    fn months_are_read_by_their_names_alone() {
        let zone: Tz = "America/New_York".parse().unwrap();
        let november = Span { from_ms: ms("2026-11-01T04:00:00Z"), to_ms: ms("2026-12-01T05:00:00Z") };
        assert_eq!(month(zone, "2026-11"), Some(november));
        for wrong in ["2026", "2026-13", "2026-1", "26-01", "2026-11-01", "", "abcd-ef"] {
            assert_eq!(month(zone, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn too_many_units_are_refused_not_computed() {
        let century = Span { from_ms: 0, to_ms: ms("2070-01-01T00:00:00Z") };
        assert_eq!(units(CalendarUnit::Hour, Tz::UTC, century), Err(TooMany));
        assert_eq!(units(CalendarUnit::Month, Tz::UTC, century).unwrap().len(), 1_200);
    }
}
