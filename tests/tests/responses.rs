//! `/v1/responses`: OpenAI's newer dialect, passed on as it is, and the reading of stored responses.

use e2e::client::{Request, Stream};
use e2e::config::Config;
use e2e::gateway::{Gateway, Key, outcome};
use e2e::say::dialects as say;
use e2e::sdk::Chapter;
use e2e::upstream::{Gate, Script, Step, Upstream};
use serde_json::{Value, json};

const PATH: &str = "/v1/responses";

/// One provider, one gateway before it, a key of each of two tenants.
struct Scene {
    upstream: Upstream,
    gateway: Gateway,
    key: Key,
    other: Key,
}

impl Scene {
    async fn new() -> Self {
        Self::with("").await
    }

    /// The same with a rule for the tenant whose key is `key`.
    async fn with(rule: &str) -> Self {
        let upstream = Upstream::start().await;
        let config = Config::with(&upstream).tenant("globex", "").tenant("bound", rule);
        let mut gateway = Gateway::prepare(&config.section("retry: { attempts_max: 1 }"));
        let tenant = if rule.is_empty() { "acme" } else { "bound" };
        let (key, other) = (gateway.key(tenant).await, gateway.key("globex").await);
        gateway.spawn().await;
        Self { upstream, gateway, key, other }
    }

    fn request(&self, body: &Value) -> Request {
        Request::post(PATH, &self.key.secret, body.to_string())
    }

    fn streamed(&self) -> Request {
        self.request(&say::request(PATH, "mock", true))
    }

    /// The only usage row, once it is there, and the counts in it.
    async fn row(&self) -> (Value, u64, u64) {
        let row = self.gateway.usage_rows(1).await.remove(0);
        let count = |name: &str| row[name].as_u64().unwrap();
        let (input, output) = (count("input_tokens"), count("output_tokens"));
        (row, input, output)
    }

    /// A request about a stored response.
    fn about(&self, method: &str, path: &str, key: &Key) -> Request {
        let path = format!("{PATH}/{path}");
        Request { method: method.into(), ..Request::get(&path) }
            .header("authorization", &format!("Bearer {}", key.secret))
    }
}

