//! Tokens that are bound to a client's key: taken with a proof, refused with its own reason without.

use e2e::client::{Fetched, Request};
use e2e::config::Config;
use e2e::dpop::{Prover, hash};
use e2e::gateway::Gateway;
use e2e::idp::Idp;
use e2e::issuer::{Issuer, SigningKey};
use e2e::say;
use e2e::upstream::{Script, Upstream};
use serde_json::{Value, json};

const PUBLIC: &str = "https://ai.example.com/gateway";
const URL: &str = "https://ai.example.com/gateway/v1/chat/completions";

struct Scene {
    signer: SigningKey,
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
    prover: Prover,
}

impl Scene {
    async fn new(more: &str) -> Self {
        let signer = SigningKey::new("k1");
        let issuer = Issuer::start(&[&signer]).await;
        let upstream = Upstream::start().await;
        upstream.always(Script::json(200, say::answer("hello", 3, 2)));
        let url = issuer.url();
        let issuers = format!("issuers: [{{ name: idp, issuer: \"{url}\", audiences: [weir], tenant: acme }}]");
        let config = Config::with(&upstream).section(&format!("identity: {{ {issuers}{more} }}"));
        let gateway = Gateway::start(&config).await;
        Self { signer, issuer, upstream, gateway, prover: Prover::default() }
    }

    fn token(&self, confirmation: Option<Value>) -> String {
        let mut claims = self.issuer.claims("ada");
        claims.as_object_mut().unwrap().extend(confirmation.map(|cnf| ("cnf".to_owned(), cnf)));
        self.signer.sign(&json!({"alg": "ES256", "typ": "at+jwt", "kid": "k1"}), &claims)
    }

    fn bound(&self) -> String {
        self.token(Some(json!({"jkt": self.prover.thumbprint()})))
    }

    async fn call(&self, scheme: &str, token: &str, proofs: &[&str]) -> Fetched {
        self.gateway.fetch(&request(scheme, token, proofs)).await
    }
}

fn request(scheme: &str, token: &str, proofs: &[&str]) -> Request {
    let mut request = Request::chat("", &say::chat("mock", "hi", false));
    request = request.header("authorization", &format!("{scheme} {token}"));
    // `header` sets one: a second of the same name is added here.
    request.headers.extend(proofs.iter().map(|proof| ("dpop".to_owned(), (*proof).to_owned())));
    request
}

fn public() -> String {
    format!(", public_url: \"{PUBLIC}\"")
}

#[tokio::test]
async fn a_bound_token_calls_with_a_new_proof_each_time() {
    let scene = Scene::new(&public()).await;
    let token = scene.bound();
    for url in [URL, "HTTPS://ai.example.com:443/gateway/v1/x/../chat/completions?a=b"] {
        let reply = scene.call("DPoP", &token, &[&scene.prover.proof("POST", url, Some(&token))]).await;
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    }
    let records = scene.gateway.audit_calls(2).await;
    assert!(records.iter().all(|record| record["tenant"] == "acme"), "{records:?}");
    let accepted = scene.gateway.metric("weir_identity_proofs_judged_total", "accepted").await;
    let remembered = scene.gateway.metric("weir_identity_proofs_remembered", "").await;
    assert!((accepted - 2.0).abs() < 0.1 && (remembered - 2.0).abs() < 0.1, "{accepted} {remembered}");
}

