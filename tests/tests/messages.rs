//! `/v1/messages` and its counting: Anthropic's dialect, passed on as it is, under the same governance as chat.

use e2e::client::{Request, Stream};
use e2e::config::Config;
use e2e::gateway::{Gateway, Key, outcome};
use e2e::say::dialects as say;
use e2e::sdk::Chapter;
use e2e::upstream::{Gate, Script, Step, Upstream};
use serde_json::{Value, json};

const PATH: &str = "/v1/messages";

/// One provider that speaks Anthropic's API, and one gateway before it.
struct Scene {
    upstream: Upstream,
    gateway: Gateway,
    key: Key,
}

impl Scene {
    async fn new(more: &str) -> Self {
        let upstream = Upstream::start().await;
        let keys = format!("provider: anthropic, api_key: \"file:./admin_token\", price_provider: openai{more}");
        let config = Config::default().tenant("acme", "").deployment("mock", "mock-a", &upstream.base_url(), &keys);
        let mut gateway = Gateway::prepare(&config.section("retry: { attempts_max: 1 }"));
        let key = gateway.key("acme").await;
        gateway.spawn().await;
        Self { upstream, gateway, key }
    }

    fn request(&self, stream: bool) -> Request {
        self.of(&say::request(PATH, "mock", stream))
    }

    fn of(&self, body: &Value) -> Request {
        Request::post(PATH, "", body.to_string()).without("authorization").header("x-api-key", &self.key.secret)
    }

    /// The only usage row, once it is there, and the counts in it; the audit chain is proven.
    async fn row(&self) -> (Value, u64, u64) {
        let row = self.gateway.usage_rows(1).await.remove(0);
        self.gateway.audit_calls(1).await;
        self.gateway.verify_audit().await;
        let count = |name: &str| row[name].as_u64().unwrap();
        let (input, output) = (count("input_tokens"), count("output_tokens"));
        (row, input, output)
    }
}

