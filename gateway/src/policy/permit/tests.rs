//! Only a whole, known decision allows a call.

use proptest::prelude::*;

use super::*;

fn verdict(json: &str) -> Result<Permit, Denied> {
    judge(&Value::from_json_str(json).unwrap(), "data.x.decision", "small").verdict
}

#[test]
fn an_allow_is_a_permit_for_that_model() {
    let permit = verdict(r#"{"allow":true,"rule":"r","reason":"ok","obligations":[]}"#).unwrap();
    assert_eq!((&**permit.model(), &**permit.rule(), &**permit.reason()), ("small", "r", "ok"));
    assert!(!permit.demands_redaction());
    assert!(verdict(r#"{"allow":true,"obligations":["redact"]}"#).unwrap().demands_redaction());
    let plain = verdict("true").unwrap();
    assert_eq!((&**plain.rule(), &**plain.reason()), ("data.x.decision", "granted"));
    let whole = verdict(
        r#"{"allow":true,"obligations":{"route":{"region":"eu","exclude":["cloud"]},"limit":{"max_tokens":64},
            "log":"metadata","headers":{"x-label":"internal"}}}"#,
    )
    .unwrap();
    assert_eq!(whole.obligations().names(), ["route", "limit", "log", "headers"]);
    let route = &whole.obligations().route;
    assert!(route.permits("own", "engine", Some("eu")));
    assert!(!route.permits("own", "engine", None) && !route.permits("cloud", "openai", Some("eu")));
}

/// FR-POL-01: what is not a clear allow is a refusal, and each kind says which it was.
#[test]
fn fr_pol_01_only_a_clear_allow_passes_and_each_other_result_has_its_reason() {
    let results = [
        ("{}", "policy_empty"),
        ("null", "policy_null"),
        ("[]", "policy_empty_array"),
        (r#""true""#, "policy_string"),
        ("1", "policy_number"),
        (r#"{"allow":"true"}"#, "policy_allow_type"),
        (r#"{"allowed":true}"#, "policy_unknown_member"),
        (r#"{"allow":true,"deny":["pii"]}"#, "policy_deny_entries"),
        ("[true,false]", "policy_array"),
        (r#"{"allow":true,"obligations":[{"type":"unknown_kind"}]}"#, "policy_wrong_obligation"),
        (r#"{"allow":true,"obligations":["dance"]}"#, "policy_unknown_obligation"),
        (r#"{"allow":false}"#, "policy_denied"),
        (r#"{"rule":"r"}"#, "policy_allow_missing"),
        (r#"{"allow":true,"cacheable":"no"}"#, "policy_cacheable_type"),
        (r#"{"allow":true,"http_status":200}"#, "policy_status"),
    ];
    let mut reasons: Vec<String> = results
        .iter()
        .map(|(json, reason)| {
            let denied = verdict(json).unwrap_err();
            assert_eq!(&*denied.reason, *reason, "{json}");
            denied.reason.to_string()
        })
        .collect();
    let undefined = judge(&Value::Undefined, "data.x.decision", "small").verdict.unwrap_err();
    assert_eq!((undefined.by, &*undefined.reason), (DeniedBy::Undefined, "policy_undefined"));
    reasons.extend([undefined.reason.to_string(), DeniedBy::Failure.code().into(), DeniedBy::Timeout.code().into()]);
    let count = reasons.len();
    reasons.sort();
    reasons.dedup();
    assert_eq!(reasons.len(), count, "each has a reason of its own");
    assert!(verdict(r#"{"allow":true}"#).is_ok());
}

#[test]
fn a_wrong_obligation_is_a_refusal_and_never_left_out() {
    for obligations in [
        r#"{"dance":true}"#,
        r#"{"redact":"yes"}"#,
        r#"{"route":"eu"}"#,
        r#"{"route":{"region":[]}}"#,
        r#"{"route":{"regions":["eu"]}}"#,
        r#"{"limit":{"max_tokens":0}}"#,
        r#"{"limit":{"max_tokens":"9"}}"#,
        r#"{"limit":{"tokens":9}}"#,
        r#"{"log":"off"}"#,
        r#"{"headers":{"set-cookie":"a=b"}}"#,
        r#"{"headers":{"x-weir-tenant":"a"}}"#,
        r#"{"headers":{"x-a":"b\r\nx-c: d"}}"#,
        r#"["route"]"#,
        "7",
    ] {
        let denied = verdict(&format!(r#"{{"allow":true,"obligations":{obligations}}}"#)).unwrap_err();
        assert_eq!(denied.by, DeniedBy::Obligation, "{obligations}");
    }
}

#[test]
fn a_deny_carries_the_rules_name_reason_and_status() {
    let denied = verdict(r#"{"allow":false,"rule":"r","reason":"no","http_status":451}"#).unwrap_err();
    assert_eq!((denied.by, &*denied.rule, &*denied.reason, denied.status), (DeniedBy::Rule, "r", "no", Some(451)));
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "(true|false|allow|redact|eu)?".prop_map(Into::into),
    ];
    let name = "allow|deny|rule|reason|obligations|redact|route|region|x";
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(name, inner, 0..5)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// FR-POL-01: over any JSON, an allow has `allow: true` and nothing that denies.
    #[test]
    fn fr_pol_01_no_other_json_ever_allows(json in any_json()) {
        if judge(&Value::from(json.clone()), "data.x.decision", "m").verdict.is_ok() {
            let says_yes = json == true || json["allow"] == true;
            let denies = json.get("deny").is_some_and(|deny| deny.as_array().is_none_or(|list| !list.is_empty()));
            prop_assert!(says_yes && !denies, "{json}");
        }
    }
}