/// A change of a proof that makes it wrong, and what is then on the record.
type Attack = (&'static str, fn(&mut Value, &mut Value));

const ATTACKS: [Attack; 16] = [
    ("dpop_type", |header, _| header["typ"] = json!("JWT")),
    ("dpop_algorithm", |header, _| header["alg"] = json!("none")),
    ("dpop_algorithm", |header, _| header["alg"] = json!("HS256")),
    ("dpop_key", |header, _| header["jwk"] = json!(null)),
    ("dpop_private_key", |header, _| header["jwk"]["d"] = json!("AAAA")),
    ("dpop_signature", |header, _| header["jwk"] = Prover::default().jwk()),
    ("dpop_malformed", |header, _| header["crit"] = json!(["iat"])),
    ("dpop_id", |_, claims| claims["jti"] = json!("")),
    ("dpop_method", |_, claims| claims["htm"] = json!("GET")),
    ("dpop_url", |_, claims| claims["htu"] = json!("https://ai.example.com/v1/chat/completions")),
    ("dpop_url", |_, claims| claims["htu"] = json!("http://ai.example.com/gateway/v1/chat/completions")),
    ("dpop_time", |_, claims| claims["iat"] = json!("now")),
    ("dpop_too_old", |_, claims| claims["iat"] = json!(claims["iat"].as_u64().unwrap() - 62)),
    ("dpop_from_the_future", |_, claims| claims["iat"] = json!(claims["iat"].as_u64().unwrap() + 60)),
    ("dpop_token_hash", |_, claims| claims["ath"] = json!(hash("another token"))),
    ("dpop_token_hash", |_, claims| claims["ath"] = json!(null)),
];

#[tokio::test]
async fn each_attack_on_a_proof_is_refused_with_its_own_reason() {
    let scene = Scene::new(&public()).await;
    let (token, prover) = (scene.bound(), &scene.prover);
    let good = || prover.proof("POST", URL, Some(&token));
    let used = good();
    assert_eq!(scene.call("DPoP", &token, &[&used]).await.status, 200);
    let mut calls: Vec<(&str, &str, Request)> = ATTACKS
        .iter()
        .map(|(reason, change)| {
            let proof = prover.proof_with("POST", URL, Some(&token), change);
            (*reason, "invalid_dpop_proof", request("DPoP", &token, &[&proof]))
        })
        .collect();
    let stolen = Prover::default().proof("POST", URL, Some(&token));
    let free = scene.token(None);
    let two = [good(), good()];
    calls.extend([
        ("dpop_missing", "invalid_dpop_proof", request("DPoP", &token, &[])),
        ("dpop_many_proofs", "invalid_dpop_proof", request("DPoP", &token, &[&two[0], &two[1]])),
        ("dpop_malformed", "invalid_dpop_proof", request("DPoP", &token, &[&format!("{}, {}", two[0], two[1])])),
        ("dpop_replayed", "invalid_dpop_proof", request("DPoP", &token, &[&used])),
        ("dpop_other_key", "invalid_token", request("DPoP", &token, &[&stolen])),
        ("dpop_token_unbound", "invalid_token", request("DPoP", &free, &[&prover.proof("POST", URL, Some(&free))])),
        ("token_unbound", "invalid_token", request("Bearer", &token, &[&good()])),
        ("token_unbound", "invalid_token", request("Bearer", &token, &[])),
    ]);
    for (at, (reason, code, request)) in calls.iter().enumerate() {
        let reply = scene.gateway.fetch(request).await;
        assert_eq!((reply.status, reply.code().as_str()), (401, *code), "{reason}");
        let challenges: Vec<_> = reply.head.all("www-authenticate").collect();
        let proofs = challenges.iter().find(|one| one.starts_with("DPoP ")).unwrap_or_else(|| panic!("{challenges:?}"));
        assert!(proofs.contains("algs=\"ES256 ES384 EdDSA PS256 RS256\""), "{proofs}");
        let says = format!("error=\"{code}\"");
        assert!(challenges.iter().any(|one| one.contains(&says)), "{reason}: {challenges:?}");
        let record = scene.gateway.audit_calls(at + 2).await.pop().unwrap();
        assert_eq!(record["reason"], *reason, "{record}");
    }
    assert_eq!(scene.upstream.count(), 1, "nothing that was refused went upstream");
    assert_eq!(scene.call("DPoP", &token, &[&two[0]]).await.status, 200, "a proof that was refused is not used up");
    assert_eq!(scene.call("Bearer", &free, &[]).await.status, 200);
}

#[tokio::test]
async fn a_gateway_that_gives_nonces_takes_proofs_with_a_current_one_alone() {
    let scene = Scene::new(&format!("{}, dpop: {{ nonce: true, algorithms: [ES256] }}", public())).await;
    let token = scene.bound();
    let asked = scene.call("DPoP", &token, &[&scene.prover.proof("POST", URL, Some(&token))]).await;
    assert_eq!((asked.status, asked.code().as_str()), (401, "use_dpop_nonce"));
    let challenge = asked.head.get("www-authenticate").unwrap_or_default().to_owned();
    assert_eq!(challenge, "DPoP realm=\"weir\", error=\"use_dpop_nonce\", algs=\"ES256\"");
    let nonce = asked.head.get("dpop-nonce").expect("a nonce").to_owned();
    for (said, status) in [(nonce.as_str(), 200), ("made-up", 401)] {
        let proof = scene.prover.proof_with("POST", URL, Some(&token), |_, claims| claims["nonce"] = json!(said));
        assert_eq!(scene.call("DPoP", &token, &[&proof]).await.status, status, "{said}");
    }
    // A call that was answered may be written down after one that came later and was refused.
    let records = scene.gateway.audit_calls(3).await;
    assert_eq!(records.iter().filter(|record| record["reason"] == "dpop_nonce").count(), 2, "{records:?}");
}

#[tokio::test]
async fn a_gateway_that_does_not_know_its_own_address_takes_no_proof() {
    let scene = Scene::new("").await;
    let token = scene.bound();
    let reply = scene.call("DPoP", &token, &[&scene.prover.proof("POST", URL, Some(&token))]).await;
    assert_eq!(reply.status, 401);
    assert!(reply.head.all("www-authenticate").all(|one| !one.contains("algs")), "{:?}", reply.head);
    assert_eq!(scene.gateway.audit_calls(1).await[0]["reason"], "dpop_not_configured");
}

#[tokio::test]
async fn a_real_issuers_bound_token_is_taken_with_a_proof_and_refused_without() {
    let Some(idp) = Idp::start().await else { return };
    let upstream = Upstream::start().await;
    upstream.always(Script::json(200, say::answer("hello", 3, 2)));
    let issuer = &idp.issuer;
    let config = Config::with(&upstream).section(&format!(
        "identity: {{ public_url: \"{PUBLIC}\", issuers: [{{ name: corp, issuer: \"{issuer}\", audiences: [weir], \
         tenant: acme, path_claims: [team] }}] }}"
    ));
    let gateway = Gateway::start(&config).await;
    let prover = Prover::default();
    let token = idp.bound_token("urn:weir:es256", &prover).await;
    let cases = [
        (request("DPoP", &token, &[&prover.proof("POST", URL, Some(&token))]), 200, None),
        (request("DPoP", &token, &[]), 401, Some("dpop_missing")),
        (request("Bearer", &token, &[]), 401, Some("token_unbound")),
        (request("DPoP", &token, &[&Prover::default().proof("POST", URL, Some(&token))]), 401, Some("dpop_other_key")),
    ];
    for (at, (request, status, reason)) in cases.iter().enumerate() {
        assert_eq!(gateway.fetch(request).await.status, *status, "{reason:?}");
        let record = gateway.audit_calls(at + 1).await.pop().unwrap();
        assert_eq!(record["reason"].as_str(), *reason, "{record}");
    }
    assert_eq!(gateway.audit_calls(4).await[0]["tenant"], "acme/research");
}
