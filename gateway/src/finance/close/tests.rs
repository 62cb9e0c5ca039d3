//! Months that are closed, what comes late for them, and statements that somebody changed.

#![allow(clippy::arithmetic_side_effects)] // tests count small numbers

use std::path::Path;

use super::*;
use crate::finance::report::tests::projected;
use crate::identity::TenantPath;
use crate::journal::Closing;
use crate::journal::fixture::{call, closing, folder};
use crate::store::projection::Projection;
use crate::store::sqlite::Create;
use crate::store::{STORE_FILE, StoreUrl};

/// 2026-10-15, and a month's milliseconds of 31 days.
const OCTOBER_MS: u64 = 1_792_022_400_000;
const MONTH_MS: u64 = 31 * 86_400_000;
/// 2027-01-01: all months of the tests are over.
const NOW_MS: u64 = 1_798_761_600_000;

fn at(number: u128, tenant: &str, at_ms: u64, cost_nano: i64) -> Closing {
    let mut one = closing(call(number), 1);
    one.at_ms = at_ms;
    one.tenant = Some(TenantPath::parse(tenant).unwrap());
    one.attempts[0].cost_nano = cost_nano;
    one.attempts[0].bill.list_nano = cost_nano;
    one
}

fn of(month: &str, tenant: Option<&str>) -> CloseOf {
    let tenant = tenant.map(str::to_owned);
    CloseOf { month: month.to_owned(), tenant, zone: Tz::UTC, issuer: "Weir".to_owned() }
}

/// What the store's suite tries on every database.
pub(crate) async fn months_close_once_and_late_rows_are_corrections(store: &Store, url: &StoreUrl, data: &Path) {
    let mut projection = Projection::connect(url, data).await.unwrap();
    let first = [at(1, "acme/a", OCTOBER_MS, 100), at(2, "beta", OCTOBER_MS, 7), at(3, "acme", OCTOBER_MS + 1, 11)];
    projection.commit(first.iter(), &projected()).await.unwrap();
    let october = close(store, &of("2026-10", None), NOW_MS).await.unwrap();
    assert_eq!((october.number, october.cost_nano, october.tenant.as_str()), (1, 118, ""));
    let acme = close(store, &of("2026-10", Some("acme")), NOW_MS).await.unwrap();
    assert_eq!((acme.number, acme.cost_nano), (2, 111));
    // Closed once more: the same, whatever came meanwhile.
    let late = [at(4, "acme/a", OCTOBER_MS + 5, 1_000), at(5, "beta", OCTOBER_MS + MONTH_MS, 13)];
    projection.commit(late.iter(), &projected()).await.unwrap();
    assert_eq!(close(store, &of("2026-10", None), NOW_MS + 9).await.unwrap(), october);
    assert_eq!(verify(store, 1).await.unwrap().late_nano, 1_000);
    // What came late stands in the next month, as a correction; all statements together are the ledger.
    let november = close(store, &of("2026-11", None), NOW_MS).await.unwrap();
    assert_eq!((november.number, november.cost_nano), (3, 1_013));
    let said = read(&november).unwrap();
    assert_eq!(said.previous, acme.digest);
    let correction = said.corrections.first().unwrap();
    assert_eq!((correction.statement, correction.month.as_str()), (1, "2026-10"));
    let line = correction.lines.first().unwrap();
    assert_eq!((line.tenant.as_str(), line.sums.cost_nano, line.sums.calls), ("acme/a", 1_000, 1));
    assert_eq!(line.sums.buckets.get("cache_read"), Some(&10));
    // It isn't corrected twice.
    let december = close(store, &of("2026-12", None), NOW_MS).await.unwrap();
    assert_eq!((december.number, december.cost_nano), (4, 0));
    for number in 1..=4 {
        let verdict = verify(store, number).await.unwrap();
        assert!(verdict.ok, "{verdict:?}");
    }
    let events = store.key_events().await.unwrap();
    let noted: Vec<_> = events.iter().filter(|event| event.event == "statement_closed").collect();
    assert_eq!(noted.len(), 4);
    assert_eq!(noted.first().unwrap().key, format!("1 sha256:{}", october.digest));
}

async fn ledger(folder: &Path) -> Store {
    let url = StoreUrl::from(&folder.join(STORE_FILE));
    let store = Store::open(&url, Create::IfMissing).await.unwrap();
    let mut projection = Projection::connect(&url, folder).await.unwrap();
    let rows = [at(1, "acme/a", OCTOBER_MS, 100), at(2, "beta", OCTOBER_MS + MONTH_MS, 7)];
    projection.commit(rows.iter(), &projected()).await.unwrap();
    store
}

#[tokio::test]
async fn a_month_that_is_not_over_or_no_month_is_refused() {
    let folder = folder();
    let store = ledger(folder.path()).await;
    let error = close(&store, &of("2027-01", None), NOW_MS).await.unwrap_err();
    assert!(matches!(error, CloseError::NotOver(_)), "{error}");
    let error = close(&store, &of("2026-13", None), NOW_MS).await.unwrap_err();
    assert!(matches!(error, CloseError::Month(_)), "{error}");
    assert!(matches!(verify(&store, 1).await, Err(CloseError::NoSuchStatement(1))));
}

#[tokio::test]
async fn a_statement_that_was_changed_is_found_out() {
    let folder = folder();
    let store = ledger(folder.path()).await;
    close(&store, &of("2026-10", None), NOW_MS).await.unwrap();
    close(&store, &of("2026-11", None), NOW_MS).await.unwrap();
    let change = sqlx::AssertSqlSafe("UPDATE statements SET cost_nano = 1 WHERE number = 1".to_owned());
    crate::store::either::on!(&store.pools, pool => sqlx::query(change).execute(pool).await.map(drop)).unwrap_err();
    // Whoever can take the guard away can change a row; that shows.
    store.execute("DROP TRIGGER statements_stay_updated; DROP TRIGGER statements_stay_deleted").await;
    store.execute("UPDATE statements SET body = replace(body, '\"cost_nano\":100', '\"cost_nano\":10')").await;
    let verdict = verify(&store, 1).await.unwrap();
    assert!(!verdict.ok && verdict.faults.contains(&"its digest is that of another text"), "{verdict:?}");
    assert!(verdict.faults.contains(&"its lines don't add up"), "{verdict:?}");
    let verdict = verify(&store, 2).await.unwrap();
    assert!(verdict.faults.contains(&"the statement before it was changed"), "{verdict:?}");
    store.execute("DELETE FROM statements WHERE number = 1").await;
    let verdict = verify(&store, 2).await.unwrap();
    assert!(verdict.faults.contains(&"the statement before it is missing"), "{verdict:?}");
}
