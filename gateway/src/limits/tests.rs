#![allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Barrier;
use std::sync::atomic::AtomicU32;
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::clock;
use crate::config::settings::{LimitRule, TenantRule};
use crate::identity::{KeyId, TenantPath};

const MINUTE: Duration = Duration::from_secs(60);

fn limit(requests: u32, tokens: u64, concurrency: u32) -> LimitRule {
    LimitRule {
        requests_per_minute: NonZeroU32::new(requests),
        tokens_per_minute: NonZeroU64::new(tokens),
        concurrency: NonZeroU32::new(concurrency),
    }
}

/// A level's rule; 0 means no limit.
fn tenant(path: &str, limits: LimitRule, key_limits: LimitRule) -> TenantRule {
    TenantRule {
        path: TenantPath::parse(path).unwrap(),
        models: Vec::new(),
        roles: Vec::new(),
        attributes: BTreeMap::new(),
        limits,
        key_limits,
        rules: Arc::default(),
        share: 1,
        priority: crate::routing::fair::Priority::Normal,
    }
}

fn rules(tenants: &[(&str, LimitRule, LimitRule)]) -> LimitRules {
    let tenants: Vec<_> = tenants.iter().map(|(path, limits, key_limits)| tenant(path, *limits, *key_limits)).collect();
    LimitRules::new(&tenants)
}

fn subject(tenant: &str, key: &str) -> Subject {
    Subject {
        tenant: TenantPath::parse(tenant).unwrap(),
        key: KeyId(key.into()),
        key_epoch: 1,
        credential: crate::identity::CredentialKind::ApiKey,
        vouchers: Arc::default(),
        roles: Arc::new([]),
        attributes: Arc::default(),
        user: None,
    }
}

/// Counters whose epoch is far ahead of the real clock, so that the time that a drop reads is always before the test's
/// own and drains nothing: only the moments that a test names count.
fn frozen() -> (Instant, Limits) {
    let epoch = clock::instant() + MINUTE * 1_000;
    (epoch, Limits::new(epoch))
}

const NONE: LimitRule = LimitRule { requests_per_minute: None, tokens_per_minute: None, concurrency: None };

#[test]
fn the_innermost_level_refuses_first_and_outer_ones_keep_their_quota() {
    let rules = rules(&[("acme", limit(100, 0, 0), NONE), ("acme/lab", NONE, limit(2, 0, 0))]);
    let (start, limits) = frozen();
    let wild = subject("acme/lab", "wild");
    for _ in 0..2 {
        drop(limits.throttle(&rules, &wild, start).unwrap());
    }
    for _ in 0..50 {
        let refused = limits.throttle(&rules, &wild, start).unwrap_err();
        assert_eq!((&*refused.level, refused.kind, refused.limit), ("key", LimitKind::Requests, 2));
        assert_eq!(refused.retry_after, Some(MINUTE / 2));
    }
    let calm = limits.throttle(&rules, &subject("acme/lab", "calm"), start).unwrap();
    assert_eq!(calm.requests().map(|standing| (&*standing.level, standing.remaining)), Some(("key", 1)));
    let outer = limits.throttle(&rules, &subject("acme", "other"), start).unwrap();
    assert_eq!(outer.requests().map(|standing| (&*standing.level, standing.remaining)), Some(("acme", 96)));
}

#[test]
fn a_key_has_the_tightest_of_its_paths_key_limits() {
    let rules = rules(&[("acme", NONE, limit(10, 500, 0)), ("acme/lab", NONE, limit(20, 100, 3))]);
    let plan = rules.plan(&subject("acme/lab", "k"));
    assert_eq!(plan.levels[0].rule, limit(10, 100, 3));
    let names: Vec<_> = plan.levels.iter().map(|level| &*level.name).collect();
    assert_eq!(names, ["key", "acme/lab", "acme"]);
}

#[test]
fn two_keys_share_their_tenants_limits_but_not_each_others() {
    let rules = rules(&[("acme", limit(0, 0, 3), limit(0, 0, 2))]);
    let (now, limits) = frozen();
    let (one, two) = (subject("acme", "one"), subject("acme", "two"));
    let first = limits.throttle(&rules, &one, now).unwrap();
    let _second = limits.throttle(&rules, &one, now).unwrap();
    assert_eq!(&*limits.throttle(&rules, &one, now).unwrap_err().level, "key");
    let _third = limits.throttle(&rules, &two, now).unwrap();
    let refused = limits.throttle(&rules, &two, now).unwrap_err();
    assert_eq!((&*refused.level, refused.kind, refused.retry_after), ("acme", LimitKind::Concurrency, None));
    drop(first);
    assert!(limits.throttle(&rules, &two, now).is_ok());
    assert!(limits.throttle(&rules, &subject("globex", "else"), now).is_ok());
}

