use super::claims::{Act, Origin, Own};
use super::narrowing::ScopeFault;
use super::*;
use crate::identity::keyring::Identified;
use crate::identity::scope::Scopes;
use crate::identity::{CredentialKind, KeyId, Subject, TenantPath};
use serde_json::{Value as Json, json};

const NOW_S: u64 = 1_800_000_000;

pub fn rule() -> TokenEndpointRule {
    TokenEndpointRule {
        issuer: "https://weir.example.com".into(),
        audiences: vec!["weir".to_owned()],
        lifetime_s: 600,
        client_requests: NonZeroU64::MIN,
        address_requests: NonZeroU64::MIN,
        optional_roles: Vec::new(),
    }
}

fn key(id: &str) -> KeyId {
    KeyId(id.into())
}

fn claims() -> Claims {
    let rule = rule();
    Claims {
        iss: rule.issuer.to_string(),
        aud: "weir".to_owned(),
        sub: key("aaaaaaaa"),
        client_id: key("aaaaaaaa"),
        iat: NOW_S,
        exp: NOW_S + 600,
        jti: "1".to_owned(),
        scope: Some("model:gpt-*".to_owned()),
        act: None,
        weir: Own { from: Origin::Key { id: key("aaaaaaaa"), epoch: 3 }, keys: vec![(key("bbbbbbbb"), 1)] },
    }
}

fn signed(keys: &SigningKeys, change: impl FnOnce(&mut Json)) -> String {
    let mut json = serde_json::to_value(claims()).unwrap();
    change(&mut json);
    keys.sign(TOKEN_TYPE, json.to_string().as_bytes()).unwrap()
}

#[test]
fn a_token_comes_back_as_it_was_signed_until_its_last_second() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys::rotate(folder.path(), 1).unwrap();
    let token = signed(&keys, |_| {});
    assert!(rule().claims_issue_of(&token));
    for now_s in [NOW_S - 1, NOW_S, NOW_S + 599] {
        let proven = prove(&token, &keys, &rule(), now_s).unwrap();
        assert_eq!((&proven.own, proven.expires_s), (&claims().weir, NOW_S + 600));
        assert_eq!(proven.narrowing.models, Some(vec!["gpt-*".to_owned()]));
    }
    assert_eq!(prove(&token, &keys, &rule(), NOW_S + 600), Err(TokenFault::Expired));
    assert_eq!(prove(&token, &keys, &rule(), NOW_S - 2), Err(TokenFault::FromTheFuture));
}

#[test]
fn what_is_not_exactly_a_token_of_ones_own_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, other) = (keys::rotate(folder.path(), 1).unwrap(), tempfile::tempdir().unwrap());
    let other = keys::rotate(other.path(), 1).unwrap();
    let set = |name: &'static str, value: Json| signed(&keys, move |json| json[name] = value);
    let deep = (0..ACTORS_MAX).fold(json!({"sub": "a"}), |act, _| json!({"sub": "a", "act": act}));
    let many: Vec<Json> = (0..=KEYS_MAX).map(|at| json!([at.to_string(), 0])).collect();
    let valid = signed(&keys, |_| {});
    let (message, _) = valid.rsplit_once('.').unwrap();
    let another = signed(&keys, |json| json["jti"] = json!("2"));
    let (_, signature) = another.rsplit_once('.').unwrap();
    let cases = [
        (signed(&other, |_| {}), TokenFault::UnknownKey),
        (format!("{message}.{signature}"), TokenFault::Signature),
        (keys.sign("jwt", &serde_json::to_vec(&claims()).unwrap()).unwrap(), TokenFault::Type),
        (set("iss", json!("https://other.example.com")), TokenFault::Issuer),
        (set("aud", json!("other")), TokenFault::Audience),
        (set("exp", json!(NOW_S + LIFETIME_S_MAX + 1)), TokenFault::TooOld),
        (set("sub", json!("cccccccc")), TokenFault::Claims),
        (set("act", deep), TokenFault::Claims),
        (set("scope", json!("everything")), TokenFault::Claims),
        (set("admin", json!(true)), TokenFault::Claims),
        (signed(&keys, |json| json["weir"]["keys"] = many.into()), TokenFault::Claims),
        (signed(&keys, |json| json["weir"]["from"] = json!({"key": {"id": "aaaaaaaa"}})), TokenFault::Claims),
    ];
    for (at, (token, fault)) in cases.iter().enumerate() {
        assert_eq!(prove(token, &keys, &rule(), NOW_S), Err(*fault), "case {at}");
    }
}

