//! A real identity provider before the gateway: signed and opaque tokens, rotation, revocation, outage.

use e2e::client::{Fetched, Request};
use e2e::clock;
use e2e::config::{ADMIN_TOKEN, Config};
use e2e::gateway::{Gateway, outcome};
use e2e::idp::{CLIENT, Idp};
use e2e::say;
use e2e::upstream::{Script, Upstream};
use serde_json::Value;

/// What an issuer may say: two teams of `acme`, none of anybody else.
fn config(upstream: &Upstream, idp: &Idp, more: &str) -> Config {
    let (client, _) = CLIENT;
    let issuer = &idp.issuer;
    let asks = format!(
        "url: \"{issuer}/token/introspection\", client_id: {client}, client_secret: \"file:./idp_secret\"{more}"
    );
    Config::with(upstream).section(&format!(
        "identity: {{ issuers: [{{ name: corp, issuer: \"{issuer}\", audiences: [weir], algorithms: [ES256, RS256], \
         tenant: acme, cooldown_s: 1, path_claims: [team], roles_claim: groups, roles: {{ ml-team: developer }}, \
         attributes: {{ department: department }}, introspection: {{ {asks} }} }}] }}"
    ))
}

struct Scene {
    idp: Idp,
    upstream: Upstream,
    gateway: Gateway,
}

async fn scene(more: &str) -> Option<Scene> {
    let idp = Idp::start().await?;
    let upstream = Upstream::start().await;
    upstream.always(Script::json(200, say::answer("hello", 3, 2)));
    let mut gateway = Gateway::prepare(&config(&upstream, &idp, more));
    gateway.write("idp_secret", CLIENT.1);
    gateway.spawn().await;
    Some(Scene { idp, upstream, gateway })
}

impl Scene {
    async fn call(&self, token: &str) -> Fetched {
        self.gateway.fetch(&Request::chat(token, &say::chat("mock", "hi", false))).await
    }

    async fn code(&self, token: &str) -> (u16, String) {
        let reply = self.call(token).await;
        (reply.status, if reply.status == 200 { "ok".to_owned() } else { reply.code() })
    }

    /// What the operators see of the issuer.
    async fn standing(&self) -> Value {
        let request = Request::get("/admin/v1/issuers").header("authorization", &format!("Bearer {ADMIN_TOKEN}"));
        request.fetch(self.gateway.admin).await.json()["issuers"][0].clone()
    }
}

