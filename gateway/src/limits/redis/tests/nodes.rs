//! Several gateways on one server, and data that is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;

use super::scene::*;
use crate::limits::counter::{Counter, NotGranted};
use crate::limits::quantity::{Amounts, Quantity};
use crate::limits::window::Window;
use crate::servers::redis::Redis;

#[tokio::test]
async fn three_gateways_never_pass_a_budget_and_use_all_of_it() {
    let Some(server) = Redis::start() else { return };
    let [one, two, three] = [Node::at(&server).await, Node::at(&server).await, Node::at(&server).await];
    for node in [&one, &two, &three] {
        node.ledger.used.lock().insert("acme/month".into(), vec![(NOON_MS - 5, 300)]);
    }
    let lines = [monthly(10_000)];
    let calls: Vec<_> =
        (0..900_u16).map(|n| ([&one, &two, &three][usize::from(n % 3)], ask(&lines, 7 + u64::from(n) % 40))).collect();
    let granted = join_all(calls.iter().map(async |(node, call)| node.counter.reserve(call).await.is_ok())).await;
    let held: u64 = calls.iter().zip(&granted).filter(|(_, ok)| **ok).map(|((_, call), _)| call.budgets.nano).sum();
    assert!((10_000 - 300 - 7..=10_000 - 300).contains(&held), "{held}");
    assert_eq!(committed(&server), (held + 300).to_string());
    let used: Vec<u64> = calls.iter().map(|(_, call)| call.budgets.nano / 2).collect();
    for (((node, call), granted), used) in calls.iter().zip(&granted).zip(&used) {
        if *granted {
            node.counter.settle(call, &call.budgets, &nano(*used));
        }
    }
    for node in [&one, &two, &three] {
        node.counter.told().await;
    }
    let spent: u64 = used.iter().zip(&granted).filter(|(_, ok)| **ok).map(|(used, _)| used).sum();
    assert_eq!(committed(&server), (spent + 300).to_string());
}

#[tokio::test]
async fn what_redis_lost_is_read_from_the_ledger_and_running_calls_come_back() {
    let Some(server) = Redis::start() else { return };
    let node = Node::at(&server).await;
    let lines = [monthly(1_000)];
    let (done, running) = (ask(&lines, 100), ask(&lines, 200));
    node.counter.reserve(&done).await.unwrap();
    node.counter.reserve(&running).await.unwrap();
    node.counter.settle(&done, &done.budgets, &nano(60));
    node.counter.told().await;
    node.ledger.used.lock().insert("acme/month".into(), vec![(NOON_MS, 60)]);
    server.tell("FLUSHALL").unwrap();
    // Renewing puts the hold back, on top of what the ledger says.
    node.counter.extend(&running, &Amounts::default()).await.unwrap();
    assert_eq!(committed(&server), "260");
    let refused = node.counter.reserve(&ask(&lines, 741)).await.unwrap_err();
    assert!(matches!(refused, NotGranted::Exceeded(_)));
    node.counter.reserve(&ask(&lines, 740)).await.unwrap();
    assert_eq!(node.ledger.asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn what_is_settled_before_the_past_is_known_counts_on_top_of_it() {
    let Some(server) = Redis::start() else { return };
    let node = Node::at(&server).await;
    let lines = [monthly(1_000)];
    let running = ask(&lines, 200);
    node.counter.reserve(&running).await.unwrap();
    server.tell("FLUSHALL").unwrap();
    node.counter.settle(&running, &running.budgets, &nano(150));
    node.counter.told().await;
    node.ledger.used.lock().insert("acme/month".into(), vec![(NOON_MS, 60)]);
    node.counter.reserve(&ask(&lines, 1)).await.unwrap();
    assert_eq!(committed(&server), "211");
}

#[tokio::test]
async fn a_gateway_that_ends_tells_what_is_left_and_the_next_may_tell_it_again() {
    let Some(mut server) = Redis::start_with(None, &["--appendonly", "yes"]) else { return };
    let mut node = Node::at(&server).await;
    let lines = [monthly(1_000)];
    let calls: Vec<_> = (0..300).map(|_| ask(&lines, 3)).collect();
    for call in &calls {
        node.counter.reserve(call).await.unwrap();
        node.counter.settle(call, &call.budgets, &nano(1));
    }
    assert!(node.end().await.is_empty());
    assert_eq!(committed(&server), "300");

    let mut settings = crate::limits::redis::settings::RedisSettings::at(&server.url());
    settings.flush_max = std::time::Duration::from_millis(200);
    settings.timeout = PATIENT;
    let mut second = Node::with(settings, crate::limits::redis::Clock::Server, Arc::default());
    second.counter.start().await.unwrap();
    let last = ask(&lines, 3);
    second.counter.reserve(&last).await.unwrap();
    server.away();
    second.counter.settle(&last, &last.budgets, &nano(2));
    let left = second.end().await;
    assert_eq!(left.iter().map(|job| job.ask.call).collect::<Vec<_>>(), [last.call]);
    server.back();
    assert_eq!(committed(&server), "303");
    let third = Node::at(&server).await;
    for job in left.iter().chain(&left) {
        third.counter.settle(&job.ask, &job.ask.budgets, &job.used);
    }
    third.counter.settle(&calls[0], &calls[0].budgets, &nano(1));
    third.counter.told().await;
    assert_eq!(committed(&server), "302");
}

/// A script that is cut off has taken everything or nothing, and who got no answer is told to Redis as unused.
#[tokio::test]
async fn a_server_killed_under_load_agrees_with_what_was_used() {
    let more = ["--appendonly", "yes", "--appendfsync", "always"];
    let Some(mut server) = Redis::start_with(None, &more) else { return };
    let mut settings = crate::limits::redis::settings::RedisSettings::at(&server.url());
    settings.timeout = std::time::Duration::from_millis(500);
    settings.probe_every = std::time::Duration::from_millis(20);
    let node = Node::with(settings, crate::limits::redis::Clock::Server, Arc::default());
    node.counter.start().await.unwrap();
    let lines = [monthly(1_000_000), rate(100_000), line("acme/now", Quantity::Concurrency, 10_000, Window::Now)];
    let mut used = 0;
    for round in 0..3_u32 {
        let calls: Vec<_> = (0..400).map(|n| ask(&lines, 10 + n % 7)).collect();
        let some = tokio::sync::Semaphore::new(0);
        let reserve = async |call| {
            let granted = node.counter.reserve(call).await.is_ok();
            some.add_permits(1);
            granted
        };
        let kill = async {
            drop(some.acquire_many(10 + 40 * round).await);
            server.away();
        };
        let (granted, ()) = tokio::join!(join_all(calls.iter().map(reserve)), kill);
        for (call, _) in calls.iter().zip(&granted).filter(|(_, granted)| **granted) {
            node.counter.settle(call, &call.budgets, &nano(call.budgets.nano - 3));
            used += call.budgets.nano - 3;
        }
        server.back();
        node.counter.told().await;
        assert_eq!(committed(&server), used.to_string());
        let running = server.tell("ZCARD weir{%acme}:n:acme/now").unwrap();
        assert_eq!(running, ":0\r\n");
    }
    assert!(used > 0);
}
