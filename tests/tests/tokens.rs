//! Tokens of issuers in place of API keys: taken, refused with their reason on the audit record, and kept working
//! through rotations and outages.

use e2e::client::Request;
use e2e::issuer::{Issuer, SigningKey};
use e2e::say;
use serde_json::{Value, json};

use crate::scene::Scene;

/// A gateway that takes this issuer's tokens for the tenant `acme`.
async fn scene(issuer: &Issuer, more: &str) -> Scene {
    let url = issuer.url();
    let keys = format!(
        "name: idp, issuer: \"{url}\", audiences: [weir], tenant: acme, path_claims: [team], \
         roles_claim: groups, roles: {{ ml: developer }}{more}"
    );
    Scene::with(|config| config.section(&format!("identity: {{ issuers: [{{ {keys} }}] }}"))).await
}

fn header(key: &SigningKey) -> Value {
    json!({"alg": "ES256", "typ": "at+jwt", "kid": key.id})
}

fn call(token: &str) -> Request {
    Request::chat(token, &say::chat("mock", "hi", false))
}

#[tokio::test]
async fn an_issuers_token_is_a_caller_like_any_other() {
    let key = SigningKey::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let scene = scene(&issuer, "").await;
    let token = key.sign(&header(&key), &issuer.claims("ada@example.org"));
    for _ in 0..3 {
        let reply = scene.gateway.fetch(&call(&token)).await;
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    }
    scene.gateway.usage_rows(3).await;
    let records = scene.gateway.audit_calls(3).await;
    assert_eq!(records[0]["tenant"], "acme/research", "{}", records[0]);
    assert!(records[0]["key"].as_str().unwrap().starts_with("jwt.idp."), "{}", records[0]);
    assert!(!records[0].to_string().contains("example.org"), "{}", records[0]);
    assert_eq!(issuer.fetches(), 1, "one look at the keys serves all");
}

#[tokio::test]
async fn each_attack_is_refused_alike_and_the_record_says_why() {
    let (key, other) = (SigningKey::new("k1"), SigningKey::new("k1"));
    let issuer = Issuer::start(&[&key]).await;
    let scene = scene(&issuer, "").await;
    let good = issuer.claims("ada");
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let head = |changes: Value| {
        let mut head = header(&key);
        head.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        head
    };
    let valid = key.sign(&header(&key), &good);
    let (message, signature) = valid.rsplit_once('.').unwrap();
    let attacks = [
        (key.sign(&head(json!({"alg": "none"})), &good), "token_algorithm"),
        (format!("{message}."), "token_signature"),
        (key.sign(&head(json!({"alg": "HS256"})), &good), "token_algorithm"),
        (key.sign(&head(json!({"alg": "ES384"})), &good), "token_wrong_key"),
        (key.sign(&head(json!({"crit": ["exp"]})), &good), "token_critical_header"),
        (key.sign(&head(json!({"b64": false})), &good), "token_unencoded_payload"),
        (key.sign(&head(json!({"kid": "../../dev/null"})), &good), "token_unknown_key"),
        (key.sign(&head(json!({"kid": "k1' or '1'='1"})), &good), "token_unknown_key"),
        (key.sign(&head(json!({"typ": "logout+jwt"})), &good), "token_type"),
        (other.sign(&head(json!({"jwk": other.jwk(), "jku": "http://127.0.0.1:9/"})), &good), "token_signature"),
        (key.sign(&header(&key), &with("aud", json!("WEIR"))), "token_audience"),
        (key.sign(&header(&key), &with("iss", json!(format!("{}/", issuer.url())))), "token_issuer"),
        (key.sign(&header(&key), &with("exp", json!(1))), "token_expired"),
        (key.sign(&header(&key), &with("nbf", json!(9_999_999_999_u64))), "token_not_yet_valid"),
        (key.sign(&header(&key), &with("team", json!("../globex"))), "token_tenant"),
        (key.sign(&header(&key), &with("cnf", json!({"jkt": "x"}))), "token_unbound"),
        (format!("{message}.{signature}="), "token_encoding"),
        (format!("{message}.{signature}.x.y"), "token_malformed"),
        (format!("{valid}{}", "A".repeat(20_000)), "token_too_long"),
        ("not-a-token".to_owned(), "token_malformed"),
    ];
    for (token, _) in &attacks {
        let reply = scene.gateway.fetch(&call(token)).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (401, "invalid_token"),
            "{token}: {}",
            String::from_utf8_lossy(&reply.body)
        );
        assert!(
            !String::from_utf8_lossy(&reply.body).contains("token_"),
            "the caller learns no reason: {}",
            String::from_utf8_lossy(&reply.body)
        );
    }
    let records = scene.gateway.audit_calls(attacks.len()).await;
    // Two refusals of one moment may be written in either order.
    let sorted = |mut reasons: Vec<String>| {
        reasons.sort();
        reasons
    };
    let found = records.iter().map(|record| record["reason"].as_str().unwrap_or_default().to_owned()).collect();
    let expected = attacks.iter().map(|(_, reason)| (*reason).to_owned()).collect();
    assert_eq!(sorted(found), sorted(expected));
    assert!(records.iter().all(|record| record["attempts"].as_array().is_none_or(Vec::is_empty)));
    assert!(scene.upstream.received().is_empty(), "nothing went upstream");
    assert_eq!(scene.gateway.fetch(&call(&valid)).await.status, 200);
    assert_eq!(issuer.fetches(), 1, "made-up key ids cost no fetch within the cool-down");
}