fn ok() -> (u16, String) {
    (200, "ok".to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_real_issuers_tokens_call_as_their_tenant_and_those_for_others_do_not() {
    let Some(scene) = scene("").await else { return };
    let cases = [
        ("urn:weir:es256", ok(), "jwt"),
        ("urn:weir:rs256", ok(), "jwt"),
        ("urn:weir:opaque", ok(), "introspected"),
        ("urn:other:es256", refused(401, "invalid_token"), "token_audience"),
        ("urn:other:opaque", refused(401, "invalid_token"), "token_audience"),
    ];
    for (resource, want, _) in &cases {
        let token = scene.idp.token(resource).await;
        assert_eq!(scene.code(&token).await, *want, "{resource}");
    }
    let records = scene.gateway.audit_calls(cases.len()).await;
    for (record, (resource, (status, _), trace)) in records.iter().zip(&cases) {
        if *status == 200 {
            assert_eq!(
                (outcome(record), &record["tenant"]),
                ("completed", &Value::from("acme/research")),
                "{resource}"
            );
            let key = record["key"].as_str().unwrap_or_default();
            assert!(key.starts_with("jwt.corp."), "{record}");
        } else {
            assert_eq!((outcome(record), &record["reason"]), ("refused", &Value::from(*trace)), "{resource}");
        }
    }
    assert_eq!(scene.upstream.count(), 3);
    let standing = scene.standing().await;
    assert_eq!(standing["keys"], serde_json::json!(["k0-ec", "k0-rsa"]), "{standing}");
    assert_eq!((&standing["name"], &standing["introspection"]), (&Value::from("corp"), &Value::from("ok")));
    assert!(standing["fault"].is_null() && standing["fetched_ms"].as_u64() > Some(0), "{standing}");
    let accepted = scene.gateway.metric("weir_identity_tokens_judged_total", "reason=\"accepted\"").await;
    assert!((accepted - 3.0).abs() < 0.1, "{accepted}");
}

#[tokio::test]
async fn an_opaque_token_is_asked_about_once_and_ends_soon_after_its_revocation() {
    let Some(mut scene) = scene(", cache_s: 1").await else { return };
    let token = scene.idp.token("urn:weir:opaque").await;
    for _ in 0..5 {
        assert_eq!(scene.code(&token).await, ok());
    }
    let asked = scene.idp.tell("counts").await["/token/introspection"].as_u64().unwrap_or_default();
    assert!((1..=2).contains(&asked), "{asked}");
    scene.idp.revoke(&token).await;
    clock::eventually("the revoked token is refused", async || {
        (scene.code(&token).await == refused(401, "invalid_token")).then_some(())
    })
    .await;
    let made_up = "made-up-token-of-nobody";
    assert_eq!(scene.code(made_up).await, refused(401, "invalid_token"));
    let before = scene.idp.tell("counts").await["/token/introspection"].clone();
    assert_eq!(scene.code(made_up).await, refused(401, "invalid_token"));
    assert_eq!(scene.idp.tell("counts").await["/token/introspection"], before, "a no is remembered");
}

#[tokio::test]
async fn an_outage_keeps_signed_tokens_working_and_refuses_opaque_ones_with_a_try_again() {
    let Some(mut scene) = scene(", cache_s: 0").await else { return };
    let (signed, opaque) = (scene.idp.token("urn:weir:es256").await, scene.idp.token("urn:weir:opaque").await);
    let later = scene.idp.token("urn:weir:rs256").await;
    assert_eq!((scene.code(&signed).await, scene.code(&opaque).await), (ok(), ok()));
    scene.idp.tell("away").await;
    assert_eq!(scene.code(&signed).await, ok(), "remembered");
    assert_eq!(scene.code(&later).await, ok(), "proven by the last good keys");
    let reply = scene.call(&opaque).await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "issuer_unavailable"));
    assert!(reply.head.get("retry-after").is_some(), "{:?}", reply.head);
    assert_eq!(scene.standing().await["introspection"], "away");
    scene.idp.tell("back").await;
    clock::eventually("opaque tokens work again", async || (scene.code(&opaque).await == ok()).then_some(())).await;
}

#[tokio::test]
async fn keys_that_rotate_are_found_after_the_cool_down() {
    let Some(mut scene) = scene("").await else { return };
    let old = scene.idp.token("urn:weir:es256").await;
    assert_eq!(scene.code(&old).await, ok());
    scene.idp.tell("rotate").await;
    let new = scene.idp.token("urn:weir:es256").await;
    clock::eventually("the new key is found", async || (scene.code(&new).await == ok()).then_some(())).await;
    assert_eq!(scene.code(&old).await, refused(401, "invalid_token"), "its key is gone");
    assert_eq!(scene.standing().await["keys"], serde_json::json!(["k1-ec", "k1-rsa"]));
    // The same names with other keys: found by the first signature that is wrong.
    scene.idp.tell("reissue").await;
    let reissued = scene.idp.token("urn:weir:rs256").await;
    clock::eventually("the reissued key is found", async || (scene.code(&reissued).await == ok()).then_some(())).await;
    assert_eq!(scene.code(&new).await, refused(401, "invalid_token"), "the old key of that name");
    let fetches = scene.idp.tell("counts").await["/jwks"].as_u64().unwrap_or_default();
    assert!(fetches <= 8, "one fetch per cool-down: {fetches}");
}
