//! The lines: places are given on, given up and never lost, and a flood of one tenant is not felt by another.

use tokio::task::JoinSet;

use super::*;
use crate::routing::fair::Priority;

const RULE: QueueRule = QueueRule { slots: 2, waiting_max: 64, wait_max: Duration::from_secs(10) };

fn claim(flow: &str) -> Claim {
    Claim { flow: flow.into(), weight: 1, priority: Priority::Normal, cost: 10 }
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_a_place_or_with_a_true_hint() {
    let queue = Arc::new(Queue::default());
    let (one, _two) = (queue.enter(&claim("a"), &RULE).await.unwrap(), queue.enter(&claim("a"), &RULE).await.unwrap());
    assert!(!queue.is_free(&RULE));
    let short = QueueRule { wait_max: Duration::from_millis(50), ..RULE };
    let refused = queue.enter(&claim("b"), &short).await.unwrap_err();
    assert!(refused.retry_after >= Duration::from_secs(1));
    let mut waits = JoinSet::new();
    let waiting = Arc::clone(&queue);
    waits.spawn(async move { waiting.enter(&claim("b"), &RULE).await.is_ok() });
    tokio::task::yield_now().await;
    drop(one);
    assert!(waits.join_next().await.unwrap().unwrap());
    assert!(queue.is_free(&RULE), "the place of a call that ended is free again");
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_away_while_it_waits_takes_no_place_along() {
    let queue = Arc::new(Queue::default());
    let seats = [queue.enter(&claim("a"), &RULE).await.unwrap(), queue.enter(&claim("a"), &RULE).await.unwrap()];
    for wait_ms in 0..20 {
        let claim = claim("b");
        let waits = queue.enter(&claim, &RULE);
        assert!(tokio::time::timeout(Duration::from_millis(wait_ms), waits).await.is_err());
    }
    drop(seats);
    let line = queue.0.lock();
    assert_eq!((line.fair.running(), line.fair.waiting(), line.waiting.len()), (0, 0, 0));
}

/// Milliseconds from asking to having ended, of each of the calm tenant's calls.
async fn waits(flood: usize) -> Vec<u128> {
    let rule = QueueRule { slots: 8, waiting_max: 4_096, wait_max: Duration::from_secs(600) };
    let queue = Arc::new(Queue::default());
    let run = |name: &'static str, cost_ms: u64| {
        let queue = Arc::clone(&queue);
        async move {
            let begun = tokio::time::Instant::now();
            let seat = queue.enter(&claim(name), &rule).await;
            tokio::time::sleep(Duration::from_millis(cost_ms)).await;
            let is_served = seat.is_ok();
            drop(seat);
            (name, is_served, begun.elapsed().as_millis())
        }
    };
    let mut calls = JoinSet::new();
    // The calm tenant: a call every 100 ms that takes 200 ms; the flood: so many calls for each of them.
    for _ in 0..400 {
        calls.spawn(run("calm", 200));
        for _ in 0..flood {
            calls.spawn(run("flood", 20));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut calm = Vec::new();
    while let Some(done) = calls.join_next().await {
        let (name, is_served, ms) = done.unwrap();
        if name == "calm" {
            assert!(is_served);
            calm.push(ms);
        }
    }
    calm.sort_unstable();
    calm
}

#[tokio::test(start_paused = true)]
async fn a_hundredfold_load_of_one_tenant_changes_anothers_p99_by_at_most_a_tenth() {
    let (alone, beside) = (waits(0).await, waits(100).await);
    let p99 = |waits: &[u128]| waits[waits.len() * 99 / 100];
    assert!(p99(&beside) * 10 <= p99(&alone) * 11, "alone {} ms, beside {} ms", p99(&alone), p99(&beside));
}
