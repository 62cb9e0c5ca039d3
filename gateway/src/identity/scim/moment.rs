//! Moments as SCIM writes them (XML Schema `dateTime`, RFC 7643, section 2.3.5).

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// `2026-01-31T12:00:00.000Z`, for Unix milliseconds from 1970 to 9999.
pub fn text(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    let (day, rest) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (year, month, date) = civil(day);
    let (second, milli) = (rest.div_euclid(1_000), rest.rem_euclid(1_000));
    let (minute, hour) = (second.div_euclid(60), second.div_euclid(3_600));
    let (second, minute) = (second.rem_euclid(60), minute.rem_euclid(60));
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Unix milliseconds; `None` where it is no moment. Without a zone it is UTC.
pub fn parse(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't'])?;
    let (time, offset) = zone(time)?;
    let [year, month, day] = numbers(date, '-')?;
    let (whole, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(whole, ':')?;
    let in_range = (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..=23).contains(&hour)
        && (0..=59).contains(&minute)
        && (0..=60).contains(&second);
    let is_digits = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    if !in_range || !is_digits {
        return None;
    }
    let milli: i64 = format!("{fraction}00").get(..3)?.parse().ok()?;
    let minutes = hour.checked_mul(60)?.checked_add(minute)?.checked_sub(offset)?;
    let seconds = minutes.checked_mul(60)?.checked_add(second)?;
    days(year, month, day).checked_mul(DAY_MS)?.checked_add(seconds.checked_mul(1_000)?)?.checked_add(milli)
}

/// The time without its zone, and the zone's minutes before UTC.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Some((time, 0)) };
    let (time, zone) = time.split_at_checked(at)?;
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hour, minute) = zone.get(1..)?.split_once(':')?;
    let (hour, minute) = (hour.parse::<i64>().ok()?, minute.parse::<i64>().ok()?);
    let fits = (0..=14).contains(&hour) && (0..=59).contains(&minute);
    Some((time, fits.then(|| hour.saturating_mul(60).saturating_add(minute).saturating_mul(sign))?))
}

fn numbers(text: &str, by: char) -> Option<[i64; 3]> {
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?;
    text.split(by).map(digits).collect::<Option<Vec<i64>>>()?.try_into().ok()
}

/// Days since 1970-01-01; the year begins in March, so that the leap day is its last.
#[allow(clippy::arithmetic_side_effects, reason = "years up to 9999 are small numbers")]
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

/// Year, month and day of a day since 1970-01-01.
#[allow(clippy::arithmetic_side_effects, reason = "milliseconds of 64 bits are at most 1.1e11 days")]
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year + era * 400 + carry, month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_comes_back_as_it_was() {
        let table = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (ms, written) in table {
            assert_eq!(text(ms), written);
            assert_eq!(parse(written), i64::try_from(ms).ok(), "{written}");
        }
        assert_eq!(parse("2000-02-29T01:30:00+01:30"), Some(951_782_400_000));
        assert_eq!(parse("2000-02-28T22:00:00.5-02:00"), Some(951_782_400_500));
        for none in ["", "2000-02-29", "2000-13-01T00:00:00Z", "2000-01-01T24:00:00Z", "é", "2000-01-01T00:00:00+é"] {
            assert_eq!(parse(none), None, "{none}");
        }
    }
}
