//! Several gateways at one PostgreSQL: what is changed on one acts on all, each keeps its own audit log, and nothing is
//! lost while the server is away. Skipped, with a note, where `WEIR_POSTGRES` names no programs.

use std::time::{Duration, Instant};

use e2e::client::Request;
use e2e::config::Config;
use e2e::gateway::Gateway;
use e2e::say;
use e2e::servers::postgres::Postgres;
use e2e::upstream::{Script, Step, Upstream};
use serde_json::json;

/// How soon a change acts, the time of the command itself not counted.
const ACTS: Duration = Duration::from_secs(1);

struct Pair {
    upstream: Upstream,
    postgres: Postgres,
    one: Gateway,
    two: Gateway,
}

impl Pair {
    async fn start() -> Option<Self> {
        let postgres = Postgres::start()?;
        let upstream = Upstream::start().await;
        let url = postgres.database("weir");
        let store = format!("store: {{ url: \"{url}?schema=weir\" }}");
        let config = Config::with(&upstream).section(&store).section("retry: { attempts_max: 1 }");
        let (one, two) = (Gateway::start(&config).await, Gateway::start(&config).await);
        Some(Self { upstream, postgres, one, two })
    }
}

fn chat(key: &str) -> Request {
    Request::chat(key, &say::chat("mock", "hi", false))
}

async fn until(gateway: &Gateway, request: &Request, status: u16) {
    e2e::clock::eventually(&format!("status {status}"), async || {
        (gateway.fetch(request).await.status == status).then_some(())
    })
    .await;
}

async fn done(gateway: &Gateway, words: &[&str]) {
    let done = gateway.weir(words).await;
    assert_eq!(done.status, 0, "{words:?}: {}", done.stderr);
}

/// FR-AUTH-07, on the other node: every way to take rights away acts there within a second, also on a running stream.
#[tokio::test]
async fn fr_auth_07_what_one_gateway_takes_away_the_other_refuses_within_a_second() {
    let Some(pair) = Pair::start().await else { return };
    done(&pair.one, &["tenant", "create", "acme/x"]).await;
    let ways: [&[&str]; 5] = [
        &["key", "revoke", "ID"],
        &["key", "delete", "ID"],
        &["key", "scope", "ID", "--model", "other"],
        &["tenant", "set", "acme/x", "--model", "other"],
        &["tenant", "delete", "acme/x"],
    ];
    for way in ways {
        let key = pair.one.key("acme/x/y").await;
        let request = chat(&key.secret);
        until(&pair.two, &request, 200).await;
        pair.upstream.next(Script::stream().event(say::delta("x")).then(Step::Hold));
        let mut stream = pair.two.open(&Request::chat(&key.secret, &say::chat("mock", "hi", true))).await;
        stream.data().await;
        let words: Vec<&str> = way.iter().map(|word| if *word == "ID" { key.id.as_str() } else { word }).collect();
        done(&pair.one, &words).await;
        let begun = Instant::now();
        e2e::clock::eventually(&format!("{way:?} acts"), async || {
            (pair.two.fetch(&request).await.status != 200).then_some(())
        })
        .await;
        assert!(begun.elapsed() < ACTS, "{way:?} took {:?}", begun.elapsed());
        if way[0] == "key" || way[1] == "delete" {
            let rest = stream.rest().await;
            assert!(begun.elapsed() < ACTS, "{way:?}: the stream ended after {:?}", begun.elapsed());
            assert_eq!(rest.error_code().as_deref(), Some("key_revoked"), "{:?}", rest.data());
        }
        if way[1] == "set" {
            done(&pair.one, &["tenant", "set", "acme/x"]).await;
        }
    }
}

#[tokio::test]
async fn a_response_that_one_gateway_made_the_other_goes_on_from() {
    let Some(pair) = Pair::start().await else { return };
    let (key, stranger) = (pair.one.key("acme").await, pair.one.key("acme/other").await);
    until(&pair.two, &chat(&stranger.secret), 200).await;
    let ask = |key: &str, before: Option<&str>| {
        let body = json!({"model": "mock", "input": "hi", "previous_response_id": before});
        Request::post("/v1/responses", key, body.to_string())
    };
    let made = pair.one.fetch(&ask(&key.secret, None)).await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(pair.two.fetch(&ask(&key.secret, Some(&id))).await.status, 200, "at once, on the other");
    assert_eq!(pair.two.fetch(&ask(&stranger.secret, Some(&id))).await.code(), "previous_response_not_found");
}

#[tokio::test]
async fn each_gateway_proves_its_own_log_and_all_changes_are_noted_once() {
    let Some(mut pair) = Pair::start().await else { return };
    let key = pair.one.key("acme/x").await;
    for _ in 0..3 {
        assert_eq!(pair.one.fetch(&chat(&key.secret)).await.status, 200);
    }
    until(&pair.two, &chat(&key.secret), 200).await;
    // What dies at once is made good by its own node at its next start.
    pair.upstream.next(Script::stream().event(say::delta("x")).then(Step::Hold));
    let mut stream = pair.two.open(&Request::chat(&key.secret, &say::chat("mock", "hi", true))).await;
    stream.data().await;
    pair.two.kill().await;
    pair.two.spawn().await;
    let attempts = [
        pair.one.audit_calls(3).await.len(),
        pair.two
            .audit()
            .await
            .iter()
            .filter(|call| call["attempts"].as_array().is_some_and(|attempts| !attempts.is_empty()))
            .count(),
    ];
    assert_eq!(attempts[1], 2, "a call, and one that was interrupted");
    for gateway in [&pair.one, &pair.two] {
        gateway.verify_audit().await;
    }
    assert_eq!(pair.one.ledger().await["total"]["attempts"], 5, "the ledger is of both");
    let noted = e2e::clock::eventually("the new key is noted", async || {
        let mut noted = 0;
        for gateway in [&pair.one, &pair.two] {
            let records = gateway.weir(&["audit", "list", "--json", "--limit", "100000"]).await.json();
            let is_made = |record: &&serde_json::Value| record["event"] == "key_created";
            noted += records.as_array().into_iter().flatten().filter(is_made).count();
        }
        (noted > 0).then_some(noted)
    });
    assert_eq!(noted.await, 1);
    pair.one.terminate().await;
    pair.two.terminate().await;
}

#[tokio::test]
async fn a_server_that_goes_away_costs_no_row_and_readiness_tells() {
    let Some(mut pair) = Pair::start().await else { return };
    let key = pair.one.key("acme/x").await;
    until(&pair.one, &chat(&key.secret), 200).await;
    pair.postgres.away();
    // The keys are known for five seconds more; then nobody is.
    for _ in 0..5 {
        assert_eq!(pair.one.fetch(&chat(&key.secret)).await.status, 200);
    }
    until(&pair.one, &chat(&key.secret), 503).await;
    assert!(!pair.one.is_ready().await);
    pair.postgres.back();
    e2e::clock::eventually("ready again", async || pair.one.is_ready().await.then_some(())).await;
    assert_eq!(pair.one.fetch(&chat(&key.secret)).await.status, 200);
    let total = e2e::clock::eventually("every row is there", async || {
        let total = pair.one.ledger().await["total"]["attempts"].as_u64().unwrap_or(0);
        (total == pair.upstream.received().len() as u64).then_some(total)
    })
    .await;
    assert!(total >= 7, "{total}");
    pair.one.verify_audit().await;
}
