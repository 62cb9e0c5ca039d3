//! Field report FR-RL-03: a server that refuses, hangs, answers with errors, forgets its scripts or fails over. Each
//! line's rule holds meanwhile, nobody waits, and counting goes on by itself.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::scene::*;
use crate::clock;
use crate::limits::counter::{Counter, Line, NotGranted, Outage};
use crate::limits::redis::Clock;
use crate::limits::redis::settings::RedisSettings;
use crate::servers::redis::Redis;

/// 100 a minute over two gateways.
fn rules(outage: Outage) -> [Line; 1] {
    [Line { outage, ..rate(100) }]
}

fn settings(url: &str) -> RedisSettings {
    let mut settings = RedisSettings::at(url);
    settings.timeout = Duration::from_millis(200);
    settings.probe_every = Duration::from_millis(50);
    settings.nodes = 2.try_into().unwrap();
    settings
}

/// Waits until Redis is asked again, and no longer than the report allows.
async fn is_back(node: &Node) {
    let start = clock::instant();
    while node.counter.is_degraded() {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(start.elapsed() < Duration::from_secs(5), "still degraded");
    }
}

/// Opens the breaker, then sees that each rule holds and that nobody waits.
async fn is_away(node: &Node) {
    let refused = rules(Outage::Refuse);
    for _ in 0..5 {
        assert!(node.counter.reserve(&ask(&refused, 0)).await.is_err());
    }
    assert!(node.counter.is_degraded());
    let mut took: Vec<Duration> = Vec::new();
    let mut timed = async |call| {
        let start: Instant = clock::instant();
        let answer = node.counter.reserve(&call).await;
        took.push(start.elapsed());
        answer
    };
    for _ in 0..50 {
        let granted = timed(ask(&rules(Outage::Local), 0)).await.unwrap();
        assert_eq!(granted.degraded, ["limits.redis.local"]);
    }
    for _ in 0..500 {
        let granted = timed(ask(&rules(Outage::Allow), 0)).await.unwrap();
        assert_eq!(granted.degraded, ["limits.redis.allow"]);
        let why = timed(ask(&refused, 0)).await.unwrap_err();
        assert_eq!(why, NotGranted::Unavailable { why: "redis_away" });
    }
    // This gateway's half of the hundred is used up.
    assert!(timed(ask(&rules(Outage::Local), 0)).await.is_err());
    took.sort();
    assert!(took[took.len() * 99 / 100] < Duration::from_millis(20), "{:?}", took.last());
    node.alone.taken.lock().clear();
}

#[tokio::test]
async fn a_server_that_is_gone_or_hangs_is_missed_by_nobody_and_comes_back() {
    let Some(mut server) = Redis::start() else { return };
    let node = Node::with(settings(&server.url()), Clock::Server, Arc::default());
    node.counter.start().await.unwrap();
    let lines = [monthly(100)];
    let before = ask(&lines, 10);
    node.counter.reserve(&before).await.unwrap();

    server.hang();
    is_away(&node).await;
    // Told once it answers again: nothing of it is lost.
    node.counter.settle(&before, &before.budgets, &nano(4));
    server.go_on();
    is_back(&node).await;
    node.counter.told().await;
    assert_eq!(committed(&server), "4");

    server.away();
    is_away(&node).await;
    server.back();
    is_back(&node).await;
    let granted = node.counter.reserve(&ask(&rules(Outage::Local), 0)).await.unwrap();
    assert!(granted.degraded.is_empty());
}

#[tokio::test]
async fn a_reservation_that_nobody_saw_granted_is_given_back() {
    let Some(server) = Redis::start() else { return };
    let node = Node::with(settings(&server.url()), Clock::Server, Arc::default());
    node.counter.start().await.unwrap();
    let lines = [monthly(100)];
    node.counter.reserve(&ask(&lines, 10)).await.unwrap();
    server.hang();
    // Redis carries it out later, from its socket; the caller was refused.
    let why = node.counter.reserve(&ask(&lines, 50)).await.unwrap_err();
    assert_eq!(why, NotGranted::Unavailable { why: "redis_timeout" });
    // A caller who hangs up while it is asked.
    let given_up = ask(&lines, 20);
    assert!(tokio::time::timeout(Duration::from_millis(5), node.counter.reserve(&given_up)).await.is_err());
    server.go_on();
    is_back(&node).await;
    node.counter.told().await;
    assert_eq!(committed(&server), "10");
}

