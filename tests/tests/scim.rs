//! Identity providers tell of users and groups by SCIM: what they may do, what it changes for callers, and how soon.

use std::time::{Duration, Instant};

use e2e::client::{Fetched, Request};
use e2e::clock;
use e2e::gateway::{Gateway, outcome};
use e2e::say;
use e2e::sdk::Chapter;
use e2e::upstream::{Script, Step};
use serde_json::{Value, json};

use crate::scene::Scene;

/// How soon a change acts.
const ACTS: Duration = Duration::from_secs(1);
const TOKEN: &str = "the-scim-token-of-acme";
const OTHER: &str = "the-scim-token-of-globex";
const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

/// Two tenants with a directory each; a group's name gives the role that the shipped policy suspends.
async fn scene(more: &str) -> Scene {
    let directory = |name: &str, tenant: &str| {
        format!(
            "{{ name: {name}, tenant: {tenant}, token: \"file:./{name}_token\", roles: {{ Suspended: suspended }}{more} }}"
        )
    };
    let section = format!(
        "identity: {{ directory: {{ scim: [{}, {}] }} }}",
        directory("corp", "acme"),
        directory("glob", "globex")
    );
    let upstream = e2e::upstream::Upstream::start().await;
    let config = e2e::config::Config::with(&upstream).tenant("globex", "").section(&section);
    let mut gateway = Gateway::prepare(&config);
    gateway.write("corp_token", TOKEN);
    gateway.write("glob_token", OTHER);
    let key = gateway.key("acme/research/chat/ada").await;
    gateway.spawn().await;
    Scene { upstream, gateway, key }
}

async fn ask(scene: &Scene, token: &str, method: &str, path: &str, body: &Value) -> Fetched {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = Request { method: method.into(), ..Request::post(&format!("/scim/v2{path}"), token, body) };
    request.header("content-type", "application/scim+json").fetch(scene.gateway.admin).await
}

async fn made(scene: &Scene, token: &str, path: &str, body: Value) -> String {
    let reply = ask(scene, token, "POST", path, &body).await;
    assert_eq!(reply.status, 201, "{:?}", reply.body);
    reply.json()["id"].as_str().unwrap().to_owned()
}

fn user(name: &str) -> Value {
    json!({"schemas": [USER], "userName": name})
}

fn change(op: Value) -> Value {
    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [op]})
}

/// Waits for a reply of that status and code; it must not take longer than a change may.
async fn soon(scene: &Scene, begun: Instant, status: u16, code: &str) {
    clock::eventually(&format!("{status} {code}"), async || {
        let reply = scene.gateway.fetch(&scene.whole()).await;
        (reply.status == status && (status == 200 || reply.code() == code)).then_some(())
    })
    .await;
    assert!(begun.elapsed() < ACTS, "{status} {code} after {:?}", begun.elapsed());
}

#[tokio::test]
async fn every_check_of_scim2_tester_holds() {
    let scene = scene("").await;
    let url = format!("http://{}/scim/v2", scene.gateway.admin);
    Chapter::run("scim", &json!({"scim_url": url, "token": TOKEN, "tenants": []})).await;
    let served = scene.gateway.metric("weir_scim_requests_total", "directory=\"corp\"").await;
    assert!(served > 100.0, "{served}");
}

#[tokio::test]
async fn a_user_who_is_switched_off_is_refused_within_a_second_and_its_stream_ends() {
    let scene = scene("").await;
    let id = made(&scene, TOKEN, "/Users", user("Ada@Example.com")).await;
    soon(&scene, Instant::now(), 200, "").await;
    scene.upstream.next(Script::stream().event(say::delta("x")).then(Step::Hold));
    let mut stream = scene.gateway.open(&scene.streamed()).await;
    assert_eq!(stream.status(), 200);
    stream.data().await;
    let off = change(json!({"op": "Replace", "path": "active", "value": "False"}));
    let reply = ask(&scene, TOKEN, "PATCH", &format!("/Users/{id}"), &off).await;
    let begun = Instant::now();
    assert_eq!((reply.status, &reply.json()["active"]), (200, &json!(false)));
    let rest = stream.rest().await;
    assert_eq!(rest.error_code().as_deref(), Some("key_revoked"), "{:?}", rest.data());
    assert!(begun.elapsed() < ACTS, "the stream ended after {:?}", begun.elapsed());
    soon(&scene, begun, 401, "invalid_api_key").await;
    let on = change(json!({"op": "replace", "value": {"active": true}}));
    let begun = Instant::now();
    assert_eq!(ask(&scene, TOKEN, "PATCH", &format!("/Users/{id}"), &on).await.status, 200);
    soon(&scene, begun, 200, "").await;
    let begun = Instant::now();
    assert_eq!(ask(&scene, TOKEN, "DELETE", &format!("/Users/{id}"), &Value::Null).await.status, 204);
    soon(&scene, begun, 401, "invalid_api_key").await;
    let records = scene.gateway.audit().await;
    assert!(records.iter().any(|record| record["reason"] == "directory_user_inactive"), "{records:?}");
    assert!(records.iter().any(|record| record["outcome"] == "revoked" || outcome(record) == "revoked"));
    noted(&scene, &id).await;
}

