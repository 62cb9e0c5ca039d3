use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use proptest::prelude::*;

use super::super::input::ClientInput;
use super::super::input::tests::subject;
use super::super::permit::DeniedBy;
use super::super::{CandidateInput, Input, Pushed, RequestInput, grants, prepare, source};
use super::*;
use crate::config::settings::{LimitRule, TenantRule};
use crate::identity::{KeyId, Subject, TenantPath};

fn settings() -> PolicySettings {
    PolicySettings::of_rule("data.weir.authz.decision", Duration::from_secs(5), PolicyEngine::Auto)
}

fn tenant(path: &str, models: &[&str]) -> TenantRule {
    TenantRule {
        path: TenantPath::parse(path).unwrap(),
        models: models.iter().map(|model| (*model).to_owned()).collect(),
        roles: Vec::new(),
        attributes: BTreeMap::new(),
        limits: LimitRule::default(),
        key_limits: LimitRule::default(),
        rules: Arc::default(),
        share: 1,
        priority: crate::routing::fair::Priority::Normal,
    }
}

fn shipped() -> Compiled {
    prepare(
        &settings(),
        &[tenant("acme", &["small", "big-*"]), tenant("acme/research", &["big-*"])],
        &Pushed::default(),
    )
    .unwrap()
}

fn own(body: &str) -> Result<Compiled, PolicyFault> {
    let text = format!("package weir.authz\n{body}\n");
    Compiled::new(vec![("own.rego".to_owned(), text)], Vec::new(), &settings())
}

const ALLOW: &str = r#"{"allow": true, "rule": "r", "reason": "ok", "obligations": []}"#;

fn ask<'a>(subject: &'a Subject, model: &'a str) -> Input<'a> {
    let visible = Input::visible(subject, None, model);
    Input { request: RequestInput { endpoint: "chat", ..visible.request }, ..visible }
}

fn cached(compiled: &Compiled) -> Option<usize> {
    let Compiled::Rego(rego) = compiled else { panic!("it is text") };
    rego.cache.as_ref().map(Cache::len)
}

#[test]
fn a_compiled_policy_is_shared_by_threads() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    let policy = shipped();
    shared(&policy);
    let subjects: Vec<_> = ["acme", "acme/research", "globex"].iter().map(|path| subject(path, &[])).collect();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let allowed: Vec<_> = subjects.iter().map(|s| policy.decide(&ask(s, "small")).is_ok()).collect();
                    assert_eq!(allowed, [true, false, false]);
                }
            });
        }
    });
    assert_eq!(cached(&policy), Some(3));
}

#[test]
fn the_shipped_policy_decides_by_the_tenants_rules() {
    let policy = shipped();
    let acme = subject("acme", &[]);
    let permit = policy.decide(&ask(&acme, "big-7b")).unwrap();
    assert_eq!((&**permit.model(), &**permit.rule()), ("big-7b", "tenant_models"));
    let denied = policy.decide(&ask(&acme, "huge")).unwrap_err();
    assert_eq!((denied.by, &*denied.rule, &*denied.reason), (DeniedBy::Rule, "tenant_models", "model_withheld"));
    let stranger = subject("globex", &[]);
    assert_eq!(&*policy.decide(&ask(&stranger, "small")).unwrap_err().rule, "default_deny");
    let suspended = subject("acme", &["suspended"]);
    assert_eq!(&*policy.decide(&ask(&suspended, "small")).unwrap_err().reason, "subject_suspended");
    let key_models = ["small".to_owned()];
    let narrowed = Input { key_models: Some(&key_models), ..ask(&acme, "big-7b") };
    assert_eq!(&*policy.decide(&narrowed).unwrap_err().rule, "key_models");
    assert!(policy.decide(&Input::visible(&acme, None, "small")).is_ok());
    assert_eq!(policy.uncacheable(), None);
}

