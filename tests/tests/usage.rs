//! What is charged: field reports about usage, by their ids.

use e2e::client::Request;
use e2e::clock;
use e2e::config::{ADMIN_TOKEN, Config};
use e2e::gateway::{Gateway, outcome};
use e2e::say;
use e2e::upstream::{Script, Step, Upstream};
use serde_json::{Value, json};

use crate::scene::Scene;

fn numbers(row: &Value) -> (u64, u64) {
    (row["input_tokens"].as_u64().unwrap(), row["output_tokens"].as_u64().unwrap())
}

fn chunk(content: &str, usage: &Value) -> String {
    let choices = json!([{"index": 0, "delta": {"content": content}, "finish_reason": null}]);
    json!({"id": "c", "object": "chat.completion.chunk", "choices": choices, "usage": usage}).to_string()
}

/// FR-COST-12 (b) is Gemini's shape, which no endpoint passes on: its reports are read in the unit tests of usage.
#[tokio::test]
async fn fr_cost_12_the_last_count_of_a_stream_counts_and_none_is_no_gift() {
    let scene = Scene::new().await;
    let null = Value::Null;
    let ends = |script: Script| script.event(say::finish("stop"));
    let nulls = Script::stream().event(chunk("a", &null)).event(chunk("b", &null));
    let a = ends(nulls).event(say::usage(40, 7)).send(say::done());
    let each = [1, 4, 7].map(|made| chunk("x", &say::tokens(40, made)));
    let e = ends(each.iter().fold(Script::stream(), Script::event)).send(say::done());
    let d = ends(Script::stream().event(say::delta("some words that were said"))).send(say::done());
    for (script, exact) in [(a, true), (e, true), (d, false)] {
        scene.upstream.next(script);
        let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
        assert!(stream.is_done() && !stream.data().concat().contains("usage"), "usage that nobody asked for");
        let asked = scene.upstream.received().pop().unwrap().json();
        assert_eq!(asked["stream_options"]["include_usage"], true, "Weir asks on the client's behalf");
        let count = scene.upstream.count();
        let row = scene.gateway.usage_rows(count).await.pop().unwrap();
        match exact {
            true => assert_eq!((numbers(&row), row["source"].as_str()), ((40, 7), Some("provider")), "{row}"),
            false => {
                let (input, output) = numbers(&row);
                assert!(input > 0 && (4..8).contains(&output), "{row}");
                assert_eq!(row["source"], "estimated", "{row}");
            }
        }
    }
    // What the client asked for stays: with usage wanted, it sees the chunk.
    scene.upstream.next(Script::words(&["a"], 40, 7));
    let stream = scene.gateway.open(&scene.streamed_with_usage()).await.rest().await;
    assert_eq!(stream.chunks().last().unwrap()["usage"]["completion_tokens"], 7);
}

/// In FR-COST-04 a fallback answers after 310 tokens were streamed. Here nothing takes over once a part of the answer
/// is out, so A states its usage and dies before a part of it reached the client.
#[tokio::test]
async fn fr_cost_04_every_attempt_is_charged_at_its_own_models_price() {
    let (a, b) = (Upstream::start().await, Upstream::start().await);
    let config = Config::default()
        .tenant("acme", "")
        .deployment("mock", "a", &a.base_url(), "upstream_model: model-a, weight: 1")
        .deployment("mock", "b", &b.base_url(), "upstream_model: model-b, weight: 0")
        .section("retry: { attempts_max: 2, cooldown_ms: 0 }");
    let gateway = Gateway::start(&config).await;
    let key = gateway.key("acme").await;
    let request = Request::chat(&key.secret, &say::chat("mock", "hi", true));
    a.next(Script::stream().event(say::usage(420_000, 310)).then(Step::Cut));
    b.next(Script::words(&["from b"], 420_000, 900));
    assert!(gateway.open(&request).await.rest().await.is_done());
    a.next(Script::json(429, say::error("busy", "rate_limit_error", None)));
    b.next(Script::words(&["from b"], 100, 10));
    assert!(gateway.open(&request).await.rest().await.is_done());

    let calls = gateway.audit_calls(2).await;
    let cost =
        |call: &Value| call["attempts"].as_array().unwrap().iter().filter_map(|a| a["cost_nano"].as_i64()).sum::<i64>();
    assert_eq!(cost(&calls[0]), 6_338_000_000, "{}", calls[0]);
    assert_eq!(cost(&calls[1]), 750_000, "{}", calls[1]);
    assert!(calls.iter().all(|call| call["model"] == "mock" && outcome(call) == "completed"), "{calls:?}");
    // What was asked for, who served, and how many attempts it took; one that was refused costs nothing.
    for call in &calls {
        let attempts = call["attempts"].as_array().unwrap();
        let served: Vec<_> = attempts.iter().filter_map(|attempt| attempt["deployment"].as_str()).collect();
        assert_eq!(served, ["a", "b"], "{call}");
    }
    let refused = &calls[1]["attempts"][0];
    assert_eq!((refused["cost_nano"].as_i64().unwrap_or(0), refused["output_tokens"].as_u64().unwrap_or(0)), (0, 0));
    assert_eq!(gateway.usage_rows(4).await.len(), 4);
    let total = gateway.ledger().await["total"].clone();
    assert_eq!((total["calls"].as_u64(), total["attempts"].as_u64()), (Some(2), Some(4)), "{total}");
}

