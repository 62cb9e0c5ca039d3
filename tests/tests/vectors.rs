//! `/v1/embeddings` and `/v1/rerank`, and the metering of answers in one piece on all endpoints.

use e2e::client::Request;
use e2e::config::Config;
use e2e::gateway::Gateway;
use e2e::say::dialects as say;
use e2e::sdk::Chapter;
use e2e::upstream::{Script, Upstream};
use serde_json::{Value, json};

const ALL: &str = "endpoints: [chat_completions, messages, responses, embeddings, rerank]";

#[tokio::test]
async fn openais_sdk_gets_vectors() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::prepare(&Config::with(&upstream));
    let key = gateway.key("acme").await;
    gateway.spawn().await;
    let facts = json!({
        "base_url": format!("http://{}/v1", gateway.address), "tenants": [{"name": "acme", "key": key.secret}],
        "model": "mock",
    });
    Chapter::run("vectors", &facts).await;
    let sent = upstream.only_request();
    assert_eq!((sent.path(), &sent.json()["model"]), ("/v1/embeddings", &json!("mock-1")));
    assert_eq!(sent.json().get("max_tokens"), None, "nothing is made, so nothing is capped");
    let row = gateway.usage_rows(1).await.remove(0);
    assert_eq!((row["input_tokens"].as_u64(), row["output_tokens"].as_u64()), (Some(7), Some(0)), "{row}");
    assert_eq!((row["cost_nano"].as_i64(), row["source"].as_str()), (Some(14_000), Some("provider")), "{row}");
}

#[tokio::test]
async fn a_rerank_is_metered_by_either_servers_words() {
    let upstream = Upstream::start().await;
    let config = Config::default().tenant("acme", "").deployment("mock", "mock-a", &upstream.base_url(), ALL);
    let mut gateway = Gateway::prepare(&config);
    let key = gateway.key("acme").await;
    gateway.spawn().await;
    let ask = Request::post("/v1/rerank", &key.secret, say::request("/v1/rerank", "mock", false).to_string());
    let cohere = json!({"results": [], "meta": {"billed_units": {"input_tokens": 11, "search_units": 1}}});
    let without = json!({"results": [{"index": 0, "relevance_score": 0.1}]});
    for body in [say::ranks(2, 9), cohere, without] {
        upstream.next(Script::json(200, body.to_string()));
        let reply = gateway.fetch(&ask).await;
        assert_eq!((reply.status, reply.json()), (200, body));
    }
    let rows = gateway.usage_rows(3).await;
    let mut counts: Vec<_> = rows.iter().map(|row| (row["source"].as_str(), row["input_tokens"].as_u64())).collect();
    counts.sort();
    assert_eq!(counts[1..], [(Some("provider"), Some(9)), (Some("provider"), Some(11))], "{rows:?}");
    assert_eq!(counts[0].0, Some("estimated"), "what was not stated is estimated and never nothing");
    assert!(counts[0].1 > Some(0), "{rows:?}");
}

/// An answer of 30 kB that uses 500 tokens, with its usage in the first place or in the last.
fn large(path: &str, usage_first: bool) -> Value {
    let (input, output) = if path.ends_with("embeddings") || path.ends_with("rerank") { (500, 0) } else { (300, 200) };
    let mut answer: Value = serde_json::from_slice(&say::answer(path, input, output)).unwrap();
    let filler = json!({"usage": {"total_tokens": 1}, "text": "x".repeat(30_000)});
    let map = answer.as_object_mut().unwrap();
    let usage = map.remove("usage").unwrap();
    // Members are written in alphabetical order.
    match usage_first {
        true => map.insert("zz_filler".to_owned(), filler),
        false => map.insert("aa_filler".to_owned(), filler),
    };
    map.insert("usage".to_owned(), usage);
    answer
}

