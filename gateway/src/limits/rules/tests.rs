#![allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

use std::num::{NonZeroU32, NonZeroU64};

use super::*;
use crate::exchange::CallId;
use crate::identity::CredentialKind;
use crate::limits::counter::Outage;
use crate::limits::quantity::Quantity;
use crate::limits::rule::Each;
use crate::limits::window::{CalendarUnit, Window};

fn subject(tenant: &str, key: &str) -> Subject {
    Subject {
        tenant: TenantPath::parse(tenant).unwrap(),
        key: KeyId(key.into()),
        key_epoch: 1,
        vouchers: Arc::default(),
        credential: CredentialKind::ApiKey,
        roles: Arc::default(),
        attributes: Arc::default(),
        user: None,
    }
}

fn asked<'a>(model: &'a str, end_user: Option<&'a str>) -> Asked<'a> {
    Asked { call: CallId::at(0), model, endpoint: "chat_completions", end_user, born_ms: 0 }
}

fn rule(amount: u64) -> RuleSettings {
    RuleSettings {
        name: format!("r{amount}").into(),
        quantity: Quantity::Money,
        amount,
        window: Window::Calendar { unit: CalendarUnit::Month, zone: chrono_tz::Tz::Europe__Berlin },
        models: Arc::default(),
        endpoints: Arc::default(),
        each: Each::default(),
        outage: Outage::Refuse,
        lease_percent: 0,
    }
}

fn tenant(path: &str, limits: LimitRule, rules: Vec<RuleSettings>) -> TenantRule {
    TenantRule {
        path: TenantPath::parse(path).unwrap(),
        models: Vec::new(),
        roles: Vec::new(),
        attributes: std::collections::BTreeMap::new(),
        limits,
        key_limits: LimitRule::default(),
        rules: rules.into(),
        share: 1,
        priority: crate::routing::fair::Priority::Normal,
    }
}

fn short(requests: u32, tokens: u64, concurrency: u32) -> LimitRule {
    LimitRule {
        requests_per_minute: NonZeroU32::new(requests),
        tokens_per_minute: NonZeroU64::new(tokens),
        concurrency: NonZeroU32::new(concurrency),
    }
}

fn ids(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| &*line.id).collect()
}

#[test]
fn requests_and_places_are_counted_once_by_the_throttle_or_for_all_processes() {
    let rules = LimitRules::new(&[tenant("acme", short(60, 1_000, 5), vec![rule(7)])]);
    let (subject, asked) = (subject("acme", "k"), asked("small", None));
    let (org, own) = rules.lines(&subject, &asked, false);
    assert_eq!((&*org, ids(&own)), ("acme", vec!["acme|tokens|rate-60000", "acme|r7|money|month@Europe/Berlin"]));
    let (_, shared) = rules.lines(&subject, &asked, true);
    let all = [
        "acme|requests|rate-60000",
        "acme|tokens|rate-60000",
        "acme|concurrency|now",
        "acme|r7|money|month@Europe/Berlin",
    ];
    assert_eq!(ids(&shared), all);
    // Prepared once for all of the caller's calls.
    assert!(Arc::ptr_eq(&own, &rules.lines(&subject, &asked, false).1));
}

#[test]
fn rules_select_by_model_and_endpoint_and_share_by_whoever_they_say() {
    let chat: Arc<[Arc<str>]> = ["chat_completions".into()].into();
    let rules = LimitRules::new(&[
        tenant(
            "acme",
            LimitRule::default(),
            vec![
                RuleSettings { models: ["big-*".into(), "huge".into()].into(), ..rule(1) },
                RuleSettings { endpoints: chat, each: Each { endpoint: true, ..Each::default() }, ..rule(2) },
                RuleSettings { each: Each { model: true, end_user: true, ..Each::default() }, ..rule(3) },
            ],
        ),
        tenant(
            "acme/lab",
            LimitRule::default(),
            vec![RuleSettings { each: Each { key: true, ..Each::default() }, ..rule(4) }],
        ),
    ]);
    let subject = subject("acme/lab", "k1");
    let (_, lines) = rules.lines(&subject, &asked("big-7b", Some("eu_1")), false);
    let expected = [
        "acme/lab|r4|money|month@Europe/Berlin|key=k1",
        "acme|r1|money|month@Europe/Berlin",
        "acme|r2|money|month@Europe/Berlin|endpoint=chat_completions",
        "acme|r3|money|month@Europe/Berlin|end user=eu_1|model=big-7b",
    ];
    assert_eq!(ids(&lines), expected);
    let levels: Vec<_> = lines.iter().map(|line| &*line.level).collect();
    assert_eq!(levels, ["acme/lab per key", "acme", "acme per endpoint", "acme per end user and model"]);
    let scope = &lines[3].scope;
    assert_eq!((scope.end_user.as_deref(), &*scope.models), (Some("eu_1"), &["big-7b".into()][..]));
    assert_eq!((&*lines[0].scope.tenant, lines[0].scope.key.as_deref()), ("acme/lab", Some("k1")));
    // Another model: its own share, and not what is for others. Nobody named: one line for all of those.
    let (_, lines) = rules.lines(&subject, &asked("small", None), false);
    assert_eq!(ids(&lines)[2], "acme|r3|money|month@Europe/Berlin|end user=|model=small");
    assert_eq!(lines.len(), 3);
}

