//! Lines in front of a busy deployment: a bounded wait in a fair order, instead of a refusal.

use std::time::Duration;

use e2e::client::Request;
use e2e::config::Config;
use e2e::gateway::Gateway;
use e2e::say;
use e2e::upstream::{Gate, Script, Step, Upstream};
use tokio::task::JoinSet;

/// A gateway whose one deployment takes one call at once, and two organisations.
async fn busy(queue: &str) -> (Upstream, Gateway, Gate) {
    let upstream = Upstream::start().await;
    let waits = "timeouts: { connect_ms: 1000, first_byte_ms: 20000, idle_ms: 20000 }";
    let keys = format!("{waits}, queue: {{ slots: 1, {queue} }}");
    let config = Config::default()
        .tenant("flood", "")
        .tenant("calm", "")
        .deployment("mock", "mock-a", &upstream.base_url(), &keys)
        .section("retry: { attempts_max: 1 }");
    let gateway = Gateway::start(&config).await;
    let gate = Gate::default();
    upstream.always(Script::json(200, say::answer("a", 7, 1)).first(Step::Pass(gate.clone())));
    (upstream, gateway, gate)
}

fn chat(secret: &str, text: &str) -> Request {
    Request::chat(secret, &say::chat("mock", text, false))
}

/// Waits until so many calls wait for the deployment.
async fn waiting(gateway: &Gateway, calls: u32) {
    while gateway.metric("weir_queue_waiting", "deployment=\"mock-a\"").await < f64::from(calls) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_flood_of_one_tenant_waits_behind_itself_and_nobody_is_refused() {
    let (upstream, gateway, gate) = busy("wait_ms: 20000").await;
    let (flood, calm) = (gateway.key("flood").await, gateway.key("calm").await);
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let (request, address) = (chat(&flood.secret, "flood"), gateway.address);
        calls.spawn(async move { request.fetch(address).await.status });
    }
    waiting(&gateway, 19).await;
    let (request, address) = (chat(&calm.secret, "calm"), gateway.address);
    calls.spawn(async move { request.fetch(address).await.status });
    waiting(&gateway, 20).await;
    assert_eq!(upstream.count(), 1, "the deployment takes one call at once");
    for _ in 0..21 {
        gate.open();
    }
    while let Some(status) = calls.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    gateway.usage_rows(21).await;
    let rows = gateway.weir(&["usage", "rows"]).await;
    let rows = rows.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let waits: Vec<u64> = rows.map(|row| row["queue_ms"].as_u64().unwrap()).collect();
    assert!(waits.iter().filter(|wait| **wait > 0).count() >= 19, "all but the first waited: {waits:?}");
    let texts: Vec<_> = upstream.received().iter().map(|got| got.json()["messages"][0]["content"].clone()).collect();
    let place = texts.iter().position(|text| text == "calm").unwrap();
    assert!(place <= 2, "the calm tenant was served in place {place} of 21");
}

#[tokio::test]
async fn a_wait_that_is_too_long_ends_with_a_true_hint_and_costs_nothing() {
    let (upstream, gateway, gate) = busy("wait_ms: 200").await;
    let key = gateway.key("flood").await;
    let first = chat(&key.secret, "first").send(gateway.address).await;
    upstream.request(0).await;
    let refused = gateway.fetch(&chat(&key.secret, "second")).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "deployment_saturated"), "{:?}", refused.body);
    assert!(refused.head.get("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    gate.open();
    assert_eq!(first.reply().await.status(), 200);
    let rows = gateway.usage_rows(1).await;
    assert_eq!(rows.len(), 1, "who only waited has no attempt: {rows:?}");
    assert_eq!(gateway.metric("weir_queue_wait_seconds_count", "result=\"left\"").await, 1.0);
}

#[tokio::test]
async fn who_hangs_up_in_the_line_takes_no_place_along() {
    let (upstream, gateway, gate) = busy("wait_ms: 20000").await;
    let key = gateway.key("flood").await;
    let first = chat(&key.secret, "first").send(gateway.address).await;
    upstream.request(0).await;
    let gone = chat(&key.secret, "gone").send(gateway.address).await;
    waiting(&gateway, 1).await;
    gone.hang_up();
    while gateway.metric("weir_queue_waiting", "deployment=\"mock-a\"").await > 0.0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gate.open();
    gate.open();
    assert_eq!(first.reply().await.status(), 200);
    assert_eq!(gateway.fetch(&chat(&key.secret, "third")).await.status, 200);
    let texts: Vec<_> = upstream.received().iter().map(|got| got.json()["messages"][0]["content"].clone()).collect();
    assert_eq!(texts, ["first", "third"]);
}
