//! Real clients: the official OpenAI SDK for Python, and curl as `weir demo` prints it.
//!
//! What the SDK sees is in `tests/sdk/*.py`, one script per chapter; what has to happen around it is here.

use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use e2e::client::Request;
use e2e::clock;
use e2e::config::Config;
use e2e::demo::{Demo, Mind};
use e2e::gateway::{Gateway, Key};
use e2e::program;
use e2e::say;
use e2e::sdk::Chapter;
use e2e::upstream::{Script, Step, Upstream};
use serde_json::{Value, json};
use tokio::process::Command;

#[tokio::test]
async fn the_sdk_gets_answers_of_the_real_model_and_each_is_accounted_for() {
    let (mut demo, ready) = Demo::start(Mind::Model).await;
    Chapter::run("answers", &demo.facts(&ready)).await;
    let running = accounts(&demo).await;
    let (status, rest) = demo.terminate().await;
    assert!(status.success(), "{status}");
    assert_eq!(rest, Vec::<String>::new(), "more than one line on stdout");
    assert_eq!(accounts(&demo).await, running, "the accounts after the end are those while it ran");
}

/// The usage report and the verified audit log: how many attempts, and what they cost.
async fn accounts(demo: &Demo) -> (i64, i64) {
    let verified = demo.weir(&["audit", "verify", "--json"]).await.json();
    assert_eq!(verified["ok"], true, "{verified}");
    let report = demo.weir(&["usage", "report", "--json", "--by", "tenant"]).await.json();
    let rows = report["rows"].as_array().expect("a list").clone();
    let sum = |name: &str| rows.iter().map(|row| row[name].as_i64().expect("a number")).sum::<i64>();
    let sums = (sum("attempts"), sum("cost_nano"));
    assert!(sums.0 > 0 && sums.1 > 0, "{report}");
    let groups: Vec<&str> = rows.iter().filter_map(|row| row["group"].as_str()).collect();
    assert!(groups.iter().any(|group| group.starts_with("acme")), "{groups:?}");
    assert!(groups.iter().any(|group| group.starts_with("globex")), "{groups:?}");
    sums
}

#[tokio::test]
async fn too_long_a_prompt_is_refused_and_a_hang_up_is_accounted_for_exactly() {
    let (demo, ready) = Demo::start(Mind::Model).await;
    Chapter::run("bounds", &demo.facts(&ready)).await;
}

#[tokio::test]
async fn each_class_of_error_is_the_sdks_own_exception() {
    let (demo, ready) = Demo::start(Mind::Scripted).await;
    Chapter::run("errors", &demo.facts(&ready)).await;
}

#[tokio::test]
async fn killing_the_engine_in_mid_stream_is_an_explicit_error_and_the_next_call_works() {
    let (demo, ready) = Demo::start(Mind::Model).await;
    let mut chapter = Chapter::start("engine_killed", &demo.facts(&ready)).await;
    chapter.event("third chunk").await;
    let old = demo.kill_engine();
    chapter.event("answered").await;
    demo.engine_after(old).await;
    assert_eq!(Request::get("/readyz").fetch(demo.admin()).await.status, 200);
    chapter.answer(&json!({})).await;
    chapter.finish().await;
}

#[tokio::test]
async fn killing_the_gateway_in_mid_stream_loses_no_call_and_counts_none_twice() {
    let (mut demo, ready) = Demo::start(Mind::Model).await;
    let mut chapter = Chapter::start("gateway_killed", &demo.facts(&ready)).await;
    let third = chapter.event("third chunk").await;
    demo.kill().await;
    chapter.event("cut").await;
    chapter.answer(&json!({})).await;
    chapter.event("refused").await;
    let again = demo.start_again().await;
    assert_eq!(again, ready, "the same keys and addresses");
    check_interrupted(&demo, &third["call"]).await;
    chapter.answer(&json!({})).await;
    chapter.finish().await;
    check_interrupted(&demo, &third["call"]).await;
    let completed = records_of(&demo, &third["before"]).await;
    assert_eq!(completed.len(), 1, "{completed:?}");
    assert_eq!(completed[0]["outcome"], "completed");
}

async fn check_interrupted(demo: &Demo, call: &Value) {
    let report = demo.weir(&["usage", "report", "--json", "--by", "call"]).await.json();
    let rows = report["rows"].as_array().expect("a list").iter();
    let rows: Vec<&Value> = rows.filter(|row| row["group"] == *call).collect();
    assert_eq!(rows.len(), 1, "usage rows: {rows:?}");
    assert_eq!((&rows[0]["attempts"], &rows[0]["estimated"]), (&json!(1), &json!(1)), "{rows:?}");
    assert!(rows[0]["cost_nano"].as_i64() > Some(0), "{rows:?}");
    let records = records_of(demo, call).await;
    assert_eq!(records.len(), 1, "audit records: {records:?}");
    assert_eq!(records[0]["outcome"], "interrupted", "{records:?}");
    let verified = demo.weir(&["audit", "verify", "--json"]).await.json();
    assert_eq!(verified["ok"], true, "{verified}");
}