#[test]
fn tokens_are_held_at_all_levels_or_at_none() {
    let rules = rules(&[("acme", limit(0, 100, 0), limit(0, 1_000, 0))]);
    let (now, limits) = frozen();
    let (one, two) = (subject("acme", "one"), subject("acme", "two"));
    let mut held = limits.reserve(&rules, &one, 80, now).unwrap();
    assert_eq!(held.standing().map(|standing| (&*standing.level, standing.remaining)), Some(("acme", 20)));
    let refused = limits.reserve(&rules, &two, 50, now).unwrap_err();
    assert_eq!((&*refused.level, refused.kind, refused.too_large), ("acme", LimitKind::Tokens, false));
    assert_eq!(refused.retry_after, Some(Duration::from_secs(18)));
    let too_large = limits.reserve(&rules, &two, 101, now).unwrap_err();
    assert_eq!((too_large.too_large, too_large.retry_after), (true, None));
    // Neither refusal took anything at the key's level.
    assert_eq!(
        limits.remaining(&LimitRules::new(&[tenant("acme", NONE, limit(0, 1_000, 0))]), &two, now).unwrap().remaining,
        1_000
    );
    held.mark_called();
    held.settle(30);
    assert!(limits.reserve(&rules, &two, 70, now).is_ok());
}

#[test]
fn a_reservation_refunds_before_the_call_and_counts_in_full_after_it() {
    let rules = rules(&[("acme", limit(0, 1_000, 0), NONE)]);
    let (now, limits) = frozen();
    let subject = subject("acme", "k");
    let remaining = || limits.remaining(&rules, &subject, now).unwrap().remaining;
    drop(limits.reserve(&rules, &subject, 400, now).unwrap());
    assert_eq!(remaining(), 1_000);
    let mut held = limits.reserve(&rules, &subject, 400, now).unwrap();
    assert_eq!(remaining(), 600);
    held.mark_called();
    drop(held);
    assert_eq!(remaining(), 600);
    limits.reserve(&rules, &subject, 400, now).unwrap().settle(100);
    assert_eq!(remaining(), 500);
    limits.reserve(&rules, &subject, 100, now).unwrap().settle(400);
    assert_eq!(remaining(), 100);
}

#[test]
fn a_reload_changes_limits_without_forgetting_what_was_used() {
    let (now, limits) = frozen();
    let subject = subject("acme", "k");
    let before = rules(&[("acme", limit(10, 100, 0), NONE)]);
    let slots: Vec<_> = (0..8).map(|_| limits.throttle(&before, &subject, now).unwrap()).collect();
    let held = limits.reserve(&before, &subject, 90, now).unwrap();

    let after = rules(&[("acme", limit(20, 200, 9), NONE)]);
    assert_eq!(limits.remaining(&after, &subject, now).unwrap().remaining, 110);
    let ninth = limits.throttle(&after, &subject, now).unwrap();
    assert_eq!(ninth.requests().unwrap().remaining, 11);
    // The limit on calls at the same time is new, and knows the eight calls that began before it.
    assert_eq!(limits.throttle(&after, &subject, now).unwrap_err().kind, LimitKind::Concurrency);
    drop((slots, ninth));
    assert!(limits.throttle(&after, &subject, now).is_ok());

    // A limit that a reload takes away and another brings back still knows the holds of the calls between.
    let without = rules(&[("acme", NONE, NONE)]);
    assert_eq!(limits.remaining(&without, &subject, now), None);
    drop(limits.reserve(&without, &subject, 1_000_000, now).unwrap());
    assert_eq!(limits.remaining(&after, &subject, now).unwrap().remaining, 110);
    drop(held);
    assert_eq!(limits.remaining(&after, &subject, now).unwrap().remaining, 200);
}

#[test]
fn idle_levels_are_forgotten_and_busy_ones_are_not() {
    let rules = rules(&[("acme", limit(0, 600, 0), limit(60, 0, 0))]);
    let (now, limits) = frozen();
    for key in 0..3_000 {
        drop(limits.throttle(&rules, &subject("acme", &format!("k{key}")), now + MINUTE * key).unwrap());
    }
    assert!(limits.tracked() < 1_100, "{}", limits.tracked());
    let later = now + MINUTE * 4_000;
    let slot = limits.throttle(&rules, &subject("acme", "busy"), later).unwrap();
    let held = limits.reserve(&rules, &subject("acme", "busy"), 600, later).unwrap();
    limits.sweep(later + MINUTE * 9);
    // The key has a call running and the organisation has tokens held besides.
    assert_eq!(limits.tracked(), 2);
    drop((slot, held));
    limits.sweep(later + MINUTE * 20);
    assert_eq!(limits.tracked(), 0);
}

