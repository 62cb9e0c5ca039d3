//! Field reports about money and counting, by their ids, with the real program and the real stores. Those about what is
//! charged are in [`crate::usage`], of the counters alone in the gateway's own tests.

use std::time::{Duration, Instant};

use e2e::client::Request;
use e2e::config::Config;
use e2e::gateway::Gateway;
use e2e::say;
use e2e::servers::postgres::Postgres;
use e2e::servers::redis::Redis;
use e2e::upstream::{Gate, Script, Step, Upstream};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::scene::Scene;

/// 50 dollars for a million tokens that are made, and next to nothing for those that are read.
const PRICES: &str = "version: \"m-test\"\nunpriced: refuse\nprices:\n  \
                      - {provider: openai, model: \"m-test\", input: \"1 per 1M\", output: \"50 per 1M\"}\n";

/// A call of the report: it makes so many tokens at most.
fn ask(key: &str, cap: u32, user: Option<&str>) -> Request {
    let mut body = say::chat("m-test", "p", false);
    body["max_tokens"] = cap.into();
    if let Some(user) = user {
        body["user"] = user.into();
    }
    Request::chat(key, &body)
}

fn priced(config: Config, upstream: &Upstream) -> Config {
    config.deployment("m-test", "m", &upstream.base_url(), "upstream_model: m-test")
}

/// Two gateways at one Redis and one PostgreSQL; 0.90 of a dollar is spent; 64 calls at once, spread over both, each of
/// which may cost 0.05. Once for a key, once for an end-user whom nobody has seen.
#[tokio::test]
async fn fr_cost_02_two_gateways_never_pass_a_budget_together() {
    let (Some(postgres), Some(redis)) = (Postgres::start(), Redis::start()) else { return };
    let upstream = Upstream::start().await;
    let budget = |each: &str| {
        format!("limit_rules: [{{ name: dollar, what: money, dollars: \"1.00\", per: month, each: [{each}] }}]")
    };
    let config = priced(Config::default(), &upstream)
        .tenant("keys", &budget("key"))
        .tenant("people", &budget("end_user"))
        .section(&format!("store: {{ url: \"{}?schema=weir\" }}", postgres.database("weir")))
        .section("redis: { url: \"file:./redis_url\", nodes: 2, timeout_ms: 2000 }");
    let mut nodes = [Gateway::prepare(&config), Gateway::prepare(&config)];
    for node in &mut nodes {
        node.write("prices.yaml", PRICES);
        node.write("redis_url", &redis.url());
    }
    let keys = [nodes[0].key("keys").await, nodes[0].key("people").await];
    for node in &mut nodes {
        node.spawn().await;
    }
    for (key, user) in keys.iter().zip([None, Some("new-user-77")]) {
        let call = |cap| ask(&key.secret, cap, user);
        let before = upstream.count();
        upstream.next(Script::json(200, say::answer("a", 10, 17_999)));
        assert_eq!(nodes[0].fetch(&call(990)).await.status, 200);
        let gate = Gate::default();
        upstream.always(Script::json(200, say::answer("a", 10, 800)).first(Step::Pass(gate.clone())));
        let mut calls = JoinSet::new();
        for number in 0..64 {
            let (request, address) = (call(990), nodes[number % 2].address);
            calls.spawn(async move {
                let reply = request.fetch(address).await;
                (reply.status, if reply.status == 200 { String::new() } else { reply.code() })
            });
        }
        // While the two run, all the others are refused, and no gateway has committed more than there is.
        let mut replies = Vec::new();
        while replies.len() < 62 {
            replies.push(calls.join_next().await.unwrap().unwrap());
            let most = committed(&redis);
            assert!(most <= 1_000_000_000, "{most}");
        }
        assert!(replies.iter().all(|reply| *reply == (429, "budget_exceeded".to_owned())), "{replies:?}");
        assert!(committed(&redis) > 990_000_000, "{}", committed(&redis));
        gate.open();
        gate.open();
        let served = calls.join_all().await;
        assert_eq!(served, [(200, String::new()), (200, String::new())]);
        assert_eq!(upstream.count() - before, 3, "refused calls never reach the provider");
        // 0.98 are spent: another 0.05 don't fit on either gateway, 0.02 do.
        gate.open();
        for node in &nodes {
            assert_eq!(node.fetch(&call(990)).await.code(), "budget_exceeded");
        }
        upstream.next(Script::json(200, say::answer("a", 10, 100)));
        assert_eq!(nodes[1].fetch(&call(390)).await.status, 200);
    }
}

