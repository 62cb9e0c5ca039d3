//! Decimal numbers as exports write them, read exactly: no float is on the way. Pure.

/// Digits behind the point of a nano-dollar.
const NANO_DIGITS: i32 = 9;
/// Half a cent: a bill is not rounded more coarsely, whatever zeros its text leaves out.
const ROUNDING_MAX: i128 = 5_000_000;
/// Most digits of a number, and largest exponent: beyond them nobody bills.
const DIGITS_MAX: usize = 36;

/// A number, in billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nano {
    /// Billionths, rounded half to even.
    pub nano: i128,
    /// Billionths that it may be off by, if it was rounded to the digits that it has.
    pub rounding: i128,
}

/// Reads `-12.345`, `1,234.5`, `6e-05`; `shift` moves the point to the right (2 for cents given as dollars: -2).
pub fn nano(text: &str, shift: i32) -> Option<Nano> {
    let text: String = text.trim().chars().filter(|c| *c != ',').collect();
    let (minus, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = [whole, fraction].concat();
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let behind = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?.checked_sub(shift)?;
    let value: i128 = digits.parse().ok()?;
    let value = if minus { value.checked_neg()? } else { value };
    let scale = NANO_DIGITS.checked_sub(behind)?;
    let nano = match u32::try_from(scale) {
        Ok(up) => value.checked_mul(10_i128.checked_pow(up)?)?,
        Err(_) => half_even(value, 10_i128.checked_pow(scale.unsigned_abs())?)?,
    };
    // Half of the last digit.
    let unit = u32::try_from(scale).ok().and_then(|up| 10_i128.checked_pow(up)).unwrap_or(1);
    Some(Nano { nano, rounding: unit.checked_div(2)?.clamp(1, ROUNDING_MAX) })
}

fn half_even(value: i128, by: i128) -> Option<i128> {
    let (down, rest) = (value.checked_div_euclid(by)?, value.checked_rem_euclid(by)?);
    let twice = rest.checked_mul(2)?;
    let up = twice > by || (twice == by && down.checked_rem(2)? != 0);
    down.checked_add(i128::from(up))
}

/// Reads a count that may be written as a decimal: `1234`, `1,234`, `1.5` of `thousand`.
pub fn count(text: &str, times: u64) -> Option<u64> {
    let billionths = nano(text, 0)?.nano.checked_mul(i128::from(times))?;
    u64::try_from(half_even(billionths, 1_000_000_000)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_to_the_digit() {
        let table = [
            ("0.06", 0, 60_000_000, 5_000_000),
            ("-12.345", 0, -12_345_000_000, 500_000),
            ("1,234.5", 0, 1_234_500_000_000, 5_000_000),
            ("6e-05", 0, 60_000, 5_000),
            ("1.5E3", 0, 1_500_000_000_000, 5_000_000),
            ("123.78912", -2, 1_237_891_200, 50),
            ("0.0000000005", 0, 0, 1),
            ("0.0000000015", 0, 2, 1),
            ("0.00000000051", 0, 1, 1),
            ("7", 0, 7_000_000_000, 5_000_000),
        ];
        for (text, shift, nano, rounding) in table {
            assert_eq!(super::nano(text, shift), Some(Nano { nano, rounding }), "{text}");
        }
        for wrong in ["", "-", ".", "1.2.3", "x", "1e", "1e999999999999", "0x1", "NaN", "9".repeat(40).as_str()] {
            assert_eq!(super::nano(wrong, 0), None, "{wrong}");
        }
        assert_eq!(count("1.5", 1_000), Some(1_500));
        assert_eq!(count("-1", 1), None);
    }
}
