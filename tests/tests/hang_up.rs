//! A client that goes away: the upstream is cancelled, and the books are complete.

use std::time::{Duration, Instant};

use e2e::client::Request;
use e2e::engine::Engine;
use e2e::gateway::{Gateway, outcome};
use e2e::upstream::{Gate, Script, Step};
use e2e::{config::Config, say};

use crate::scene::Scene;

/// How soon the upstream's connection is closed after the client's.
const CANCEL: Duration = Duration::from_millis(500);

/// A stream that says `count` words and then never ends.
fn endless(count: usize) -> Script {
    (0..count).fold(Script::stream(), |script, n| script.event(say::delta(&format!("w{n} ")))).then(Step::Hold)
}

/// The first test of all.
#[tokio::test]
async fn a_hang_up_after_the_third_chunk_of_a_long_call_is_accounted_for() {
    let scene = Scene::new().await;
    scene.upstream.always(endless(3));
    let prompt = "The quick brown fox. ".repeat(200 * 1024 / 21 + 1);
    let request = Request::chat(&scene.key.secret, &say::chat("mock", &prompt, true));
    let mut reply = scene.gateway.open(&request).await;
    assert_eq!(reply.status(), 200);
    for n in 0..3 {
        assert!(reply.data().await.contains(&format!("w{n} ")));
    }
    let left = Instant::now();
    reply.hang_up();

    let received = scene.upstream.only_request();
    let closed = received.closed_early().await;
    assert!(closed.saturating_duration_since(left) < CANCEL, "cancelled after {:?}", closed - left);
    assert_eq!(received.json()["messages"][0]["content"], prompt.as_str(), "the prompt arrived whole");

    let (row, record) = scene.books().await;
    assert_eq!(outcome(&row), "hung_up");
    assert_eq!(outcome(&record), "hung_up");
    assert!(row["input_tokens"].as_u64().unwrap() > 10_000, "a prompt of 200 KiB is charged: {row}");
    assert!(row["output_tokens"].as_u64().unwrap() >= 3, "what was heard is charged: {row}");
    assert!(row["cost_nano"].as_i64().unwrap() > 0, "{row}");
    assert_eq!(scene.upstream.count(), 1);
}

#[tokio::test]
async fn fr_sse_12_a_hang_up_before_the_first_byte_cancels_the_upstream() {
    let scene = Scene::new().await;
    scene.upstream.always(Script::stream().first(Step::Hold));
    let sent = scene.streamed().send(scene.gateway.address).await;
    let received = scene.upstream.request(0).await;
    let left = Instant::now();
    sent.hang_up();
    let closed = received.closed_early().await;
    assert!(closed.saturating_duration_since(left) < CANCEL, "cancelled after {:?}", closed - left);
    let (row, record) = scene.books().await;
    assert_eq!((outcome(&row), outcome(&record)), ("hung_up", "hung_up"));
}

#[tokio::test]
async fn fr_sse_12_a_hang_up_after_five_events_cancels_the_upstream() {
    let scene = Scene::new().await;
    scene.upstream.always(endless(5));
    let mut reply = scene.gateway.open(&scene.streamed()).await;
    for _ in 0..5 {
        reply.data().await;
    }
    let left = Instant::now();
    reply.hang_up();
    let closed = scene.upstream.only_request().closed_early().await;
    assert!(closed.saturating_duration_since(left) < CANCEL, "cancelled after {:?}", closed - left);
    let (row, record) = scene.books().await;
    assert_eq!((outcome(&row), outcome(&record)), ("hung_up", "hung_up"));
    assert_eq!(scene.upstream.count(), 1);
}

#[tokio::test]
async fn fr_sse_12_a_hang_up_during_a_pause_before_a_retry_ends_the_call() {
    let scene = Scene::with(|config| config.section("retry: { attempts_max: 3, wait_max_ms: 5000 }")).await;
    let busy = Script::json(503, say::error("busy", "server_error", None)).header("retry-after", "1");
    scene.upstream.always(busy);
    let sent = scene.streamed().send(scene.gateway.address).await;
    scene.upstream.request(0).await.ended().await;
    sent.hang_up();
    let record = scene.gateway.audit_calls(1).await.remove(0);
    assert_eq!(outcome(&record), "hung_up");
    // Longer than the pause: an attempt that still came would be seen.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(scene.upstream.count(), 1, "no attempt for a client that is gone");
}

#[tokio::test]
async fn a_hang_up_gives_the_place_in_the_concurrency_limit_back() {
    let scene = Scene::with(|config| config.tenant("solo", "limits: { concurrency: 1 }")).await;
    let key = scene.gateway.key("solo").await;
    scene.upstream.next(endless(1));
    let request = Request::chat(&key.secret, &say::chat("mock", "hi", true));
    let mut reply = scene.gateway.open(&request).await;
    reply.data().await;
    let refused = scene.gateway.fetch(&request).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "concurrency_limit_reached"));
    reply.hang_up();
    scene.upstream.request(0).await.closed_early().await;
    e2e::clock::eventually("the place is free again", async || {
        (scene.gateway.fetch(&request).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_a_whole_answer_is_not_served_for_free() {
    let scene = Scene::new().await;
    let gate = Gate::default();
    scene.upstream.always(Script::json(200, say::answer("late", 50, 5)).first(Step::Pass(gate.clone())));
    let sent = scene.whole().send(scene.gateway.address).await;
    let received = scene.upstream.request(0).await;
    sent.hang_up();
    received.closed_early().await;
    gate.open();
    let (row, _) = scene.books().await;
    assert_eq!(outcome(&row), "hung_up");
    assert_eq!(row["source"], "estimated");
    assert!(row["cost_nano"].as_i64().unwrap() > 0, "{row}");
}

#[tokio::test]
async fn a_hang_up_frees_the_engines_pages_and_is_charged_to_the_token() {
    let args = ["--name", "mock-1", "--context-tokens", "300000", "--kv-pages", "20000", "--batch-tokens", "8192"];
    let slow = ["--script-tokens", "100000", "--step-delay-ms", "5"];
    let engine = Engine::scripted(&[&args[..], &slow].concat()).await;
    let config = Config::default().tenant("acme", "").deployment(
        "mock",
        "own",
        &engine.base_url(),
        "provider: engine, timeouts: { connect_ms: 1000, first_byte_ms: 60000, idle_ms: 5000 }",
    );
    let gateway = Gateway::start(&config).await;
    let key = gateway.key("acme").await;
    let idle = engine.pages().await;
    let mut body = say::chat("mock", &"A long prompt. ".repeat(200 * 1024 / 15 + 1), true);
    body["max_tokens"] = 4000.into();
    let mut reply = gateway.open(&Request::chat(&key.secret, &body)).await;
    assert_eq!(reply.status(), 200);
    for _ in 0..3 {
        reply.data().await;
    }
    assert!(engine.pages().await.owned > 10_000 / 16, "a long prompt holds many pages");
    reply.hang_up();
    assert_eq!(engine.idle().await, idle);
    let row = gateway.usage_rows(1).await.remove(0);
    assert_eq!((outcome(&row), row["source"].as_str()), ("hung_up", Some("exact")));
    assert!(row["output_tokens"].as_u64().unwrap() < 4000, "{row}");
}