/// The largest amount that any budget in Redis has committed.
fn committed(redis: &Redis) -> u64 {
    let keys = redis.tell("KEYS *dollar*").unwrap();
    let keys = keys.split("\r\n").filter(|line| line.starts_with("weir{"));
    let of = |key: &str| redis.tell(&format!("HVALS \"{key}\"")).unwrap_or_default();
    let numbers = keys.flat_map(|key| {
        let said = of(key);
        said.split("\r\n").filter_map(|word| word.parse::<u64>().ok()).collect::<Vec<_>>()
    });
    // Beside the amounts there is the moment from which on they are known.
    numbers.filter(|number| *number < 1_000_000_000_000).max().unwrap_or(0)
}

/// The key has no limit; 87.50 were spent; then its tenant gets a budget of 25 a day, beside a limiter that is wide
/// open.
#[tokio::test]
async fn fr_cost_06_a_budget_that_is_linked_later_refuses_at_once_and_names_itself() {
    let upstream = Upstream::start().await;
    let config = |limits: &str| priced(Config::default(), &upstream).tenant("acme", "").tenant("acme/lab", limits);
    let mut gateway = Gateway::prepare(&config(""));
    gateway.write("prices.yaml", PRICES);
    let key = gateway.key("acme/lab/x").await;
    gateway.spawn().await;
    upstream.next(Script::json(200, say::answer("a", 10, 1_750_000)));
    let call = ask(&key.secret, 50, None);
    assert_eq!(gateway.fetch(&call).await.status, 200);
    let row = gateway.usage_rows(1).await.remove(0);
    assert_eq!(row["cost_nano"], 87_500_010_000_i64, "{row}");

    let rule = "limits: { requests_per_minute: 100000 }, \
                limit_rules: [{ name: cap25, what: money, dollars: \"25\", per: day }]";
    gateway.configure(&config(rule));
    gateway.signal(Signal::HUP);
    let refused = e2e::clock::eventually("the budget holds", async || {
        let reply = gateway.fetch(&call).await;
        (reply.status != 200).then_some(reply)
    })
    .await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "budget_exceeded"));
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(message, "limit of 25 dollars per calendar day (UTC) reached at `acme/lab`");
    // And after a restart, when only the ledger knows.
    gateway.kill().await;
    gateway.spawn().await;
    assert_eq!(gateway.fetch(&call).await.code(), "budget_exceeded");
}

/// 0.80 are left, 0.05 are held, 1.40 are used. (No wallet stands behind a plan here: a budget is one amount.)
#[tokio::test]
async fn fr_cost_09_what_was_used_beyond_the_budget_is_a_debt_that_everybody_sees() {
    let upstream = Upstream::start().await;
    let rule = "limit_rules: [{ name: plan, what: money, dollars: \"0.80\", per: month }]";
    let mut gateway = Gateway::prepare(&priced(Config::default(), &upstream).tenant("acme", rule));
    gateway.write("prices.yaml", PRICES);
    let key = gateway.key("acme").await;
    gateway.spawn().await;
    upstream.next(Script::json(200, say::answer("a", 0, 0)));
    upstream.next(Script::json(200, say::answer("a", 10, 28_000)));
    let call = ask(&key.secret, 990, None);
    assert_eq!(gateway.fetch(&call).await.status, 200);
    assert_eq!(gateway.fetch(&call).await.status, 200, "the answer is delivered, whatever it cost");
    let refused = gateway.fetch(&call).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "budget_exceeded"));
    assert_eq!(upstream.count(), 2);
    let rows = gateway.usage_rows(2).await;
    let ledger = gateway.ledger().await["total"]["cost_nano"].as_i64().unwrap();
    assert_eq!(ledger, rows.iter().map(|row| row["cost_nano"].as_i64().unwrap()).sum::<i64>());
    assert!(ledger >= 1_400_010_000, "{ledger}");
    let budgets = gateway.weir(&["usage", "budgets", "--json"]).await.json();
    let budgets = budgets.as_array().cloned().unwrap_or_else(|| budgets["budgets"].as_array().cloned().unwrap());
    let plan = budgets.iter().find(|budget| budget["name"] == "plan").unwrap();
    assert_eq!(plan["left_nano"].as_i64(), Some(800_000_000 - ledger), "{plan}");
    // The debt outlives the process.
    gateway.kill().await;
    gateway.spawn().await;
    assert_eq!(gateway.fetch(&call).await.code(), "budget_exceeded");
}