#[test]
fn a_second_rotation_ends_the_tokens_of_the_first_key_remembered_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = OwnTokens::new(folder.path());
    let now_ms = NOW_S * 1_000;
    assert!(tokens.prove("a.b.c", &rule(), now_ms).is_err_and(|fault| fault == TokenFault::NoKeys));
    assert!(tokens.keep(now_ms).unwrap());
    assert!(!tokens.keep(now_ms).unwrap());
    let token = tokens.sign(&claims()).unwrap();
    assert!(tokens.prove(&token, &rule(), now_ms).is_ok());
    keys::rotate(folder.path(), now_ms).unwrap();
    assert!(tokens.keep(now_ms).unwrap());
    assert!(tokens.prove(&token, &rule(), now_ms).is_ok());
    let other = TokenEndpointRule { audiences: vec!["elsewhere".to_owned()], ..rule() };
    assert_eq!(tokens.prove(&token, &other, now_ms).err(), Some(TokenFault::Audience));
    keys::rotate(folder.path(), now_ms).unwrap();
    assert!(tokens.keep(now_ms).unwrap());
    assert_eq!(tokens.prove(&token, &rule(), now_ms).err(), Some(TokenFault::UnknownKey));
}

fn caller(roles: &[&str], models: Option<&[&str]>, endpoints: Option<&[&str]>) -> Identified {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let subject = Subject {
        tenant: TenantPath::parse("acme").unwrap(),
        key: key("aaaaaaaa"),
        key_epoch: 0,
        vouchers: Arc::default(),
        credential: CredentialKind::ApiKey,
        roles: roles.iter().map(|role| Arc::from(*role)).collect(),
        attributes: Arc::default(),
        user: None,
    };
    let gate = endpoints.map(|list| Arc::new(Scopes { endpoints: Some(texts(list)), ..Scopes::default() }.compile()));
    Identified { subject, key_models: models.map(|list| texts(list).into()), gate }
}

#[test]
fn a_scope_only_narrows_and_keeps_the_roles_that_may_bind() {
    let holder = caller(&["reader", "intern"], Some(&["gpt-*", "small"]), Some(&["chat_completions", "models"]));
    let optional = ["reader".to_owned()];
    let cases = [
        ("", Ok(())),
        ("model:gpt-4 model:small endpoint:models", Ok(())),
        ("model:gpt-4*", Ok(())),
        ("model:*", Err(ScopeFault::Wider)),
        ("model:smaller", Err(ScopeFault::Wider)),
        ("endpoint:completions", Err(ScopeFault::Wider)),
        ("role:admin role:intern", Err(ScopeFault::Wider)),
        ("role:intern", Ok(())),
        ("role:reader", Err(ScopeFault::KeptRole)),
    ];
    for (text, expected) in cases {
        let asked = Narrowing::parse(text).unwrap();
        assert_eq!(asked.check(&holder, &optional), expected, "{text}");
        assert_eq!(asked.text().unwrap_or_default(), text);
    }
    for (text, fault) in [
        ("chat", ScopeFault::Kind),
        ("tenant:x", ScopeFault::Kind),
        ("model:", ScopeFault::Shape),
        ("model:a*b", ScopeFault::Shape),
        ("model:\"", ScopeFault::Shape),
        ("endpoint:chat", ScopeFault::Endpoint),
    ] {
        assert_eq!(Narrowing::parse(text), Err(fault), "{text}");
    }
    assert_eq!(Narrowing::parse(&"role:a ".repeat(65)), Err(ScopeFault::Shape));
}

#[test]
fn a_narrowed_caller_never_gets_back_what_its_source_lost() {
    let narrowing = Narrowing::parse("model:gpt-4 model:small endpoint:models role:reader").unwrap();
    let mut now = caller(&["reader", "intern"], Some(&["gpt-*"]), None);
    let optional = ["intern".to_owned(), "writer".to_owned()];
    narrowing.apply(&mut now, &optional);
    assert_eq!(now.key_models.as_deref(), Some(&["gpt-4".to_owned()][..]));
    assert_eq!(now.subject.roles.iter().map(|role| &**role).collect::<Vec<_>>(), ["reader"]);
    let gate = now.gate.as_ref().unwrap();
    assert!(gate.covers_endpoint("models") && !gate.covers_endpoint("completions"));
    let mut less = caller(&["intern"], Some(&[]), Some(&["completions"]));
    narrowing.apply(&mut less, &optional);
    assert_eq!((less.key_models.as_deref(), less.subject.roles.len()), (Some(&[][..]), 0));
    assert!(!less.gate.unwrap().covers_endpoint("models"));
    // What a directory adds afterwards: a right doesn't come back, a role that may restrict stays.
    let mut told = caller(&["reader", "writer", "suspended"], None, None);
    narrowing.apply(&mut told, &optional);
    assert_eq!(told.subject.roles.iter().map(|role| &**role).collect::<Vec<_>>(), ["reader", "suspended"]);
    let inner = Narrowing::parse("model:gpt-4").unwrap();
    assert_eq!(narrowing.with(&inner).text().unwrap(), "model:gpt-4 endpoint:models role:reader");
}

#[test]
fn actors_are_counted_from_the_outside_in() {
    let first = Act { sub: key("a"), act: None };
    let second = Act { sub: key("b"), act: Some(Box::new(first.clone())) };
    assert_eq!((first.depth(), second.depth()), (1, 2));
    let json = serde_json::to_value(&second).unwrap();
    assert_eq!(json, json!({"sub": "b", "act": {"sub": "a"}}));
}
