//! Field report FR-RL-03 with the real program: a real Redis that refuses connections, hangs, can't be written, is full
//! or forgets its scripts. Each limit's own rule holds meanwhile, nobody waits, and counting goes on without a restart.
//! (A server that is loading, and the breaker's details, are in the counter's own tests.)
//! Skipped, with a note, where `WEIR_REDIS` names no binary.

use std::time::{Duration, Instant};

use e2e::client::{Fetched, Request};
use e2e::config::Config;
use e2e::gateway::{Gateway, Key};
use e2e::say;
use e2e::servers::redis::Redis;
use e2e::upstream::{Script, Upstream};

/// Callers with a limit that is counted here, with this gateway's part, while Redis is away.
const CALLERS: usize = 5;
/// Calls of one round and caller.
const ROUND: usize = 10;
/// This gateway's half of a hundred.
const PART: u64 = 50;
/// What a call may take longer once the breaker is open.
const ADDED: Duration = Duration::from_millis(20);
/// Rounds that may be looked at: a busy machine delays whatever it likes.
const ROUNDS_MAX: usize = 4;
/// How soon counting goes on once Redis is back.
const BACK: Duration = Duration::from_secs(5);

struct Scene {
    redis: Redis,
    gateway: Gateway,
    local: Vec<Key>,
    closed: Key,
    open: Key,
    born: Instant,
    /// Calls of each of the callers that were served while Redis was away.
    alone: Vec<u64>,
}

impl Scene {
    async fn start() -> Option<(Self, Upstream)> {
        let redis = Redis::start()?;
        let upstream = Upstream::start().await;
        upstream.always(Script::json(200, say::answer("a", 7, 1)));
        let rule = |outage: &str| {
            format!(
                "limit_rules: [{{ name: r, what: requests, amount: 100000, per: minute, when_unavailable: {outage} }}]"
            )
        };
        let config = Config::with(&upstream)
            .tenant("local", "key_limits: { requests_per_minute: 100 }")
            .tenant("closed", &rule("refuse"))
            .tenant("open", &rule("allow"))
            .section("redis: { url: \"file:./redis_url\", nodes: 2 }");
        let mut gateway = Gateway::prepare(&config);
        gateway.write("redis_url", &redis.url());
        let mut local = Vec::new();
        for _ in 0..CALLERS {
            local.push(gateway.key("local").await);
        }
        let (closed, open) = (gateway.key("closed").await, gateway.key("open").await);
        gateway.spawn().await;
        let alone = vec![0; CALLERS];
        Some((Self { redis, gateway, local, closed, open, born: Instant::now(), alone }, upstream))
    }

    async fn call(&self, key: &Key) -> (Fetched, Duration) {
        let begun = Instant::now();
        let reply = self.gateway.fetch(&Request::chat(&key.secret, &say::chat("mock", "hi", false))).await;
        (reply, begun.elapsed())
    }

    async fn is_degraded(&self) -> bool {
        self.gateway.metric("weir_limits_degraded", "").await > 0.0
    }

    /// How long calls take that are counted nowhere but in this process, of a hundred the longest but one.
    async fn calm(&self) -> Duration {
        let mut took = Vec::new();
        for _ in 0..100 {
            took.push(self.call(&self.open).await.1);
        }
        p99(took)
    }

    /// Redis is away: calls until the breaker is open, then a round of every kind of caller.
    async fn is_away(&mut self, fault: &str, calm: Duration) {
        e2e::clock::eventually(&format!("{fault}: the breaker opens"), async || {
            let status = self.call(&self.closed).await.0.status;
            assert!(matches!(status, 200 | 503), "{fault}: {status}");
            self.is_degraded().await.then_some(())
        })
        .await;
        let mut slowest = Duration::MAX;
        for _ in 0..ROUNDS_MAX {
            slowest = slowest.min(p99(self.round(fault).await));
            if slowest < calm + ADDED {
                break;
            }
        }
        assert!(slowest < calm + ADDED, "{fault}: {slowest:?}, and {calm:?} before");
        assert!(self.gateway.metric("weir_limits_fallback_total", "local").await > 0.0);
    }

    async fn round(&mut self, fault: &str) -> Vec<Duration> {
        let mut took = Vec::new();
        for caller in 0..CALLERS {
            for _ in 0..ROUND {
                let (reply, time) = self.call(&self.local[caller]).await;
                assert!(matches!(reply.status, 200 | 429), "{fault}: {} {:?}", reply.status, reply.body);
                self.alone[caller] += u64::from(reply.status == 200);
                took.push(time);
            }
        }
        for _ in 0..ROUND {
            let (reply, time) = self.call(&self.closed).await;
            assert_eq!((reply.status, reply.code().as_str()), (503, "limits_unavailable"), "{fault}");
            assert!(reply.head.get("retry-after").is_some(), "{fault}");
            took.push(time);
            let (reply, time) = self.call(&self.open).await;
            assert_eq!(reply.status, 200, "{fault}: {:?}", reply.body);
            took.push(time);
        }
        // Two gateways with a half each admit no more than the whole.
        let back = self.born.elapsed().as_secs() * PART / 60;
        assert!(self.alone.iter().all(|served| *served <= PART + 1 + back), "{fault}: {:?}", self.alone);
        took
    }

    /// Redis is back: it is counted there again, without a restart.
    async fn is_back(&self, fault: &str) {
        let begun = Instant::now();
        e2e::clock::eventually(&format!("{fault}: back"), async || {
            (!self.is_degraded().await && self.call(&self.closed).await.0.status == 200).then_some(())
        })
        .await;
        assert!(begun.elapsed() < BACK, "{fault}: {:?}", begun.elapsed());
    }
}

fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() * 99 / 100]
}

#[tokio::test]
async fn fr_rl_03_whatever_redis_does_each_limit_keeps_its_rule_and_nobody_waits() {
    let Some((mut scene, _upstream)) = Scene::start().await else { return };
    let calm = scene.calm().await;
    assert!(!scene.is_degraded().await);

    scene.redis.tell("REPLICAOF 127.0.0.1 1").unwrap();
    scene.is_away("a replica", calm).await;
    scene.redis.tell("REPLICAOF NO ONE").unwrap();
    scene.is_back("a replica").await;

    scene.redis.tell("CONFIG SET maxmemory 1").unwrap();
    scene.is_away("out of memory", calm).await;
    scene.redis.tell("CONFIG SET maxmemory 0").unwrap();
    scene.is_back("out of memory").await;

    scene.redis.hang();
    scene.is_away("silence", calm).await;
    scene.redis.go_on();
    scene.is_back("silence").await;

    scene.redis.away();
    scene.is_away("gone", calm).await;
    scene.redis.back();
    scene.is_back("gone").await;

    // It knows no script any more: each is told again within the call that needs it.
    for _ in 0..5 {
        scene.redis.tell("SCRIPT FLUSH").unwrap();
        let (reply, _) = scene.call(&scene.closed).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
    }
    assert!(!scene.is_degraded().await);
    // What was done without Redis stands on the audit record.
    let calls = scene.gateway.audit().await;
    for name in ["limits.redis.local", "limits.redis.allow"] {
        assert!(calls.iter().any(|call| call.to_string().contains(name)), "{name}");
    }
}
