//! Budgets: they hold over restarts, end streams at the token, and can't be passed by calls that come together.

use e2e::client::Request;
use e2e::config::Config;
use e2e::engine::Engine;
use e2e::gateway::{Gateway, outcome};
use e2e::say;
use e2e::upstream::{Script, Step, Upstream};
use tokio::task::JoinSet;

use crate::scene::Scene;

/// A tenant `bound` with one limit.
async fn scene(rule: &str) -> (Scene, String) {
    let scene = Scene::with(|config| config.tenant("bound", &format!("limit_rules: [{{ name: one, {rule} }}]"))).await;
    let key = scene.gateway.key("bound/team").await;
    (scene, key.secret)
}

fn chat(secret: &str, stream: bool, cap: u32) -> Request {
    let mut body = say::chat("mock", "hi", stream);
    body["max_tokens"] = cap.into();
    Request::chat(secret, &body)
}

#[tokio::test]
async fn what_a_budget_has_given_is_not_there_again_after_a_restart() {
    let (mut scene, secret) = scene("what: tokens, amount: 60, per: month").await;
    // Each uses ten and holds at most twenty.
    for round in 0..4 {
        assert_eq!(scene.gateway.fetch(&chat(&secret, false, 3)).await.status, 200, "round {round}");
    }
    scene.gateway.usage_rows(4).await;
    scene.gateway.kill().await;
    scene.gateway.spawn().await;
    let mut served = 4;
    let refused = loop {
        let reply = scene.gateway.fetch(&chat(&secret, false, 3)).await;
        if reply.status != 200 {
            break reply;
        }
        served += 1;
    };
    assert!((5..=6).contains(&served), "{served} calls of ten tokens from a budget of 60");
    assert_eq!((refused.status, refused.code().as_str()), (429, "budget_exceeded"), "{:?}", refused.body);
    assert_eq!(refused.head.get("x-should-retry"), Some("false"));
    assert!(refused.head.get("retry-after").is_some(), "the month ends some time");
}

#[tokio::test]
async fn fr_cost_02_calls_that_come_together_never_pass_a_budget_together() {
    // A call holds its cap of 1,000 at most; 50 tokens' worth of room is left for two of them.
    let (scene, secret) = scene("what: output_tokens, amount: 2100, per: day").await;
    scene
        .upstream
        .always(Script::json(200, say::answer("a", 7, 900)).first(Step::Wait(std::time::Duration::from_millis(300))));
    let mut calls = JoinSet::new();
    for _ in 0..64 {
        let (request, address) = (chat(&secret, false, 1000), scene.gateway.address);
        calls.spawn(async move { request.fetch(address).await.status });
    }
    let statuses = calls.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 2, "{statuses:?}");
    assert_eq!(scene.upstream.count(), 2, "refused calls never reach the provider");
    // 1,800 are used: another 1,000 don't fit, 300 do.
    assert_eq!(scene.gateway.fetch(&chat(&secret, false, 1000)).await.status, 429);
    scene.upstream.next(Script::json(200, say::answer("a", 7, 200)));
    assert_eq!(scene.gateway.fetch(&chat(&secret, false, 300)).await.status, 200);
}

#[tokio::test]
async fn a_stream_from_elsewhere_ends_within_a_slice_when_its_budget_does() {
    let (scene, secret) = scene("what: output_tokens, amount: 600, per: day").await;
    let words = (0..2_000).fold(Script::stream(), |script, _| script.event(say::delta(" word")));
    scene.upstream.always(words.event(say::finish("stop")).send(say::done()));
    let mut body = say::chat("mock", "hi", true);
    body["max_tokens"] = 2_000.into();
    body["stream_options"] = serde_json::json!({"include_usage": true});
    let stream = scene.gateway.open(&Request::chat(&secret, &body)).await.rest().await;
    let text = format!("{stream:?}");
    assert!(
        text.contains("budget_exhausted") && text.contains("[DONE]"),
        "{}",
        &text[text.len().saturating_sub(900)..]
    );
    let (row, record) = scene.books().await;
    assert_eq!((outcome(&row), outcome(&record)), ("budget_exhausted", "budget_exhausted"));
    let output = row["output_tokens"].as_u64().unwrap();
    assert!((512..600 + 256).contains(&output), "{row}");
    assert_eq!(row["source"], "estimated");
}