#[tokio::test]
async fn what_was_let_through_meanwhile_is_charged_afterwards() {
    let Some(mut server) = Redis::start_with(None, &["--appendonly", "yes"]) else { return };
    let node = Node::with(settings(&server.url()), Clock::Server, Arc::default());
    node.counter.start().await.unwrap();
    let lines = [Line { outage: Outage::Allow, ..monthly(100) }, Line { outage: Outage::Local, ..rate(10) }];
    node.counter.reserve(&ask(&lines, 10)).await.unwrap();
    server.away();
    let call = ask(&lines, 30);
    let granted = node.counter.reserve(&call).await.unwrap();
    assert_eq!(granted.degraded, ["limits.redis.local", "limits.redis.allow"]);
    node.counter.extend(&call, &nano(5)).await.unwrap();
    node.counter.settle(&call, &nano(35), &nano(33));
    assert_eq!(node.alone.settled.load(Ordering::Relaxed), 1);
    server.back();
    is_back(&node).await;
    node.counter.told().await;
    assert_eq!(committed(&server), "43");
}

#[tokio::test]
async fn a_server_that_forgot_its_scripts_gets_them_again_within_the_call() {
    let Some(server) = Redis::start() else { return };
    let node = Node::at(&server).await;
    for _ in 0..3 {
        node.counter.reserve(&ask(&[monthly(100)], 10)).await.unwrap();
        server.tell("SCRIPT FLUSH").unwrap();
    }
    let call = ask(&[monthly(100)], 10);
    node.counter.reserve(&call).await.unwrap();
    server.tell("SCRIPT FLUSH").unwrap();
    node.counter.settle(&call, &call.budgets, &nano(1));
    node.counter.told().await;
    assert_eq!(committed(&server), "31");
}

/// A server that answers every script with this error, and everything else with OK.
async fn erring(error: &'static str) -> (String, JoinSet<()>) {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut read = vec![0; 65_536];
                while let Ok(count @ 1..) = socket.read(&mut read).await {
                    let said = String::from_utf8_lossy(&read[..count]).into_owned();
                    // As many answers as commands came.
                    for command in said.split('*').skip(1).filter(|words| words.contains("\r\n$")) {
                        let answer = if command.contains("EVALSHA") { error } else { "+OK\r\n" };
                        if socket.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    (url, serving)
}

#[tokio::test]
async fn errors_of_the_server_count_as_its_absence() {
    let errors = [
        ("-READONLY You can't write against a read only replica.\r\n", "redis_readonly"),
        ("-LOADING Redis is loading the dataset in memory\r\n", "redis_loading"),
        ("-OOM command not allowed when used memory > 'maxmemory'.\r\n", "redis_memory"),
        ("-ERR Error running script: something\r\n", "redis_error"),
    ];
    for (error, code) in errors {
        let (url, _serving) = erring(error).await;
        let node = Node::with(settings(&url), Clock::Server, Arc::default());
        let why = node.counter.start().await.unwrap_err();
        assert_eq!(why.code(), code);
        is_away(&node).await;
    }
}

#[tokio::test]
async fn a_replica_is_left_for_the_server_that_takes_over() {
    let Some(server) = Redis::start() else { return };
    let node = Node::with(settings(&server.url()), Clock::Server, Arc::default());
    node.counter.start().await.unwrap();
    node.counter.reserve(&ask(&[monthly(100)], 10)).await.unwrap();
    // A replica of nobody: it can't be written, and says so or that its master is away.
    server.tell("REPLICAOF 127.0.0.1 1").unwrap();
    is_away(&node).await;
    server.tell("REPLICAOF NO ONE").unwrap();
    is_back(&node).await;
    node.counter.reserve(&ask(&[monthly(100)], 10)).await.unwrap();
    assert_eq!(committed(&server), "20");
}
