//! Three gateways with stores of their own, one Redis, one budget, many streams, and kill -9 of gateways at random:
//! what is served never passes the budget (by no token on the own engine, by less than a slice a stream elsewhere),
//! every attempt has its row, Redis and the three ledgers agree, and what is left can be used to the last token.
//!
//! `WEIR_SOAK` makes it 1,000 streams, `WEIR_SEED` another order of kills. Skipped, with a note, where `WEIR_REDIS`
//! names no server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use e2e::client::Request;
use e2e::clock;
use e2e::config::Config;
use e2e::engine::Engine;
use e2e::gateway::{Gateway, outcome};
use e2e::say;
use e2e::servers::redis::Redis;
use e2e::upstream::{Script, Step, Upstream};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Completion tokens that one stream has, if nobody stops it.
const TOKENS: u64 = 900;
/// Tokens that the provider says at a time.
const PIECE: u64 = 30;
/// What a stream may have at most: more than the budget, so that it is held in slices from the start.
const CAP: u64 = 10_000_000;
/// `converse::purse::SLICE_TOKENS`.
const SLICE: u64 = 256;
/// Gateways.
const NODES: usize = 3;
/// How long one attempt of a client may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn is_soak() -> bool {
    std::env::var_os("WEIR_SOAK").is_some()
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = std::env::var("WEIR_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
        println!("WEIR_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Gateways on one Redis, with one budget of completion tokens a month.
struct Nodes {
    redis: Redis,
    gateways: Vec<Gateway>,
    secrets: Vec<String>,
}

/// What clients saw.
#[derive(Default)]
struct Seen {
    served: AtomicUsize,
    refused: AtomicUsize,
    broken: AtomicUsize,
}

impl Nodes {
    async fn start(config: Config, budget: u64) -> Option<Self> {
        let redis = Redis::start()?;
        let rule = format!("{{ name: one, what: output_tokens, amount: {budget}, per: ever }}");
        let config = config
            .tenant("bound", &format!("limit_rules: [{rule}]"))
            .section("redis: { url: \"file:./redis_url\", nodes: 3, timeout_ms: 2000 }")
            .section("retry: { attempts_max: 1 }");
        let (mut gateways, mut secrets) = (Vec::new(), Vec::new());
        for _ in 0..NODES {
            let mut gateway = Gateway::prepare(&config);
            gateway.write("redis_url", &redis.url());
            secrets.push(gateway.key("bound/team").await.secret);
            gateway.spawn().await;
            gateways.push(gateway);
        }
        Some(Self { redis, gateways, secrets })
    }

    /// Where to ask, and what: a stream of at most so many tokens.
    fn doors(&self, tokens: u64) -> Arc<[(SocketAddr, Vec<u8>)]> {
        let door = |(gateway, secret): (&Gateway, &String)| (gateway.address, bytes(&stream(secret, tokens)));
        self.gateways.iter().zip(&self.secrets).map(door).collect()
    }

    /// Kills a gateway and starts it again, one after the other, until all clients are done.
    async fn kill_until(&mut self, dice: &mut Dice, is_over: &AtomicBool, kills_max: u64) -> u64 {
        let mut kills = 0;
        while !is_over.load(Ordering::Acquire) {
            tokio::time::sleep(Duration::from_millis(200 + dice.below(500))).await;
            if kills < kills_max {
                let gateway = &mut self.gateways[usize::try_from(dice.below(3)).unwrap()];
                gateway.kill().await;
                gateway.spawn().await;
                kills += 1;
            }
        }
        kills
    }

    async fn rows(&self) -> Vec<Value> {
        let mut rows = Vec::new();
        for gateway in &self.gateways {
            rows.extend(gateway.usage().await);
        }
        rows
    }

    /// What Redis says is committed.
    fn committed(&self) -> Option<u64> {
        let keys = self.redis.tell("KEYS weir{%bound}:t:*")?;
        let key = keys.lines().find(|line| line.starts_with("weir{"))?.to_owned();
        let said = self.redis.tell(&format!("HGET {key} 0"))?;
        said.lines().nth(1)?.parse().ok()
    }

    /// The rows once Redis and the ledgers agree, and nothing is held any more.
    async fn agreed(&self) -> Vec<Value> {
        clock::within("Redis and the ledgers agree", Duration::from_secs(60), async {
            loop {
                let rows = self.rows().await;
                if self.committed() == Some(output(&rows)) {
                    return rows;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await
    }

    /// All that is left is there for one call, and not a token more.
    async fn use_the_rest(&self, budget: u64) {
        let left = budget.saturating_sub(self.committed().unwrap());
        println!("{left} of {budget} tokens are left");
        let whole = async |gateway: usize, tokens: u64| {
            let mut body = say::chat("mock", "hi", false);
            body["max_tokens"] = tokens.into();
            self.gateways[gateway].fetch(&Request::chat(&self.secrets[gateway], &body)).await.status
        };
        assert_eq!(whole(0, left + 1).await / 100, 4, "more than is left");
        if left > 0 {
            assert_eq!(whole(1, left).await, 200, "what is left");
        }
    }
}

fn output(rows: &[Value]) -> u64 {
    rows.iter().map(|row| row["output_tokens"].as_u64().unwrap()).sum()
}

fn stream(secret: &str, tokens: u64) -> Request {
    let mut body = say::chat("mock", "hi", true);
    body["max_tokens"] = tokens.into();
    Request::chat(secret, &body)
}

fn bytes(request: &Request) -> Vec<u8> {
    let mut text = format!("{} {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n", request.method, request.path);
    for (name, value) in &request.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n", request.body.len()));
    [text.as_bytes(), &request.body].concat()
}

/// The whole reply, as far as it came; a gateway may die at any moment.
async fn ask(address: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(request).await?;
    let mut reply = Vec::new();
    // A reset in the middle leaves what came before.
    drop(socket.read_to_end(&mut reply).await);
    Ok(reply)
}

/// One stream after the other, at one gateway after the other, until the budget has no more for it, or `rounds` came to
/// their own end.
async fn client(doors: Arc<[(SocketAddr, Vec<u8>)]>, number: usize, rounds: usize, seen: Arc<Seen>) {
    let mut served = 0;
    for attempt in 0.. {
        let (address, request) = &doors[(number + attempt) % doors.len()];
        let reply = tokio::time::timeout(PATIENCE, ask(*address, request)).await.expect("a reply in time");
        let text = String::from_utf8_lossy(reply.as_deref().unwrap_or_default());
        if text.starts_with("HTTP/1.1 429") {
            assert!(text.contains("budget_exceeded"), "{text}");
            seen.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 200") || text.starts_with("HTTP/1.1 5"), "{text}");
        if text.contains("[DONE]") {
            seen.served.fetch_add(1, Ordering::Relaxed);
            served += 1;
            if served == rounds || text.contains("budget_exhausted") {
                return;
            }
        } else {
            seen.broken.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Streams at all gateways at once, while those are killed.
async fn storm(nodes: &mut Nodes, count: usize, rounds: usize, tokens: u64, kills_max: u64) {
    let (doors, seen, is_over) = (nodes.doors(tokens), Arc::<Seen>::default(), Arc::<AtomicBool>::default());
    let mut clients = JoinSet::new();
    for number in 0..count {
        clients.spawn(client(Arc::clone(&doors), number, rounds, Arc::clone(&seen)));
    }
    let mut dice = Dice::new();
    let waiting = async {
        while let Some(done) = clients.join_next().await {
            done.unwrap();
        }
        is_over.store(true, Ordering::Release);
    };
    let ((), kills) = tokio::join!(waiting, nodes.kill_until(&mut dice, &is_over, kills_max));
    let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
    println!(
        "{kills} kills; {} streams served, {} refused, {} broken",
        count(&seen.served),
        count(&seen.refused),
        count(&seen.broken)
    );
    assert!(count(&seen.broken) > 0, "the kills hit something");
}

/// Streams of a provider: it has no counter of its own, so that those that are cut go beyond by a part of a slice.
async fn elsewhere(each: u64, rounds: usize) {
    let (count, kills, pause_ms) = if is_soak() { (1_000, 40, 400) } else { (120, 3, 100) };
    let budget = u64::try_from(count).unwrap() * each;
    let upstream = Upstream::start().await;
    let config = Config::with(&upstream).models_with("output_tokens_max: 10000000");
    let Some(mut nodes) = Nodes::start(config, budget).await else { return };
    let piece = say::event(say::delta(" word")).repeat(usize::try_from(PIECE).unwrap());
    let pause = Step::Wait(Duration::from_millis(pause_ms));
    let pieces = (0..TOKENS / PIECE)
        .fold(Script::stream(), |script, _| script.send(piece.clone()).then(pause.clone()))
        .event(say::finish("stop"));
    upstream.for_model("mock-1", pieces.send(say::done()));
    storm(&mut nodes, count, rounds, CAP, kills).await;

    let rows = nodes.agreed().await;
    let received = upstream.received();
    // An opening is written before a byte leaves: a kill between the two leaves a row without a request.
    let of = |name: &str| rows.iter().filter(|row| outcome(row) == name).count();
    let extra = rows.len().checked_sub(received.len()).expect("a row for every request");
    assert!(extra <= of("interrupted"), "{extra} more rows than requests, {} interrupted", of("interrupted"));
    // The head is sent too, and the end.
    let pieces = |sent: usize| u64::try_from(sent).unwrap().saturating_sub(1).min(TOKENS / PIECE);
    let sent: u64 = received.iter().map(|request| PIECE * pieces(request.sent())).sum();
    let cut = u64::try_from(of("budget_exhausted")).unwrap();
    println!("{} rows, {extra} without a request; {cut} cut", rows.len());
    println!("{sent} tokens sent, {} charged, of {budget}", output(&rows));
    assert!(sent <= budget + cut * SLICE, "{sent} sent, {cut} streams cut");
    // Many kills use up a budget by what was held.
    assert!(rounds > 1 || cut == 0, "{cut} cut");
    assert!(output(&rows) <= budget + cut * SLICE, "{} charged", output(&rows));
    let left = budget.saturating_sub(output(&rows));
    upstream.next(Script::json(200, say::answer("on", 2, left)));
    nodes.use_the_rest(budget).await;
    for gateway in &nodes.gateways {
        gateway.verify_audit().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_from_elsewhere_pass_a_budget_by_less_than_a_slice_each_whatever_is_killed() {
    elsewhere(900, usize::MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_streams_and_kills_leave_of_a_budget_can_be_used_to_the_last_token() {
    elsewhere(4_000, 1).await;
}

/// Any number of streams on one engine, which ends each at the token that the budget pays for.
async fn own_engine(engine: Engine, count: usize, each: u64, kills: u64) {
    let budget = u64::try_from(count).unwrap() * each + 7;
    let own = "provider: engine, timeouts: { connect_ms: 1000, first_byte_ms: 60000, idle_ms: 60000 }";
    let config = Config::default().deployment("mock", "own", &engine.base_url(), own);
    let Some(mut nodes) = Nodes::start(config, budget).await else { return };
    storm(&mut nodes, count, usize::MAX, 800, kills).await;
    engine.idle().await;
    let rows = nodes.agreed().await;
    let made = engine.metric("weir_engine_generation_tokens_total").await;
    println!("{} rows; {made} tokens made, {} charged, of {budget}", rows.len(), output(&rows));
    assert!(made <= budget, "{made} made of {budget}");
    assert!(output(&rows) <= budget && output(&rows) >= made, "{made} made, {} charged", output(&rows));
    let is_known = |row: &Value| row["source"] == "exact" || row["source"] == "none" && row["output_tokens"] == 0;
    assert_eq!(rows.iter().find(|row| outcome(row) != "interrupted" && !is_known(row)), None);
    nodes.use_the_rest(budget).await;
    let made = engine.metric("weir_engine_generation_tokens_total").await;
    assert!(made <= budget, "{made} made of {budget}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_the_own_engine_never_pass_a_budget_whatever_is_killed() {
    let (count, kills, delay) = if is_soak() { (1_000, 40, "20") } else { (120, 3, "5") };
    let args = ["--name", "mock-1", "--context-tokens", "8000", "--kv-pages", "80000", "--script-tokens", "4000"];
    own_engine(Engine::scripted(&[&args[..], &["--step-delay-ms", delay]].concat()).await, count, 900, kills).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_models_streams_never_pass_a_budget_whatever_is_killed() {
    if std::env::var_os("WEIR_MODEL").is_none() {
        println!("WEIR_MODEL is not set: skipped");
        return;
    }
    let (count, kills) = if is_soak() { (36, 12) } else { (6, 2) };
    own_engine(Engine::of_model(&["--name", "mock-1"]).await, count, 300, kills).await;
}