#[test]
fn of_two_rules_of_one_name_the_smaller_holds() {
    let named = |amount| RuleSettings { name: "same".into(), ..rule(amount) };
    let rules = LimitRules::new(&[tenant("acme", short(0, 500, 0), vec![named(9), named(5), named(7)])]);
    let (_, lines) = rules.lines(&subject("acme", "k"), &asked("small", None), false);
    let caps: Vec<_> = lines.iter().map(|line| (line.quantity, line.cap)).collect();
    assert_eq!(caps, [(Quantity::Tokens, 500), (Quantity::Money, 5)]);
}

#[test]
fn a_user_is_the_innermost_level_of_the_path() {
    let by_user = RuleSettings { each: Each { user: true, ..Each::default() }, ..rule(9) };
    let rules = LimitRules::new(&[tenant("acme", LimitRule::default(), vec![by_user])]);
    let of = |path| rules.lines(&subject(path, "k"), &asked("small", None), false).1[0].clone();
    let line = of("acme/lab/x/ada");
    assert_eq!(&*line.id, "acme|r9|money|month@Europe/Berlin|user=acme/lab/x/ada");
    assert_eq!((&*line.scope.tenant, &*line.level), ("acme/lab/x/ada", "acme per user"));
    assert_ne!(of("acme/lab/x/eve").id, line.id);
    assert!(rules.has_budgets(&subject("acme", "k"), &asked("small", None)));
}

#[test]
fn lines_follow_the_limits_of_stored_tenants() {
    let by_model = RuleSettings { models: ["small".into()].into(), ..rule(9) };
    let rules = LimitRules::new(&[tenant("acme", short(0, 500, 0), vec![by_model])]);
    let cap = || rules.lines(&subject("acme", "k"), &asked("small", None), false).1[0].cap;
    assert_eq!(cap(), 500);
    let stored = HashMap::from([("acme".into(), (short(0, 100, 0), LimitRule::default()))]);
    rules.follow(Arc::new(stored));
    assert_eq!(cap(), 100);
}

#[test]
fn what_is_prepared_is_bounded() {
    let by_end_user = RuleSettings { each: Each { end_user: true, ..Each::default() }, ..rule(9) };
    let rules = LimitRules::new(&[tenant("acme", LimitRule::default(), vec![by_end_user])]);
    let subject = subject("acme", "k");
    for number in 0..100_000 {
        rules.lines(&subject, &asked("small", Some(&format!("eu_{number}"))), false);
    }
    let prepared: usize = rules.lines.iter().map(|shard| shard.lock().len()).sum();
    assert!(prepared <= SHARDS * SHARD_LINES_MAX && prepared > 0, "{prepared}");
}

#[test]
fn the_canary_passes_real_limits_and_finds_those_that_could_not_refuse() {
    let every = [Window::Rate { ms: 1_000 }, Window::Rolling { ms: 3_600_000 }, Window::Total];
    let quantities =
        [Quantity::Requests, Quantity::InputTokens, Quantity::OutputTokens, Quantity::Tokens, Quantity::Money];
    let real = quantities.iter().flat_map(|quantity| {
        every.iter().map(|window| RuleSettings { quantity: *quantity, window: *window, ..rule(u64::MAX) })
    });
    let running = RuleSettings { quantity: Quantity::Concurrency, window: Window::Now, ..rule(3) };
    let by_model =
        RuleSettings { models: ["big-*".into()].into(), each: Each { model: true, ..Each::default() }, ..rule(0) };
    let real: Vec<_> = real.chain([running, by_model]).collect();
    let tenants = [tenant("acme", short(1, u64::MAX, 1), real)];
    assert_eq!(LimitRules::new(&tenants).prove(&tenants), Ok(()));

    let senseless = [
        RuleSettings { window: Window::Now, ..rule(1) },
        RuleSettings { quantity: Quantity::Concurrency, ..rule(1) },
        RuleSettings { window: Window::Rate { ms: 0 }, ..rule(1) },
        RuleSettings { window: Window::Rolling { ms: 59 }, ..rule(1) },
    ];
    for rule in senseless {
        let tenants = [tenant("acme", LimitRule::default(), vec![rule])];
        let fault = LimitRules::new(&tenants).prove(&tenants).unwrap_err();
        assert!(matches!(fault, CanaryFault::Senseless { .. }), "{fault}");
    }
    let lost = [tenant("acme", short(1, 0, 0), Vec::new())];
    let fault = LimitRules::new(&[]).prove(&lost).unwrap_err();
    assert_eq!(fault, CanaryFault::Unused { level: "acme".to_owned(), quantity: Quantity::Requests });
}
