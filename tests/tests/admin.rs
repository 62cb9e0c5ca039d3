//! The admin listener: who may look, what it refuses, keys made and revoked over it, and metrics that tell the truth.

use std::time::{Duration, Instant};

use e2e::client::{Fetched, Request};
use e2e::config::ADMIN_TOKEN;
use e2e::gateway::{Gateway, outcome};
use e2e::say;
use e2e::upstream::{Script, Step};
use serde_json::{Value, json};

use crate::scene::Scene;

async fn ask(gateway: &Gateway, method: &str, path: &str, body: &str) -> Fetched {
    let request = Request { method: method.into(), ..Request::post(path, ADMIN_TOKEN, body.to_owned()) };
    request.fetch(gateway.admin).await
}

#[tokio::test]
async fn the_owners_routes_ask_for_the_token_and_the_open_ones_do_not() {
    let scene = Scene::new().await;
    let admin = scene.gateway.admin;
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(Request::get(path).fetch(admin).await.status, 200, "{path}");
    }
    let owners = [
        "/admin/v1/status",
        "/admin/v1/keys",
        "/admin/v1/tenants",
        "/admin/v1/issuers",
        "/admin/v1/directory",
        "/admin/v1/usage",
        "/admin/v1/audit/verify",
    ];
    for path in owners {
        for credential in [None, Some("Bearer "), Some("Bearer wrong"), Some(ADMIN_TOKEN), Some("Basic dTpw")] {
            let request = Request::get(path);
            let request = credential.map_or(request.clone(), |text| request.header("authorization", text));
            let refused = request.fetch(admin).await;
            assert_eq!(refused.status, 401, "{path} {credential:?}");
            assert!(refused.json()["error"]["message"].is_string(), "{path} {credential:?}");
        }
        let key = Request::get(path).header("authorization", &format!("Bearer {}", scene.key.secret));
        assert_eq!(key.fetch(admin).await.status, 401, "a tenant's key is no owner's token");
        assert_eq!(ask(&scene.gateway, "GET", path, "").await.status, 200, "{path}");
    }
    let status = ask(&scene.gateway, "GET", "/admin/v1/status", "").await.json();
    assert_eq!((&status["models"], &status["journal"]["failing"]), (&json!(["mock"]), &json!(false)), "{status}");
}

