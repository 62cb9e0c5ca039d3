//! When an upstream that is too busy wants to be asked again, in whatever form it says so. Pure.
//!
//! `retry-after-ms` before `retry-after` (seconds, also with a fraction, or a date), before OpenAI's
//! `x-ratelimit-reset-*`. What is no hint is none: the caller's default holds then. Nothing is clamped here: those who
//! wait and those who pass it on have bounds of their own.

use std::time::Duration;

use http::HeaderMap;

/// Largest number of seconds that is read; a longer one is this long.
const SECONDS_MAX: u64 = 100 * 365 * 86_400;
/// Digits of a number that is read.
const DIGITS_MAX: usize = 18;
/// The two quotas that OpenAI tells about.
const QUOTAS: [&str; 2] = ["requests", "tokens"];

/// The hint of one that is at its rate limit. Its quotas count too, which stand on other replies as well and mean no
/// wait there.
pub fn rate_limited(headers: &HeaderMap, now_ms: u64) -> Option<Duration> {
    retry_after(headers, now_ms).or_else(|| reset(headers))
}

/// What it says of a wait. A date counts from the reply's `date`, or from `now_ms` where it has none.
pub fn retry_after(headers: &HeaderMap, now_ms: u64) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|value| decimal(value, 1)) {
        return Some(ms);
    }
    let value = text("retry-after")?;
    decimal(value, 1_000).or_else(|| {
        let sent = text("date").and_then(http_date).unwrap_or(now_ms / 1_000);
        http_date(value).map(|until| Duration::from_secs(until.saturating_sub(sent)))
    })
}

/// The reset of the quota that is used up; of both, where nobody says which, the later.
fn reset(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str, quota: &str| headers.get(format!("x-ratelimit-{name}-{quota}"))?.to_str().ok();
    let of = |quota: &&str| text("reset", quota).and_then(|value| openai(value.trim()));
    let used_up = QUOTAS.iter().filter(|quota| text("remaining", quota).is_some_and(|left| left.trim() == "0"));
    used_up.filter_map(of).max().or_else(|| QUOTAS.iter().filter_map(of).max())
}

/// A decimal number of units, each of so many milliseconds; rounded up to the millisecond.
fn decimal(text: &str, unit_ms: u64) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || fraction.len() > DIGITS_MAX {
        return None;
    }
    let most = SECONDS_MAX.saturating_mul(1_000);
    // A number too large to be read is a very long time.
    let whole: u64 = whole.parse().unwrap_or(u64::MAX);
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = u128::from(fraction.parse::<u64>().ok()?).checked_mul(u128::from(unit_ms))?.div_ceil(scale.into());
    let ms = whole.saturating_mul(unit_ms).saturating_add(u64::try_from(part).ok()?);
    Some(Duration::from_millis(ms.min(most)))
}

/// A length of time as OpenAI writes it: `120ms`, `8.64s`, `6m0s`, `2h0m5s`, `1d`.
fn openai(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, behind) = rest.split_at_checked(digits)?;
        let letters = behind.find(|letter: char| letter.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, next) = behind.split_at_checked(letters)?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        sum = sum.saturating_add(decimal(number, unit_ms)?);
        rest = next;
    }
    (!text.is_empty()).then_some(sum)
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
    use http::{HeaderName, HeaderValue};

    use super::*;

    /// 2026-11-25 12:00 UTC.
    const NOON_MS: u64 = 1_795_608_000_000;

    fn hint(pairs: &[(&str, &str)]) -> Option<Duration> {
        let pair =
            |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        rate_limited(&pairs.iter().map(pair).collect(), NOON_MS)
    }

    #[test]
    fn fr_rl_05_hints_of_every_form_are_read() {
        let date = "Wed, 25 Nov 2026 12:00:30 GMT";
        let cases: [(&[(&str, &str)], Option<u64>); 19] = [
            (&[("retry-after", "30")], Some(30_000)),
            (&[("retry-after", " 2.5 ")], Some(2_500)),
            (&[("retry-after-ms", "1500"), ("retry-after", "9")], Some(1_500)),
            (&[("retry-after-ms", "0.2")], Some(1)),
            (&[("retry-after", date), ("date", "Wed, 25 Nov 2026 12:00:10 GMT")], Some(20_000)),
            // Without its own date, ours counts.
            (&[("retry-after", date)], Some(30_000)),
            (&[("retry-after", "Wed, 25 Nov 2026 11:00:00 GMT")], Some(0)),
            (&[("x-ratelimit-reset-tokens", "6m0s")], Some(360_000)),
            (&[("x-ratelimit-reset-tokens", "6m0s"), ("x-ratelimit-reset-requests", "120ms")], Some(360_000)),
            (
                &[
                    ("x-ratelimit-reset-tokens", "6m0s"),
                    ("x-ratelimit-reset-requests", "8.64s"),
                    ("x-ratelimit-remaining-requests", "0"),
                    ("x-ratelimit-remaining-tokens", "900"),
                ],
                Some(8_640),
            ),
            (&[("x-ratelimit-reset-requests", "1d2h0m5s")], Some(93_605_000)),
            // A moment in the place of a length, and what is larger than any number: those who use it have bounds.
            (&[("retry-after", "1790000000")], Some(1_790_000_000_000)),
            (&[("retry-after", "99999999999999999999999")], Some(SECONDS_MAX * 1_000)),
            (&[("retry-after", "86400")], Some(86_400_000)),
            (&[("retry-after", "-5")], None),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "1."), ("x-ratelimit-reset-tokens", "5 minutes")], None),
            (&[("x-ratelimit-reset-tokens", "")], None),
            (&[], None),
        ];
        for (pairs, wanted) in cases {
            assert_eq!(hint(pairs), wanted.map(Duration::from_millis), "{pairs:?}");
        }
    }

    #[test]
    fn dates_are_counted_from_the_epoch() {
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thu, 29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199));
    }
}
