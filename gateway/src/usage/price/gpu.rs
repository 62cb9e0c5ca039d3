//! What the own engine's time costs: an hour of its machine by the microseconds that each call took of it. Pure.
//!
//! The hour's price is split once between computing and holding pages, because both go on at the same time: so all
//! calls together never cost more than the hour. A call's tokens cost at most what the configuration says for them,
//! which is what is held for it.

use std::sync::Arc;

use super::amount::{Ratio, Rounding};
use crate::usage::buckets::{Bucket, Buckets};

/// Microseconds of an hour.
const HOUR_US: i128 = 3_600_000_000;
/// The whole, in percent.
const WHOLE: i128 = 100;
/// Nano-dollars in a dollar.
const NANO: i128 = 1_000_000_000;
/// Tokens that the most is stated for.
const PER_TOKENS: i128 = 1_000_000;

/// What the version of rows begins with that are charged by time.
pub const VERSION_PREFIX: &str = "gpu@";

/// The price of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuRule {
    /// Nano-dollars of an hour.
    hour: Ratio,
    /// Percent of it that holding pages costs.
    kv_percent: i128,
    /// Nano-dollars that a token costs at most.
    most: Ratio,
    /// What is written on rows that are charged so.
    version: Arc<str>,
}

impl GpuRule {
    /// The rule of a configuration: dollars of an hour, percent of it for pages, dollars for a million tokens at most.
    /// None where a text is no decimal number above zero.
    pub fn new(usd_per_hour: &str, kv_percent: u8, usd_per_1m_max: &str) -> Option<Self> {
        let dollars = |text: &str| Ratio::decimal(text).filter(|dollars| dollars.num > 0);
        let most = dollars(usd_per_1m_max)?;
        Some(Self {
            hour: dollars(usd_per_hour)?.times(Ratio::new(NANO, 1)?)?,
            kv_percent: i128::from(kv_percent).min(WHOLE),
            most: Ratio::new(most.num.checked_mul(NANO)?, most.den.checked_mul(PER_TOKENS)?)?,
            version: format!("{VERSION_PREFIX}{usd_per_hour}/h").into(),
        })
    }

    /// What is written on rows that are charged so.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// What the time in these buckets costs, in nano-dollars, half to even; none where there is no time in them.
    pub fn cost(&self, used: &Buckets) -> Option<i64> {
        let [prefill, decode, kv] = GPU.map(|bucket| i128::from(used.get(bucket)));
        if prefill.checked_add(decode)? == 0 && kv == 0 {
            return None;
        }
        let computing = prefill.checked_add(decode)?.checked_mul(WHOLE.checked_sub(self.kv_percent)?)?;
        let parts = computing.checked_add(kv.checked_mul(self.kv_percent)?)?;
        let divisor = HOUR_US.checked_mul(WHOLE)?.checked_mul(self.hour.den)?;
        let nano = Rounding::HalfEven.divide(parts.checked_mul(self.hour.num)?, divisor)?;
        i64::try_from(nano).ok()
    }

    /// What so many tokens cost at most, in nano-dollars, rounded up: what is held for them.
    pub fn most(&self, input: u64, output: u64) -> Option<i64> {
        let tokens = i128::from(input).checked_add(output.into())?;
        i64::try_from(Rounding::Up.divide(tokens.checked_mul(self.most.num)?, self.most.den)?).ok()
    }

    /// What a call is charged for so many tokens and that time: never more than is held for them, and never nothing.
    /// Where its time isn't known it is charged the most; the second is true then.
    pub fn charge(&self, used: &Buckets, input: u64, output: u64) -> Option<(i64, bool)> {
        let most = self.most(input, output)?;
        Some(match self.cost(used) {
            Some(cost) => (cost.max(1).min(most), false),
            None => (most, true),
        })
    }
}

/// The buckets that are time of the own engine.
pub const GPU: [Bucket; 3] = [Bucket::GpuPrefillUs, Bucket::GpuDecodeUs, Bucket::GpuKvUs];

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)] // tests count small numbers

    use super::*;
    use proptest::prelude::*;

    fn used(prefill: u64, decode: u64, kv: u64) -> Buckets {
        let buckets = Buckets::text(9, 9).with(Bucket::GpuPrefillUs, prefill);
        buckets.with(Bucket::GpuDecodeUs, decode).with(Bucket::GpuKvUs, kv)
    }

    #[test]
    fn an_hour_costs_what_it_costs_to_the_nano_dollar() {
        let rule = GpuRule::new("2.49", 20, "50").unwrap();
        assert_eq!(rule.cost(&used(3_600_000_000, 0, 3_600_000_000)), Some(2_490_000_000));
        assert_eq!(rule.cost(&used(1_800_000_000, 1_800_000_000, 0)), Some(1_992_000_000));
        assert_eq!(rule.cost(&used(0, 0, 3_600_000_000)), Some(498_000_000));
        // 1,000,000 us of computing: 2.49 * 0.8 / 3600 dollars = 553,333.3 nano-dollars.
        assert_eq!(rule.cost(&used(400_000, 600_000, 0)), Some(553_333));
        assert_eq!(rule.cost(&Buckets::text(5, 5)), None);
        assert_eq!(&**rule.version(), "gpu@2.49/h");
    }

    #[test]
    fn a_charge_is_neither_above_the_hold_nor_nothing() {
        let rule = GpuRule::new("2.49", 20, "50").unwrap();
        assert_eq!(rule.most(1, 0), Some(50_000));
        assert_eq!(rule.charge(&used(400_000, 600_000, 0), 5, 5), Some((500_000, false)), "held at most");
        assert_eq!(rule.charge(&used(400_000, 600_000, 0), 500, 5), Some((553_333, false)));
        assert_eq!(rule.charge(&used(0, 0, 1), 5, 5), Some((1, false)), "0.1 nano-dollars are not nothing");
        assert_eq!(rule.charge(&Buckets::text(5, 5), 5, 5), Some((500_000, true)), "its time is not known");
        assert_eq!(GpuRule::new("0.0000001", 0, "0.0001").unwrap().most(1, 0), Some(1), "rounded up");
        for wrong in ["", "0", "-1", "2,49", "1e3", "free"] {
            assert_eq!(GpuRule::new(wrong, 20, "50"), None, "{wrong}");
            assert_eq!(GpuRule::new("1", 20, wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn all_calls_together_cost_no_more_than_the_time(
            times in prop::collection::vec((0_u64..1 << 40, 0_u64..1 << 40), 1..40),
            kv_percent in 0_u8..=100,
        ) {
            let rule = GpuRule::new("3.999999999999", kv_percent, "1000000").unwrap();
            // Pages are held for at most the time that is computed.
            let wall: u64 = times.iter().map(|(prefill, decode)| prefill + decode).sum();
            let each: i64 = times.iter().filter_map(|(p, d)| rule.cost(&used(*p, *d, p + d))).sum();
            let whole = rule.cost(&used(wall, 0, wall)).unwrap_or(0);
            // Each row is rounded once, by at most half a nano-dollar.
            prop_assert!((each - whole).unsigned_abs() <= times.len() as u64);
        }
    }
}
