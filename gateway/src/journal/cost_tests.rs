//! What a call costs in CPU: printed, with a bound that only a blunder breaks (test builds are not optimised).

#![allow(clippy::arithmetic_side_effects, clippy::as_conversions)] // tests count small numbers

use std::collections::BTreeMap;
use std::time::Duration;

use super::fixture::*;
use super::*;
use crate::exchange::CallId;

/// Nanoseconds of CPU that each thread of this process has used, by the thread's name.
fn cpu() -> BTreeMap<String, u64> {
    let mut used = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        // A thread may end between the listing and the read.
        let Ok(schedstat) = std::fs::read_to_string(path.join("schedstat")) else { continue };
        let Ok(name) = std::fs::read_to_string(path.join("comm")) else { continue };
        let nanos: u64 = schedstat.split_whitespace().next().unwrap().parse().unwrap();
        *used.entry(name.trim().to_owned()).or_default() += nanos;
    }
    used
}

/// What each thread used since, per call, and all of them together.
fn since(before: &BTreeMap<String, u64>, calls: u32) -> (String, Duration) {
    let used = cpu().into_iter().map(|(name, nanos)| {
        let spent = nanos - before.get(&name).copied().unwrap_or(0);
        (name, Duration::from_nanos(spent / u64::from(calls)))
    });
    let used: Vec<_> = used.filter(|(_, spent)| !spent.is_zero()).collect();
    let text = used.iter().map(|(name, spent)| format!("{name} {spent:?}, ")).collect();
    (text, used.iter().map(|(_, spent)| *spent).sum())
}

async fn per_call(journal: &Journal, calls: u32, burst: u32, pause: Duration) -> (String, Duration) {
    let before = cpu();
    for number in 0..calls {
        let id = CallId(uuid::Uuid::now_v7());
        let mut permit = journal.permit().unwrap();
        permit.open(&opening(id, 0)).await.unwrap();
        permit.close(closing(id, 1));
        if number % burst == burst - 1 {
            tokio::time::sleep(pause).await;
        }
    }
    journal.flush(LONG).await.unwrap();
    since(&before, calls)
}

#[tokio::test]
async fn a_call_costs_a_few_microseconds() {
    for folder in [folder(), tempfile::tempdir().unwrap()] {
        let (journal, _) = Journal::open(folder.path(), Durability::Window).await.unwrap();
        let steady = per_call(&journal, 20_000, 10, Duration::from_millis(2)).await;
        let flat_out = per_call(&journal, 20_000, 1_000, Duration::from_millis(5)).await;
        println!("{}: steady {steady:?}, flat out {flat_out:?} CPU per call", folder.path().display());
        assert!(flat_out.1 < Duration::from_micros(200), "{flat_out:?}");
        journal.shutdown(LONG).await.unwrap();
    }
}