#[test]
fn at_the_cap_a_new_level_is_refused_and_a_known_one_is_served() {
    let rules = rules(&[]);
    let now = clock::instant();
    let limits = Limits::bounded(now, 4);
    let slots = [("a", "k1"), ("b", "k2")].map(|(org, key)| limits.throttle(&rules, &subject(org, key), now).unwrap());
    let refused = limits.throttle(&rules, &subject("c", "k3"), now).unwrap_err();
    assert_eq!((refused.kind, refused.limit), (LimitKind::Levels, 4));
    assert!(limits.throttle(&rules, &subject("a", "k1"), now).is_ok());
    assert_eq!(limits.tracked(), 4);
    drop(slots);
    limits.sweep(now);
    assert!(limits.throttle(&rules, &subject("c", "k3"), now).is_ok());
}

#[test]
fn threads_never_pass_a_limit_and_give_everything_back() {
    let rules = rules(&[("acme", limit(0, 1_000, 5), NONE), ("acme/lab", limit(0, 700, 3), limit(0, 0, 2))]);
    let limits = Limits::new(clock::instant());
    let (running, most, start) = (AtomicU32::new(0), AtomicU32::new(0), Barrier::new(8));
    let served = AtomicU32::new(0);
    thread::scope(|scope| {
        for worker in 0..8_u32 {
            let (rules, limits, running, most, start, served) = (&rules, &limits, &running, &most, &start, &served);
            scope.spawn(move || {
                let path = if worker % 2 == 0 { "acme/lab" } else { "acme" };
                let subject = subject(path, &format!("k{worker}"));
                start.wait();
                for round in 0..3_000_u64 {
                    let now = clock::instant();
                    let Ok(slot) = limits.throttle(rules, &subject, now) else { continue };
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    if let Ok(mut held) = limits.reserve(rules, &subject, 100 + round % 300, now) {
                        served.fetch_add(1, Ordering::SeqCst);
                        if round % 3 == 0 {
                            held.mark_called();
                            held.settle(0);
                        }
                    }
                    running.fetch_sub(1, Ordering::SeqCst);
                    drop(slot);
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 5, "{most:?} calls ran at once");
    assert!(served.load(Ordering::SeqCst) > 0);
    let later = clock::instant() + MINUTE;
    assert_eq!(limits.remaining(&rules, &subject("acme/lab", "k0"), later).unwrap().remaining, 700);
    let slots: Vec<_> = (0..2).map(|_| limits.throttle(&rules, &subject("acme/lab", "k0"), later).unwrap()).collect();
    drop(slots);
    limits.sweep(later);
    assert_eq!(limits.tracked(), 0);
}

#[test]
fn threads_together_get_no_more_tokens_than_the_quota() {
    let rules = rules(&[("acme", limit(0, 1_000, 0), NONE)]);
    let (now, limits) = frozen();
    let granted = AtomicU32::new(0);
    thread::scope(|scope| {
        for worker in 0..4_u32 {
            let (rules, limits, granted) = (&rules, &limits, &granted);
            scope.spawn(move || {
                let subject = subject("acme", &format!("k{worker}"));
                for _ in 0..2_000 {
                    if let Ok(mut held) = limits.reserve(rules, &subject, 7, now) {
                        held.mark_called();
                        granted.fetch_add(7, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert_eq!(granted.load(Ordering::SeqCst), 994);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever waits exactly as long as a refusal says gets through, whatever the limits of the levels are.
    #[test]
    fn every_retry_after_is_true(
        quotas in proptest::array::uniform3((0..40_u32, 0..400_u64)),
        calls in proptest::collection::vec((0..2_usize, 0..300_u64, 0..10_000_u64), 1..60),
    ) {
        let [outer, inner, key] = quotas.map(|(requests, tokens)| limit(requests, tokens, 0));
        let rules = rules(&[("acme", outer, NONE), ("acme/lab", inner, key)]);
        let (mut now, limits) = frozen();
        for (who, tokens, wait_ms) in calls {
            let subject = subject("acme/lab", ["one", "two"][who]);
            now += Duration::from_millis(wait_ms);
            if let Err(refused) = limits.throttle(&rules, &subject, now) {
                prop_assert_eq!(refused.kind, LimitKind::Requests);
                now += refused.retry_after.unwrap();
                prop_assert!(limits.throttle(&rules, &subject, now).is_ok());
            }
            let held = match limits.reserve(&rules, &subject, tokens, now) {
                Err(refused) if refused.too_large => {
                    prop_assert!(tokens > refused.limit);
                    continue;
                }
                Err(refused) => {
                    now += refused.retry_after.unwrap();
                    limits.reserve(&rules, &subject, tokens, now)
                }
                held => held,
            };
            let mut held = held.unwrap();
            held.mark_called();
        }
    }
}
