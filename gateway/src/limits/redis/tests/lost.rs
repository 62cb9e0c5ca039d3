//! What a gateway that was killed leaves behind, and what its next start makes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::scene::*;
use crate::clock;
use crate::limits::counter::Counter;
use crate::limits::quantity::{Amounts, Quantity};
use crate::limits::redis::Clock;
use crate::limits::redis::settings::RedisSettings;
use crate::limits::window::Window;
use crate::servers::redis::Redis;

async fn becomes(server: &Redis, wanted: u64) {
    let start = clock::instant();
    while committed(server) != wanted.to_string() {
        assert!(start.elapsed() < PATIENT, "{} and not {wanted}", committed(server));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn running(cap: u64) -> crate::limits::counter::Line {
    line("acme/now", Quantity::Concurrency, cap, Window::Now)
}

#[tokio::test]
async fn what_a_killed_gateway_held_its_next_start_settles_at_what_the_ledger_says() {
    let Some(mut server) = Redis::start_with(None, &["--appendonly", "yes"]) else { return };
    let ledger = Arc::<Ledger>::default();
    let (first, other) = (Node::named(&server, "one", &ledger).await, Node::named(&server, "two", &ledger).await);
    let lines = [monthly(1_000), rate(100), running(4)];
    let [called, unused, told, others] = [(); 4].map(|()| ask(&lines, 100));
    for call in [&called, &unused, &told] {
        first.counter.reserve(call).await.unwrap();
    }
    other.counter.reserve(&others).await.unwrap();
    first.counter.extend(&called, &Amounts { requests: 0, ..nano(50) }).await.unwrap();
    // Redis knows what one used, but the journal's last words are lost: to the ledger it used all that it held.
    first.counter.settle(&told, &told.budgets, &nano(10));
    first.counter.told().await;
    assert_eq!(committed(&server), "360");
    drop(first);
    ledger.calls.lock().extend([(called.call, nano(120)), (told.call, nano(100))]);

    // Redis is away when it comes back, and told as soon as that is over.
    server.away();
    let settings = RedisSettings { probe_every: Duration::from_millis(20), ..RedisSettings::at(&server.url()) };
    let interrupted = vec![("acme".into(), told.call), ("acme".into(), called.call)];
    let second = Node::start(settings, Clock::Server, Arc::clone(&ledger), "one", Some(interrupted));
    assert!(second.counter.start().await.is_err());
    server.back();
    becomes(&server, 120 + 100 + 100).await;
    assert_eq!(server.tell("ZCARD weir{%acme}:n:acme/now").unwrap(), ":1\r\n", "the other gateway's");
    assert_eq!(server.tell("EXISTS weir{%acme}:g:one weir{%acme}:g:two").unwrap(), ":1\r\n");

    // Whatever is told again changes nothing, and its own calls are its own.
    let own = ask(&lines, 7);
    second.counter.reserve(&own).await.unwrap();
    let third = Node::named(&server, "three", &ledger).await;
    third.counter.settle(&unused, &unused.budgets, &Amounts::default());
    third.counter.told().await;
    assert_eq!(committed(&server), "327");
    second.counter.settle(&own, &own.budgets, &nano(7));
    other.counter.settle(&others, &others.budgets, &nano(0));
    second.counter.told().await;
    other.counter.told().await;
    assert_eq!(committed(&server), "227");
    assert_eq!(server.tell("KEYS weir{%acme}:g:*").unwrap(), "*0\r\n");
}

#[tokio::test]
async fn what_a_gateway_held_that_never_comes_back_is_over_after_thirty_seconds() {
    let Some(server) = Redis::start() else { return };
    let us = Arc::new(AtomicU64::new(NOON_MS * 1_000));
    let (dead, alive) = (Node::given(&server, &us).await, Node::given(&server, &us).await);
    let tokens = line("acme/tokens", Quantity::InputTokens, 100, Window::Rate { ms: 60_000 });
    let lines = [monthly(1_000), tokens, running(1)];
    let call = |tokens, money| {
        let mut call = ask(&lines, money);
        call.rates.input_tokens = tokens;
        call
    };
    dead.counter.reserve(&call(60, 400)).await.unwrap();
    drop(dead);
    us.fetch_add(29_999_000, Ordering::SeqCst);
    assert!(alive.counter.reserve(&call(1, 1)).await.is_err(), "its place is taken");
    us.fetch_add(1_000, Ordering::SeqCst);
    let next = call(1, 600);
    alive.counter.reserve(&next).await.unwrap();
    alive.counter.settle(&next, &next.budgets, &nano(0));
    alive.counter.told().await;
    // Nobody knows whether its upstream was called: what it held counts as spent.
    assert!(alive.counter.reserve(&call(1, 601)).await.is_err());
    assert_eq!(committed(&server), "400");
    // Of the rate it is a use that drains, and keeps nobody from getting back what he did not use.
    us.fetch_add(66_000_000, Ordering::SeqCst);
    let large = call(90, 1);
    alive.counter.reserve(&large).await.unwrap();
    alive.counter.settle(&large, &large.budgets, &nano(0));
    alive.counter.told().await;
    alive.counter.reserve(&call(100, 1)).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_is_renewed_holds_its_part_of_a_rate_until_it_is_settled() {
    let Some(server) = Redis::start() else { return };
    let us = Arc::new(AtomicU64::new(NOON_MS * 1_000));
    let node = Node::given(&server, &us).await;
    // So slow that nothing drains.
    let lines = [line("acme/tokens", Quantity::InputTokens, 100, Window::Rate { ms: 31_536_000_000 })];
    let call = |tokens| {
        let mut call = ask(&lines, 0);
        call.rates.input_tokens = tokens;
        call
    };
    let long = call(60);
    node.counter.reserve(&long).await.unwrap();
    for _ in 0..12 {
        us.fetch_add(10_000_000, Ordering::SeqCst);
        node.counter.extend(&long, &Amounts::default()).await.unwrap();
    }
    assert!(node.counter.reserve(&call(41)).await.is_err());
    node.counter.settle(&long, &long.budgets, &Amounts { requests: 1, input_tokens: 5, ..Amounts::default() });
    node.counter.told().await;
    assert!(node.counter.reserve(&call(96)).await.is_err());
    node.counter.reserve(&call(94)).await.unwrap();
}