#[tokio::test]
async fn an_issuer_that_is_away_costs_nobody_a_call_whose_key_is_known() {
    let (known, new) = (SigningKey::new("k1"), SigningKey::new("k2"));
    let issuer = Issuer::start(&[&known]).await;
    let scene = scene(&issuer, "").await;
    let first = known.sign(&header(&known), &issuer.claims("ada"));
    assert_eq!(scene.gateway.fetch(&call(&first)).await.status, 200);
    issuer.set_down(true);
    issuer.rotate(&[&known, &new]);
    // Not a token that is remembered: this one needs the key again.
    let second = known.sign(&header(&known), &issuer.claims("bob"));
    assert_eq!(scene.gateway.fetch(&call(&second)).await.status, 200);
    let unknown = new.sign(&header(&new), &issuer.claims("ada"));
    assert_eq!(scene.gateway.fetch(&call(&unknown)).await.status, 401);
}

#[tokio::test]
async fn an_issuer_that_was_never_reached_is_an_outage_and_no_wrong_token() {
    let key = SigningKey::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    issuer.set_down(true);
    let scene = scene(&issuer, "").await;
    let token = key.sign(&header(&key), &issuer.claims("ada"));
    let reply = scene.gateway.fetch(&call(&token)).await;
    assert_eq!(reply.status, 503, "{}", String::from_utf8_lossy(&reply.body));
    issuer.set_down(false);
    let served = e2e::clock::eventually("the issuer is found", async || {
        let reply = scene.gateway.fetch(&call(&token)).await;
        (reply.status == 200).then_some(reply)
    });
    assert_eq!(served.await.status, 200);
}

/// FR-AUTH-02: whatever is in `Authorization` that proves nothing ends the call, with issuers and without, on every
/// endpoint; there is no second way that takes what the first one refused.
#[tokio::test]
async fn fr_auth_02_a_credential_that_proves_nothing_reaches_no_endpoint() {
    let key = SigningKey::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let endpoints = [("POST", "/v1/chat/completions"), ("POST", "/v1/completions"), ("GET", "/v1/models")];
    let credentials = [
        ("authorization", "Bearer made-up-oauth"),
        ("authorization", "Bearer x"),
        ("authorization", "Basic eDp5"),
        ("authorization", "Bearer eyJhbGciOiJub25lIn0.e30."),
        ("x-api-key", "made-up"),
        ("sec-websocket-protocol", "realtime, openai-insecure-api-key.x"),
    ];
    for scene in [Scene::new().await, scene(&issuer, "").await] {
        for (method, path) in endpoints {
            for (name, value) in credentials {
                let request = Request { method: method.into(), path: path.into(), ..call("") };
                let refused = scene.gateway.fetch(&request.without("authorization").header(name, value)).await;
                assert_eq!(refused.status, 401, "{path} {name}: {value}");
                let challenge = refused.head.get("www-authenticate").unwrap_or_default();
                let wants = if name.starts_with("sec") { "realm=\"weir\"" } else { "error=\"invalid_token\"" };
                assert!(challenge.starts_with("Bearer ") && challenge.contains(wants), "{path} {value}: {challenge}");
            }
        }
        let records = scene.gateway.audit_calls(endpoints.len() * credentials.len()).await;
        assert!(records.iter().all(|record| record["reason"].is_string()), "{records:#?}");
        assert_eq!(scene.upstream.count(), 0);
    }
}