/// Each change of the user is on the audit log, by its id.
async fn noted(scene: &Scene, id: &str) {
    clock::eventually("the changes are noted", async || {
        let log = std::fs::read_dir(scene.gateway.data().join("audit")).ok()?;
        let text: String = log.flatten().filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect();
        let events = ["created", "deactivated", "activated", "deleted"];
        let has = |event: &&str| {
            let event = format!("directory_user_{event}");
            text.lines().any(|line| line.contains(&event) && line.contains(id))
        };
        events.iter().all(has).then_some(())
    })
    .await;
    scene.gateway.verify_audit().await;
}

#[tokio::test]
async fn groups_give_roles_and_take_them_again() {
    let scene = scene("").await;
    let id = made(&scene, TOKEN, "/Users", user("ada")).await;
    let group = json!({"schemas": [GROUP], "displayName": "Suspended", "members": [{"value": id}]});
    let begun = Instant::now();
    let group = made(&scene, TOKEN, "/Groups", group).await;
    soon(&scene, begun, 403, "policy_denied").await;
    let groups = ask(&scene, TOKEN, "GET", &format!("/Users/{id}"), &Value::Null).await.json()["groups"].clone();
    assert_eq!((&groups[0]["value"], &groups[0]["display"]), (&json!(group), &json!("Suspended")));
    let out = change(json!({"op": "remove", "path": format!("members[value eq \"{id}\"]")}));
    let begun = Instant::now();
    let left = ask(&scene, TOKEN, "PATCH", &format!("/Groups/{group}"), &out).await;
    assert!(left.status == 200 && left.json().get("members").is_none(), "{:?}", left.body);
    soon(&scene, begun, 200, "").await;
    assert_eq!(scene.upstream.count() > 0, true);
}

#[tokio::test]
async fn a_tenants_provider_learns_nothing_of_another_tenant() {
    let scene = scene(", unknown: refuse").await;
    let ada = made(&scene, TOKEN, "/Users", user("ada")).await;
    let group = made(&scene, TOKEN, "/Groups", json!({"schemas": [GROUP], "displayName": "G"})).await;
    let body = |reply: &Fetched| (reply.status, reply.json());
    let nowhere = "019c0000-0000-7000-8000-000000000000";
    let patch = change(json!({"op": "replace", "path": "displayName", "value": "x"}));
    for (of, id, put) in
        [("Users", &ada, user("eve")), ("Groups", &group, json!({"schemas": [GROUP], "displayName": "x"}))]
    {
        for (method, sent) in [("GET", &Value::Null), ("PUT", &put), ("PATCH", &patch), ("DELETE", &Value::Null)] {
            let theirs = ask(&scene, OTHER, method, &format!("/{of}/{id}"), sent).await;
            let none = ask(&scene, OTHER, method, &format!("/{of}/{nowhere}"), sent).await;
            assert_eq!(theirs.status, 404, "{method} {of}");
            assert_eq!(body(&theirs), body(&none), "{method} {of}");
        }
        let filter = format!("/{of}?filter=id%20eq%20%22{id}%22");
        for path in [format!("/{of}"), filter] {
            assert_eq!(ask(&scene, OTHER, "GET", &path, &Value::Null).await.json()["totalResults"], 0, "{path}");
        }
    }
    let join = json!({"schemas": [GROUP], "displayName": "Mine", "members": [{"value": ada}]});
    let none = json!({"schemas": [GROUP], "displayName": "Mine", "members": [{"value": nowhere}]});
    let (theirs, none) =
        (ask(&scene, OTHER, "POST", "/Groups", &join).await, ask(&scene, OTHER, "POST", "/Groups", &none).await);
    assert_eq!(body(&theirs), body(&none));
    assert_eq!(theirs.status, 400);
    made(&scene, OTHER, "/Users", user("ada")).await;
    let again = ask(&scene, TOKEN, "POST", "/Users", &user("ADA")).await;
    assert_eq!((again.status, &again.json()["scimType"]), (409, &json!("uniqueness")));
    for token in ["", "wrong", e2e::config::ADMIN_TOKEN, scene.key.secret.as_str()] {
        let refused = ask(&scene, token, "GET", "/Users", &Value::Null).await;
        assert_eq!((refused.status, &refused.json()["status"]), (401, &json!("401")), "{token}");
    }
    let owner = Request::get("/admin/v1/keys").header("authorization", &format!("Bearer {TOKEN}"));
    assert_eq!(owner.fetch(scene.gateway.admin).await.status, 401, "a provider's token is no owner's");
    let stranger = scene.gateway.key("acme/research/chat/bob").await;
    let refused = scene.gateway.fetch(&Request::chat(&stranger.secret, &say::chat("mock", "hi", false))).await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "invalid_api_key"), "a user that nobody told of");
}

