//! What an upstream's status means: whose fault it is decides about retries and cool-downs. Pure.

use std::time::Duration;

use pingora::http::ResponseHeader;

/// The meaning of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A reply.
    Success,
    /// The caller's request is at fault: passed on as it is, nobody is punished, nothing is repeated.
    CallerFault,
    /// Weir's own credential, credit or model name is at fault there.
    Account,
    /// Too busy or broken, with the upstream's own hint when to come back.
    Capacity(Option<Duration>),
}

/// Classifies a reply's head.
pub fn classify(status: u16, head: Option<&ResponseHeader>) -> Class {
    match status {
        200..=299 => Class::Success,
        401..=404 => Class::Account,
        408 | 429 | 500..=599 => Class::Capacity(head.and_then(retry_after)),
        400..=499 => Class::CallerFault,
        // A redirect is never followed: the address comes from the configuration alone.
        _ => Class::Capacity(None),
    }
}

/// `retry-after-ms`, or `retry-after` in seconds or as a date counted from the reply's own `date`.
fn retry_after(head: &ResponseHeader) -> Option<Duration> {
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(ms) = text("retry-after-ms").and_then(|value| value.trim().parse::<u64>().ok()) {
        return Some(Duration::from_millis(ms));
    }
    let value = text("retry-after")?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let (until, sent) = (http_date(value)?, text("date").and_then(http_date)?);
    Some(Duration::from_secs(until.saturating_sub(sent)))
}

/// Seconds since the epoch of an IMF-fixdate (RFC 9110, section 5.6.7), such as `Wed, 25 Nov 2026 12:00:30 GMT`.
fn http_date(text: &str) -> Option<u64> {
    let mut parts = text.split_ascii_whitespace().skip(1);
    let day: u64 = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = u64::try_from(months.iter().position(|month| *month == name)?).ok()?.checked_add(1)?;
    let year: u64 = parts.next()?.parse().ok()?;
    let mut clock = parts.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    // Days from the civil calendar (Hinnant 2013): the year starts in March, so the leap day comes last.
    let shifted = if month > 2 { year } else { year.checked_sub(1)? };
    let of_year = month.checked_add(9)?.checked_rem(12)?.checked_mul(153)?.checked_add(2)?.checked_div(5)?;
    let leaps = (shifted / 4).checked_sub(shifted / 100)?.checked_add(shifted / 400)?;
    let days = shifted.checked_mul(365)?.checked_add(leaps)?.checked_add(of_year)?.checked_add(day)?;
    let since_epoch = days.checked_sub(1)?.checked_sub(719_468)?;
    let of_day = hour.checked_mul(3600)?.checked_add(minute.checked_mul(60)?)?.checked_add(second)?;
    since_epoch.checked_mul(86_400)?.checked_add(of_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pairs: &[(&'static str, &'static str)]) -> ResponseHeader {
        let mut head = ResponseHeader::build(429, None).unwrap();
        for (name, value) in pairs {
            head.insert_header(*name, *value).unwrap();
        }
        head
    }

    #[test]
    fn fr_rl_05_hints_of_every_form_are_read() {
        let cases: [(&[(&str, &str)], Option<u64>); 5] = [
            (&[("retry-after", "30")], Some(30_000)),
            (&[("retry-after-ms", "1500"), ("retry-after", "9")], Some(1_500)),
            (
                &[("retry-after", "Wed, 25 Nov 2026 12:00:30 GMT"), ("date", "Wed, 25 Nov 2026 12:00:00 GMT")],
                Some(30_000),
            ),
            (&[("retry-after", "soon")], None),
            (&[], None),
        ];
        for (pairs, wanted) in cases {
            let wanted = Class::Capacity(wanted.map(Duration::from_millis));
            assert_eq!(classify(429, Some(&head(pairs))), wanted, "{pairs:?}");
        }
    }

    #[test]
    fn dates_are_counted_from_the_epoch() {
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thu, 29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199));
    }

    #[test]
    fn fr_route_04_the_callers_faults_cool_nobody() {
        for status in [400, 409, 413, 422, 499] {
            assert_eq!(classify(status, None), Class::CallerFault, "{status}");
        }
        for status in [401, 402, 403, 404] {
            assert_eq!(classify(status, None), Class::Account, "{status}");
        }
        for status in [301, 408, 429, 500, 503, 529] {
            assert_eq!(classify(status, None), Class::Capacity(None), "{status}");
        }
    }
}
