//! What one counter grants and refuses.

use super::scene::*;
use crate::limits::counter::{Counter, NotGranted};
use crate::limits::exceeded::LimitExceeded;
use crate::limits::quantity::{Amounts, Quantity};
use crate::limits::window::Window;
use crate::servers::redis::Redis;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn exceeded<T: std::fmt::Debug>(answer: Result<T, NotGranted>) -> LimitExceeded {
    match answer {
        Err(NotGranted::Exceeded(exceeded)) => exceeded,
        other => panic!("not refused: {other:?}"),
    }
}

/// How often clients ran a script by its hash, and by its text.
fn scripts_run(server: &Redis) -> (u64, u64) {
    let said = server.tell("INFO commandstats").unwrap();
    let calls = |name: &str| {
        let after = said.split(&format!("cmdstat_{name}:calls=")).nth(1);
        after.and_then(|text| text.split(',').next()).map_or(0, |text| text.parse().unwrap())
    };
    (calls("evalsha"), calls("eval") + calls("script|load"))
}

#[tokio::test]
async fn a_reservation_of_five_levels_is_one_round_trip() {
    let Some(server) = Redis::start() else { return };
    let node = Node::at(&server).await;
    let mut lines = Vec::new();
    for level in 0..5 {
        lines.push(line(&format!("acme/{level}/rate"), Quantity::Tokens, 1_000_000, Window::Rate { ms: 60_000 }));
        lines.push(line(&format!("acme/{level}/day"), Quantity::Money, 1_000_000, monthly(0).window));
    }
    node.counter.reserve(&ask(&lines, 10)).await.unwrap();
    let before = scripts_run(&server);
    for _ in 0..20 {
        node.counter.reserve(&ask(&lines, 10)).await.unwrap();
    }
    let after = scripts_run(&server);
    assert_eq!((after.0 - before.0, after.1 - before.1), (20, 0));
    // Before the first one nothing was known: what was used is asked for once for each budget.
    assert_eq!(node.ledger.asked.load(Ordering::Relaxed), 5);
}

/// Field report FR-RL-06: Lua's numbers are doubles, and 2^53 + 1 is none.
#[tokio::test]
async fn fr_rl_06_money_is_exact_above_2_to_the_53_and_full_at_2_to_the_63() {
    let Some(server) = Redis::start() else { return };
    let node = Node::at(&server).await;
    node.ledger.used.lock().insert("acme/month".into(), vec![(NOON_MS - 1, 9_007_199_254_740_993)]);
    let small = [monthly(9_007_199_254_740_996)];
    for _ in 0..3 {
        node.counter.reserve(&ask(&small, 1)).await.unwrap();
    }
    assert_eq!(committed(&server), "9007199254740996");
    let refused = exceeded(node.counter.reserve(&ask(&small, 1)).await);
    assert_eq!(refused.standing.unwrap().remaining, 0);

    let huge = [monthly(u64::MAX)];
    let rest = i64::MAX.unsigned_abs() - 9_007_199_254_740_996;
    let large = ask(&huge, rest - 1);
    node.counter.reserve(&large).await.unwrap();
    assert_eq!(committed(&server), (i64::MAX - 1).to_string());
    let refused = exceeded(node.counter.reserve(&ask(&huge, 2)).await);
    assert_eq!(refused.standing.unwrap().remaining, 1);
    // More was used than can be counted: full, and not wrapped.
    node.counter.settle(&large, &large.budgets, &nano(u64::MAX));
    node.counter.told().await;
    assert_eq!(committed(&server), i64::MAX.to_string());
    let kept = server.tell("DBSIZE").unwrap();
    assert!(kept.starts_with(':'), "{kept}");
    node.counter.settle(&large, &large.budgets, &nano(731_205_998_144_203_417));
    node.counter.told().await;
    assert!(!committed(&server).contains("e+"), "{}", committed(&server));
}