#[test]
fn undefined_errors_and_wrong_shapes_refuse_with_a_name() {
    let cases = [
        (format!("decision := {ALLOW} if input.subject.nothing"), DeniedBy::Undefined),
        ("decision := \"true\"".to_owned(), DeniedBy::Shape),
        ("decision := {\"allowed\": true}".to_owned(), DeniedBy::Shape),
        (format!("decision := {ALLOW} if to_number(input.request.model) > 1"), DeniedBy::Undefined),
        (format!("decision := {ALLOW}\ndecision := {{\"allow\": false}}"), DeniedBy::Conflict),
        (ALLOW.replace("[]", "[\"dance\"]").replace('{', "decision := {"), DeniedBy::Obligation),
    ];
    let acme = subject("acme", &[]);
    for (body, by) in cases {
        let denied = own(&body).unwrap().decide(&ask(&acme, "small")).unwrap_err();
        assert_eq!(denied.by, by, "{body}: {denied:?}");
        assert!(!denied.rule.is_empty() && !denied.reason.is_empty() && !denied.private.is_empty());
    }
}

#[test]
fn a_policy_that_runs_too_long_refuses() {
    let numbers =
        format!("decision := {ALLOW} if count([1 | numbers.range(0, 3000)[_]; numbers.range(0, 3000)[_]]) > 0");
    let settings = PolicySettings { timeout: Duration::from_millis(5), ..settings() };
    let source = vec![("slow.rego".to_owned(), format!("package weir.authz\n{numbers}"))];
    let policy = Compiled::new(source, Vec::new(), &settings).unwrap();
    let acme = subject("acme", &[]);
    assert_eq!(policy.decide(&ask(&acme, "small")).unwrap_err().by, DeniedBy::Timeout);
    // A timeout says nothing about the next try: it is never remembered.
    assert_eq!(cached(&policy), Some(0));
}

#[test]
fn faults_name_file_and_line() {
    let fault = own("a := {").unwrap_err();
    assert!(matches!(&fault, PolicyFault::Policy { file, line: Some(3), .. } if file == "own.rego"), "{fault}");
    let fault = own("decision := 1 if unknown > 1").unwrap_err();
    assert!(matches!(&fault, PolicyFault::Policy { file, line: Some(2), .. } if file == "own.rego"), "{fault}");
    let fault = own("decision := undeclared_function(1)").unwrap_err();
    assert!(matches!(&fault, PolicyFault::Policy { line: Some(2), .. }), "{fault}");
    assert!(matches!(own("allow := true").unwrap_err(), PolicyFault::Entrypoint { .. }));
    let twice = vec![grants(&[tenant("acme", &["a"])]), grants(&[tenant("acme", &["b"])])];
    let source = vec![("own.rego".to_owned(), "package weir.authz\ndecision := 1".to_owned())];
    assert!(matches!(Compiled::new(source, twice, &settings()), Err(PolicyFault::Data { .. })));
}

#[test]
fn a_redaction_obligation_is_on_the_permit() {
    let policy = own(&format!("decision := {}", ALLOW.replace("[]", "{\"redact\"}"))).unwrap();
    assert!(policy.decide(&ask(&subject("acme", &[]), "small")).unwrap().demands_redaction());
}

#[test]
fn a_policy_that_reads_anything_else_is_never_remembered() {
    let reads = [
        "input.time.ns == 0",
        "input.estimate.nano == 0",
        "count(input.resource) > 0",
        "not input.budget.tokens_remaining",
        "x := input; x.request.n == 1",
        "some member; input[member].n == 1",
        "time.now_ns() > 0",
        "input.request.model with input as {\"request\": {\"model\": \"m\"}}",
    ];
    let acme = subject("acme", &[]);
    for read in reads {
        let policy = own(&format!("decision := {ALLOW} if {{ {read} }}")).unwrap();
        assert!(policy.decide(&ask(&acme, "small")).is_ok(), "{read}");
        assert_eq!(cached(&policy), None, "{read}");
        assert!(policy.uncacheable().is_some());
    }
    let opted_out = own(&format!("decision := {}", ALLOW.replace("[]", "[], \"cacheable\": false"))).unwrap();
    assert!(opted_out.decide(&ask(&acme, "small")).is_ok());
    assert_eq!(cached(&opted_out), Some(0));
}

#[test]
fn the_cache_is_bounded() {
    let policy = shipped();
    let acme = subject("acme", &[]);
    let verdict = policy.decide(&ask(&acme, "big-7b"));
    let Compiled::Rego(rego) = &policy else { panic!("it is text") };
    for model in 0..40_000 {
        rego.cache.as_ref().unwrap().put(&ask(&acme, &format!("big-{model}")), &verdict);
    }
    assert!((1..=16 * 1_024).contains(&cached(&policy).unwrap()));
    let long = format!("big-{}", "x".repeat(10_000));
    let before = cached(&policy);
    assert!(policy.decide(&ask(&acme, &long)).is_ok());
    assert_eq!(cached(&policy), before);
}

