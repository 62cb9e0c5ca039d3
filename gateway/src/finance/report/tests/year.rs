//! A year of ten million rows: how long its reports take. Minutes; run with `WEIR_YEAR=1` and read what it prints.

use std::time::{Duration, Instant};

use super::super::*;
use crate::finance::export::{Export, ExportOf};
use crate::finance::focus::Version;
use crate::finance::focus::sink::{Format, Sink};
use crate::servers::postgres::Postgres;
use crate::store::sqlite::Create;
use crate::store::url::ServerUrl;
use crate::store::{STORE_FILE, StoreUrl};

/// 10,000,000 rows of 2025: 500 keys of 100 teams in 20 organisations, 8 models.
const FILL: &str = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9999999) \
     INSERT INTO usage (call, attempt, at_ms, tenant, key, endpoint, model, deployment, provider, upstream_model, \
       status, outcome, input_tokens, output_tokens, source, cost_nano, price_version, total_ms, list_nano, buckets) \
     SELECT CAST(printf('%016d', i) AS BLOB), 0, 1735689600000 + i * 3153, \
       'org' || (i % 20) || '/team' || (i % 100) || '/p/u' || (i % 500), 'k' || (i % 500), '/v1/chat/completions', \
       'model' || (i % 8), 'd' || (i % 4), 'p' || (i % 2), 'up' || (i % 8), 200, 'completed', 900, 100, 'exact', \
       1000 + i % 977, 'v1', 800, 1000 + i % 977, '{\"input_text\":900,\"output_text\":100}' FROM n";

/// The same for PostgreSQL, each month in its partition.
const FILL_SERVER: &str = "DO $$ DECLARE month INT; BEGIN FOR month IN 1..12 LOOP EXECUTE format( \
       'CREATE TABLE year_%s PARTITION OF usage FOR VALUES FROM (%s) TO (%s)', month, \
       extract(epoch FROM make_timestamptz(2025, month, 1, 0, 0, 0, 'UTC'))::bigint * 1000, \
       extract(epoch FROM make_timestamptz(2025 + month / 12, month % 12 + 1, 1, 0, 0, 0, 'UTC'))::bigint * 1000); \
     END LOOP; END $$; \
     INSERT INTO usage (call, attempt, at_ms, tenant, key, endpoint, model, deployment, provider, upstream_model, \
       status, outcome, input_tokens, output_tokens, source, cost_nano, price_version, total_ms, list_nano, buckets) \
     SELECT convert_to(lpad(i::text, 16, '0'), 'UTF8'), 0, 1735689600000 + i * 3153, \
       'org' || (i % 20) || '/team' || (i % 100) || '/p/u' || (i % 500), 'k' || (i % 500), '/v1/chat/completions', \
       'model' || (i % 8), 'd' || (i % 4), 'p' || (i % 2), 'up' || (i % 8), 200, 'completed', 900, 100, 'exact', \
       1000 + i % 977, 'v1', 800, 1000 + i % 977, '{\"input_text\":900,\"output_text\":100}' \
     FROM generate_series(0::bigint, 9999999) AS n(i)";

fn is_wanted() -> bool {
    let is_wanted = std::env::var_os("WEIR_YEAR").is_some();
    if !is_wanted {
        println!("WEIR_YEAR is not set: no year was measured");
    }
    is_wanted
}

#[allow(clippy::disallowed_methods, reason = "a measurement")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn a_year_of_ten_million_rows_is_answered_from_its_sums() {
    if !is_wanted() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join(STORE_FILE), Create::IfMissing).await.unwrap();
    let slowest = year(&store, FILL).await;
    assert!(slowest.as_secs() < 3, "{slowest:?}");
}

#[tokio::test]
async fn a_year_of_ten_million_rows_on_postgresql_is_answered_from_its_sums() {
    let Some(server) = is_wanted().then(Postgres::start).flatten() else { return };
    let url = StoreUrl::Server(ServerUrl::parse(&server.database("weir")).unwrap());
    let store = Store::open(url, Create::IfMissing).await.unwrap();
    let slowest = year(&store, FILL_SERVER).await;
    assert!(slowest.as_secs() < 1, "{slowest:?}");
    store.close().await;
}

/// Fills the ledger, sums it up and asks it; how long the slowest answer by whole days took.
async fn year(store: &Store, fill: &'static str) -> Duration {
    let began = now();
    store.execute(fill).await;
    println!("filled in {:?}", began.elapsed());
    let began = now();
    store.sum_up().await;
    println!("summed up in {:?}", began.elapsed());
    let of = |by: &[By], zone: &str| ReportOf {
        by: by.to_vec(),
        level: Level::Org,
        zone: zone.parse().unwrap(),
        since_ms: None,
        until_ms: None,
        filter: RollupFilter::default(),
    };
    let mut slowest = Duration::ZERO;
    let questions = [of(&[By::Tenant, By::Month], "UTC"), of(&[By::Tenant], "UTC"), of(&[By::Model, By::Day], "UTC")];
    for question in questions {
        let began = now();
        let report = usage_report(store, &question).await.unwrap();
        println!("{} in UTC: {} rows in {:?}", report.by, report.rows.len(), began.elapsed());
        assert_eq!(report.total.calls, 10_000_000);
        slowest = slowest.max(began.elapsed());
    }
    let began = now();
    let report = usage_report(store, &of(&[By::Tenant, By::Month], "Europe/Berlin")).await.unwrap();
    println!("{} in Berlin: {} rows in {:?}", report.by, report.rows.len(), began.elapsed());
    assert_eq!(report.total.calls, 10_000_000);
    let began = now();
    let issuer = "Weir".to_owned();
    let of = ExportOf { since_ms: None, until_ms: None, filter: RollupFilter::default(), issuer };
    let mut export = Export::begin(store, of).await.unwrap();
    let (mut sink, mut rows) = (Sink::new(std::io::sink(), Format::FocusParquet, Version::V1_2).unwrap(), 0_usize);
    while let Some(piece) = export.next(store).await.unwrap() {
        rows = rows.saturating_add(piece.len());
        sink.write(&piece).unwrap();
    }
    sink.finish().unwrap();
    println!("FOCUS: {rows} rows in {:?}", began.elapsed());
    slowest
}