#[tokio::test]
async fn what_the_admin_api_can_not_take_is_refused_in_one_shape_and_makes_no_key() {
    let scene = Scene::new().await;
    let long = format!(r#"{{"tenant":"acme","name":"{}"}}"#, "n".repeat(1000));
    let huge = "x".repeat(3_000_000);
    let cases = [
        ("POST", "/admin/v1/keys", "{", 400, "EOF"),
        ("POST", "/admin/v1/keys", "{}", 400, "tenant"),
        ("POST", "/admin/v1/keys", r#"{"tenant":"ACME"}"#, 400, "ACME"),
        ("POST", "/admin/v1/keys", r#"{"tenant":"acme","nope":1}"#, 400, "nope"),
        ("POST", "/admin/v1/keys", r#"{"tenant":"acme","tenant":"acme/x"}"#, 400, "duplicate"),
        ("POST", "/admin/v1/keys", r#"{"tenant":"nobody"}"#, 400, "nobody"),
        ("POST", "/admin/v1/keys", r#"{"tenant":"acme","models":["a*b"]}"#, 400, "model"),
        ("POST", "/admin/v1/keys", r#"{"tenant":"acme","models":[]}"#, 400, "empty list"),
        ("POST", "/admin/v1/keys", r#"{"tenant":"acme","roles":["a\nb"]}"#, 400, "role"),
        ("POST", "/admin/v1/keys", r#"{"tenant":"acme","expires_in_s":0}"#, 400, "expires_in_s"),
        ("POST", "/admin/v1/keys", r#"{"tenant":"acme","expires_in_s":18446744073709551615}"#, 400, "expires_in_s"),
        ("POST", "/admin/v1/keys", &long, 400, "name"),
        ("POST", "/admin/v1/keys", &huge, 413, "limit"),
        ("PUT", "/admin/v1/keys", "{}", 405, "method"),
        ("DELETE", "/admin/v1/keys/zzzzzzzz", "", 404, "zzzzzzzz"),
        ("GET", "/admin/v1/nothing", "", 404, "path"),
        ("GET", "/admin/v1/usage?by=nope", "", 400, "`tenant`"),
        ("GET", "/admin/v1/usage?tenant=A!", "", 400, "A!"),
        ("GET", "/admin/v1/usage?since_ms=x", "", 400, "since_ms"),
        ("GET", "/admin/v1/usage?nope=1", "", 400, "nope"),
    ];
    for (method, path, body, status, says) in cases {
        let refused = ask(&scene.gateway, method, path, body).await;
        let shown = &body[..body.len().min(80)];
        assert_eq!(refused.status, status, "{method} {path} {shown}");
        let message = refused.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains(says), "{method} {path} {shown}: {message}");
    }
    let keys = ask(&scene.gateway, "GET", "/admin/v1/keys", "").await.json();
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(1), "{keys}");
}

#[tokio::test]
async fn a_key_of_the_admin_api_works_at_once_and_its_revocation_ends_its_stream() {
    let scene = Scene::new().await;
    let body = r#"{"tenant":"acme/ops","name":"robot","models":["mock"],"expires_in_s":3600}"#;
    let made = ask(&scene.gateway, "POST", "/admin/v1/keys", body).await;
    assert_eq!(made.status, 201, "{:?}", made.body);
    let made = made.json();
    let (id, secret) = (made["about"]["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    scene.upstream.next(Script::stream().event(say::delta("x")).then(Step::Hold));
    let mut reply = scene.gateway.open(&Request::chat(secret, &say::chat("mock", "hi", true))).await;
    assert_eq!(reply.status(), 200, "a key that was answered is known");
    reply.data().await;
    let asked = Instant::now();
    let revoked = ask(&scene.gateway, "POST", &format!("/admin/v1/keys/{id}/revoke"), "").await;
    assert_eq!((revoked.status, revoked.json()), (200, json!({"id": id, "revoked": true})));
    let stream = reply.rest().await;
    assert!(asked.elapsed() < Duration::from_secs(1), "ended after {:?}", asked.elapsed());
    assert_eq!(stream.error_code().as_deref(), Some("key_revoked"));
    let refused = scene.gateway.fetch(&Request::chat(secret, &say::chat("mock", "hi", false))).await;
    assert_eq!(refused.status, 401);
    assert_eq!(ask(&scene.gateway, "DELETE", &format!("/admin/v1/keys/{id}"), "").await.status, 404, "no live key");
    let listed = ask(&scene.gateway, "GET", "/admin/v1/keys", "").await;
    assert!(!String::from_utf8_lossy(&listed.body).contains(secret), "a key is shown once");
    assert_eq!(outcome(&scene.gateway.audit_calls(2).await[0]), "revoked");
}

/// The notes about keys on the audit log, as (event, key).
async fn key_notes(gateway: &Gateway, count: usize) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let look = async || {
        let lines = gateway.weir(&["audit", "list", "--json", "--limit", "1000"]).await.json();
        let lines = if lines.is_array() { lines } else { json!([lines]) };
        let notes = lines.as_array().unwrap().iter().filter(|line| line["event"].as_str().is_some_and(is_of_keys));
        // After a crash a change may be noted twice, with the same number.
        let mut seen = std::collections::HashSet::new();
        let first = notes.filter(|note| seen.insert(note["detail"]["number"].to_string()));
        let notes: Vec<_> = first.map(|note| (text(&note["event"]), text(&note["detail"]["key"]))).collect();
        (notes.len() >= count).then_some(notes)
    };
    e2e::clock::eventually(&format!("{count} notes about keys"), look).await
}

fn is_of_keys(event: &str) -> bool {
    event.starts_with("key_")
}

#[tokio::test]
async fn each_change_of_a_key_is_on_the_audit_log_whoever_made_it() {
    // The scene's own key was made before the gateway's first start.
    let mut scene = Scene::new().await;
    let by_command = scene.gateway.key("acme").await;
    let made = ask(&scene.gateway, "POST", "/admin/v1/keys", r#"{"tenant":"acme/ops"}"#).await.json();
    let by_api = made["about"]["id"].as_str().unwrap().to_owned();
    ask(&scene.gateway, "DELETE", &format!("/admin/v1/keys/{by_api}"), "").await;
    key_notes(&scene.gateway, 4).await;
    scene.gateway.kill().await;
    scene.gateway.revoke(&by_command).await;
    scene.gateway.spawn().await;
    let notes = key_notes(&scene.gateway, 5).await;
    let note = |event: &str, key: &str| (event.to_owned(), key.to_owned());
    let created = |key: &str| note("key_created", key);
    let revoked = |key: &str| note("key_revoked", key);
    let expected =
        [created(&scene.key.id), created(&by_command.id), created(&by_api), revoked(&by_api), revoked(&by_command.id)];
    assert_eq!(notes, expected);
    scene.gateway.verify_audit().await;
}

#[tokio::test]
async fn metrics_move_and_no_caller_can_make_a_label() {
    let scene = Scene::new().await;
    assert_eq!(scene.gateway.fetch(&scene.whole()).await.status, 200);
    scene.gateway.open(&scene.streamed()).await.rest().await;
    for n in 0..5 {
        let evil = format!("evil-{n}");
        scene.gateway.fetch(&Request::chat(&scene.key.secret, &say::chat(&evil, "hi", false))).await;
        scene.gateway.fetch(&Request { path: format!("/v1/{evil}"), ..scene.whole() }).await;
        scene.gateway.fetch(&Request { method: format!("EVIL{n}"), ..scene.whole() }).await;
        scene.gateway.fetch(&scene.whole().header("authorization", &format!("Bearer {evil}"))).await;
    }
    scene.upstream.always(Script::json(500, say::error("evil-upstream", "evil-kind", Some("evil-code"))));
    scene.gateway.fetch(&scene.whole()).await;
    scene.gateway.audit_calls(23).await;
    let text = Request::get("/metrics").fetch(scene.gateway.admin).await;
    let text = String::from_utf8_lossy(&text.body).into_owned();
    assert!(!text.to_lowercase().contains("evil"), "{text}");
    assert!(text.contains("weir_deployments_cooling 1"), "the failed deployment cools down:\n{text}");
    scene.gateway.signal(rustix::process::Signal::HUP);
    e2e::clock::eventually("the reload is counted", async || {
        (scene.gateway.metric("weir_config_reloads_total", "result=\"taken\"").await >= 1.0).then_some(())
    })
    .await;
    assert!(scene.gateway.metric("weir_config_revision", "").await >= 2.0);
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 200, "{series} series");
    for (name, labels, least) in [
        ("weir_calls_total", "outcome=\"completed\"", 2.0),
        ("weir_calls_total", "outcome=\"refused\"", 20.0),
        ("weir_refusals_total", "reason=\"unknown_model\"", 0.0),
        ("weir_attempts_total", "deployment=\"mock-a\"", 3.0),
        ("weir_tokens_total", "org=\"acme\"", 2.0),
        ("weir_cost_nano_dollars_total", "org=\"acme\"", 1.0),
        ("weir_call_seconds_count", "", 23.0),
        ("weir_first_token_seconds_count", "", 2.0),
        ("weir_config_revision", "", 1.0),
        ("weir_engine_ready", "", 1.0),
    ] {
        let value = scene.gateway.metric(name, labels).await;
        assert!(value >= least && text.contains(name), "{name}{{{labels}}} is {value}:\n{text}");
    }
}

#[tokio::test]
async fn a_reload_takes_a_new_token_and_refuses_a_wrong_pepper() {
    let scene = Scene::new().await;
    let status = Request::get("/admin/v1/status");
    let with = |token: &str| status.clone().header("authorization", &format!("Bearer {token}"));
    scene.gateway.write("admin_token", "another-token-of-the-owner");
    e2e::clock::eventually("the new token holds", async || {
        (with("another-token-of-the-owner").fetch(scene.gateway.admin).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(with(ADMIN_TOKEN).fetch(scene.gateway.admin).await.status, 401, "the old one is locked out");
    scene.gateway.write("pepper", "another pepper of more than thirty-two bytes");
    e2e::clock::eventually("the log says why", async || {
        scene.gateway.log().contains("the new configuration is refused").then_some(())
    })
    .await;
    assert_eq!(scene.gateway.fetch(&scene.whole()).await.status, 200, "keys hold on");
}

/// What was answered holds: the next call meets it.
#[tokio::test]
async fn keys_turn_and_tenants_change_over_the_admin_api_at_once() {
    let scene = Scene::new().await;
    let gateway = &scene.gateway;
    let made = ask(gateway, "POST", "/admin/v1/tenants", r#"{"path": "acme/x", "name": "X"}"#).await;
    assert_eq!(made.status, 201, "{}", made.json());
    for wrong in [r#"{"path": "acme/x"}"#, r#"{"path": "globex/x"}"#, r#"{"path": "acme/y", "settings": {"odd": 1}}"#] {
        assert_eq!(ask(gateway, "POST", "/admin/v1/tenants", wrong).await.status, 400, "{wrong}");
    }
    let key = ask(gateway, "POST", "/admin/v1/keys", r#"{"tenant": "acme/x/y"}"#).await.json();
    let call = |key: &Value| Request::chat(key["key"].as_str().unwrap(), &say::chat("mock", "hi", false));
    let old = call(&key);
    assert_eq!(gateway.fetch(&old).await.status, 200);
    let id = key["about"]["id"].as_str().unwrap();
    let turned = ask(gateway, "POST", &format!("/admin/v1/keys/{id}/rotate"), r#"{"overlap_s": 60}"#).await.json();
    let new = call(&turned);
    assert_eq!((gateway.fetch(&old).await.status, gateway.fetch(&new).await.status), (200, 200));
    ask(gateway, "POST", &format!("/admin/v1/keys/{id}/expire"), r#"{"in_s": 0}"#).await;
    assert_eq!((gateway.fetch(&old).await.status, gateway.fetch(&new).await.status), (401, 200));
    let new_id = turned["about"]["id"].as_str().unwrap();
    let narrowed = r#"{"models": ["other"], "scopes": {}}"#;
    assert_eq!(ask(gateway, "POST", &format!("/admin/v1/keys/{new_id}/scope"), narrowed).await.status, 200);
    assert_eq!(gateway.fetch(&new).await.status, 403);
    ask(gateway, "POST", &format!("/admin/v1/keys/{new_id}/scope"), r#"{"scopes": {}}"#).await;
    assert_eq!(gateway.fetch(&new).await.status, 200);
    for (change, status) in [(r#"{"disabled": true}"#, 401), (r#"{"disabled": false}"#, 200)] {
        assert_eq!(ask(gateway, "PATCH", "/admin/v1/tenants/acme/x", change).await.status, 200, "{change}");
        assert_eq!(gateway.fetch(&new).await.status, status, "{change}");
    }
    let list = ask(gateway, "GET", "/admin/v1/tenants", "").await.json();
    assert_eq!(list["tenants"][0]["path"], "acme/x", "{list}");
    assert_eq!(ask(gateway, "DELETE", "/admin/v1/tenants/acme/x", "").await.json()["keys"], 2, "the expired one too");
    assert_eq!(gateway.fetch(&new).await.status, 401);
    assert_eq!(ask(gateway, "DELETE", "/admin/v1/tenants/acme/x", "").await.status, 404);
}
