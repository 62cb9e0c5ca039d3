#![allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;

fn bucket(quota: u64) -> Bucket {
    Bucket::new(NonZeroU64::new(quota).unwrap(), 0)
}

#[test]
fn a_minutes_quota_is_the_burst_and_comes_back_in_a_minute() {
    let mut bucket = bucket(600);
    assert_eq!(bucket.take(600, 0), Ok(Left { tokens: 0, full_in_ns: MINUTE }));
    assert_eq!(bucket.take(1, 0), Err(Refused::Later { wait_ns: SECOND / 10 }));
    assert_eq!(bucket.take(300, 0), Err(Refused::Later { wait_ns: 30 * SECOND }));
    assert_eq!(bucket.left(30 * SECOND), Left { tokens: 300, full_in_ns: 30 * SECOND });
    assert!(bucket.take(300, 30 * SECOND).is_ok());
}

#[test]
fn any_length_is_as_exact_as_a_minute() {
    for (ms, quota) in [(1_000, 3), (3_600_000, 7), (86_400_000, 1), (31 * 86_400_000, u64::MAX), (1, u64::MAX)] {
        let mut bucket = Bucket::over(NonZeroU64::new(quota).unwrap(), ms, 0);
        assert_eq!(bucket.take(quota, 0), Ok(Left { tokens: 0, full_in_ns: ms * 1_000_000 }));
        let Err(Refused::Later { wait_ns }) = bucket.take(1, 0) else { panic!("{ms}") };
        assert_eq!(wait_ns, (ms * 1_000_000).div_ceil(quota));
        assert!(bucket.take(1, wait_ns - 1).is_err() && bucket.take(1, wait_ns).is_ok(), "{ms} {quota}");
    }
}

#[test]
fn more_than_the_quota_never_fits() {
    let mut bucket = bucket(600);
    assert_eq!(bucket.take(601, 0), Err(Refused::TooLarge));
    assert_eq!(bucket.left(0).tokens, 600);
    assert!(bucket.take(600, 0).is_ok());
}

#[test]
fn a_settled_hold_gives_the_rest_back() {
    let mut bucket = bucket(600);
    bucket.take(600, 0).unwrap();
    bucket.settle(600, 100, 0);
    assert_eq!(bucket.left(0).tokens, 500);
    let mut untouched = super::tests::bucket(600);
    untouched.take(10, 0).unwrap();
    untouched.settle(10, 0, 0);
    assert!(untouched.is_idle(0));
}

#[test]
fn using_more_than_held_is_a_bounded_debt() {
    let mut bucket = bucket(600);
    bucket.take(600, 0).unwrap();
    bucket.settle(600, 900, 0);
    assert_eq!(bucket.take(1, 0), Err(Refused::Later { wait_ns: 30 * SECOND + SECOND / 10 }));
    bucket.take(1, 0).unwrap_err();
    bucket.settle(0, u64::MAX, 0);
    assert_eq!(bucket.left(0), Left { tokens: 0, full_in_ns: 2 * MINUTE });
}

#[test]
fn a_hold_given_back_late_does_not_pay_for_idle_time() {
    let mut bucket = bucket(600);
    bucket.take(600, 0).unwrap();
    // Half the hold has drained and another call takes that room; then the first one turns out to have used nothing.
    bucket.take(300, 30 * SECOND).unwrap();
    bucket.settle(600, 0, 30 * SECOND);
    // Without the first call 300 would be left: not 600.
    assert_eq!(bucket.left(30 * SECOND).tokens, 300);
}

#[test]
fn nothing_drifts_with_a_quota_that_does_not_divide_a_minute() {
    let mut bucket = bucket(7);
    let mut now = 0;
    for _ in 0..7_000 {
        if let Err(Refused::Later { wait_ns }) = bucket.take(1, now) {
            now += wait_ns;
            bucket.take(1, now).unwrap();
        }
        bucket.settle(1, 1, now);
    }
    // 7,000 tokens at 7 per minute, less the first burst; each wait rounds up by less than one nanosecond.
    assert!((999 * MINUTE..999 * MINUTE + 7_000).contains(&now), "{now}");
}

#[test]
fn a_clock_that_stands_or_goes_back_gives_nothing_away() {
    let mut bucket = bucket(60);
    bucket.take(60, MINUTE).unwrap();
    assert!(bucket.take(1, 0).is_err());
    assert_eq!(bucket.left(0).tokens, 0);
    assert_eq!(bucket.left(MINUTE + SECOND).tokens, 1);
}

