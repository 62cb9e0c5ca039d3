//! Moments as people write them: `2026-01-31`, `2026-01-31T12:00:00Z`, `36h` (ago).

use std::str::FromStr;

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Unix milliseconds.
    At(u64),
    /// Milliseconds before now.
    Ago(u64),
}

/// Not a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write a date such as `2026-01-31`, a time such as `2026-01-31T12:00:00Z`, or an age such as `36h` or `7d`")]
pub struct NoMoment;

impl When {
    /// Unix milliseconds.
    pub fn ms(self, now_ms: u64) -> u64 {
        match self {
            When::At(ms) => ms,
            When::Ago(ms) => now_ms.saturating_sub(ms),
        }
    }
}

impl FromStr for When {
    type Err = NoMoment;

    fn from_str(text: &str) -> Result<Self, NoMoment> {
        age(text).map(When::Ago).or_else(|| moment(text).map(When::At)).ok_or(NoMoment)
    }
}

fn age(text: &str) -> Option<u64> {
    let unit = match text.chars().last()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        'w' => 604_800_000,
        _ => return None,
    };
    let (number, _) = text.split_at_checked(text.len().checked_sub(1)?)?;
    number.parse::<u64>().ok()?.checked_mul(unit)
}

fn moment(text: &str) -> Option<u64> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let [year, month, day] = fields::<3>(date, '-')?;
    let [hour, minute, second] = fields::<3>(time, ':')?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days(year, month, day)?.checked_mul(86_400)?;
    let seconds = seconds.checked_add(hour.checked_mul(3_600)?)?.checked_add(minute.checked_mul(60)?)?;
    seconds.checked_add(second)?.checked_mul(1_000)
}

fn fields<const N: usize>(text: &str, by: char) -> Option<[u64; N]> {
    let parts: Vec<u64> = text.split(by).map(|part| part.parse().ok()).collect::<Option<_>>()?;
    parts.try_into().ok()
}

/// Days since 1970-01-01, of years 1970 to 9999.
#[allow(clippy::arithmetic_side_effects)] // small numbers: all three are checked first
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if !(1970..=9999).contains(&year) || day == 0 || day > length {
        return None;
    }
    // The year begins in March, so that the leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * month + 2) / 5 + day - 1;
    Some(year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_others_refused() {
        let table = [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400_000),
            ("2024-12-31T23:59:59Z", 1_735_689_599_000),
            ("2100-03-01 00:00:00Z", 4_107_542_400_000),
        ];
        for (text, ms) in table {
            assert_eq!(text.parse(), Ok(When::At(ms)), "{text}");
        }
        assert_eq!("36h".parse::<When>().unwrap().ms(200_000_000), 200_000_000 - 129_600_000);
        assert_eq!("7d".parse::<When>().unwrap().ms(5), 0);
        let none = [
            "",
            "d",
            "x7d",
            "2026-02-29",
            "2026-13-01",
            "2026-01-00",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00",
            "1969-01-01",
            "é",
        ];
        for text in none {
            assert_eq!(text.parse::<When>(), Err(NoMoment), "{text}");
        }
    }
}