#[tokio::test]
async fn lists_are_filtered_paged_and_bounded() {
    let scene = scene("").await;
    for name in ["ada", "bob", "eve"] {
        let mail = json!([{"value": format!("{name}@x.example"), "type": "work"}]);
        let body = json!({"schemas": [USER], "userName": name, "externalId": format!("x-{name}"), "emails": mail});
        made(&scene, TOKEN, "/Users", body).await;
    }
    let table = [
        ("", 3, vec!["ada", "bob", "eve"]),
        ("?count=2", 3, vec!["ada", "bob"]),
        ("?startIndex=2&count=1", 3, vec!["bob"]),
        ("?startIndex=-5&count=-1", 3, vec![]),
        ("?startIndex=9", 3, vec![]),
        ("?filter=userName%20eq%20%22BOB%22", 1, vec!["bob"]),
        ("?filter=externalId+eq+%22x-eve%22+and+active+ne+false", 1, vec!["eve"]),
        ("?filter=emails%5Btype+eq+%22work%22%5D&count=1&startIndex=3", 3, vec!["eve"]),
        ("?filter=not+(userName+sw+%22a%22)", 2, vec!["bob", "eve"]),
    ];
    for (query, total, names) in table {
        let found = ask(&scene, TOKEN, "GET", &format!("/Users{query}"), &Value::Null).await;
        assert_eq!(found.status, 200, "{query}");
        let found = found.json();
        let listed: Vec<_> =
            found["Resources"].as_array().unwrap().iter().map(|user| user["userName"].clone()).collect();
        assert_eq!(
            (&found["totalResults"], listed),
            (&json!(total), names.into_iter().map(Value::from).collect()),
            "{query}"
        );
    }
    let wish = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "filter": "userName pr",
        "attributes": ["userName"], "count": 1});
    for path in ["/Users/.search", "/.search"] {
        let found = ask(&scene, TOKEN, "POST", path, &wish).await.json();
        assert_eq!(found["totalResults"], 3, "{path}");
        let keys: Vec<_> = found["Resources"][0].as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["id", "schemas", "userName"], "{path}");
    }
    let bad = [
        ("GET", "/Users?filter=nope+eq+1", Value::Null, 400, "invalidFilter"),
        ("GET", "/Users?count=x", Value::Null, 400, "invalidValue"),
        ("POST", "/Users", json!([]), 400, "invalidSyntax"),
        ("POST", "/Users", json!({"schemas": [USER]}), 400, "invalidValue"),
        ("POST", "/Bulk", json!({}), 501, ""),
        ("GET", "/Nope", Value::Null, 404, ""),
        ("PUT", "/Users", json!({}), 405, ""),
    ];
    for (method, path, body, status, kind) in bad {
        let refused = ask(&scene, TOKEN, method, path, &body).await;
        let told = refused.json();
        assert_eq!((refused.status, told["scimType"].as_str().unwrap_or("")), (status, kind), "{method} {path} {told}");
        assert_eq!(told["schemas"][0], "urn:ietf:params:scim:api:messages:2.0:Error", "{method} {path}");
    }
    let huge = json!({"schemas": [USER], "userName": "x", "title": "y".repeat(3_000_000)});
    assert_eq!(ask(&scene, TOKEN, "POST", "/Users", &huge).await.status, 413);
}