#[tokio::test]
async fn told_again_everything_stays_as_it_is() {
    let Some(server) = Redis::start() else { return };
    let node = Node::at(&server).await;
    let lines = [monthly(100), rate(2)];
    let call = ask(&lines, 40);
    for _ in 0..3 {
        let granted = node.counter.reserve(&call).await.unwrap();
        assert_eq!(granted.requests.unwrap().remaining, 1);
    }
    assert_eq!(committed(&server), "40");
    let more = Amounts { nano: 25, ..Amounts::default() };
    node.counter.extend(&call, &more).await.unwrap();
    assert_eq!(committed(&server), "65");
    exceeded(node.counter.extend(&call, &Amounts { nano: 36, ..Amounts::default() }).await);
    assert_eq!(committed(&server), "65");
    node.counter.extend(&call, &Amounts::default()).await.unwrap();
    for used in [50, 50, 7, 120, 120] {
        node.counter.settle(&call, &nano(65), &nano(used));
        node.counter.told().await;
        assert_eq!(committed(&server), used.to_string());
    }
    let over = node.counter.reserve(&call).await.unwrap_err();
    assert_eq!(over, NotGranted::Unavailable { why: "hold_over" });
    assert_eq!(node.counter.extend(&call, &more).await.unwrap_err(), NotGranted::Unavailable { why: "hold_unknown" });
}

#[tokio::test]
async fn all_lines_are_taken_or_none() {
    let Some(server) = Redis::start() else { return };
    let node = Node::at(&server).await;
    let running = line("acme/now", Quantity::Concurrency, 1, Window::Now);
    let lines = [rate(2), monthly(100), running];
    let first = ask(&lines, 10);
    node.counter.reserve(&first).await.unwrap();
    // The last line is full: the others keep what they have.
    for _ in 0..5 {
        let refused = exceeded(node.counter.reserve(&ask(&lines, 10)).await);
        assert_eq!(refused.retry_after, None);
    }
    assert_eq!(committed(&server), "10");
    node.counter.settle(&first, &first.budgets, &nano(3));
    let second = ask(&lines, 97);
    // The settlement is not told yet when the refusal comes: it is waited for.
    assert_eq!(node.counter.reserve(&second).await.unwrap().requests.unwrap().remaining, 0);
    assert_eq!(committed(&server), "100");
}

#[tokio::test]
async fn a_rates_wait_is_true_and_what_is_held_comes_back() {
    let Some(server) = Redis::start() else { return };
    let us = Arc::new(AtomicU64::new(NOON_MS * 1_000));
    let node = Node::given(&server, &us).await;
    let tokens = |id: &str, cap: u64, ms: u64| line(id, Quantity::OutputTokens, cap, Window::Rate { ms });
    let lines = [tokens("minute", 7, 60_000), tokens("second", 1_000, 1_000)];
    let wants = |n: u64| {
        let mut ask = ask(&lines, 0);
        (ask.rates.output_tokens, ask.budgets) = (n, Amounts::default());
        ask
    };
    for step in 0..200_u64 {
        let call = wants(step % 7 + 1);
        if let Err(NotGranted::Exceeded(refused)) = node.counter.reserve(&call).await {
            let wait = u64::try_from(refused.retry_after.unwrap().as_micros()).unwrap();
            us.fetch_add(wait - 1, Ordering::SeqCst);
            exceeded(node.counter.reserve(&call).await);
            us.fetch_add(1, Ordering::SeqCst);
            node.counter.reserve(&call).await.unwrap();
        }
        us.fetch_add(step * 7_919 % 900_000, Ordering::SeqCst);
        let used = Amounts { requests: 1, output_tokens: step % 3, ..Amounts::default() };
        node.counter.settle(&call, &Amounts::default(), &used);
        node.counter.told().await;
    }
    assert!(exceeded(node.counter.reserve(&wants(8)).await).too_large);
    us.fetch_add(180_000_000, Ordering::SeqCst);
    assert_eq!(node.counter.reserve(&wants(7)).await.unwrap().tokens.unwrap().remaining, 0);
}