/// Anthropic's half: what was read is said to be nothing, and what was made is said late.
#[tokio::test]
async fn fr_cost_12_a_prompt_of_nothing_is_counted_and_marked() {
    let upstream = Upstream::start().await;
    let keys = "provider: anthropic, api_key: \"file:./admin_token\", price_provider: openai";
    let config = Config::default().tenant("acme", "").deployment("mock", "mock-a", &upstream.base_url(), keys);
    let mut gateway = Gateway::prepare(&config);
    let key = gateway.key("acme").await;
    gateway.spawn().await;
    let mut events = say::dialects::message_events(&["some", " words"], 0, 7);
    events[0]["message"]["usage"] = json!({"input_tokens": 0, "output_tokens": 0});
    upstream.next(Script::named(&events));
    let body = say::dialects::request("/v1/messages", "mock", true).to_string();
    let request = Request::post("/v1/messages", "", body).without("authorization").header("x-api-key", &key.secret);
    gateway.open(&request).await.rest().await;
    let row = gateway.usage_rows(1).await.remove(0);
    assert_eq!(row["source"], "estimated", "{row}");
    assert!(row["input_tokens"].as_u64() > Some(0) && row["output_tokens"].as_u64() > Some(0), "{row}");
}

/// A client that says that it wants no usage sees none, and the provider is asked for it all the same.
#[tokio::test]
async fn fr_cost_12_usage_that_is_not_wanted_is_counted_and_not_shown() {
    let scene = Scene::new().await;
    let mut body = say::chat("mock", "hi", true);
    body["stream_options"] = json!({"include_usage": false});
    scene.upstream.next(Script::words(&["a"], 40, 7));
    let stream = scene.gateway.open(&Request::chat(&scene.key.secret, &body)).await.rest().await;
    assert!(stream.is_done() && !stream.data().concat().contains("usage"), "{:?}", stream.data());
    assert_eq!(scene.upstream.only_request().json()["stream_options"]["include_usage"], true);
    let row = scene.gateway.usage_rows(1).await.remove(0);
    assert_eq!((row["input_tokens"].as_u64(), row["output_tokens"].as_u64()), (Some(40), Some(7)), "{row}");
}

/// Texts that have stopped other counters.
fn texts() -> Vec<(&'static str, String)> {
    let base64 = (0_u64..4_000_000).scan(7_u64, |state, _| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        Some(char::from(letters[usize::try_from(*state >> 58).unwrap()]))
    });
    let prose = "It was the best of times, it was the worst of times; and Mr. Brown, aged 47, said: Well...\n\n";
    vec![
        ("a", "a".repeat(1_000_000)),
        ("_", "_".repeat(50_000)),
        ("space", " ".repeat(2_000_000)),
        ("han", "中".repeat(500_000)),
        ("ab", "ab".repeat(500_000)),
        ("base64", base64.collect()),
        ("accent", "\u{301}".repeat(100_000)),
        ("prose", prose.repeat(10_000)),
    ]
}

