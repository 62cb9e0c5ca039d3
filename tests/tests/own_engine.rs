//! The own engine's part of a call's books: its prompt counted before anything is held for it.

use e2e::client::Request;
use e2e::config::Config;
use e2e::engine::Engine;
use e2e::gateway::Gateway;
use e2e::say;
use e2e::upstream::{Script, Upstream};

const OWN: &str = "provider: engine, timeouts: { connect_ms: 1000, first_byte_ms: 20000, idle_ms: 5000 }";
/// Tokens that the scripted template adds to a message of so many bytes.
const TEMPLATE: u64 = 7;

fn chat(secret: &str, content: &str, stream: bool) -> Request {
    let mut body = say::chat("mock", content, stream);
    body["max_tokens"] = 5.into();
    Request::chat(secret, &body)
}

/// Text that the gateway's own estimate is far from: the scripted engine takes each byte for a token.
fn text(bytes: usize) -> String {
    "an estimate would not see this ".chars().cycle().take(bytes).collect()
}

#[tokio::test]
async fn a_limit_of_exactly_the_prompts_size_serves_the_call_and_one_less_refuses_it() {
    let engine = Engine::scripted(&["--name", "mock-1", "--context-tokens", "20000", "--kv-pages", "2000"]).await;
    // One that is counted where it arrives, and one that is counted apart.
    let sizes = [400_u64, 12_000];
    let rule = |amount: u64| format!("limit_rules: [{{ name: one, what: input_tokens, amount: {amount}, per: day }}]");
    let config =
        sizes.iter().fold(Config::default().deployment("mock", "own", &engine.base_url(), OWN), |config, size| {
            config.tenant(&format!("fits-{size}"), &rule(*size)).tenant(&format!("short-{size}"), &rule(size - 1))
        });
    let gateway = Gateway::start(&config).await;
    for (at, size) in sizes.into_iter().enumerate() {
        let content = text(usize::try_from(size - TEMPLATE).unwrap());
        let short = gateway.key(&format!("short-{size}")).await.secret;
        let refused = gateway.fetch(&chat(&short, &content, false)).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "request_over_limit"), "{:?}", refused.body);
        let fits = gateway.key(&format!("fits-{size}")).await.secret;
        let served = gateway.fetch(&chat(&fits, &content, false)).await;
        assert_eq!(served.status, 200, "{:?}", served.body);
        // The very last token of the limit is used: not even an empty prompt fits now.
        let refused = gateway.fetch(&chat(&fits, "", false)).await;
        assert_eq!((refused.status, refused.code().as_str()), (429, "budget_exceeded"), "{:?}", refused.body);
        let rows = gateway.usage_rows(at + 1).await;
        assert_eq!((&rows[at]["input_tokens"], &rows[at]["source"]), (&size.into(), &"exact".into()), "{}", rows[at]);
    }
    assert_eq!(gateway.metric("weir_prompts_counted_total", "exact").await, 6.0);
}

#[tokio::test]
async fn what_no_engine_counts_is_held_by_the_bound_and_never_below_it() {
    // A server that speaks of itself as an own engine and counts nothing.
    let rule = "limit_rules: [{ name: one, what: input_tokens, amount: 20, per: day }]";
    let upstream = Upstream::start().await;
    upstream.always(Script::json(200, say::answer("a", 9, 3)));
    let own = format!("{OWN}, api_key: \"file:./own_key\"");
    let config = Config::default().tenant("bound", rule).deployment("mock", "own", &upstream.base_url(), &own);
    let mut gateway = Gateway::prepare(&config);
    gateway.write("own_key", "a-key-of-the-engine");
    let key = gateway.key("bound").await.secret;
    gateway.spawn().await;
    // Ten words are ten tokens to everybody; the bound of an unknown vocabulary is half as much more, and its template.
    let refused = gateway.fetch(&chat(&key, "one two three four five six seven eight nine ten", false)).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "request_over_limit"), "{:?}", refused.body);
    assert_eq!(gateway.fetch(&chat(&key, "one two", false)).await.status, 200);
}

#[tokio::test]
async fn the_machines_time_is_no_business_of_clients() {
    let engine = Engine::scripted(&["--name", "mock-1", "--step-delay-ms", "2"]).await;
    let config = Config::default().tenant("acme", "").deployment("mock", "own", &engine.base_url(), OWN);
    let gateway = Gateway::start(&config).await;
    let key = gateway.key("acme").await.secret;
    let whole = gateway.fetch(&chat(&key, "hi", false)).await;
    assert_eq!((whole.status, &whole.json()["usage"]["total_tokens"]), (200, &14.into()));
    let mut body = say::chat("mock", "hi", true);
    body["stream_options"] = serde_json::json!({"include_usage": true, "continuous_usage_stats": true});
    let stream = format!("{:?}", gateway.open(&Request::chat(&key, &body)).await.rest().await);
    assert!(stream.contains("total_tokens") && stream.contains("[DONE]"), "{stream}");
    assert!(!format!("{:?}{stream}", whole.body).contains("gpu_time"), "{stream}");
}
