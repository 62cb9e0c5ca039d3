//! Samples and their quantiles.

use std::time::Duration;

use serde_json::{Value, json};

/// Durations of one kind, at most `SAMPLES_MAX`.
#[derive(Default)]
pub struct Samples {
    nanos: Vec<u64>,
}

/// 64 MB at most; a run of seconds has far fewer.
const SAMPLES_MAX: usize = 8_000_000;

impl Samples {
    /// Adds one; past the bound it is dropped.
    pub fn add(&mut self, sample: Duration) {
        if self.nanos.len() < SAMPLES_MAX {
            self.nanos.push(u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// Median and 99th percentile in microseconds; null without a sample.
    pub fn summary(&mut self) -> Value {
        self.nanos.sort_unstable();
        json!({"n": self.nanos.len(), "p50_us": self.quantile_us(50), "p99_us": self.quantile_us(99)})
    }

    fn quantile_us(&self, percent: usize) -> Option<f64> {
        let at = self.nanos.len().checked_sub(1)? * percent / 100;
        self.nanos.get(at).map(|nanos| *nanos as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_hundred_and_one() {
        let mut samples = Samples::default();
        (0..=100).rev().for_each(|us| samples.add(Duration::from_micros(us)));
        assert_eq!(samples.summary(), json!({"n": 101, "p50_us": 50.0, "p99_us": 99.0}));
        assert_eq!(Samples::default().summary()["p50_us"], Value::Null);
    }
}
