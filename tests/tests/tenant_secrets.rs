//! Secrets of tenants: sealed in the store, sent in the place of the operator's key, and nowhere to be read.

use e2e::client::{Fetched, Request};
use e2e::config::{ADMIN_TOKEN, Config};
use e2e::gateway::Gateway;
use e2e::say;
use e2e::upstream::Upstream;
use serde_json::{Value, json};

const OPERATORS: &str = "sk-operators-own-key";
const ACME: &str = "sk-acme-0123456789";
const TEAM: &str = "sk-acme-team-0123456789";

async fn ask(gateway: &Gateway, method: &str, path: &str, body: Value) -> Fetched {
    Request { method: method.into(), ..Request::post(path, ADMIN_TOKEN, body.to_string()) }.fetch(gateway.admin).await
}

async fn set(gateway: &Gateway, tenant: &str, value: &str) -> Fetched {
    let body = json!({"tenant": tenant, "name": "openai", "value": value});
    ask(gateway, "PUT", "/admin/v1/secrets", body).await
}

struct Place {
    upstream: Upstream,
    gateway: Gateway,
}

/// With the operator's own key for tenants that have none, or without one.
async fn place(api_key: &str) -> Place {
    let upstream = Upstream::start().await;
    let keys = format!("tenant_key: openai{api_key}");
    let config = Config::default().tenant("acme", "").tenant("globex", "");
    let config = config.deployment("mock", "mock-a", &upstream.base_url(), &keys);
    let config = config.section("secrets: { master_key: \"file:./master_key\" }").section("retry: { attempts_max: 1 }");
    let mut gateway = Gateway::prepare(&config);
    gateway.write("master_key", "a master key that is only for tests");
    gateway.write("cloud_key", OPERATORS);
    gateway.spawn().await;
    Place { upstream, gateway }
}

/// Calls as that tenant, and gives the credential that the provider got; `None` where nothing went there.
async fn sent(place: &Place, tenant: &str) -> (u16, Option<String>) {
    let before = place.upstream.count();
    let key = place.gateway.key(tenant).await;
    let reply = place.gateway.fetch(&Request::chat(&key.secret, &say::chat("mock", "hi", false))).await;
    let received = place.upstream.received();
    let last = received.get(before).map(|request| request.head.get("authorization").unwrap().to_owned());
    (reply.status, last)
}

fn bearer(key: &str) -> (u16, Option<String>) {
    (200, Some(format!("Bearer {key}")))
}

#[tokio::test]
async fn the_innermost_secret_is_sent_and_the_operators_key_where_there_is_none() {
    let place = place(", api_key: \"file:./cloud_key\"").await;
    assert_eq!(sent(&place, "acme/team").await, bearer(OPERATORS));
    assert_eq!(set(&place.gateway, "acme", ACME).await.status, 200);
    assert_eq!(sent(&place, "acme/team").await, bearer(ACME));
    assert_eq!(set(&place.gateway, "acme/team", TEAM).await.status, 200);
    assert_eq!(sent(&place, "acme/team/x").await, bearer(TEAM));
    assert_eq!(sent(&place, "acme/other").await, bearer(ACME));
    assert_eq!(sent(&place, "globex").await, bearer(OPERATORS));
    let named = "/admin/v1/secrets?tenant=acme/team&name=openai";
    assert_eq!(ask(&place.gateway, "DELETE", named, Value::Null).await.status, 200);
    assert_eq!(ask(&place.gateway, "DELETE", named, Value::Null).await.status, 404);
    assert_eq!(sent(&place, "acme/team/x").await, bearer(ACME));
    for (value, status) in [("", 400), ("two\nlines", 400)] {
        assert_eq!(set(&place.gateway, "acme", value).await.status, status, "{value:?}");
    }
    // A master key is changed in two steps: the new one beside the old, then everything is sealed anew.
    let listed = place.gateway.weir(&["tenant", "secret", "list"]).await.json();
    assert_eq!((&listed["tenant"], &listed["version"]), (&json!("acme"), &json!(1)), "{listed}");
    let all = [
        place.gateway.log(),
        format!("{:?}", place.gateway.audit().await),
        listed.to_string(),
        ask(&place.gateway, "GET", "/admin/v1/secrets", Value::Null).await.json().to_string(),
    ];
    assert!(all.iter().all(|text| !text.contains("sk-acme")), "a secret can be read");
    let store = std::fs::read(place.gateway.data().join("weir.db")).unwrap();
    let wal = std::fs::read(place.gateway.data().join("weir.db-wal")).unwrap_or_default();
    let holds = |bytes: &[u8]| bytes.windows(ACME.len()).any(|window| window == ACME.as_bytes());
    assert!(!holds(&store) && !holds(&wal), "it lies in the store in the clear");
}

/// Nothing is sent in the place of what can't be opened, and no call goes out without the credential that it needs.
#[tokio::test]
async fn without_the_right_secret_nothing_goes_out() {
    let place = place("").await;
    let (status, got) = sent(&place, "globex").await;
    assert!(status >= 500 && got.is_none(), "{status} {got:?}");
    assert_eq!(set(&place.gateway, "acme", ACME).await.status, 200);
    assert_eq!(sent(&place, "acme").await, bearer(ACME));
    place.gateway.write("master_key", "another master key, and a wrong one");
    place.gateway.signal(rustix::process::Signal::HUP);
    e2e::clock::eventually("the reload is taken", async || {
        (place.gateway.metric("weir_config_revision", "").await >= 2.0).then_some(())
    })
    .await;
    let (status, got) = sent(&place, "acme").await;
    assert!(status >= 500 && got.is_none(), "{status} {got:?}");
}
