//! What only a server can do: several gateways, months, a later schema, going away and coming back.

use super::ledger::to;
use super::{Place, Postgres, schema};
use crate::journal::fixture::{LONG, call, closing, folder};
use crate::store::node::Node;
use crate::store::projection::Projection;
use crate::store::sqlite::Create;
use crate::store::usage::{GroupBy, UsageFilter};
use crate::store::{Store, StoreError};

#[tokio::test]
async fn gateways_share_a_server_and_keep_their_own_heads() {
    let Some(server) = Postgres::start() else { return };
    let database = server.database("weir");
    let place = Place::open(Some(schema(&database, "shared"))).await;
    let other = folder();
    let mut projections = Vec::new();
    for (data, number) in [(place.data.path(), 1), (other.path(), 2)] {
        let mut projection = Projection::connect(&place.url, data).await.unwrap();
        projection.commit([closing(call(number), number as u16)].iter(), &to(number as u64)).await.unwrap();
        projections.push(projection);
    }
    for (data, number) in [(place.data.path(), 1), (other.path(), 2)] {
        let node = Node::of(data).unwrap();
        let (projected, totals) = place.store.ledger_totals(node.as_ref()).await.unwrap();
        assert_eq!((projected, totals.attempts), (Some(to(number)), number));
    }
    assert_eq!(place.store.usage_rows(GroupBy::Call, &UsageFilter::default()).await.unwrap().len(), 2);
    // Changes of keys that one holds are not handed to the other, nor waited for.
    place.store.key_insert(&super::key_changes::row("aaaaaaaa")).await.unwrap();
    let held = place.store.key_events_take().await.unwrap().unwrap();
    let again = place.again().await;
    again.key_insert(&super::key_changes::row("bbbbbbbb")).await.unwrap();
    let rest = again.key_events_take().await.unwrap().unwrap();
    assert_eq!(rest.events.iter().map(|event| event.key.as_str()).collect::<Vec<_>>(), ["bbbbbbbb"]);
    assert_eq!(held.events.len(), 1);
    // A gateway that is started on a copied data folder takes the node over; the first one is told.
    let mut copied = Projection::connect(&place.url, place.data.path()).await.unwrap();
    let error = projections[0].commit([closing(call(3), 1)].iter(), &to(9)).await.unwrap_err();
    assert!(matches!(error, StoreError::NodeTaken(_)), "{error}");
    copied.commit([closing(call(3), 1)].iter(), &to(9)).await.unwrap();
}

#[tokio::test]
async fn rows_lie_in_the_partition_of_their_month() {
    let Some(server) = Postgres::start() else { return };
    let place = Place::open(Some(schema(&server.database("weir"), "months"))).await;
    let mut projection = Projection::connect(&place.url, place.data.path()).await.unwrap();
    let mut closings = vec![closing(call(1), 1), closing(call(2), 1), closing(call(3), 1)];
    closings[1].at_ms = 1_704_067_199_999;
    closings[2].at_ms = 1_704_067_200_000;
    projection.commit(closings.iter(), &to(1)).await.unwrap();
    let super::super::either::Either::Postgres(pool) = &place.store.pools else { panic!("a server") };
    let sql = "SELECT tableoid::regclass::text, count(*) FROM usage GROUP BY 1 ORDER BY 1";
    let lie: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(pool).await.unwrap();
    let expected = [("usage_2023_11", 1), ("usage_2023_12", 1), ("usage_2024_01", 1)];
    assert_eq!(lie, expected.map(|(name, count)| (name.to_owned(), count)));
    let ahead: Option<String> =
        sqlx::query_scalar("SELECT to_regclass('usage_2024_02')::text").fetch_one(pool).await.unwrap();
    assert_eq!(ahead.as_deref(), Some("usage_2024_02"));
}

#[tokio::test]
async fn a_later_schema_is_refused_and_many_may_come_first() {
    let Some(server) = Postgres::start() else { return };
    let url = schema(&server.database("weir"), "first");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let url = url.clone();
        tasks.spawn(async move { Store::open(&url, Create::IfMissing).await.unwrap() });
    }
    let stores = tasks.join_all().await;
    assert_eq!(stores[0].revision().await.unwrap(), 0);
    stores[0].execute("UPDATE weir_version SET version = 999").await;
    let error = Store::open(&url, Create::IfMissing).await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 999, .. }), "{error}");
}

#[tokio::test]
async fn a_journal_keeps_what_a_server_that_is_away_can_t_take() {
    use crate::config::settings::Durability;
    use crate::journal::Journal;
    let Some(mut server) = Postgres::start() else { return };
    let place = Place::open(Some(schema(&server.database("weir"), "away"))).await;
    let data = place.data.path();
    let (journal, _) = Journal::open_on(data, &place.url, Durability::Window).await.unwrap();
    journal.permit().unwrap().close(closing(call(1), 1));
    journal.flush(LONG).await.unwrap();
    server.away();
    assert!(matches!(place.store.revision().await, Err(StoreError::Away(_))));
    for number in 2..40 {
        journal.permit().unwrap_or_else(|full| panic!("{number}: {full}")).close(closing(call(number), 1));
    }
    assert!(journal.flush(std::time::Duration::from_millis(300)).await.is_err(), "nothing takes them");
    assert!(journal.admits(), "calls go on while there are places");
    assert!(journal.backlog() >= 38);
    server.back();
    journal.flush(LONG).await.unwrap();
    journal.shutdown(LONG).await.unwrap();
    let report = crate::audit::verify::audit_verify_on(data, &place.url).await.unwrap();
    assert!(report.ok && report.attempts == 39, "{report:?}");
    assert_eq!(place.store.usage_rows(GroupBy::Call, &UsageFilter::default()).await.unwrap().len(), 39);
}