#[tokio::test]
async fn the_own_engine_stops_at_the_very_token_that_a_budget_pays_for() {
    let args = ["--name", "mock-1", "--context-tokens", "8000", "--kv-pages", "2000"];
    let engine = Engine::scripted(&[&args[..], &["--script-tokens", "4000", "--step-delay-ms", "1"]].concat()).await;
    let rule = "limit_rules: [{ name: one, what: output_tokens, amount: 700, per: day }]";
    let own = "provider: engine, timeouts: { connect_ms: 1000, first_byte_ms: 20000, idle_ms: 5000 }";
    let config = Config::default().tenant("bound", rule).deployment("mock", "own", &engine.base_url(), own);
    let gateway = Gateway::start(&config).await;
    let key = gateway.key("bound").await;
    let mut calls = JoinSet::new();
    for _ in 0..2 {
        let (request, address) = (chat(&key.secret, true, 2_000), gateway.address);
        calls.spawn(async move { format!("{:?}", request.open(address).await.rest().await) });
    }
    for text in calls.join_all().await {
        assert!(
            text.contains("budget_exhausted") && text.contains("[DONE]"),
            "{}",
            &text[text.len().saturating_sub(900)..]
        );
    }
    let rows = gateway.usage_rows(2).await;
    let used: u64 = rows.iter().map(|row| row["output_tokens"].as_u64().unwrap()).sum();
    assert_eq!(used, 700, "{rows:?}");
    assert!(rows.iter().all(|row| row["source"] == "exact" && outcome(row) == "budget_exhausted"), "{rows:?}");
}

/// A stream that may say 2,000 tokens against a budget of 600 for them, so that a slice is all that is held of it, and
/// a provider that takes the request and says nothing.
async fn silent() -> (Scene, Request) {
    let (scene, secret) = scene("what: output_tokens, amount: 600, per: day").await;
    scene.upstream.always(Script::stream().first(Step::Hold));
    (scene, chat(&secret, true, 2_000))
}