/// The audit records of a call.
async fn records_of(demo: &Demo, call: &Value) -> Vec<Value> {
    let list = demo.weir(&["audit", "list", "--json", "--limit", "1000"]).await;
    assert_eq!(list.status, 0, "{}", list.stderr);
    let records = list.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of json"));
    records.filter(|record| record["id"] == *call).collect()
}

#[tokio::test]
async fn a_revoked_key_and_its_running_stream_end_within_a_second() {
    let config = Config::default().tenant("acme", "").tenant("globex", "");
    let config = config.deployment("mock", "engine", "unix:./run/engine.sock", "provider: engine");
    let engine = "engine: { name: mock-1, socket: ./run/engine.sock, args: [--step-delay-ms, \"25\", --script-tokens, \"4000\"] }";
    let mut gateway = Gateway::prepare(&config.section(engine));
    private_folder(&gateway.path("run"));
    gateway.spawn().await;
    let (acme, globex) = (gateway.key("acme").await, gateway.key("globex").await);
    let mut chapter = Chapter::start("revoked", &facts(&gateway, &[("acme", &acme), ("globex", &globex)])).await;
    chapter.event("third chunk").await;
    gateway.revoke(&acme).await;
    let done_at = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs_f64();
    chapter.answer(&json!({"done_at": done_at})).await;
    chapter.finish().await;
}

#[tokio::test]
async fn a_failing_upstream_is_the_sdks_own_exception_in_each_of_its_ways() {
    let begun = || Script::stream().event(say::delta("a")).event(say::delta("b"));
    let failed = say::error("it broke", "server_error", None);
    let busy = Script::json(429, say::error("slow down", "rate_limit_error", None)).header("retry-after", "7");
    let ways = [
        ("failing", Script::json(500, failed.clone())),
        ("busy", busy),
        ("picky", Script::json(400, say::error("no cats", "invalid_request_error", None))),
        ("breaking", begun().event(String::from_utf8_lossy(&failed))),
        ("cut", begun().then(Step::Cut)),
    ];
    let mut config = Config::default().tenant("acme", "").section("retry: { attempts_max: 1 }");
    let mut upstreams = Vec::new();
    for (model, script) in ways {
        let upstream = Upstream::start().await;
        upstream.always(script);
        config = config.deployment(model, model, &upstream.base_url(), "");
        upstreams.push(upstream);
    }
    let config = config.deployment("nobody", "nobody", "http://127.0.0.1:9/v1", "");
    let mut gateway = Gateway::start(&config).await;
    let acme = gateway.key("acme").await;
    let mut chapter = Chapter::start("upstream", &facts(&gateway, &[("acme", &acme)])).await;
    chapter.event("served").await;
    gateway.terminate().await;
    chapter.answer(&json!({})).await;
    chapter.finish().await;
}

fn facts(gateway: &Gateway, keys: &[(&str, &Key)]) -> Value {
    let tenants: Vec<Value> = keys.iter().map(|(name, key)| json!({"name": name, "key": key.secret})).collect();
    json!({
        "base_url": format!("http://{}/v1", gateway.address), "tenants": tenants, "model": "mock",
        "data": gateway.data(), "weir": program::weir(), "engine_socket": gateway.path("run/engine.sock"),
    })
}

fn private_folder(path: &std::path::Path) {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(path).expect("room for a folder");
}

#[tokio::test]
async fn the_curl_line_that_the_demo_prints_answers_with_text_of_the_model() {
    let (demo, text) = Demo::for_people(Mind::Model).await;
    let from = text.find("curl ").unwrap_or_else(|| panic!("no curl line: {text}"));
    let line = text[from..].split("\n\n").next().expect("a first part").to_owned();
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).stdin(Stdio::null()).kill_on_drop(true);
    let output = clock::soon(&line, shell.output()).await.expect("sh starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {line}\n{said}"));
    let content = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default();
    assert!(content.len() > 20, "{answer}");
    // What it prints beside that is true too.
    let verify = text.lines().find_map(|line| line.split_once("weir audit verify ")).expect("a line for the audit").1;
    assert!(verify.contains(demo.data().to_str().expect("a plain name")), "{text}");
    let verified = demo.weir(&["audit", "verify"]).await;
    assert_eq!(verified.status, 0, "{}{}", verified.stdout, verified.stderr);
}
