//! Rows that were charged wrong, brought right by rows of their own.

use serde_json::json;

use super::*;
use crate::store::Store;
use crate::store::sqlite::Create;
use crate::store::usage::{GroupBy, UsageFilter};

const BOOK: &str = "version: two\nprices:\n  - {provider: openai, model: m, input: '4 per 1M', output: '8 per 1M'}\n";
const CALL: &str = "0199f3a0-0000-7000-8000-000000000001";

/// A closing as a version of Weir wrote it that knew neither buckets nor end users.
fn old_closing() -> Closing {
    let attempt = json!({
        "attempt": 0, "deployment": "d", "provider": "openai", "model": "m", "status": 200, "outcome": "completed",
        "reason": null, "input_tokens": 1000, "output_tokens": 500, "source": "provider", "cost_nano": 6_000_000,
        "price_version": "one", "first_token_ms": 3, "total_ms": 9, "finish_reason": "stop",
    });
    serde_json::from_value(json!({
        "call": CALL, "at_ms": 1_760_000_000_000_u64, "ended_ms": 1_760_000_000_009_u64, "tenant": "acme/chat",
        "key": "k1", "endpoint": "/v1/chat/completions", "model": "mock", "stream": true, "outcome": "completed",
        "status": 200, "reason": null, "rule": null, "revision": 1, "fail_open": [], "attempts": [attempt],
    }))
    .unwrap()
}

async fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("weir.db"), Create::IfMissing).await.unwrap();
    let mut closing = old_closing();
    for attempt in &mut closing.attempts {
        attempt.bill.buckets = [("input_text".into(), 1000), ("output_text".into(), 500)].into();
        attempt.bill.list_nano = 6_000_000;
    }
    store.correct(&[closing]).await.unwrap();
    (folder, store)
}

async fn judged(store: &Store, book: &PriceBook) -> (UsageEvent, Charged, Verdict) {
    let page = store.usage_events(&UsageFilter::default(), None).await.unwrap();
    let corrected = store.corrections(&page).await.unwrap();
    let event = page.into_iter().find(|event| event.kind == "usage").unwrap();
    let own = Charged { cost_nano: event.cost_nano, list_nano: event.list_nano, corrections: 0 };
    let charged = own.plus(corrected.get(&event.event.to_string()).copied().unwrap_or_default());
    let verdict = judge(&event, charged, Rating { book, provider: "openai", as_of_ms: None });
    (event, charged, verdict)
}

#[tokio::test]
async fn a_wrong_row_gets_its_difference_once_and_is_never_changed() {
    let (_folder, store) = store().await;
    let book = PriceBook::parse(BOOK).unwrap();
    let (event, charged, verdict) = judged(&store, &book).await;
    // 1000 at 4 and 500 at 8 dollars a million are 8,000,000 nano-dollars; 6,000,000 were charged.
    let Verdict::Off { difference, .. } = &verdict else { panic!("{verdict:?}") };
    assert_eq!((difference.cost_nano, difference.list_nano), (2_000_000, 2_000_000));
    let closing = correction(&event, charged, &verdict, 1_770_000_000_000).unwrap();
    // Two who correct at once write one row.
    store.correct(std::slice::from_ref(&closing)).await.unwrap();
    store.correct(&[closing]).await.unwrap();
    let (after, charged, verdict) = judged(&store, &book).await;
    assert_eq!((after, charged.cost_nano, verdict), (event, 8_000_000, Verdict::Right));
    let sums = store.usage_rows(GroupBy::Tenant, &UsageFilter::default()).await.unwrap();
    let sum = sums.first().unwrap();
    assert_eq!((sum.calls, sum.attempts, sum.corrections), (1, 1, 1));
    assert_eq!((sum.cost_nano, sum.input_tokens, sum.output_tokens), (8_000_000, 1_000, 500));
    store.close().await;
}

#[tokio::test]
async fn what_was_held_or_has_no_price_is_left_alone() {
    let (_folder, store) = store().await;
    let book = PriceBook::parse(BOOK).unwrap();
    let (mut event, charged, _) = judged(&store, &book).await;
    let judge = |event: &UsageEvent| judge(event, charged, Rating { book: &book, provider: "openai", as_of_ms: None });
    event.price_version = "held".into();
    assert_eq!(judge(&event), Verdict::Apart);
    event.price_version = "one".into();
    event.upstream_model = "other".into();
    assert!(matches!(judge(&event), Verdict::Unpriced(_)));
    event.buckets = [("later_kind".to_owned(), 1)].into();
    assert_eq!(judge(&event), Verdict::Apart);
    store.close().await;
}