/// Everything that the shipped attribute rules can be switched on by.
fn attribute_rules() -> serde_json::Value {
    serde_json::json!({"weir": {"grants": {"acme": ["*"]}, "rules": {
        "hours": {"clerk": {"weekdays": [1, 2, 3, 4, 5], "from": 8, "to": 18}},
        "networks": {"acme/research": ["192.0.2.0/24"]},
        "tools": {"acme": ["get_weather"]},
        "token_caps": {"clerk": {"refuse_above": 100, "max_tokens": 50}},
        "data_classes": {"public": ["public", "internal"]},
    }}})
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Calls that differ in any one thing that a rule reads never share a decision.
    #[test]
    fn remembered_decisions_of_attribute_rules_equal_evaluated_ones(
        asks in proptest::collection::vec((0..2_usize, 0..2_usize, 0..4_usize, 0..3_u64, 0..3_usize, 0..4_usize), 1..40)
    ) {
        static POLICY: std::sync::OnceLock<Compiled> = std::sync::OnceLock::new();
        let policy = POLICY.get_or_init(|| {
            let settings = PolicySettings { entrypoint: "data.weir.abac.decision".to_owned(), ..settings() };
            let sources = source::shipped(&settings.entrypoint).iter();
            let sources = sources.map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
            Compiled::new(sources, vec![attribute_rules()], &settings).unwrap()
        });
        let Compiled::Rego(rego) = policy else { panic!("it is text") };
        let tools = ["get_weather".to_owned(), "exec".to_owned()];
        let candidate = |data_class| CandidateInput {
            deployment: "d", provider: "openai", region: None, owner: None, data_class,
        };
        for (tenant, role, ip, day, tokens, mix) in asks {
            let mut subject = subject(["acme", "acme/research"][tenant], [&[][..], &["clerk"]][role]);
            subject.attributes = std::sync::Arc::new([("data_class".to_owned(), "public".to_owned())].into());
            let ips = [None, Some([192, 0, 2, 7].into()), Some([203, 0, 113, 9].into()), Some([1, 1, 1, 1].into())];
            let candidates = [candidate(Some("public")), candidate(None)];
            let input = Input {
                client: ClientInput { ip: ips[ip], ..ClientInput::default() },
                // Thursday, Friday and Saturday, at a different hour each.
                now_ms: day.saturating_mul(93_600_000),
                candidates: &candidates[..mix % 3],
                request: RequestInput {
                    max_tokens: [None, Some(64), Some(101)][tokens],
                    tools: &tools[..mix / 2],
                    ..ask(&subject, "small").request
                },
                ..ask(&subject, "small")
            };
            let evaluated = rego.evaluate(&input).0;
            prop_assert_eq!(policy.decide(&input), evaluated.clone());
            prop_assert_eq!(policy.decide(&input), evaluated);
        }
        prop_assert!(cached(policy).unwrap() > 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Callers that differ in any one thing (even with the same key id) get what an evaluation would say.
    #[test]
    fn remembered_decisions_equal_evaluated_ones(
        asks in proptest::collection::vec((0..3_usize, 0..2_usize, 0..3_u64, 0..4_usize, 0..3_usize), 1..40)
    ) {
        let policy = shipped();
        let Compiled::Rego(rego) = &policy else { panic!("it is text") };
        for (tenant, roles, epoch, model, list) in asks {
            let mut subject = subject(["acme", "acme/research", "globex"][tenant], [&[][..], &["suspended"]][roles]);
            subject.key = KeyId(Arc::from("samekey1"));
            subject.key_epoch = epoch;
            let lists = [None, Some(vec!["small".to_owned()]), Some(Vec::new())];
            let input = Input {
                key_models: lists[list].as_deref(),
                ..ask(&subject, ["small", "big-7b", "huge", ""][model])
            };
            let evaluated = rego.evaluate(&input).0;
            prop_assert_eq!(policy.decide(&input), evaluated.clone());
            prop_assert_eq!(policy.decide(&input), evaluated);
        }
    }
}
