//! Corrections of what was charged.

use super::Place;
use super::ledger::to;
use crate::finance::reprice::{Off, Prices, RepriceOf, Repriced, reprice};
use crate::journal::fixture::{call, closing};
use crate::store::projection::Projection;
use crate::store::usage::{GroupBy, UsageFilter};
use crate::store::{Store, StoreError};
use crate::usage::price::PriceBook;

/// Prices of the fixture's model: `input` and `output` dollars a million.
fn prices(version: &str, input: u32, output: u32) -> Prices {
    let attempt = closing(call(1), 1).attempts.remove(0);
    let text = format!(
        "version: {version}\nprices:\n  - \
         {{provider: {}, model: {}, input: '{input} per 1M', output: '{output} per 1M'}}\n",
        attempt.provider, attempt.model
    );
    Prices::new(PriceBook::parse(&text).unwrap(), &[])
}

async fn apply(store: &Store, prices: &Prices, now_ms: u64) -> Repriced {
    let of = RepriceOf { apply: true, now_ms, ..RepriceOf::default() };
    reprice(store, prices, &of, |_: &Off| Ok::<_, StoreError>(())).await.unwrap()
}

async fn charged(at: &Place) -> (i64, u64) {
    let sums = at.store.usage_rows(GroupBy::Tenant, &UsageFilter::default()).await.unwrap();
    (sums[0].cost_nano, sums[0].corrections)
}

pub(super) async fn those_who_correct_at_once_write_one_row_and_earlier_prices_may_come_back(at: &Place) {
    let mut projection = Projection::connect(&at.url, at.data.path()).await.unwrap();
    let mut closings = [closing(call(1), 1), closing(call(2), 1)];
    for closing in &mut closings {
        for attempt in &mut closing.attempts {
            (attempt.input_tokens, attempt.output_tokens) = (1_000, 500);
            attempt.bill.buckets = [("input_text".into(), 1_000), ("output_text".into(), 500)].into();
        }
    }
    projection.commit(closings.iter(), &to(10)).await.unwrap();
    let (dear, cheap) = (prices("dear", 4, 8), prices("cheap", 1, 2));
    // Two processes at different milliseconds, who saw the same rows.
    let other = at.again().await;
    let now_ms = 1_770_000_000_000;
    tokio::join!(apply(&at.store, &dear, now_ms), apply(&other, &dear, now_ms + 7));
    assert_eq!(charged(at).await, (2 * 8_000_000, 2));
    assert_eq!(apply(&at.store, &dear, now_ms + 9).await.corrections, 0);
    // To other prices and back again: each step is rows of its own.
    assert_eq!(apply(&at.store, &cheap, now_ms + 10).await.difference_nano, -2 * 6_000_000);
    assert_eq!(charged(at).await, (2 * 2_000_000, 4));
    assert_eq!(apply(&at.store, &dear, now_ms + 20).await.difference_nano, 2 * 6_000_000);
    assert_eq!(charged(at).await, (2 * 8_000_000, 6));
    // The audit log hears of each, in the corrections' own transactions.
    let events = at.store.key_events().await.unwrap();
    let told: Vec<_> = events.iter().filter(|event| event.event == "usage_repriced").map(|event| &*event.key).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[1], "2 rows, -12000000 nano-dollars");
    other.close().await;
}
