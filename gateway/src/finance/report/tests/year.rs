//! A year of ten million rows: how long its reports take. Minutes; run with `WEIR_YEAR=1` and read what it prints.

use std::time::Instant;

use super::super::*;
use crate::finance::export::{Export, ExportOf};
use crate::finance::focus::Version;
use crate::finance::focus::sink::{Format, Sink};
use crate::store::STORE_FILE;
use crate::store::sqlite::Create;

/// 10,000,000 rows of 2025: 500 keys of 100 teams in 20 organisations, 8 models.
const FILL: &str = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9999999) \
     INSERT INTO usage (call, attempt, at_ms, tenant, key, endpoint, model, deployment, provider, upstream_model, \
       status, outcome, input_tokens, output_tokens, source, cost_nano, price_version, total_ms, list_nano, buckets) \
     SELECT CAST(printf('%016d', i) AS BLOB), 0, 1735689600000 + i * 3153, \
       'org' || (i % 20) || '/team' || (i % 100) || '/p/u' || (i % 500), 'k' || (i % 500), '/v1/chat/completions', \
       'model' || (i % 8), 'd' || (i % 4), 'p' || (i % 2), 'up' || (i % 8), 200, 'completed', 900, 100, 'exact', \
       1000 + i % 977, 'v1', 800, 1000 + i % 977, '{\"input_text\":900,\"output_text\":100}' FROM n; \
     DROP TABLE statements; DROP TABLE budget_alerts; DROP TABLE usage_hour; DROP TABLE usage_day; \
     DROP TABLE usage_day_bucket; DROP INDEX usage_at; DROP TABLE stored_responses; DROP INDEX usage_end_user; \
     PRAGMA user_version = 6";

#[allow(clippy::disallowed_methods, reason = "a measurement")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn a_year_of_ten_million_rows_is_answered_from_its_sums() {
    if std::env::var_os("WEIR_YEAR").is_none() {
        println!("WEIR_YEAR is not set: no year was measured");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(STORE_FILE);
    let store = Store::open(&path, Create::IfMissing).await.unwrap();
    let began = now();
    store.execute(FILL).await;
    store.close().await;
    println!("filled in {:?}", began.elapsed());
    let began = now();
    let store = Store::open(&path, Create::Never).await.unwrap();
    println!("summed up in {:?}", began.elapsed());
    let of = |by: &[By], zone: &str| ReportOf {
        by: by.to_vec(),
        level: Level::Org,
        zone: zone.parse().unwrap(),
        since_ms: None,
        until_ms: None,
        filter: RollupFilter::default(),
    };
    let mut slowest = std::time::Duration::ZERO;
    let questions = [of(&[By::Tenant, By::Month], "UTC"), of(&[By::Tenant], "UTC"), of(&[By::Model, By::Day], "UTC")];
    for question in questions {
        let began = now();
        let report = usage_report(&store, &question).await.unwrap();
        println!("{} in UTC: {} rows in {:?}", report.by, report.rows.len(), began.elapsed());
        assert_eq!(report.total.calls, 10_000_000);
        slowest = slowest.max(began.elapsed());
    }
    let began = now();
    let report = usage_report(&store, &of(&[By::Tenant, By::Month], "Europe/Berlin")).await.unwrap();
    println!("{} in Berlin: {} rows in {:?}", report.by, report.rows.len(), began.elapsed());
    assert_eq!(report.total.calls, 10_000_000);
    let began = now();
    let issuer = "Weir".to_owned();
    let of = ExportOf { since_ms: None, until_ms: None, filter: RollupFilter::default(), issuer };
    let mut export = Export::begin(&store, of).await.unwrap();
    let (mut sink, mut rows) = (Sink::new(std::io::sink(), Format::FocusParquet, Version::V1_2).unwrap(), 0_usize);
    while let Some(piece) = export.next(&store).await.unwrap() {
        rows = rows.saturating_add(piece.len());
        sink.write(&piece).unwrap();
    }
    sink.finish().unwrap();
    println!("FOCUS: {rows} rows in {:?}", began.elapsed());
    assert!(slowest.as_secs() < 3, "{slowest:?}");
}
