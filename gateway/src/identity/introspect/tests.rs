//! Answers about opaque tokens: what they prove, who is asked and how often.

use serde_json::json;

use super::*;
use crate::fetch::Fetcher;
use crate::identity::issuer::tests::rule;
use crate::identity::issuers::tests::fake::Fake;

const NOW: u64 = 1_800_000_000;

fn asks(url: &str, prefix: &str) -> Introspection {
    Introspection {
        url: Url::parse(url).unwrap(),
        client_id: "weir".into(),
        client_secret: Secret::new(b"a secret: of weir%"),
        prefix: prefix.to_owned(),
        cache_s: 30,
    }
}

fn issuer(name: &str, url: &str, prefix: &str) -> Arc<IssuerRule> {
    Arc::new(IssuerRule { name: name.into(), introspection: Some(asks(url, prefix)), ..rule() })
}

fn good() -> Json {
    json!({"active": true, "aud": "gw", "sub": "ada", "exp": NOW + 300, "team": "research", "token_type": "Bearer"})
}

#[test]
fn a_yes_proves_a_caller_and_a_client_is_its_own_subject() {
    let proven = judge(&rule(), good().to_string().as_bytes(), NOW).unwrap();
    assert_eq!((proven.tenant.as_str(), proven.credential), ("acme/research", CredentialKind::Introspected));
    let mut client = good();
    client.as_object_mut().unwrap().remove("sub");
    let nobody = judge(&rule(), client.to_string().as_bytes(), NOW);
    assert_eq!(nobody, Err(TokenFault::Subject));
    client["client_id"] = json!("app");
    let app = judge(&rule(), client.to_string().as_bytes(), NOW).unwrap();
    assert_ne!(app.key, proven.key);
}

#[test]
fn whatever_is_no_plain_yes_is_refused_with_its_reason() {
    use TokenFault::{Audience, Expired, Inactive, Issuer, NoAnswer, NoExpiry, Subject, Tenant, Type};
    let cases = [
        ("active", json!(false), Inactive),
        ("active", json!("true"), NoAnswer),
        ("active", json!(1), NoAnswer),
        ("active", json!(null), NoAnswer),
        ("iss", json!("https://idp.example/"), Issuer),
        ("iss", json!(null), Issuer),
        ("aud", json!("other"), Audience),
        ("sub", json!(""), Subject),
        ("sub", json!(null), Subject),
        ("exp", json!(NOW - 60), Expired),
        ("token_type", json!("refresh_token"), Type),
        ("token_type", json!(null), Type),
        ("team", json!("../globex"), Tenant),
    ];
    for (name, value, fault) in cases {
        let mut answer = good();
        answer[name] = value.clone();
        assert_eq!(judge(&rule(), answer.to_string().as_bytes(), NOW), Err(fault), "{name}: {value}");
    }
    for (name, fault) in [("active", NoAnswer), ("aud", Audience), ("exp", NoExpiry), ("team", Tenant)] {
        let mut answer = good();
        answer.as_object_mut().unwrap().remove(name);
        assert_eq!(judge(&rule(), answer.to_string().as_bytes(), NOW), Err(fault), "{name}");
    }
    for text in ["", "true", "[]", "{\"active\":true", r#"{"active":false,"active":true}"#] {
        assert_eq!(judge(&rule(), text.as_bytes(), NOW), Err(NoAnswer), "{text}");
    }
}

#[test]
fn only_opaque_tokens_are_sent_and_only_to_the_issuer_of_their_prefix() {
    let rules = [issuer("one", "http://one/", "one_"), issuer("two", "http://two/", "two_"), Arc::new(rule())];
    let asked = |text: &str| asked(text, &rules).map(|rule| rule.name.to_string());
    assert_eq!(asked("one_abc").as_deref(), Some("one"));
    assert_eq!(asked("two_a.b/c+d~e==").as_deref(), Some("two"));
    let long = format!("one_{}", "a".repeat(TOKEN_BYTES_MAX));
    for text in ["three_abc", "one", "ONE_abc", "one_a.b.c", "one_a.b.c.d.e", "one_a b", "one_ä", "one_=a", "", &long]
    {
        assert_eq!(asked(text), None, "{text}");
    }
    let every = [issuer("every", "http://every/", "")];
    assert!(super::asked("abc", &every).is_some());
    assert!(super::asked("eyJhbGciOiJub25lIn0", &every).is_none(), "a broken JWT stays here");
}

