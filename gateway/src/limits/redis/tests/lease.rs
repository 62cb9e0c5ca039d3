//! Budgets of which gateways take slices in advance.

use std::num::NonZeroU64;

use super::scene::*;
use crate::limits::counter::{Counter, Line, NotGranted};
use crate::limits::quantity::Amounts;
use crate::servers::redis::Redis;

fn leased(cap: u64, slice: u64) -> [Line; 1] {
    [Line { lease: NonZeroU64::new(slice), ..monthly(cap) }]
}

/// How many scripts ran.
fn scripts_run(server: &Redis) -> u64 {
    let said = server.tell("INFO commandstats").unwrap();
    let after = said.split("cmdstat_evalsha:calls=").nth(1);
    after.and_then(|text| text.split(',').next()).map_or(0, |text| text.parse().unwrap())
}

#[tokio::test]
async fn calls_that_fit_into_a_lease_ask_nobody_and_redis_knows_all_in_the_end() {
    let Some(server) = Redis::start() else { return };
    let node = Node::at(&server).await;
    let lines = leased(1_000, 100);
    let calls: Vec<_> = (0..9).map(|_| ask(&lines, 10)).collect();
    node.counter.reserve(&calls[0]).await.unwrap();
    let before = scripts_run(&server);
    for call in &calls[1..] {
        node.counter.reserve(call).await.unwrap();
    }
    node.counter.extend(&calls[1], &Amounts { requests: 0, ..nano(10) }).await.unwrap();
    assert_eq!(scripts_run(&server), before);
    assert_eq!(committed(&server), "100");
    // Ended twice and asked again, it is the same.
    node.counter.settle(&calls[0], &calls[0].budgets, &nano(4));
    node.counter.settle(&calls[0], &calls[0].budgets, &nano(5));
    assert!(node.counter.reserve(&calls[0]).await.is_err());
    node.counter.finish();
    node.counter.told().await;
    assert_eq!(committed(&server), "95", "one used 5, seven hold 10, one holds 20");
    for call in &calls[1..] {
        node.counter.settle(call, &call.budgets, &nano(1));
    }
    node.counter.told().await;
    assert_eq!(committed(&server), "13");
}

#[tokio::test]
async fn what_nobody_draws_goes_back_and_the_last_of_a_budget_is_there_for_all() {
    let Some(server) = Redis::start() else { return };
    let (one, two) = (Node::at(&server).await, Node::at(&server).await);
    let lines = leased(150, 100);
    one.counter.reserve(&ask(&lines, 10)).await.unwrap();
    // Half a slice is left: it is taken by what is wanted, and no more.
    two.counter.reserve(&ask(&lines, 50)).await.unwrap();
    let refused = two.counter.reserve(&ask(&lines, 1)).await.unwrap_err();
    assert!(matches!(refused, NotGranted::Exceeded(_)), "the error bound: 90 lie unused at the other gateway");
    one.counter.sweep();
    assert_eq!(committed(&server), "150", "it was just drawn from");
    one.counter.sweep();
    one.counter.told().await;
    assert_eq!(committed(&server), "60");
    two.counter.reserve(&ask(&lines, 90)).await.unwrap();
    assert!(one.counter.reserve(&ask(&lines, 1)).await.is_err());
}

#[tokio::test]
async fn a_call_that_uses_more_than_it_held_x() {
    let Some(server) = Redis::start() else { return };
    let ledger = std::sync::Arc::<Ledger>::default();
    let (one, two) = (Node::named(&server, "one", &ledger).await, Node::at(&server).await);
    let lines = leased(1_000, 50);
    let large = ask(&lines, 60);
    one.counter.reserve(&large).await.unwrap();
    one.counter.settle(&large, &large.budgets, &nano(400));
    one.counter.told().await;
    assert_eq!(committed(&server), "400");
    // Killed with a lease of which ten are drawn: all of it stays charged.
    one.counter.reserve(&ask(&lines, 10)).await.unwrap();
    drop(one);
    let next = Node::named(&server, "one", &ledger).await;
    while server.tell("EXISTS weir{%acme}:g:one").unwrap() != ":0\r\n" {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(committed(&server), "450");
    next.counter.reserve(&ask(&lines, 550)).await.unwrap();
    assert!(two.counter.reserve(&ask(&lines, 1)).await.is_err());
}
