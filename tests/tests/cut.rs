//! A client that is cut anywhere: no attempt is lost, and what is charged is what was made.
//!
//! `cases/streams` holds recorded streams with the true number of tokens made up to each event, counted by another
//! program than Weir's. A normal run cuts each at some forty places; `WEIR_SOAK=1` cuts at every byte.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use e2e::client::Request;
use e2e::clock;
use e2e::config::Config;
use e2e::engine::Engine;
use e2e::gateway::{Gateway, Key};
use e2e::say;
use e2e::upstream::{Gate, Script, Step, Upstream};
use serde_json::{Value, json};

/// Places at which a recording is cut in a normal run.
const SAMPLES: usize = 40;

fn is_soak() -> bool {
    std::env::var_os("WEIR_SOAK").is_some()
}

/// A stream as a provider sent it.
struct Recording {
    path: String,
    body: Value,
    prompt_tokens: u64,
    /// Each event, and the tokens made up to its end.
    events: Vec<(Bytes, u64)>,
}

impl Recording {
    fn read(name: &str) -> Self {
        let file = format!("{}/cases/streams/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let head = lines.next().unwrap();
        let event = |line: Value| {
            let raw = line["raw"].as_str().unwrap().to_owned();
            (Bytes::from(raw), line["tokens"].as_u64().unwrap())
        };
        let mut body = head["body"].clone();
        body["model"] = name.into();
        let path = head["path"].as_str().unwrap().to_owned();
        Self { path, body, prompt_tokens: head["prompt_tokens"].as_u64().unwrap(), events: lines.map(event).collect() }
    }

    fn model(name: &str) -> String {
        let file = format!("{}/cases/streams/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(file).unwrap();
        let head: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        head["model"].as_str().unwrap().to_owned()
    }

    fn bytes(&self) -> Vec<u8> {
        self.events.iter().flat_map(|(raw, _)| raw.to_vec()).collect()
    }

    /// Of a stream cut at `at`: events that a client sees which did not ask for usage, tokens made, and whether the
    /// provider stated its usage.
    fn before(&self, at: usize) -> (usize, u64, bool) {
        let (mut end, mut shown, mut made, mut stated) = (0, 0, 0, false);
        for (raw, tokens) in &self.events {
            end += raw.len();
            if end > at {
                break;
            }
            let text = std::str::from_utf8(raw).unwrap();
            made = *tokens;
            let is_usage = text.contains("\"choices\":[],\"usage\":{");
            stated |= text.contains("\"usage\":{") && !text.contains("message_start");
            shown += usize::from(!is_usage);
        }
        (shown, made, stated)
    }
}

/// One gateway before one provider that serves these recordings, each as a model of its name.
async fn scene(names: &[&str], section: &str) -> (Upstream, Gateway, Key) {
    let upstream = Upstream::start().await;
    let mut config = Config::default().tenant("acme", "").section("retry: { attempts_max: 1 }").section(section);
    for name in names {
        let provider = if name.starts_with("messages") { ", provider: anthropic" } else { "" };
        let more = format!("upstream_model: \"{}\"{provider}", Recording::model(name));
        config = config.deployment(name, name, &upstream.base_url(), &more);
    }
    let mut gateway = Gateway::prepare(&config);
    let key = gateway.key("acme").await;
    gateway.spawn().await;
    (upstream, gateway, key)
}

/// Every row of the ledger, once there are this many.
async fn rows(gateway: &Gateway, count: usize) -> Vec<Value> {
    let read = async || Some(ledger(gateway).await).filter(|rows| rows.len() >= count);
    let rows = clock::eventually(&format!("{count} rows"), read).await;
    assert_eq!(rows.len(), count, "rows");
    rows
}

/// Every row of the ledger as of now.
async fn ledger(gateway: &Gateway) -> Vec<Value> {
    let done = gateway.weir(&["usage", "rows"]).await;
    done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the ledger must say of one cut.
struct Cut {
    at: usize,
    made: u64,
    stated: bool,
}

/// Plays the recording up to `at`, lets the client see all of it, and hangs up. The call's id, where a head came.
async fn cut(
    upstream: &Upstream,
    gateway: &Gateway,
    request: &Request,
    bytes: &[u8],
    at: usize,
    shown: usize,
) -> Option<String> {
    let number = upstream.count();
    let script = if at == 0 { Script::stream() } else { Script::stream().send(bytes[..at].to_vec()) };
    upstream.next(script.then(Step::Hold));
    let sent = request.send(gateway.address).await;
    upstream.request(number).await;
    if shown == 0 {
        sent.hang_up();
        return None;
    }
    let mut reply = sent.reply().await;
    assert_eq!(reply.status(), 200);
    let mut seen = 0;
    while seen < shown {
        let event = reply.event().await.expect("an event that was sent");
        seen += usize::from(!event.is_keepalive());
    }
    let id = reply.head.get("x-request-id").unwrap().to_owned();
    reply.hang_up();
    Some(id)
}

async fn cut_everywhere(names: &[&str]) {
    let (upstream, gateway, key) = scene(names, "").await;
    let (mut errors, mut lost, mut total) = (Vec::new(), 0_usize, 0_usize);
    let mut cuts: HashMap<String, (Cut, u64)> = HashMap::new();
    for name in names {
        let recording = Recording::read(name);
        let request = Request::post(&recording.path, &key.secret, recording.body.to_string());
        let bytes = recording.bytes();
        let step = if is_soak() { 1 } else { bytes.len() / SAMPLES + 1 };
        for at in (0..bytes.len()).step_by(step).chain([bytes.len()]) {
            let (shown, made, stated) = recording.before(at);
            let id = cut(&upstream, &gateway, &request, &bytes, at, shown).await;
            total += 1;
            match id {
                Some(id) => drop(cuts.insert(id, (Cut { at, made, stated }, recording.prompt_tokens))),
                None => lost += 1,
            }
        }
    }
    for row in rows(&gateway, total).await {
        let event = row["event"].as_str().unwrap();
        let (call, attempt) = event.rsplit_once('-').unwrap();
        assert_eq!(attempt, "0");
        let Some((cut, prompt)) = cuts.remove(call) else {
            // Nothing was heard of it: what was held is charged.
            assert_eq!(row["source"], "estimated", "{row}");
            lost -= 1;
            continue;
        };
        let at = cut.at;
        let (input, output) = (row["input_tokens"].as_u64().unwrap(), row["output_tokens"].as_u64().unwrap());
        if cut.stated {
            assert_eq!((row["source"].as_str(), input, output), (Some("provider"), prompt, cut.made), "{at}: {row}");
            continue;
        }
        assert_eq!(row["source"], "estimated", "{at}: {row}");
        if cut.made > 0 {
            errors.push(output.abs_diff(cut.made) * 10_000 / cut.made);
            let off = input.abs_diff(prompt) * 100 / prompt;
            assert!(off <= 15, "{at}: a prompt of {prompt}: {row}");
        }
    }
    assert_eq!((lost, cuts.len()), (0, 0), "rows without a call, calls without a row");
    errors.sort_unstable();
    let (median, worst) = (errors[errors.len() / 2], errors[errors.len() - 1]);
    let p99 = errors[errors.len() * 99 / 100];
    println!(
        "{total} cuts of {names:?}: {} estimates, median error {median}/10000, p99 {p99}, worst {worst}",
        errors.len()
    );
    assert!(median <= 200, "median error {median} of 10,000");
}

#[tokio::test]
async fn a_chat_cut_at_any_byte_is_in_the_ledger() {
    cut_everywhere(&["chat_prose_usage", "chat_code_plain", "chat_mixed_plain", "chat_tool_usage"]).await;
}

#[tokio::test]
async fn a_completion_cut_at_any_byte_is_in_the_ledger() {
    cut_everywhere(&["completions_prose"]).await;
}

#[tokio::test]
async fn streams_of_named_events_cut_at_any_byte_are_in_the_ledger() {
    cut_everywhere(&["responses_mixed", "messages_code"]).await;
}

/// The sums of the ledger and of the engine's own meters.
async fn engine_sums(engine: &Engine, rows: &[Value]) -> [(u64, u64); 2] {
    let sum = |name: &str| rows.iter().map(|row| row[name].as_u64().unwrap()).sum::<u64>();
    let made = engine.metric("weir_engine_generation_tokens_total").await;
    let read = engine.metric("weir_engine_prompt_tokens_total").await;
    [(sum("output_tokens"), made), (sum("input_tokens"), read)]
}

#[tokio::test]
async fn calls_of_the_own_engine_cut_anywhere_are_charged_as_the_engine_counts() {
    let args = ["--name", "mock-1", "--script-tokens", "60", "--step-delay-ms", "2", "--kv-pages", "20000"];
    let engine = Engine::scripted(&args).await;
    let waits = "provider: engine, timeouts: { connect_ms: 1000, first_byte_ms: 30000, idle_ms: 5000 }";
    let config = Config::default().tenant("acme", "").deployment("mock", "own", &engine.base_url(), waits);
    let gateway = Gateway::start(&config).await;
    let key = gateway.key("acme").await;
    let calls: usize = if is_soak() { 2_000 } else { 120 };
    let mut running = tokio::task::JoinSet::new();
    for n in 0..calls {
        // Eight at a time: they share the engine's steps, so that hang-ups fall into any moment of them.
        while running.len() >= 8 {
            running.join_next().await.unwrap().unwrap();
        }
        let mut body = say::chat("mock", &"A prompt. ".repeat(n % 30 + 1), n % 5 != 4);
        body["max_tokens"] = 50.into();
        let (request, address) = (Request::chat(&key.secret, &body), gateway.address);
        running.spawn(async move {
            let sent = request.send(address).await;
            match n % 5 {
                // Before the head, and in the middle of a whole answer.
                0 | 4 => {
                    tokio::time::sleep(Duration::from_millis(n as u64 % 90)).await;
                    sent.hang_up();
                }
                1 => drop(sent.reply().await.rest().await),
                _ => {
                    let mut reply = sent.reply().await;
                    for _ in 0..n % 47 {
                        if reply.event().await.is_err() {
                            break;
                        }
                    }
                    reply.hang_up();
                }
            }
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    engine.idle().await;
    let rows = settled(&gateway, &engine).await;
    let [(output, made), (input, read)] = engine_sums(&engine, &rows).await;
    println!("{} calls: {output} tokens charged, {made} made; {input} prompt tokens charged, {read} read", rows.len());
    let inexact: Vec<&Value> = rows.iter().filter(|row| row["source"] != "exact").collect();
    // A call that was left before it was admitted never came to the engine.
    assert!(inexact.iter().all(|row| row["output_tokens"] == 0), "{inexact:#?}");
    assert_eq!((output, input), (made, read), "the ledger and the engine");
    assert!(rows.len() > calls / 2, "{} rows of {calls} calls", rows.len());
}

/// The rows once they stop growing: a call that hung up before its body was read has none.
async fn settled(gateway: &Gateway, engine: &Engine) -> Vec<Value> {
    let read = async || {
        let rows = ledger(gateway).await;
        let [(output, made), _] = engine_sums(engine, &rows).await;
        (output >= made).then_some(rows)
    };
    clock::eventually("the ledger has what the engine made", read).await
}

#[tokio::test]
async fn a_provider_is_heard_out_within_its_limit_where_that_is_wanted() {
    let recording = Recording::read("chat_prose_usage");
    let (upstream, gateway, key) = scene(&["chat_prose_usage"], "stream: { drain_ms: 5000, drain_tokens: 200 }").await;
    let gate = Gate::default();
    let bytes = recording.bytes();
    let script = Script::stream().send(bytes[..2_000].to_vec()).then(Step::Pass(gate.clone()));
    upstream.next(script.send(bytes[2_000..].to_vec()));
    let request = Request::post(&recording.path, &key.secret, recording.body.to_string());
    let mut reply = gateway.open(&request).await;
    reply.data().await;
    reply.hang_up();
    gate.open();
    let row = rows(&gateway, 1).await.remove(0);
    let made = recording.events.last().unwrap().1;
    assert_eq!((row["source"].as_str(), row["outcome"].as_str()), (Some("provider"), Some("hung_up")), "{row}");
    assert_eq!(
        (row["input_tokens"].as_u64(), row["output_tokens"].as_u64()),
        (Some(recording.prompt_tokens), Some(made))
    );

    let endless = (0..400).fold(Script::stream(), |script, n| script.event(say::delta(&format!("w{n} "))));
    upstream.next(endless.then(Step::Hold));
    let mut reply = gateway.open(&request).await;
    reply.data().await;
    reply.hang_up();
    upstream.request(1).await.closed_early().await;
    let row = rows(&gateway, 2).await.remove(1);
    assert_eq!((row["source"].as_str(), row["outcome"].as_str()), (Some("estimated"), Some("hung_up")), "{row}");
}

#[tokio::test]
async fn the_end_user_is_told_from_others_and_not_by_name() {
    let (upstream, gateway, key) = scene(&["chat_prose_usage"], "").await;
    upstream.always(Script::words(&["a"], 5, 1));
    let names = ["ada@acme.example", "bob@acme.example", "ada@acme.example"];
    for name in names {
        let mut body = say::chat("chat_prose_usage", "hi", true);
        body["user"] = json!(name);
        gateway.open(&Request::chat(&key.secret, &body)).await.rest().await;
    }
    let users: Vec<String> =
        rows(&gateway, 3).await.iter().map(|row| row["end_user"].as_str().unwrap().into()).collect();
    assert!(users.iter().all(|user| user.starts_with("eu_") && user.len() == 19), "{users:?}");
    let distinct: std::collections::BTreeSet<&String> = users.iter().collect();
    assert_eq!(distinct.len(), 2, "{users:?}");
    let audit = serde_json::to_string(&gateway.audit_calls(3).await).unwrap();
    assert!(audit.contains("eu_") && !audit.contains("acme.example"), "{audit}");
}
