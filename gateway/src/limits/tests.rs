#![allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::thread;

use futures_util::FutureExt;

use proptest::prelude::*;

use super::*;
use crate::clock;
use crate::config::settings::{LimitRule, TenantRule};
use crate::exchange::CallId;
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

/// Counters that go by the test's own time alone: `now` is theirs until they are told another.
struct Scene {
    limits: Limits,
    now: Instant,
    ns: Arc<AtomicU64>,
}

impl Scene {
    fn new() -> Self {
        // The throttle's time is given with each call.
        let (now, ns) = (clock::instant() + MINUTE * 1_000, Arc::new(AtomicU64::new(0)));
        let counter = Local::new(Clock::Given(ns.clone()), None, LEVELS_TRACKED_MAX);
        Self { limits: Limits::of(now, LEVELS_TRACKED_MAX, Arc::new(counter), false), now, ns }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.ns.fetch_add(u64::try_from(time.as_nanos()).unwrap(), Ordering::SeqCst);
    }

    fn throttle(&self, rules: &LimitRules, subject: &Subject) -> Result<Slot, LimitExceeded> {
        self.limits.throttle(rules, subject, self.now)
    }

    fn reserve(&self, rules: &LimitRules, subject: &Subject, tokens: u64) -> Result<Reservation, LimitExceeded> {
        reserve(&self.limits, rules, subject, tokens)
    }

    fn remaining(&self, rules: &LimitRules, subject: &Subject) -> Option<u64> {
        self.limits.remaining(rules, subject, &asked()).tokens.map(|standing| standing.remaining)
    }
}

fn reserve(limits: &Limits, rules: &LimitRules, subject: &Subject, tokens: u64) -> Result<Reservation, LimitExceeded> {
    let amounts = used(tokens);
    match limits.reserve(rules, subject, &asked(), amounts, amounts).now_or_never().unwrap() {
        Ok(reservation) => Ok(reservation),
        Err(NotGranted::Exceeded(exceeded)) => Err(exceeded),
        Err(NotGranted::Unavailable { why }) => panic!("{why}"),
    }
}

fn asked() -> Asked<'static> {
    let call = CallId::at(0);
    Asked { call, model: "small", endpoint: "/v1/chat/completions", end_user: None, born_ms: 1_700_000_000_000 }
}

fn used(tokens: u64) -> Amounts {
    Amounts { requests: 1, input_tokens: tokens, output_tokens: 0, nano: 0 }
}

const NONE: LimitRule = LimitRule { requests_per_minute: None, tokens_per_minute: None, concurrency: None };

mod field;

#[test]
fn the_innermost_level_refuses_first_and_outer_ones_keep_their_quota() {
    let rules = rules(&[("acme", limit(100, 0, 0), NONE), ("acme/lab", NONE, limit(2, 0, 0))]);
    let scene = Scene::new();
    let wild = subject("acme/lab", "wild");
    for _ in 0..2 {
        drop(scene.throttle(&rules, &wild).unwrap());
    }
    for _ in 0..50 {
        let refused = scene.throttle(&rules, &wild).unwrap_err();
        assert_eq!((&*refused.level, refused.kind, refused.limit), ("key", LimitKind::Requests, 2));
        assert_eq!(refused.retry_after, Some(MINUTE / 2));
    }
    let calm = scene.throttle(&rules, &subject("acme/lab", "calm")).unwrap();
    assert_eq!(calm.requests().map(|standing| (&*standing.level, standing.remaining)), Some(("key", 1)));
    let outer = scene.throttle(&rules, &subject("acme", "other")).unwrap();
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
    let scene = Scene::new();
    let (one, two) = (subject("acme", "one"), subject("acme", "two"));
    let first = scene.throttle(&rules, &one).unwrap();
    let _second = scene.throttle(&rules, &one).unwrap();
    assert_eq!(&*scene.throttle(&rules, &one).unwrap_err().level, "key");
    let _third = scene.throttle(&rules, &two).unwrap();
    let refused = scene.throttle(&rules, &two).unwrap_err();
    assert_eq!((&*refused.level, refused.kind, refused.retry_after), ("acme", LimitKind::Concurrency, None));
    drop(first);
    assert!(scene.throttle(&rules, &two).is_ok());
    assert!(scene.throttle(&rules, &subject("globex", "else")).is_ok());
}