fn types(stream: &Stream) -> Vec<String> {
    stream.chunks().iter().map(|chunk| chunk["type"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn openais_sdk_works_with_only_its_address_and_key_changed() {
    let scene = Scene::new().await;
    let facts = json!({
        "base_url": format!("http://{}/v1", scene.gateway.address),
        "tenants": [{"name": "acme", "key": scene.key.secret}, {"name": "globex", "key": scene.other.secret}],
        "model": "mock",
    });
    let cut = Script::named(&[say::response_created("resp_cut"), say::response_text("a", 1)]).then(Step::Cut);
    scene.upstream.for_model("mock-1", cut);
    // What is queued comes first; the script for the model answers the rest.
    let (whole, events) = (say::answer(PATH, 7, 3), say::response_events("resp_t1", &["a", " b", " c"], 7, 3));
    scene.upstream.next(Script::json(200, whole.clone()));
    scene.upstream.next(Script::named(&events));
    scene.upstream.next(Script::json(200, whole));
    scene.upstream.next(Script::json(200, r#"{"object":"list","data":[],"has_more":false}"#));
    scene.upstream.next(Script::json(200, r#"{"id":"resp_t1","object":"response","deleted":true}"#));
    Chapter::run("responses", &facts).await;
}

#[tokio::test]
async fn a_response_passes_untouched_but_for_the_models_name_and_its_cap() {
    let scene = Scene::new().await;
    let body =
        r#"{"model":"mock", "max_output_tokens": 64 ,"input":"h\u0069","reasoning":{"effort":"low"},"x_new":[1, 2]}"#;
    let reply = scene.gateway.fetch(&Request::post(PATH, &scene.key.secret, body)).await;
    assert_eq!((reply.status, reply.json()), (200, say::response("resp_t1", "a b c", 7, 3)));
    assert_eq!(scene.upstream.only_request().body, body.replace("\"mock\"", "\"mock-1\"").as_bytes());
    let (row, input, output) = scene.row().await;
    assert_eq!((input, output, row["source"].as_str()), (7, 3, Some("provider")), "{row}");
    scene.gateway.fetch(&scene.request(&json!({"model": "mock", "input": "hi"}))).await;
    assert_eq!(scene.upstream.request(1).await.json()["max_output_tokens"], 4096);
}

#[tokio::test]
async fn a_streamed_response_passes_byte_by_byte_and_is_metered_at_its_end() {
    let scene = Scene::new().await;
    let events = say::response_events("resp_t1", &["a", "b"], 25, 9);
    // Some servers add chat's end marker; it is no part of this dialect.
    scene.upstream.always(Script::named(&events).split(7).send(e2e::say::done()));
    let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
    assert_eq!(stream.chunks(), events);
    assert!(!stream.is_done());
    assert_eq!(scene.upstream.only_request().json().get("stream_options"), None, "usage needs no asking here");
    let (row, input, output) = scene.row().await;
    assert_eq!((input, output, row["source"].as_str()), (25, 9, Some("provider")), "{row}");
}

#[tokio::test]
async fn a_broken_or_unfinished_stream_ends_in_an_error_event_that_clients_know() {
    let scene = Scene::new().await;
    let begun = || Script::named(&[say::response_created("resp_t1"), say::response_text("The dose is 10", 1)]);
    for script in [begun().then(Step::Cut), begun().then(Step::Reset), begun(), begun().send(e2e::say::done())] {
        scene.upstream.next(script);
        let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
        assert_eq!(types(&stream), ["response.created", "response.output_text.delta", "error"]);
        let error = &stream.chunks()[2];
        assert_eq!((&error["code"], &error["sequence_number"]), (&json!("upstream_disconnected"), &json!(2)));
        assert_eq!(stream.error_code().as_deref(), Some("upstream_disconnected"));
    }
    for row in scene.gateway.usage_rows(4).await {
        assert_eq!((outcome(&row), row["source"].as_str()), ("stream_broken", Some("estimated")), "{row}");
    }
}

#[tokio::test]
async fn a_response_that_failed_is_passed_on_and_its_usage_counts() {
    let scene = Scene::new().await;
    let mut failed = say::response("resp_t1", "a", 25, 4);
    failed["status"] = "failed".into();
    failed["error"] = json!({"code": "server_error", "message": "it broke"});
    let events = [
        say::response_created("resp_t1"),
        say::response_text("a", 1),
        json!({"type": "response.failed", "response": failed, "sequence_number": 2}),
    ];
    scene.upstream.always(Script::named(&events));
    let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
    assert_eq!(stream.chunks(), events);
    let (row, input, output) = scene.row().await;
    assert_eq!((outcome(&row), input, output), ("stream_broken", 25, 4), "{row}");
}

#[tokio::test]
async fn a_hang_up_in_the_middle_is_seen() {
    let scene = Scene::new().await;
    let script = Script::named(&[say::response_created("resp_t1"), say::response_text("a", 1)]);
    scene.upstream.always(script.then(Step::Pass(Gate::default())));
    let mut reply = scene.gateway.open(&scene.streamed()).await;
    reply.data().await;
    reply.data().await;
    reply.hang_up();
    scene.upstream.request(0).await.closed_early().await;
    assert_eq!(outcome(&scene.row().await.0), "hung_up");
}

#[tokio::test]
async fn what_reaches_beyond_the_call_is_refused() {
    let scene = Scene::new().await;
    let bad = [
        (json!({"background": true}), "unsupported_parameter"),
        (json!({"conversation": "conv_1"}), "unsupported_parameter"),
        (json!({"prompt": {"id": "pmpt_1"}}), "unsupported_parameter"),
        (json!({"input": [{"type": "item_reference", "id": "msg_1"}]}), "unsupported_parameter"),
        (json!({"max_tokens": 4}), "conflicting_parameters"),
        (json!({"previous_response_id": "resp_of_nobody"}), "previous_response_not_found"),
    ];
    for (more, code) in bad {
        let mut body = json!({"model": "mock", "input": "hi"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = scene.gateway.fetch(&scene.request(&body)).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, code), "{more}");
    }
    assert_eq!(scene.upstream.count(), 0);
}

#[tokio::test]
async fn fr_cost_03_only_the_call_that_made_a_response_is_charged() {
    let mut scene = Scene::new().await;
    let whole = Script::json(200, say::response("resp_abc", "a b c", 140, 260).to_string());
    scene.upstream.always(whole);
    let made = scene.gateway.fetch(&scene.request(&json!({"model": "mock", "input": "hi"}))).await;
    for path in ["resp_abc", "resp_abc", "resp_abc/input_items?limit=5&order=asc"] {
        let read = scene.gateway.fetch(&scene.about("GET", path, &scene.key)).await;
        assert_eq!((read.status, &read.body), (200, &made.body), "{path}");
    }
    let sent = scene.upstream.request(3).await;
    assert_eq!((sent.head.word(0), sent.path()), ("GET", "/v1/responses/resp_abc/input_items?limit=5&order=asc"));
    let rows = scene.gateway.usage_rows(4).await;
    let charged: Vec<_> = rows.iter().filter(|row| row["cost_nano"].as_i64() != Some(0)).collect();
    assert_eq!(charged.len(), 1, "{rows:?}");
    assert_eq!((charged[0]["input_tokens"].as_u64(), charged[0]["output_tokens"].as_u64()), (Some(140), Some(260)));
    let sum: u64 = rows.iter().map(|row| row["input_tokens"].as_u64().unwrap()).sum();
    assert_eq!(sum, 140, "{rows:?}");
    // What is settled once more, as after a crash, adds nothing. (No route here is bridged through another one, so that
    // there is no inner call which could write a row of its own.)
    let before = scene.gateway.ledger().await["total"].clone();
    for _ in 0..2 {
        scene.gateway.kill().await;
        scene.gateway.spawn().await;
    }
    assert_eq!(scene.gateway.ledger().await["total"], before);
    assert_eq!(scene.gateway.usage_rows(4).await.len(), 4);
}

#[tokio::test]
async fn a_stored_response_belongs_to_the_tenant_that_made_it() {
    let scene = Scene::new().await;
    scene.gateway.fetch(&scene.request(&json!({"model": "mock", "input": "hi"}))).await;
    let before = scene.upstream.count();
    let mut next = json!({"model": "mock", "input": "hi", "previous_response_id": "resp_t1"});
    for (method, path) in [("GET", "resp_t1"), ("GET", "resp_t1/input_items"), ("DELETE", "resp_t1")] {
        let reply = scene.gateway.fetch(&scene.about(method, path, &scene.other)).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "response_not_found"), "{method} {path}");
    }
    let theirs = scene.request(&next).header("authorization", &format!("Bearer {}", scene.other.secret));
    assert_eq!(scene.gateway.fetch(&theirs).await.code(), "previous_response_not_found");
    assert_eq!(scene.upstream.count(), before, "nothing of this went anywhere");
    // A response that was not to be stored is none.
    scene.upstream.next(Script::json(200, say::response("resp_x", "a", 7, 3).to_string()));
    scene.gateway.fetch(&scene.request(&json!({"model": "mock", "input": "hi", "store": false}))).await;
    next["previous_response_id"] = "resp_x".into();
    assert_eq!(scene.gateway.fetch(&scene.request(&next)).await.code(), "previous_response_not_found");
    // Its maker goes on from it, reads it, and takes it away; then it is gone.
    next["previous_response_id"] = "resp_t1".into();
    assert_eq!(scene.gateway.fetch(&scene.request(&next)).await.status, 200);
    assert_eq!(scene.gateway.fetch(&scene.about("GET", "resp_t1", &scene.key)).await.status, 200);
    assert_eq!(scene.gateway.fetch(&scene.about("DELETE", "resp_t1", &scene.key)).await.status, 200);
    let gone = scene.gateway.fetch(&scene.about("GET", "resp_t1", &scene.key)).await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "response_not_found"));
}

#[tokio::test]
async fn stored_responses_are_found_again_after_a_restart_and_a_kill() {
    let mut scene = Scene::new().await;
    scene.gateway.fetch(&scene.request(&json!({"model": "mock", "input": "hi"}))).await;
    // An answer is out some moments before the journal has the call's end.
    scene.gateway.usage_rows(1).await;
    scene.gateway.kill().await;
    scene.gateway.spawn().await;
    let next = json!({"model": "mock", "input": "hi", "previous_response_id": "resp_t1"});
    assert_eq!(scene.gateway.fetch(&scene.request(&next)).await.status, 200);
    assert_eq!(scene.gateway.fetch(&scene.about("GET", "resp_t1", &scene.other)).await.status, 404);
    assert_eq!(scene.gateway.fetch(&scene.about("DELETE", "resp_t1", &scene.key)).await.status, 200);
    scene.gateway.usage_rows(3).await;
    scene.gateway.kill().await;
    scene.gateway.spawn().await;
    let gone = scene.gateway.fetch(&scene.about("GET", "resp_t1", &scene.key)).await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "response_not_found"));
}

#[tokio::test]
async fn odd_questions_about_stored_responses_go_nowhere() {
    let scene = Scene::new().await;
    scene.gateway.fetch(&scene.request(&json!({"model": "mock", "input": "hi"}))).await;
    let cases = [
        ("GET", "resp_t1?stream=true", 400),
        ("GET", "resp_t1?limit=5&x=1", 400),
        ("GET", "..%2fmodels", 404),
        ("GET", "resp_t1/output", 404),
        ("GET", "resp_t1/", 404),
        ("POST", "resp_t1", 405),
        ("DELETE", "resp_t1/input_items", 405),
    ];
    for (method, path, status) in cases {
        let reply = scene.gateway.fetch(&scene.about(method, path, &scene.key)).await;
        assert_eq!(reply.status, status, "{method} {path}");
    }
    assert_eq!(scene.upstream.count(), 1);
    // What the provider has lost is told in its own words, and cools nobody.
    scene.upstream.next(Script::json(404, e2e::say::error("gone", "invalid_request_error", None)));
    let lost = scene.gateway.fetch(&scene.about("GET", "resp_t1", &scene.key)).await;
    assert_eq!((lost.status, lost.json()["error"]["message"].as_str()), (404, Some("gone")));
}

#[tokio::test]
async fn the_hold_of_a_call_counts_the_history_that_its_provider_reads() {
    let rule = "limit_rules: [{ name: one, what: input_tokens, amount: 10000, per: day }]";
    let mut scene = Scene::with(rule).await;
    scene.upstream.next(Script::json(200, say::response("resp_long", "a", 4_000, 1_000).to_string()));
    scene.gateway.fetch(&scene.request(&json!({"model": "mock", "input": "hi"}))).await;
    let next = json!({"model": "mock", "input": "hi", "previous_response_id": "resp_long"});
    // 6,000 are left and the history has 5,000: it fits once, and never twice at the same time.
    let gate = Gate::default();
    let reply = Script::json(200, say::response("resp_next", "a", 5_010, 9).to_string());
    scene.upstream.next(reply.first(Step::Pass(gate.clone())));
    let goes_on = scene.request(&next);
    let (first, second) = tokio::join!(scene.gateway.fetch(&goes_on), async {
        scene.upstream.request(1).await;
        let second = scene.gateway.fetch(&goes_on).await;
        gate.open();
        second
    });
    assert_eq!(first.status, 200, "{:?}", first.body);
    assert_eq!((second.status, second.code().as_str()), (429, "budget_exceeded"), "{:?}", second.body);
    assert_eq!(scene.upstream.count(), 2, "what is refused never reaches the provider");
    // What is left now is less than the history; a short call fits, before and after a restart.
    scene.gateway.usage_rows(2).await;
    for _ in 0..2 {
        assert_eq!(scene.gateway.fetch(&goes_on).await.code(), "budget_exceeded");
        assert_eq!(scene.gateway.fetch(&scene.request(&json!({"model": "mock", "input": "hi"}))).await.status, 200);
        scene.gateway.kill().await;
        scene.gateway.spawn().await;
    }
}

#[tokio::test]
async fn where_nobody_states_the_usage_the_history_is_counted() {
    let scene = Scene::new().await;
    scene.upstream.next(Script::json(200, say::response("resp_long", "a", 4_000, 1_000).to_string()));
    scene.gateway.fetch(&scene.request(&json!({"model": "mock", "input": "hi"}))).await;
    let mut silent = say::response("resp_next", "a b c", 0, 0);
    silent.as_object_mut().unwrap().remove("usage");
    scene.upstream.next(Script::json(200, silent.to_string()));
    let next = json!({"model": "mock", "input": "hi", "previous_response_id": "resp_long"});
    assert_eq!(scene.gateway.fetch(&scene.request(&next)).await.status, 200);
    let rows = scene.gateway.usage_rows(2).await;
    let inputs: Vec<_> = rows.iter().map(|row| row["input_tokens"].as_u64().unwrap()).collect();
    assert!(inputs.contains(&4_000) && inputs.iter().any(|input| (5_001..5_100).contains(input)), "{inputs:?}");
}
