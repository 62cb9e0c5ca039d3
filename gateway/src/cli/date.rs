//! Dates for people: Unix milliseconds as `2026-01-31 12:00:00Z`.

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// The date and time in UTC; the largest year is 9999.
#[allow(clippy::arithmetic_side_effects)] // small numbers: the day is capped below
pub fn utc(at_ms: u64) -> String {
    let at_ms = at_ms.min(253_402_300_799_999);
    let (days, second) = (at_ms / DAY_MS, at_ms % DAY_MS / 1000);
    // Days since 0000-03-01, in eras of 400 years; the year begins in March, so that the leap day is its last.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + carry;
    format!("{year:04}-{month:02}-{of_month:02} {:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn known_moments_have_their_known_dates() {
        let table = [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_399_000, "2000-02-28 23:59:59Z"),
            (951_782_400_000, "2000-02-29 00:00:00Z"),
            (951_868_800_000, "2000-03-01 00:00:00Z"),
            (1_735_689_599_999, "2024-12-31 23:59:59Z"),
            (4_107_542_400_000, "2100-03-01 00:00:00Z"),
            (u64::MAX, "9999-12-31 23:59:59Z"),
        ];
        for (at_ms, date) in table {
            assert_eq!(utc(at_ms), date);
        }
    }
}