/// The shape of a body is decided by the endpoint and the request: neither pieces nor a content type change a count.
#[tokio::test]
async fn fr_rl_09_large_answers_count_whatever_their_pieces_and_content_type() {
    let scene = Scene::with(|config| config.tenant("limited", "limits: { tokens_per_minute: 1000 }")).await;
    let text = "word ".repeat(6_000);
    let answer = |usage: Option<&str>| {
        let mut answer: Value = serde_json::from_slice(&say::answer(&text, 300, 200)).unwrap();
        let members = answer.as_object_mut().unwrap();
        let stated = members.remove("usage");
        match usage {
            Some("first") => {
                let rest = serde_json::to_string(&answer).unwrap();
                format!("{{\"usage\":{},{}", stated.unwrap(), rest.strip_prefix('{').unwrap())
            }
            Some(_) => say::answer(&text, 300, 200).iter().map(|byte| char::from(*byte)).collect(),
            None => answer.to_string(),
        }
    };
    for pieces in [1_usize, 2, 10] {
        for kind in ["application/json", "application/json; charset=utf-8", "text/plain", ""] {
            for place in ["first", "last"] {
                let body = answer(Some(place));
                let size = body.len().div_ceil(pieces);
                let script = Script::json(200, body).split(size);
                let script =
                    if kind.is_empty() { script.without("content-type") } else { script.header("content-type", kind) };
                scene.upstream.next(script);
                let reply = scene.gateway.fetch(&scene.whole()).await;
                assert_eq!(reply.status, 200, "{pieces} {kind} {place}");
            }
        }
    }
    let rows = scene.gateway.usage_rows(24).await;
    assert!(rows.iter().all(|row| numbers(row) == (300, 200) && row["source"] == "provider"), "{rows:#?}");

    scene.upstream.next(Script::json(200, answer(None)));
    scene.gateway.fetch(&scene.whole()).await;
    let row = scene.gateway.usage_rows(25).await.pop().unwrap();
    assert_eq!(row["source"], "estimated", "{row}");
    assert!(numbers(&row).1 > 100, "no usage is no gift: {row}");

    let key = scene.gateway.key("limited").await;
    let mut body = say::chat("mock", "hi", false);
    body["max_tokens"] = 200.into();
    let request = Request::chat(&key.secret, &body);
    scene.upstream.always(Script::json(200, answer(Some("last"))).split(3_000));
    let statuses = [scene.gateway.fetch(&request).await.status, scene.gateway.fetch(&request).await.status];
    assert_eq!(statuses, [200, 200]);
    assert_eq!(scene.gateway.fetch(&request).await.status, 429, "the third of the minute");
}