#[test]
fn the_largest_numbers_saturate() {
    let mut bucket = bucket(u64::MAX);
    bucket.take(u64::MAX, 0).unwrap();
    bucket.settle(u64::MAX, u64::MAX, 0);
    bucket.settle(0, u64::MAX, 0);
    bucket.settle(0, u64::MAX, 0);
    assert_eq!(bucket.left(0), Left { tokens: 0, full_in_ns: 2 * MINUTE });
    bucket.change(NonZeroU64::MIN, 0);
    assert_eq!(bucket.left(0).full_in_ns, 2 * MINUTE);
    assert!(bucket.is_idle(u64::MAX));
}

#[test]
fn a_changed_quota_keeps_what_was_used() {
    let mut bucket = bucket(600);
    bucket.take(500, 0).unwrap();
    bucket.change(NonZeroU64::new(1_000).unwrap(), 0);
    assert_eq!(bucket.left(0).tokens, 500);
    bucket.change(NonZeroU64::new(100).unwrap(), 0);
    assert_eq!(bucket.left(0), Left { tokens: 0, full_in_ns: 2 * MINUTE });
}

/// The bucket as it ought to be, with hindsight: every call charged what it used (what it held, while it runs) at the
/// moment it began. Slow, exact, and without any of the bucket's own arithmetic.
#[derive(Default)]
struct Hindsight {
    calls: Vec<(u64, u64)>,
}

impl Hindsight {
    fn level(&self, quota: u64, now: u64) -> u128 {
        let (mut level, mut at) = (0_u128, 0);
        for &(begun, tokens) in &self.calls {
            level = level.saturating_sub(u128::from(begun - at) * u128::from(quota));
            level += u128::from(tokens) * u128::from(MINUTE);
            at = begun;
        }
        level.saturating_sub(u128::from(now - at) * u128::from(quota))
    }
}

#[derive(Debug, Clone)]
enum Step {
    Take(u64),
    Settle { which: usize, percent: u64 },
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..120_u64).prop_map(Step::Take),
        (0..8_usize, 0..=100_u64).prop_map(|(which, percent)| Step::Settle { which, percent }),
        (0..40 * SECOND).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is held, settled and given back in whatever order: never more than the quota, and each wait is true.
    #[test]
    fn never_over_the_quota_and_every_wait_is_true(quota in 1..100_u64, steps in steps()) {
        let mut bucket = bucket(quota);
        let mut hindsight = Hindsight::default();
        let mut running: Vec<(usize, u64)> = Vec::new();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Wait(ns) => now += ns,
                Step::Take(tokens) => match bucket.take(tokens, now) {
                    Ok(_) => {
                        running.push((hindsight.calls.len(), tokens));
                        hindsight.calls.push((now, tokens));
                    }
                    Err(Refused::TooLarge) => prop_assert!(tokens > quota),
                    Err(Refused::Later { wait_ns }) => {
                        prop_assert!(wait_ns > 0);
                        prop_assert!(bucket.clone().take(tokens, now + wait_ns).is_ok());
                        prop_assert!(bucket.clone().take(tokens, now + wait_ns - 1).is_err());
                    }
                },
                Step::Settle { which, percent } if !running.is_empty() => {
                    let (call, held) = running.swap_remove(which % running.len());
                    let used = held * percent / 100;
                    hindsight.calls[call].1 = used;
                    bucket.settle(held, used, now);
                }
                Step::Settle { .. } => {}
            }
            bucket.drain(now);
            prop_assert!(bucket.level >= hindsight.level(quota, now), "more was let through than the quota");
            prop_assert!(bucket.level <= bucket.capacity());
        }
        for (_, held) in running {
            bucket.settle(held, 0, now);
        }
        prop_assert_eq!(bucket.held, 0);
        prop_assert!(bucket.is_idle(now + MINUTE));
    }

    /// Calls that settle at once behave like calls that never held more than they used.
    #[test]
    fn an_immediate_settlement_is_exact(quota in 1..1_000_u64, calls in proptest::collection::vec(
        (0..1_000_u64, 0..=100_u64, 0..20 * SECOND), 1..40
    )) {
        let (mut settling, mut plain) = (bucket(quota), bucket(quota));
        let mut now = 0;
        for (held, percent, wait) in calls {
            now += wait;
            let used = held * percent / 100;
            if settling.take(held, now).is_ok() {
                settling.settle(held, used, now);
                plain.take(used, now).unwrap();
                plain.settle(used, used, now);
            }
            prop_assert_eq!(settling.left(now), plain.left(now));
            prop_assert_eq!(&settling, &plain);
        }
    }
}
