//! Money as people write it.

/// Nano-dollars as dollars, exact: `1.000004200`.
pub fn dollars(nano: i64) -> String {
    let sign = if nano < 0 { "-" } else { "" };
    let nano = nano.unsigned_abs();
    let whole = nano.checked_div(1_000_000_000).unwrap_or_default();
    let fraction = nano.checked_rem(1_000_000_000).unwrap_or_default();
    format!("{sign}{whole}.{fraction:09}")
}

#[cfg(test)]
mod tests {
    use super::dollars;

    #[test]
    fn dollars_are_exact() {
        let table = [
            (0, "0.000000000"),
            (1, "0.000000001"),
            (-4_200, "-0.000004200"),
            (1_234_567_890_123, "1234.567890123"),
            (i64::MIN, "-9223372036.854775808"),
        ];
        for (nano, text) in table {
            assert_eq!(dollars(nano), text);
        }
    }
}