/// One call at a time with texts that are hard to count, while the gateway is asked whether it is well and serves short
/// calls. None of them gets around a limit.
#[tokio::test]
async fn fr_cost_14_no_text_holds_anybody_up_or_gets_around_a_limit() {
    // This build of the gateway is not optimised, and the machine of the tests is busy: what stalls takes seconds.
    let (health_max, call_max) = (Duration::from_millis(250), Duration::from_secs(1));
    let scene = Scene::with(|config| config.tenant("tight", "limits: { tokens_per_minute: 500 }")).await;
    let tight = scene.gateway.key("tight").await;
    scene.upstream.always(Script::json(200, say::answer("a", 7, 1)));
    let (gateway, admin) = (scene.gateway.address, scene.gateway.admin);
    let (mut health, mut calls) = (Vec::new(), Vec::new());
    for (name, text) in texts() {
        let request = |key: &str| {
            let mut body = say::chat("mock", &text, false);
            body["max_tokens"] = 10.into();
            Request::chat(key, &body)
        };
        let refused = scene.gateway.fetch(&request(&tight.secret)).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "request_over_limit"), "{name}");
        let long = request(&scene.key.secret);
        let mut running = tokio::spawn(async move { long.fetch(gateway).await.status });
        while !running.is_finished() {
            let begun = Instant::now();
            assert_eq!(Request::get("/healthz").fetch(admin).await.status, 200);
            health.push(begun.elapsed());
            let begun = Instant::now();
            assert_eq!(scene.gateway.fetch(&scene.whole()).await.status, 200);
            calls.push(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!((&mut running).await.unwrap(), 200, "{name}");
    }
    for (what, mut took, most) in [("health", health, health_max), ("short calls", calls, call_max)] {
        took.sort();
        let (half, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
        println!("{what}: {} looks, p50 {half:?}, p99 {p99:?}", took.len());
        assert!(p99 < most, "{what}: p50 {half:?}, p99 {p99:?}");
    }
}

/// What of the report applies: nobody is trusted for being rich, on either database. (Weir has no credit codes and no
/// payment webhooks: a budget is changed in the configuration.) 200 reservations are left and 500 calls come at once.
#[tokio::test]
async fn fr_cost_15_five_hundred_calls_of_a_rich_caller_are_reserved_for_one_by_one() {
    let postgres = Postgres::start();
    let store =
        postgres.as_ref().map(|postgres| format!("store: {{ url: \"{}?schema=weir\" }}", postgres.database("weir")));
    for store in [Some(String::new()), store].into_iter().flatten() {
        let rule = "limit_rules: [{ name: rich, what: output_tokens, amount: 20000, per: month }]";
        let scene = Scene::with(|config| {
            let config = config.tenant("rich", rule);
            if store.is_empty() { config } else { config.section(&store) }
        })
        .await;
        let key = scene.gateway.key("rich").await;
        let mut body = say::chat("mock", "hi", false);
        body["max_tokens"] = 100.into();
        let gate = Gate::default();
        scene.upstream.always(Script::json(200, say::answer("a", 7, 100)).first(Step::Pass(gate.clone())));
        let mut calls = JoinSet::new();
        for _ in 0..500 {
            let (request, address) = (Request::chat(&key.secret, &body), scene.gateway.address);
            calls.spawn(async move { request.fetch(address).await.status });
        }
        let mut refused = 0;
        while refused < 300 {
            assert_eq!(calls.join_next().await.unwrap().unwrap(), 429);
            refused += 1;
        }
        (0..200).for_each(|_| gate.open());
        let served = calls.join_all().await;
        assert_eq!(served.iter().filter(|status| **status == 200).count(), 200, "{served:?}");
        assert_eq!(scene.upstream.count(), 200);
        let rows = scene.gateway.usage_rows(200).await;
        assert_eq!(rows.iter().map(|row| row["output_tokens"].as_u64().unwrap()).sum::<u64>(), 20_000);
    }
}

/// Those who name no end-user are one end-user, whose budget is not there anew after a restart.
#[tokio::test]
async fn what_nobodys_end_user_has_used_outlives_a_restart_and_an_attempt_is_no_call() {
    let rules = "limit_rules: [{ name: people, what: output_tokens, amount: 30, per: month, each: [end_user] }, \
                 { name: calls, what: requests, amount: 6, per: month, endpoints: [chat_completions] }]";
    let mut scene = Scene::with(|config| config.tenant("bound", rules).section("retry: { attempts_max: 2 }")).await;
    let key = scene.gateway.key("bound").await;
    let call = |user: Option<&str>| {
        let mut body = say::chat("mock", "hi", false);
        body["max_tokens"] = 10.into();
        if let Some(user) = user {
            body["user"] = user.into();
        }
        Request::chat(&key.secret, &body)
    };
    scene.upstream.always(Script::json(200, say::answer("a", 1, 10)));
    // Two attempts are one call.
    scene.upstream.next(Script::json(429, say::error("busy", "rate_limit_error", None)).header("retry-after-ms", "10"));
    for round in 0..3 {
        assert_eq!(scene.gateway.fetch(&call(None)).await.status, 200, "round {round}");
    }
    assert_eq!(scene.gateway.fetch(&call(None)).await.code(), "budget_exceeded");
    scene.gateway.usage_rows(4).await;
    scene.gateway.kill().await;
    scene.gateway.spawn().await;
    let refused = scene.gateway.fetch(&call(None)).await;
    let message = |reply: &Value| reply["error"]["message"].as_str().unwrap().to_owned();
    assert!(message(&refused.json()).contains("`bound per end user`"), "{}", refused.json());
    // Three calls of six are left to the others.
    for user in ["ada", "bob", "eve"] {
        assert_eq!(scene.gateway.fetch(&call(Some(user))).await.status, 200, "{user}");
    }
    let refused = scene.gateway.fetch(&call(Some("joe"))).await.json();
    assert_eq!(message(&refused), "limit of 6 requests per calendar month (UTC) reached at `bound`");
}