fn types(stream: &Stream) -> Vec<String> {
    stream.chunks().iter().map(|chunk| chunk["type"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn anthropics_sdk_works_with_only_its_address_and_key_changed() {
    let scene = Scene::new("").await;
    let facts = json!({
        "base_url": format!("http://{}", scene.gateway.address),
        "tenants": [{"name": "acme", "key": scene.key.secret}], "model": "mock",
    });
    Chapter::run("messages", &facts).await;
}

#[tokio::test]
async fn a_message_passes_untouched_but_for_the_models_name() {
    let scene = Scene::new("").await;
    let body = r#"{"model":"mock", "max_tokens": 64 ,"system":"be kind","messages":[{"role":"user","content":"h\u0069"}],
        "thinking":{"type":"disabled"},"x_new":[1, 2]}"#;
    let mut request = scene.request(false).header("anthropic-beta", "one-beta,two-beta");
    request.body = body.into();
    let reply = scene.gateway.fetch(&request).await;
    assert_eq!((reply.status, reply.json()), (200, say::message("a b c", 7, 3)));
    assert_eq!(reply.head.get("request-id"), reply.head.get("x-request-id"));
    let sent = scene.upstream.only_request();
    assert_eq!(sent.path(), PATH);
    assert_eq!(sent.body, body.replace("\"mock\"", "\"mock-1\"").as_bytes());
    assert_eq!(sent.header("x-api-key"), Some(e2e::config::ADMIN_TOKEN), "the deployment's own key");
    assert_eq!(sent.header("authorization"), None);
    assert_eq!(sent.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(sent.header("anthropic-beta"), Some("one-beta,two-beta"));
    let (row, input, output) = scene.row().await;
    assert_eq!((input, output, row["source"].as_str()), (7, 3, Some("provider")), "{row}");
}

#[tokio::test]
async fn a_streamed_message_passes_byte_by_byte_and_is_metered_from_both_its_ends() {
    let scene = Scene::new("").await;
    let events = say::message_events(&["a", "b"], 25, 9);
    scene.upstream.always(Script::named(&events).split(7));
    let stream = scene.gateway.open(&scene.request(true)).await.rest().await;
    assert_eq!(stream.chunks(), events);
    let (row, input, output) = scene.row().await;
    assert_eq!((input, output, row["source"].as_str()), (25, 9, Some("provider")), "{row}");
}

#[tokio::test]
async fn a_broken_stream_ends_in_anthropics_own_error_event() {
    let scene = Scene::new("").await;
    for step in [Step::Cut, Step::Reset] {
        let script = Script::named(&[say::message_start(25), say::message_text("The dose is 10")]);
        scene.upstream.next(script.then(step));
        let stream = scene.gateway.open(&scene.request(true)).await.rest().await;
        assert_eq!(types(&stream), ["message_start", "content_block_delta", "error"]);
        let last = stream.events.last().unwrap();
        assert_eq!(last.name.as_deref(), Some(b"error".as_slice()));
        assert_eq!(stream.error_code().as_deref(), Some("upstream_disconnected"));
        assert_eq!(stream.chunks()[2]["error"]["type"], "api_error");
    }
    for row in scene.gateway.usage_rows(2).await {
        assert_eq!((outcome(&row), row["source"].as_str()), ("stream_broken", Some("estimated")), "{row}");
    }
}

#[tokio::test]
async fn an_error_event_of_the_provider_passes_and_a_first_one_is_a_plain_error() {
    let scene = Scene::new("").await;
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    scene.upstream.next(Script::named(&[say::message_start(5), overloaded.clone()]));
    let stream = scene.gateway.open(&scene.request(true)).await.rest().await;
    assert_eq!(stream.chunks()[1], overloaded);
    scene.upstream.next(Script::named(&[overloaded]));
    let reply = scene.gateway.fetch(&scene.request(true)).await;
    assert_eq!((reply.status, reply.json()["type"].as_str()), (502, Some("error")), "{reply:?}");
}

#[tokio::test]
async fn a_missing_end_is_made_good_and_pings_are_no_progress() {
    let scene = Scene::new(", timeouts: { connect_ms: 500, first_byte_ms: 5000, idle_ms: 700 }").await;
    let mut events = say::message_events(&["a"], 25, 9);
    events.pop();
    scene.upstream.next(Script::named(&events));
    let stream = scene.gateway.open(&scene.request(true)).await.rest().await;
    assert_eq!(types(&stream).last().map(String::as_str), Some("message_stop"));
    let ping = Script::named(&[say::message_start(5), say::message_text("a")]);
    let pinging = (0..40).fold(ping, |script, _| {
        script.then(Step::Wait(std::time::Duration::from_millis(100))).send(say::named(&json!({"type": "ping"})))
    });
    scene.upstream.next(pinging);
    let stream = scene.gateway.open(&scene.request(true)).await.rest().await;
    assert_eq!(stream.error_code().as_deref(), Some("upstream_disconnected"));
}

#[tokio::test]
async fn a_hang_up_in_the_middle_is_seen_and_estimated() {
    let scene = Scene::new("").await;
    let gate = Gate::default();
    let script = Script::named(&[say::message_start(25), say::message_text("a"), say::message_text("b")]);
    scene.upstream.always(script.then(Step::Pass(gate)));
    let mut reply = scene.gateway.open(&scene.request(true)).await;
    for _ in 0..3 {
        reply.data().await;
    }
    reply.hang_up();
    scene.upstream.request(0).await.closed_early().await;
    let (row, _, output) = scene.row().await;
    assert_eq!((outcome(&row), row["source"].as_str(), output), ("hung_up", Some("estimated"), 2), "{row}");
}

#[tokio::test]
async fn faults_are_told_in_anthropics_shape() {
    let scene = Scene::new("").await;
    let hi = json!([{"role": "user", "content": "hi"}]);
    let bad = [
        (json!({"model": "mock"}), "missing_parameter"),
        (json!({"model": "mock", "messages": [], "max_tokens": 1}), "invalid_parameter"),
        (json!({"model": "mock", "messages": hi, "max_tokens": 0}), "invalid_parameter"),
        (json!({"model": "mock", "messages": hi, "max_tokens": 1, "max_output_tokens": 2}), "conflicting_parameters"),
        (json!({"model": "mock", "messages": hi, "max_tokens": 1, "Messages": hi}), "misspelled_parameter"),
        (json!({"model": "mock", "messages": hi, "max_tokens": 1, "container": "c_1"}), "unsupported_parameter"),
        (json!({"model": "mock", "messages": hi, "max_tokens": 9_999_999}), "output_tokens_over_limit"),
    ];
    for (body, code) in bad {
        let reply = scene.gateway.fetch(&scene.of(&body)).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, code), "{body}");
        assert_eq!(reply.json()["type"], "error");
        assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
    }
    let stranger = scene.gateway.fetch(&scene.request(false).without("x-api-key")).await;
    assert_eq!(stranger.status, 401);
    assert_eq!(stranger.json()["error"]["type"], "authentication_error");
    let chat = Request::chat(&scene.key.secret, &e2e::say::chat("mock", "hi", false));
    let elsewhere = scene.gateway.fetch(&chat).await;
    assert_eq!((elsewhere.status, elsewhere.code().as_str()), (404, "endpoint_not_served"));
    assert_eq!(scene.upstream.count(), 0, "nothing of this goes anywhere");
}

#[tokio::test]
async fn a_call_without_a_cap_gets_one() {
    let scene = Scene::new("").await;
    let body = json!({"model": "mock", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(scene.gateway.fetch(&scene.of(&body)).await.status, 200);
    assert_eq!(scene.upstream.only_request().json()["max_tokens"], 4096);
}

#[tokio::test]
async fn counting_tokens_costs_nothing() {
    let scene = Scene::new("").await;
    let mut request = scene.of(&say::request("/v1/messages/count_tokens", "mock", false));
    request.path = "/v1/messages/count_tokens".to_owned();
    let reply = scene.gateway.fetch(&request).await;
    assert_eq!((reply.status, reply.json()), (200, json!({"input_tokens": 7})));
    let sent = scene.upstream.only_request();
    assert_eq!((sent.path(), &sent.json()["max_tokens"]), ("/v1/messages/count_tokens", &Value::Null));
    let (row, input, output) = scene.row().await;
    assert_eq!((input, output, row["cost_nano"].as_i64()), (0, 0, Some(0)), "{row}");
}