#[test]
fn tokens_are_held_at_all_levels_or_at_none() {
    let rules = rules(&[("acme", limit(0, 100, 0), limit(0, 1_000, 0))]);
    let scene = Scene::new();
    let (one, two) = (subject("acme", "one"), subject("acme", "two"));
    let mut held = scene.reserve(&rules, &one, 80).unwrap();
    assert_eq!(held.standing_tokens().map(|standing| (&*standing.level, standing.remaining)), Some(("acme", 20)));
    let refused = scene.reserve(&rules, &two, 50).unwrap_err();
    assert_eq!((&*refused.level, refused.kind, refused.too_large), ("acme", LimitKind::Tokens, false));
    assert_eq!(refused.retry_after, Some(Duration::from_secs(18)));
    let too_large = scene.reserve(&rules, &two, 101).unwrap_err();
    assert_eq!((too_large.too_large, too_large.retry_after), (true, None));
    // Neither refusal took anything at the key's level.
    assert_eq!(scene.remaining(&LimitRules::new(&[tenant("acme", NONE, limit(0, 1_000, 0))]), &two), Some(1_000));
    held.mark_called();
    held.settle(used(30));
    assert!(scene.reserve(&rules, &two, 70).is_ok());
}

#[test]
fn a_reservation_refunds_before_the_call_and_counts_in_full_after_it() {
    let rules = rules(&[("acme", limit(0, 1_000, 0), NONE)]);
    let scene = Scene::new();
    let subject = subject("acme", "k");
    let remaining = || scene.remaining(&rules, &subject).unwrap();
    drop(scene.reserve(&rules, &subject, 400).unwrap());
    assert_eq!(remaining(), 1_000);
    let mut held = scene.reserve(&rules, &subject, 400).unwrap();
    assert_eq!(remaining(), 600);
    held.mark_called();
    drop(held);
    assert_eq!(remaining(), 600);
    scene.reserve(&rules, &subject, 400).unwrap().settle(used(100));
    assert_eq!(remaining(), 500);
    scene.reserve(&rules, &subject, 100).unwrap().settle(used(400));
    assert_eq!(remaining(), 100);
}

#[test]
fn a_reload_changes_limits_without_forgetting_what_was_used() {
    let scene = Scene::new();
    let subject = subject("acme", "k");
    let before = rules(&[("acme", limit(10, 100, 0), NONE)]);
    let slots: Vec<_> = (0..8).map(|_| scene.throttle(&before, &subject).unwrap()).collect();
    let held = scene.reserve(&before, &subject, 90).unwrap();

    let after = rules(&[("acme", limit(20, 200, 9), NONE)]);
    assert_eq!(scene.remaining(&after, &subject).unwrap(), 110);
    let ninth = scene.throttle(&after, &subject).unwrap();
    assert_eq!(ninth.requests().unwrap().remaining, 11);
    // The limit on calls at the same time is new, and knows the eight calls that began before it.
    assert_eq!(scene.throttle(&after, &subject).unwrap_err().kind, LimitKind::Concurrency);
    drop((slots, ninth));
    assert!(scene.throttle(&after, &subject).is_ok());

    // A limit that a reload takes away and another brings back still knows the holds of the calls between.
    let without = rules(&[("acme", NONE, NONE)]);
    assert_eq!(scene.remaining(&without, &subject), None);
    drop(scene.reserve(&without, &subject, 1_000_000).unwrap());
    assert_eq!(scene.remaining(&after, &subject).unwrap(), 110);
    drop(held);
    assert_eq!(scene.remaining(&after, &subject).unwrap(), 200);
}