#[tokio::test]
async fn fr_rl_09_whole_answers_fill_the_quota_however_they_come() {
    let paths = ["/v1/chat/completions", "/v1/embeddings", "/v1/rerank", "/v1/messages", "/v1/responses"];
    let upstream = Upstream::start().await;
    let kinds = ["application/json", "application/json; charset=utf-8", "", "text/plain", "application/problem+json"];
    // One end-user for every path, number of pieces and content type, each with a quota of its own.
    let rule = "limit_rules: [{ name: own, what: tokens, amount: 1000, per: minute, each: [end_user] }]";
    let config = Config::default().deployment("mock", "mock-a", &upstream.base_url(), ALL).tenant("acme", rule);
    let mut gateway = Gateway::prepare(&config);
    let key = gateway.key("acme").await.secret;
    gateway.spawn().await;
    let pieces = paths.iter().flat_map(|path| [1, 2, 10].map(|chunks| (*path, chunks)));
    let all: Vec<_> = pieces.flat_map(|(path, chunks)| kinds.map(|kind| (path, chunks, kind))).collect();
    for (turn, (path, chunks, kind)) in all.iter().enumerate() {
        let text = large(path, turn % 2 == 0).to_string();
        let script = Script::json(200, text.clone()).split(text.len().div_ceil(*chunks));
        let script = if kind.is_empty() { script.without("content-type") } else { script.header("content-type", kind) };
        let mut body = say::request(path, "mock", false);
        match *path {
            "/v1/messages" => body["metadata"] = json!({"user_id": format!("user-{turn}")}),
            _ => body["user"] = format!("user-{turn}").into(),
        }
        for cap in ["max_tokens", "max_output_tokens"] {
            if path.ends_with("responses") == (cap == "max_output_tokens") && !path.ends_with("rerank") {
                body[cap] = 100.into();
            }
        }
        // Long enough that the quota does not grow by as much meanwhile.
        match *path {
            "/v1/embeddings" => body["input"] = "hi ".repeat(300).into(),
            "/v1/rerank" => body["query"] = "hi ".repeat(300).into(),
            _ => {}
        }
        let ask = Request::post(path, &key, body.to_string());
        for _ in 0..2 {
            upstream.next(script.clone());
            let reply = gateway.fetch(&ask).await;
            assert_eq!((reply.status, reply.body.len()), (200, text.len()), "{path} {chunks} {kind:?}");
        }
        let third = gateway.fetch(&ask).await;
        assert_eq!((third.status, third.code().as_str()), (429, "token_limit_reached"), "{path} {chunks} {kind:?}");
    }
    for row in gateway.usage_rows(all.len() * 2).await {
        let sum = row["input_tokens"].as_u64().unwrap() + row["output_tokens"].as_u64().unwrap();
        assert_eq!((sum, row["source"].as_str()), (500, Some("provider")), "{row}");
    }
}

/// What is too large to be held is no answer to the caller, and is charged by an estimate that says so.
#[tokio::test]
async fn fr_rl_09_an_answer_beyond_the_bound_is_estimated_and_marked() {
    let upstream = Upstream::start().await;
    let config = Config::with(&upstream).section("retry: { attempts_max: 1 }");
    let mut gateway = Gateway::prepare(&config);
    let key = gateway.key("acme").await;
    gateway.spawn().await;
    let answer = String::from_utf8(e2e::say::answer("a b c", 300, 200).to_vec()).unwrap();
    let blanks = bytes::Bytes::from(vec![b' '; 1 << 20]);
    let script = Script::stream().header("content-type", "application/json").send(answer);
    upstream.next(script.then(e2e::upstream::Step::Fill(blanks, 65)));
    let ask = Request::chat(&key.secret, &e2e::say::chat("mock", "hi", false));
    let reply = gateway.fetch(&ask).await;
    assert_eq!((reply.status, reply.code().as_str()), (502, "upstream_invalid_reply"));
    let row = gateway.usage_rows(1).await.remove(0);
    assert_eq!(row["source"], "estimated", "{row}");
    assert!(row["cost_nano"].as_i64() > Some(0), "{row}");
}