/// Cached tokens lie inside the prompt's and thoughts inside the completion's: here each token is in one bucket.
#[tokio::test]
async fn a_rows_buckets_never_overlap_and_the_providers_own_cost_stands_beside_ours() {
    let scene = Scene::new().await;
    let mut answer: Value = serde_json::from_slice(&say::answer("said", 100, 50)).unwrap();
    answer["usage"]["prompt_tokens_details"] = json!({"cached_tokens": 60});
    answer["usage"]["completion_tokens_details"] = json!({"reasoning_tokens": 30});
    answer["usage"]["cost"] = json!(0.000125);
    scene.upstream.next(Script::json(200, answer.to_string()));
    scene.gateway.fetch(&scene.whole()).await;
    answer["usage"]["prompt_tokens_details"] = json!({"cached_tokens": 160});
    scene.upstream.next(Script::json(200, answer.to_string()));
    scene.gateway.fetch(&scene.whole()).await;
    scene.gateway.usage_rows(2).await;
    let done = scene.gateway.weir(&["usage", "rows"]).await;
    let rows: Vec<Value> = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sound = json!({"input_text": 40, "cache_read": 60, "output_text": 20, "reasoning": 30});
    let odd = json!({"input_text": 100, "output_text": 50});
    for (buckets, pricing) in [(sound, "priced"), (odd, "inconsistent")] {
        let row = rows.iter().find(|row| row["buckets"] == buckets).unwrap_or_else(|| panic!("{buckets}: {rows:#?}"));
        assert_eq!((row["pricing"].as_str(), row["provider_cost_nano"].as_i64()), (Some(pricing), Some(125_000)));
        assert_eq!(numbers(row), (100, 50));
    }

    // A price that changes later changes no row: the difference is a row of its own, and is made once.
    scene.gateway.write("later.yaml", LATER);
    let book = scene.gateway.path("later.yaml");
    let book = book.to_str().unwrap();
    let reprice = async |more: &[&str]| {
        let args = [&["usage", "reprice", "--json", "--prices", book][..], more].concat();
        let done = scene.gateway.weir(&args).await;
        assert_eq!(done.status, 0, "{}", done.stderr);
        serde_json::from_str::<Value>(done.stdout.lines().last().unwrap()).unwrap()
    };
    let before = scene.gateway.ledger().await["total"]["cost_nano"].as_i64().unwrap();
    let seen = reprice(&[]).await;
    assert_eq!((seen["corrections"].as_u64(), seen["applied"].as_bool()), (Some(2), Some(false)), "{seen}");
    assert_eq!(scene.gateway.ledger().await["total"]["cost_nano"].as_i64(), Some(before), "only looked at");
    let made = reprice(&["--apply"]).await;
    let total = scene.gateway.ledger().await["total"].clone();
    assert_eq!(total["cost_nano"].as_i64().unwrap() - before, made["difference_nano"].as_i64().unwrap(), "{made}");
    assert_eq!((total["corrections"].as_u64(), total["attempts"].as_u64()), (Some(2), Some(2)), "{total}");
    assert_eq!(reprice(&["--apply"]).await["corrections"], 0, "once is enough");

    // The admin listener does it at the prices of the configuration, which are the old ones; both are on the audit log.
    let asked = Request::post("/admin/v1/usage/reprice", ADMIN_TOKEN, json!({"apply": true}).to_string());
    let back = asked.fetch(scene.gateway.admin).await.json();
    assert_eq!((back["corrections"].as_i64(), back["applied"].as_bool()), (Some(2), Some(true)), "{back}");
    assert_eq!(back["difference_nano"].as_i64(), made["difference_nano"].as_i64().map(|nano| -nano), "{back}");
    assert_eq!(scene.gateway.ledger().await["total"]["cost_nano"].as_i64(), Some(before));
    let notes = async || {
        let records = scene.gateway.weir(&["audit", "list", "--json", "--limit", "1000"]).await.json();
        let all = records.as_array().cloned().unwrap_or_default();
        let told = |note: &&Value| note.to_string().contains("usage_repriced");
        let told: Vec<_> = all.iter().filter(told).map(Value::to_string).collect();
        (told.len() == 2).then_some(told)
    };
    let notes = clock::eventually("both corrections on the audit log", notes).await;
    assert!(notes.iter().all(|note| note.contains("2 rows, ") && note.contains("acme/research")), "{notes:?}");
}

const LATER: &str =
    "version: later\nprices:\n  - {provider: openai, model: mock-1, input: '4 per 1M', output: '16 per 1M'}\n";
