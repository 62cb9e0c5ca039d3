//! Amounts of money as exact fractions. Pure whole numbers: no price of a list is ever rounded.

/// Nano-dollars in a dollar.
const NANO: i128 = 1_000_000_000;
/// Digits behind the point of an amount: pico-dollars.
const DECIMALS: usize = 12;
/// Digits before the point of an amount.
const WHOLE_DIGITS: usize = 9;

/// Digits of a number: a binary number's text has at most 17.
const DIGITS_MAX: usize = 20;

/// A fraction above or equal to zero, in lowest terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio {
    /// Numerator.
    pub num: i128,
    /// Denominator, above zero.
    pub den: i128,
}

/// What a price is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// So many of them: `per 1`, `per 1K`, `per 1M`.
    Count,
    /// Time, counted in milliseconds: `per second`, `per minute`, `per hour`.
    Time,
}

impl Ratio {
    /// One.
    pub const ONE: Ratio = Ratio { num: 1, den: 1 };

    /// The fraction in lowest terms; none where the denominator isn't above zero.
    pub fn new(num: i128, den: i128) -> Option<Self> {
        if den <= 0 || num < 0 {
            return None;
        }
        let common = gcd(num, den);
        Some(Self { num: num.checked_div(common)?, den: den.checked_div(common)? })
    }

    /// Reads a price, such as `0.15 per 1M` or `0.034 per minute`, as nano-dollars for one unit.
    pub fn price(text: &str, measure: Measure) -> Option<Self> {
        let (amount, unit) = text.split_once(" per ")?;
        let units = match (measure, unit) {
            (Measure::Count, "1") => 1,
            (Measure::Count, "1K") | (Measure::Time, "second") => 1_000,
            (Measure::Count, "1M") => 1_000_000,
            (Measure::Time, "minute") => 60_000,
            (Measure::Time, "hour") => 3_600_000,
            (Measure::Count | Measure::Time, _) => return None,
        };
        let Self { num, den } = Self::decimal(amount)?;
        Self::new(num.checked_mul(NANO)?, den.checked_mul(units)?)
    }

    /// Reads a decimal number such as `1.0834`, exactly.
    pub fn decimal(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str, max: usize| {
            !digits.is_empty() && digits.len() <= max && digits.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !is_number(whole, WHOLE_DIGITS) || !is_number(fraction, DECIMALS) {
            return None;
        }
        let digits = u32::try_from(fraction.len()).ok()?;
        Self::new(format!("{whole}{fraction}").parse().ok()?, 10_i128.checked_pow(digits)?)
    }

    /// Reads a number as JSON has it, such as `1.5e-07`, exactly.
    pub fn number(text: &str) -> Option<Self> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let digits = whole.len().checked_add(fraction.len())?;
        if whole.is_empty() || digits > DIGITS_MAX || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let exponent = exponent.parse::<i32>().ok()?.checked_sub(fraction.len().try_into().ok()?)?;
        let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        if exponent < 0 { Self::new(digits, power) } else { Self::new(digits.checked_mul(power)?, 1) }
    }

    /// Nano-dollars as dollars.
    pub fn dollars(self) -> Option<Self> {
        Self::new(self.num, self.den.checked_mul(NANO)?)
    }

    /// The decimal number that it is, as a price file takes it; none where it is none, or has too many digits.
    pub fn written(self) -> Option<String> {
        let scale = 10_i128.checked_pow(u32::try_from(DECIMALS).ok()?)?;
        let scaled = self.num.checked_mul(scale)?;
        if scaled.checked_rem(self.den)? != 0 {
            return None;
        }
        let digits = scaled.checked_div(self.den)?;
        let (whole, fraction) = (digits.checked_div(scale)?, digits.checked_rem(scale)?);
        let text = format!("{whole}.{fraction:0DECIMALS$}");
        let text = text.trim_end_matches('0').trim_end_matches('.').to_owned();
        Self::decimal(&text).map(|_| text)
    }

    /// Both multiplied.
    pub fn times(self, other: Ratio) -> Option<Self> {
        Self::new(self.num.checked_mul(other.num)?, self.den.checked_mul(other.den)?)
    }
}

/// The greatest number that divides both; at least one.
fn gcd(mut a: i128, mut b: i128) -> i128 {
    while b != 0 {
        (a, b) = (b, a.checked_rem(b).unwrap_or(0));
    }
    a.max(1)
}

/// The smallest number that both divide.
pub fn common_multiple(a: i128, b: i128) -> Option<i128> {
    a.checked_div(gcd(a, b))?.checked_mul(b)
}

/// How a division ends in a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// To the nearest; of two equally near ones to the even.
    HalfEven,
    /// To the next above.
    Up,
}

impl Rounding {
    /// The quotient, rounded; none for a divisor of zero.
    pub fn divide(self, value: i128, divisor: i128) -> Option<i128> {
        let whole = value.checked_div_euclid(divisor)?;
        let rest = value.checked_rem_euclid(divisor)?;
        let is_up = match self {
            Rounding::Up => rest > 0,
            Rounding::HalfEven => match rest.checked_mul(2)?.cmp(&divisor) {
                std::cmp::Ordering::Less => false,
                std::cmp::Ordering::Equal => whole.checked_rem_euclid(2)? == 1,
                std::cmp::Ordering::Greater => true,
            },
        };
        if is_up { whole.checked_add(1) } else { Some(whole) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_read_to_the_last_digit() {
        let of = |text, measure| Ratio::price(text, measure).map(|ratio| (ratio.num, ratio.den));
        assert_eq!(of("0.15 per 1M", Measure::Count), Some((150, 1)));
        assert_eq!(of("0.0005 per 1M", Measure::Count), Some((1, 2)));
        assert_eq!(of("0.034 per minute", Measure::Time), Some((1700, 3)), "no decimal number");
        assert_eq!(of("1.08 per hour", Measure::Time), Some((300, 1)));
        assert_eq!(of("0.034 per minute", Measure::Count), None);
        assert_eq!(of("0.034 per 1K", Measure::Time), None);
        for (text, ratio) in [
            ("1.5e-07", Some((3, 20_000_000))),
            ("2.5E+1", Some((25, 1))),
            ("0.25", Some((1, 4))),
            ("12", Some((12, 1))),
            ("-1", None),
            ("1e-99", None),
            ("1e", None),
            (".5", None),
        ] {
            assert_eq!(Ratio::number(text).map(|ratio| (ratio.num, ratio.den)), ratio, "{text}");
        }
        let written = |num, den| Ratio::new(num, den).and_then(Ratio::written);
        assert_eq!(written(3, 20), Some("0.15".to_owned()));
        assert_eq!(written(30, 1), Some("30".to_owned()));
        assert_eq!(written(0, 1), Some("0".to_owned()));
        assert_eq!((written(1, 3), written(1_000_000_000, 1)), (None, None));
    }

    #[test]
    fn rounding_is_to_the_even_neighbour_or_up() {
        for (value, even, up) in [(0, 0, 0), (1, 0, 1), (2, 0, 1), (3, 1, 1), (6, 2, 2), (10, 2, 3)] {
            assert_eq!(Rounding::HalfEven.divide(value, 4), Some(even), "{value}");
            assert_eq!(Rounding::Up.divide(value, 4), Some(up), "{value}");
        }
        assert_eq!(Rounding::Up.divide(1, 0), None);
        assert_eq!(common_multiple(6, 4), Some(12));
    }
}
