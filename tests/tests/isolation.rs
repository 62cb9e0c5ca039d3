//! Administrators of one tenant: another tenant's things are not there, cannot be counted, and nobody comes by more
//! than his role gives.

use e2e::client::{Fetched, Request};
use e2e::config::ADMIN_TOKEN;
use e2e::gateway::Gateway;
use e2e::say;
use serde_json::{Value, json};

use crate::scene::Scene;

async fn ask(gateway: &Gateway, key: &str, method: &str, path: &str, body: &Value) -> Fetched {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    Request { method: method.into(), ..Request::post(path, key, body) }.fetch(gateway.admin).await
}

async fn made(gateway: &Gateway, path: &str, body: &Value) -> (String, String) {
    let made = ask(gateway, ADMIN_TOKEN, "POST", path, body).await;
    assert_eq!(made.status, 201, "{body}: {}", made.json());
    let made = made.json();
    (made["about"]["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned())
}

async fn scene() -> Scene {
    Scene::with(|config| config.tenant("globex", "")).await
}

#[tokio::test]
async fn another_tenants_things_are_not_there() {
    let scene = scene().await;
    let gateway = &scene.gateway;
    let (_, acme) = made(gateway, "/admin/v1/admins", &json!({"role": "owner", "tenant": "acme"})).await;
    let (theirs, their_key) = made(gateway, "/admin/v1/keys", &json!({"tenant": "globex/x"})).await;
    let (their_admin, _) = made(gateway, "/admin/v1/admins", &json!({"role": "owner", "tenant": "globex"})).await;
    let (everywhere, _) = made(gateway, "/admin/v1/admins", &json!({"role": "auditor"})).await;
    ask(gateway, ADMIN_TOKEN, "POST", "/admin/v1/tenants", &json!({"path": "globex/x"})).await;
    gateway.fetch(&Request::chat(&their_key, &say::chat("mock", "hi", false))).await;
    gateway.usage_rows(1).await;
    // What is there and what is not look the same, to the byte.
    for foreign in [&theirs, &their_admin, &everywhere] {
        for (method, way, body) in [
            ("DELETE", "", Value::Null),
            ("POST", "/revoke", Value::Null),
            ("POST", "/rotate", json!({"overlap_s": 60})),
            ("POST", "/expire", json!({"in_s": 1})),
            ("POST", "/scope", json!({"scopes": {}})),
        ] {
            let of = |id: &str| format!("/admin/v1/keys/{id}{way}");
            let foreign_reply = ask(gateway, &acme, method, &of(foreign), &body).await;
            let missing = ask(gateway, &acme, method, &of("zzzzzzzz"), &body).await;
            assert_eq!(foreign_reply.status, 404, "{method} {way}");
            let same = String::from_utf8_lossy(&missing.body).replace("zzzzzzzz", foreign);
            assert_eq!(String::from_utf8_lossy(&foreign_reply.body), same, "{method} {way}");
        }
    }
    for path in ["globex", "globex/x", "globex/nothing", "acmeister"] {
        let outside = [
            ask(gateway, &acme, "GET", &format!("/admin/v1/usage?tenant={path}"), &Value::Null).await,
            ask(gateway, &acme, "PATCH", &format!("/admin/v1/tenants/{path}"), &json!({"disabled": true})).await,
            ask(gateway, &acme, "DELETE", &format!("/admin/v1/tenants/{path}"), &Value::Null).await,
            ask(gateway, &acme, "POST", "/admin/v1/tenants", &json!({"path": path})).await,
            ask(gateway, &acme, "POST", "/admin/v1/keys", &json!({"tenant": path})).await,
            ask(gateway, &acme, "POST", "/admin/v1/admins", &json!({"tenant": path, "role": "owner"})).await,
        ];
        for reply in outside {
            assert_eq!(reply.status, 403, "{path}: {}", reply.json());
            assert!(reply.json()["error"]["message"].as_str().unwrap().contains("outside_tenant"));
        }
    }
    // Lists and sums hold the own alone.
    for (path, own) in [("/admin/v1/keys", "keys"), ("/admin/v1/tenants", "tenants"), ("/admin/v1/usage", "rows")] {
        let reply = ask(gateway, &acme, "GET", path, &Value::Null).await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(!String::from_utf8_lossy(&reply.body).contains("globex"), "{path}: {}", reply.json());
        assert!(reply.json()[own].is_array() || own == "rows", "{path}: {}", reply.json());
    }
    let keys = ask(gateway, &acme, "GET", "/admin/v1/keys", &Value::Null).await.json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2, "its own administrator and the scene's key: {keys}");
    assert_eq!(gateway.fetch(&Request::chat(&their_key, &say::chat("mock", "hi", false))).await.status, 200);
}

/// A role can't be had by replacing, widening or making somebody's key.
#[tokio::test]
async fn nobody_comes_by_more_than_his_role() {
    let scene = scene().await;
    let gateway = &scene.gateway;
    let (owner_id, _) = made(gateway, "/admin/v1/admins", &json!({"role": "owner"})).await;
    let (acme_owner, _) = made(gateway, "/admin/v1/admins", &json!({"role": "owner", "tenant": "acme"})).await;
    let (chief, _) = made(gateway, "/admin/v1/keys", &json!({"tenant": "acme", "roles": ["chief"]})).await;
    let (plain, _) = made(gateway, "/admin/v1/keys", &json!({"tenant": "acme"})).await;
    let (_, security) = made(gateway, "/admin/v1/admins", &json!({"role": "security"})).await;
    let (_, developer) = made(gateway, "/admin/v1/admins", &json!({"role": "developer", "tenant": "acme"})).await;
    let turn = json!({"overlap_s": 60});
    let cases = [
        (&security, "POST", format!("/admin/v1/keys/{owner_id}/rotate"), turn.clone(), 403),
        (&security, "POST", format!("/admin/v1/keys/{owner_id}/revoke"), Value::Null, 403),
        (&security, "POST", "/admin/v1/admins".to_owned(), json!({"role": "security"}), 403),
        (&security, "POST", "/admin/v1/keys".to_owned(), json!({"tenant": "acme", "roles": ["chief"]}), 201),
        (&security, "POST", "/admin/v1/keys".to_owned(), json!({"tenant": "acme", "kind": "admin"}), 400),
        (&developer, "POST", format!("/admin/v1/keys/{acme_owner}/rotate"), turn.clone(), 403),
        (&developer, "POST", format!("/admin/v1/keys/{chief}/rotate"), turn.clone(), 403),
        (&developer, "POST", format!("/admin/v1/keys/{plain}/rotate"), turn.clone(), 201),
        (&developer, "POST", format!("/admin/v1/keys/{plain}/scope"), json!({"scopes": {}}), 403),
        (&developer, "POST", "/admin/v1/keys".to_owned(), json!({"tenant": "acme", "roles": ["chief"]}), 403),
        (&developer, "POST", "/admin/v1/keys".to_owned(), json!({"tenant": "acme/x"}), 201),
        (&developer, "GET", "/admin/v1/status".to_owned(), Value::Null, 403),
        (&developer, "GET", "/admin/v1/audit/verify".to_owned(), Value::Null, 403),
    ];
    for (key, method, path, body, status) in cases {
        let reply = ask(gateway, key, method, &path, &body).await;
        assert_eq!(reply.status, status, "{method} {path} {body}: {}", reply.json());
    }
    // An administrator's key makes no calls.
    assert_eq!(gateway.fetch(&Request::chat(&security, &say::chat("mock", "hi", false))).await.status, 401);
    // Changes and refusals are on the audit log, with who and what.
    for (role, action, status) in
        [("owner", "admins.change", "201"), ("security", "admins.change", "403"), ("developer", "status.read", "403")]
    {
        e2e::clock::eventually(&format!("a note of {role} {action} {status}"), async || {
            let lines = gateway.weir(&["audit", "list", "--json", "--limit", "1000"]).await.json();
            let is = |line: &Value| {
                let detail = &line["detail"];
                line["event"] == "admin_action"
                    && (detail["role"] == role && detail["action"] == action && detail["status"] == status)
            };
            lines.as_array().unwrap().iter().any(is).then_some(())
        })
        .await;
    }
    gateway.verify_audit().await;
}