#[tokio::test]
async fn a_place_that_nobody_renews_is_free_after_its_time() {
    let Some(server) = Redis::start() else { return };
    let us = Arc::new(AtomicU64::new(NOON_MS * 1_000));
    let node = Node::given(&server, &us).await;
    let lines = [line("acme/now", Quantity::Concurrency, 2, Window::Now)];
    let (lost, kept) = (ask(&lines, 0), ask(&lines, 0));
    node.counter.reserve(&lost).await.unwrap();
    node.counter.reserve(&kept).await.unwrap();
    us.fetch_add(29_000_000, Ordering::SeqCst);
    node.counter.extend(&kept, &Amounts::default()).await.unwrap();
    exceeded(node.counter.reserve(&ask(&lines, 0)).await);
    us.fetch_add(1_000_000, Ordering::SeqCst);
    let third = ask(&lines, 0);
    node.counter.reserve(&third).await.unwrap();
    // The lost one comes back, and there is no place for it.
    exceeded(node.counter.extend(&lost, &Amounts::default()).await);
    node.counter.settle(&third, &Amounts::default(), &Amounts::default());
    node.counter.told().await;
    node.counter.extend(&lost, &Amounts::default()).await.unwrap();
}

#[tokio::test]
async fn a_rolling_window_lets_go_by_steps() {
    let Some(server) = Redis::start() else { return };
    let node = Node::at(&server).await;
    let lines = [line("acme/hour", Quantity::Money, 100, Window::Rolling { ms: 3_600_000 })];
    let minute = 60_000;
    // 30 were used half an hour ago, and some before that do not count any more.
    let past = vec![(NOON_MS - 30 * minute, 30), (NOON_MS - 61 * minute, 999)];
    node.ledger.used.lock().insert("acme/hour".into(), past);
    let born = |after: u64, money: u64| {
        let mut ask = ask(&lines, money);
        ask.born_ms = NOON_MS + after;
        ask
    };
    node.counter.reserve(&born(0, 50)).await.unwrap();
    let refused = exceeded(node.counter.reserve(&born(10, 21)).await);
    assert_eq!(refused.standing.as_ref().unwrap().remaining, 20);
    assert_eq!(refused.retry_after, Some(Duration::from_millis(31 * minute - 10)));
    let again = 31 * minute;
    exceeded(node.counter.reserve(&born(again - 1, 21)).await);
    node.counter.reserve(&born(again, 21)).await.unwrap();
    // A clock that stands a minute behind the others.
    exceeded(node.counter.reserve(&born(again - minute, 30)).await);
    assert!(exceeded(node.counter.reserve(&born(0, 101)).await).too_large);
}

#[tokio::test]
async fn a_month_says_its_end_and_a_total_none() {
    let Some(server) = Redis::start() else { return };
    let node = Node::at(&server).await;
    node.counter.reserve(&ask(&[monthly(10)], 10)).await.unwrap();
    let refused = exceeded(node.counter.reserve(&ask(&[monthly(10)], 1)).await);
    // To 2026-12-01 00:00 UTC.
    assert_eq!(refused.retry_after, Some(Duration::from_secs(5 * 86_400 + 43_200)));
    let total = [line("acme/ever", Quantity::Money, 10, Window::Total)];
    node.counter.reserve(&ask(&total, 10)).await.unwrap();
    assert_eq!(exceeded(node.counter.reserve(&ask(&total, 1)).await).retry_after, None);
}

#[tokio::test]
async fn what_is_left_is_known_without_asking() {
    let Some(server) = Redis::start() else { return };
    let node = Node::at(&server).await;
    let tokens = line("acme/tokens", Quantity::Tokens, 1_000, Window::Rate { ms: 60_000 });
    let rolling = line("acme/hour", Quantity::Money, 80, Window::Rolling { ms: 3_600_000 });
    let lines = [monthly(100), tokens, rolling];
    let left = || node.counter.remaining("acme", &lines, NOON_MS);
    // Nobody asked yet: of a budget nothing is known, and a rate is full.
    assert_eq!((left().money, left().tokens.unwrap().remaining), (None, 1_000));
    let mut call = ask(&lines, 30);
    call.rates.input_tokens = 400;
    let granted = node.counter.reserve(&call).await.unwrap();
    assert_eq!(granted.tokens.unwrap().remaining, 600);
    let money = left().money.unwrap();
    assert_eq!((money.remaining, money.limit, left().tokens.unwrap().remaining), (50, 80, 600));
    assert!(money.reset > Duration::from_secs(3_500) && money.reset <= Duration::from_secs(3_660), "{money:?}");
}