#[test]
fn the_credential_is_encoded_before_it_is_joined_and_never_printed() {
    let headers = headers(&asks("http://one/", ""));
    let basic = headers["authorization"].to_str().unwrap().strip_prefix("Basic ").unwrap();
    assert_eq!(STANDARD.decode(basic).unwrap(), b"weir:a+secret%3A+of+weir%25");
    assert!(headers["authorization"].is_sensitive());
    assert_eq!(&form("a+b&c=d")[..], b"token=a%2Bb%26c%3Dd&token_type_hint=access_token");
    assert!(!format!("{:?}", asks("http://one/", "")).contains("of weir"));
}

#[tokio::test]
async fn questions_about_one_token_are_one_question_and_a_no_is_remembered_for_a_moment() {
    let fake = Fake::start().await;
    let rule = issuer("one", &fake.url("/introspect"), "");
    let state = Introspections::default();
    let fetcher = Fetcher::new(None);
    let prove = |text: &'static str, now_ms: u64| state.prove(&fetcher, &rule, (text, [text.len() as u8; 32]), now_ms);
    let now_ms = NOW * 1_000;
    fake.say("/introspect", 200, &good().to_string());
    let many = futures_util::future::join_all((0..50).map(|_| prove("good", now_ms))).await;
    assert!(many.iter().all(Result::is_ok));
    assert_eq!((fake.count("/introspect"), state.asking.lock().len()), (1, 0));
    fake.say("/introspect", 200, r#"{"active":false}"#);
    for later in [0, 1, 4_999] {
        assert_eq!(prove("bad-one", now_ms + later).await.unwrap_err(), TokenFault::Inactive);
    }
    assert_eq!(fake.count("/introspect"), 2);
    assert_eq!(prove("bad-one", now_ms + 5_000).await.unwrap_err(), TokenFault::Inactive);
    assert_eq!(fake.count("/introspect"), 3);
}

#[tokio::test]
async fn an_issuer_that_is_away_refuses_and_is_left_alone_for_a_second() {
    let fake = Fake::start().await;
    let rule = issuer("one", &fake.url("/introspect"), "");
    let state = Introspections::default();
    let fetcher = Fetcher::new(None);
    let prove = |now_ms: u64| state.prove(&fetcher, &rule, ("abc", [7; 32]), now_ms);
    let now_ms = NOW * 1_000;
    fake.say("/introspect", 500, "");
    for later in [0, 1, 999] {
        assert_eq!(prove(now_ms + later).await.unwrap_err(), TokenFault::NoAnswer);
        assert!(state.is_away(&rule, now_ms + later));
    }
    assert_eq!(fake.count("/introspect"), 1);
    fake.say("/introspect", 200, &good().to_string());
    assert!(prove(now_ms + 1_000).await.is_ok(), "a yes after the outage");
    // A redirect is not followed: the token would go to whom nobody configured.
    fake.say("/introspect", 307, "");
    assert_eq!(prove(now_ms + 3_000).await.unwrap_err(), TokenFault::NoAnswer);
}

#[tokio::test]
async fn refused_tokens_are_bounded() {
    let state = Introspections::default();
    let rule = issuer("one", "http://one/", "");
    for n in 0..=REFUSED_MAX {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&(n as u64).to_le_bytes());
        state.refuse(hash, &rule, TokenFault::Inactive, 0);
    }
    assert_eq!(state.refused.lock().len(), 1);
}