#[tokio::test]
async fn a_gateway_killed_before_a_streams_first_word_charges_the_slice_that_it_held() {
    let (mut scene, request) = silent().await;
    let sent = request.send(scene.gateway.address).await;
    scene.upstream.request(0).await;
    scene.gateway.kill().await;
    drop(sent);
    scene.gateway.spawn().await;
    let row = scene.gateway.usage_rows(1).await.remove(0);
    assert_eq!((outcome(&row), row["source"].as_str()), ("interrupted", Some("estimated")), "{row}");
    assert_eq!(row["output_tokens"], 256, "{row}");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_word_pays_for_the_slice_that_was_held() {
    let (scene, request) = silent().await;
    let sent = request.send(scene.gateway.address).await;
    scene.upstream.request(0).await;
    sent.hang_up();
    let row = scene.gateway.usage_rows(1).await.remove(0);
    assert_eq!((outcome(&row), row["source"].as_str()), ("hung_up", Some("estimated")), "{row}");
    assert_eq!(row["output_tokens"], 256, "{row}");
}

#[tokio::test]
async fn what_a_failed_attempt_cost_is_held_once_however_many_rounds_follow() {
    let (first, second, third) = (Upstream::start().await, Upstream::start().await, Upstream::start().await);
    let waits = "timeouts: { connect_ms: 1000, first_byte_ms: 20000, idle_ms: 20000 }";
    let full = format!("weight: 0, {waits}, queue: {{ slots: 1, wait_ms: 100 }}");
    let config = Config::default()
        .tenant("calm", "")
        .tenant("bound", "limit_rules: [{ name: one, what: output_tokens, amount: 250, per: day }]")
        .deployment("mock", "first", &first.base_url(), &format!("weight: 1, {waits}"))
        .deployment("mock", "second", &second.base_url(), &full)
        .deployment("mock", "third", &third.base_url(), &format!("weight: 0, {waits}"))
        .section("retry: { attempts_max: 3, cooldown_ms: 1 }");
    let gateway = Gateway::start(&config).await;
    let (calm, bound) = (gateway.key("calm").await, gateway.key("bound").await);
    for upstream in [&first, &second] {
        upstream.always(Script::json(200, "{}").first(Step::Cut));
    }
    // The second deployment has its one place taken, by a call that the first one dropped.
    second.next(Script::json(200, "{}").first(Step::Hold));
    let taken = chat(&calm.secret, false, 100).send(gateway.address).await;
    second.request(0).await;
    // The first cuts the line and is charged 100 tokens, the second is full, the third has room for its own 100.
    third.always(Script::json(200, say::answer("a", 7, 20)));
    let reply = gateway.fetch(&chat(&bound.secret, false, 100)).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let mut rows = gateway.usage_rows(2).await;
    rows.sort_by_key(|row| row["event"].as_str().map(str::to_owned));
    let made: Vec<_> = rows.iter().map(|row| (row["deployment"].as_str(), row["output_tokens"].as_u64())).collect();
    assert_eq!(made, [(Some("first"), Some(100)), (Some("third"), Some(20))], "{rows:?}");
    drop(taken);
}

#[tokio::test]
async fn an_attempt_that_reached_nobody_costs_nothing_when_the_next_one_is_killed() {
    let second = Upstream::start().await;
    let waits = "timeouts: { connect_ms: 500, first_byte_ms: 20000, idle_ms: 20000 }";
    let config = Config::default()
        .tenant("acme", "")
        .deployment("mock", "first", "http://127.0.0.1:1/v1", &format!("weight: 1, {waits}"))
        .deployment("mock", "second", &second.base_url(), &format!("weight: 0, {waits}"))
        .section("retry: { attempts_max: 3 }");
    let mut gateway = Gateway::start(&config).await;
    let key = gateway.key("acme").await;
    second.always(Script::stream().event(say::delta("a")).then(Step::Hold));
    let mut running = gateway.open(&chat(&key.secret, true, 100)).await;
    running.data().await;
    gateway.kill().await;
    gateway.spawn().await;
    let mut rows = gateway.usage_rows(2).await;
    rows.sort_by_key(|row| row["deployment"].as_str().map(str::to_owned));
    let charged: Vec<_> = rows.iter().map(|row| (row["output_tokens"].as_u64(), row["cost_nano"].as_u64())).collect();
    assert_eq!(charged[0], (Some(0), Some(0)), "{rows:?}");
    assert_eq!(charged[1].0, Some(100), "{rows:?}");
}

#[tokio::test]
async fn what_was_said_at_once_is_charged_however_small_the_slices_were() {
    // Its cap does not fit into the budget, so it is held in slices.
    let (scene, secret) = scene("what: output_tokens, amount: 3900, per: day").await;
    let many = " word".repeat(1_500);
    let stream = Script::stream().event(say::delta(&many)).event(say::delta(&many));
    scene.upstream.always(stream.event(say::finish("stop")).send(say::done()));
    scene.gateway.open(&chat(&secret, true, 4_000)).await.rest().await;
    let row = scene.gateway.usage_rows(1).await.remove(0);
    // The vocabulary of an unknown model is taken to be a tenth smaller.
    let made = row["output_tokens"].as_u64().unwrap();
    assert!(row["source"] == "estimated" && (3_000..=3_300).contains(&made), "{row}");
}
