//! The own engine's part of a call's books: its prompt counted before anything is held for it.

use e2e::client::Request;
use e2e::config::Config;
use e2e::engine::Engine;
use e2e::gateway::Gateway;
use e2e::say;
use e2e::upstream::{Script, Upstream};
use serde_json::Value;

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

/// The ledger's whole rows, once there are so many.
async fn ledger(gateway: &Gateway, count: usize) -> Vec<Value> {
    gateway.usage_rows(count).await;
    let done = gateway.weir(&["usage", "rows"]).await;
    done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a row says of the machine's time: prefill, decode, pages.
fn time(row: &Value) -> [u64; 3] {
    ["gpu_prefill_us", "gpu_decode_us", "gpu_kv_us"].map(|name| row["buckets"][name].as_u64().unwrap_or(0))
}

#[tokio::test]
async fn the_machines_time_is_shared_to_the_microsecond_and_paid_by_who_took_it() {
    let engine = Engine::scripted(&["--name", "own-1", "--step-delay-ms", "4"]).await;
    let gpu = "gpu: { usd_per_hour: \"2.49\", usd_per_1m_max: \"50\" }, upstream_model: own-1";
    // Tokens of `own-1` have no price. The hold of 9 + 40 tokens at 50 micro-dollars is all that `once` may have.
    let once = "limit_rules: [{ name: one, what: money, dollars: \"0.00245\", per: day }]";
    let short = "limit_rules: [{ name: one, what: money, dollars: \"0.002449999\", per: day }]";
    let config = Config::default().tenant("once", once).tenant("twice", "").tenant("short", short);
    let config = config.deployment("mock", "own", &engine.base_url(), &format!("{OWN}, {gpu}"));
    let mut gateway = Gateway::prepare(&config);
    let (once, twice) = (gateway.key("once").await.secret, gateway.key("twice").await.secret);
    let short = gateway.key("short").await.secret;
    gateway.spawn().await;
    let begun = std::time::Instant::now();
    let call = |secret: &str, tokens: u32, stream: bool| {
        let mut body = say::chat("mock", "hi", stream);
        body["max_tokens"] = tokens.into();
        Request::chat(secret, &body)
    };
    let refused = gateway.fetch(&call(&short, 40, false)).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "request_over_limit"), "{:?}", refused.body);
    // At the same time, so that every step is shared.
    let (a, b) = (call(&once, 40, false), call(&twice, 80, true));
    let (a, b) = tokio::join!(gateway.fetch(&a), async { gateway.open(&b).await.rest().await });
    assert_eq!(a.status, 200, "{:?} {b:?}", a.body);
    let rows = ledger(&gateway, 2).await;
    let wall = u64::try_from(begun.elapsed().as_micros()).unwrap();
    let [mut prefill, mut decode, mut kv] = [0, 0, 0];
    for row in &rows {
        let [read, made, held] = time(row);
        (prefill, decode, kv) = (prefill + read, decode + made, kv + held);
        let (computing, pages) = (i128::from(read + made), i128::from(held));
        // 2.49 dollars an hour: 80 % for computing, 20 % for pages.
        let exact = (computing * 80 + pages * 20) * 2_490_000_000;
        let off = exact - i128::from(row["cost_nano"].as_i64().unwrap()) * 360_000_000_000;
        assert!(off.abs() <= 180_000_000_000, "half a nano-dollar at most: {row}");
        assert_eq!(row["cost_nano"], row["provider_cost_nano"], "{row}");
        assert_eq!((&row["source"], &row["price_version"]), (&"exact".into(), &"gpu@2.49/h".into()), "{row}");
    }
    let meter = async |kind: &str| {
        let name = format!("weir_engine_gpu_microseconds_total{{model_name=\"own-1\",kind=\"{kind}\"}}");
        engine.metric(&name).await
    };
    assert_eq!([prefill, decode, kv], [meter("prefill").await, meter("decode").await, meter("kv").await]);
    assert!(prefill + decode >= 80 * 4_000 && prefill + decode <= wall, "{prefill} + {decode} of {wall}");
    let cost = |tenant: &str| {
        let of = rows.iter().find(|row| row["tenant"] == tenant).unwrap_or_else(|| panic!("{rows:?}"));
        of["cost_nano"].as_u64().unwrap()
    };
    // 40 shared steps, and 40 of the longer call alone: 3 times, and in turn somewhere from twice on.
    let (less, more) = (cost("once"), cost("twice"));
    assert!(more >= less * 3 / 2 && more <= less * 5, "{less} and {more}");
}

#[tokio::test]
async fn a_discounted_tenants_hold_and_row_are_discounted_to_the_nano_dollar() {
    let engine = Engine::scripted(&["--name", "mock-1"]).await;
    let pricing = "pricing: { discounts: [{ tenant: less, provider: engine, model: \"mock-*\", percent: \"12.5\" }] }";
    // 9 tokens of the prompt at 2, 5 of the answer at 8 micro-dollars are 58,000 nano-dollars: 50,750 for `less`.
    let rule = |dollars: &str| format!("limit_rules: [{{ name: one, what: money, dollars: \"{dollars}\", per: day }}]");
    let config = Config::default()
        .tenant("less/fits", &rule("0.00005075"))
        .tenant("less/short", &rule("0.000050749"))
        .tenant("list", &rule("0.000058"))
        .section(pricing)
        .deployment("mock", "own", &engine.base_url(), OWN);
    let mut gateway = Gateway::prepare(&config);
    let [fits, short, list] = ["less/fits", "less/short", "list"];
    let (fits, short, list) = (gateway.key(fits).await, gateway.key(short).await, gateway.key(list).await);
    gateway.spawn().await;
    let refused = gateway.fetch(&chat(&short.secret, "hi", false)).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "request_over_limit"), "{:?}", refused.body);
    for (key, nano) in [(fits, 50_750), (list, 58_000)] {
        let served = gateway.fetch(&chat(&key.secret, "hi", false)).await;
        assert_eq!(served.status, 200, "{:?}", served.body);
        let rows = ledger(&gateway, if nano == 58_000 { 2 } else { 1 }).await;
        let row = rows.last().unwrap();
        assert_eq!((row["cost_nano"].as_i64(), row["list_nano"].as_i64()), (Some(nano), Some(58_000)), "{row}");
    }
}