#[test]
fn idle_levels_are_forgotten_and_busy_ones_are_not() {
    let rules = rules(&[("acme", limit(0, 600, 0), limit(60, 0, 0))]);
    let mut scene = Scene::new();
    for key in 0..3_000 {
        drop(scene.throttle(&rules, &subject("acme", &format!("k{key}"))).unwrap());
        scene.pass(MINUTE);
    }
    assert!(scene.limits.tracked() < 1_100, "{}", scene.limits.tracked());
    scene.pass(MINUTE * 1_000);
    let slot = scene.throttle(&rules, &subject("acme", "busy")).unwrap();
    let held = scene.reserve(&rules, &subject("acme", "busy"), 600).unwrap();
    scene.limits.sweep(scene.now);
    // The key and the organisation have a call running, and the organisation has tokens held besides.
    assert_eq!(scene.limits.tracked(), 3);
    drop((slot, held));
    scene.pass(MINUTE * 11);
    scene.limits.sweep(scene.now);
    assert_eq!(scene.limits.tracked(), 0);
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
    let mut scene = Scene::new();
    let (running, most, start) = (AtomicU32::new(0), AtomicU32::new(0), Barrier::new(8));
    let served = AtomicU32::new(0);
    thread::scope(|scope| {
        for worker in 0..8_u32 {
            let (rules, scene, running, most, start, served) = (&rules, &scene, &running, &most, &start, &served);
            scope.spawn(move || {
                let path = if worker % 2 == 0 { "acme/lab" } else { "acme" };
                let subject = subject(path, &format!("k{worker}"));
                start.wait();
                for round in 0..3_000_u64 {
                    let Ok(slot) = scene.throttle(rules, &subject) else { continue };
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    if let Ok(mut held) = scene.reserve(rules, &subject, 100 + round % 300) {
                        served.fetch_add(1, Ordering::SeqCst);
                        if round % 3 == 0 {
                            held.mark_called();
                            held.settle(used(0));
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
    scene.pass(MINUTE);
    let last = subject("acme/lab", "k0");
    assert_eq!(scene.remaining(&rules, &last), Some(700));
    let slots: Vec<_> = (0..2).map(|_| scene.throttle(&rules, &last).unwrap()).collect();
    drop(slots);
    scene.limits.sweep(scene.now);
    assert_eq!(scene.limits.tracked(), 0);
}

#[test]
fn threads_together_get_no_more_tokens_than_the_quota() {
    let rules = rules(&[("acme", limit(0, 1_000, 0), NONE)]);
    let scene = Scene::new();
    let granted = AtomicU32::new(0);
    thread::scope(|scope| {
        for worker in 0..4_u32 {
            let (rules, scene, granted) = (&rules, &scene, &granted);
            scope.spawn(move || {
                let subject = subject("acme", &format!("k{worker}"));
                for _ in 0..2_000 {
                    if let Ok(mut held) = scene.reserve(rules, &subject, 7) {
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
        let mut scene = Scene::new();
        for (who, tokens, wait_ms) in calls {
            let subject = subject("acme/lab", ["one", "two"][who]);
            scene.pass(Duration::from_millis(wait_ms));
            if let Err(refused) = scene.throttle(&rules, &subject) {
                prop_assert_eq!(refused.kind, LimitKind::Requests);
                scene.pass(refused.retry_after.unwrap());
                prop_assert!(scene.throttle(&rules, &subject).is_ok());
            }
            let held = match scene.reserve(&rules, &subject, tokens) {
                Err(refused) if refused.too_large => {
                    prop_assert!(tokens > refused.limit);
                    continue;
                }
                Err(refused) => {
                    scene.pass(refused.retry_after.unwrap());
                    scene.reserve(&rules, &subject, tokens)
                }
                held => held,
            };
            let mut held = held.unwrap();
            held.mark_called();
        }
    }
}
