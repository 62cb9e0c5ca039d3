//! What is read of one end-user costs as much as that end-user did, not as much as all.

use std::path::Path;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, Row as _};

use super::*;
use crate::journal::Closing;
use crate::journal::fixture::{call, closing};
use crate::limits::counter::{Outage, Scope};
use crate::limits::window::Window;
use crate::store::StoreUrl;
use crate::store::either::Either;
use crate::store::projection::Projection;
use crate::store::suite::ledger::to;

const ALL: Span = Span { from_ms: 0, to_ms: 2_000_000_000_000 };

fn line(end_user: Option<&str>) -> Line {
    Line {
        id: "one".into(),
        level: "acme".into(),
        scope: Scope {
            tenant: "acme".into(),
            key: None,
            models: Arc::default(),
            endpoints: ["chat_completions".into()].into(),
            end_user: end_user.map(Into::into),
        },
        quantity: Quantity::Requests,
        cap: 1,
        window: Window::Total,
        outage: Outage::Refuse,
        lease: None,
    }
}

/// A promise of every store.
pub(in crate::store) async fn each_kind_of_question_has_its_index(store: &Store, url: &StoreUrl, data: &Path) {
    let of = |number: u128| {
        let end_user = (number % 3 > 0).then(|| format!("eu_{}", number % 50).into());
        Closing { end_user, ..closing(call(number), 1) }
    };
    let closings: Vec<Closing> = (1..=300).map(of).collect();
    Projection::connect(url, data).await.unwrap().commit(closings.iter(), &to(1)).await.unwrap();
    let named = closings.iter().filter(|one| one.end_user.as_deref() == Some("eu_7")).count();
    for (end_user, calls) in [(None, 300), (Some(""), 100), (Some("eu_7"), named), (Some("eu_none"), 0)] {
        let spent = store.spent(&line(end_user), ALL).await.unwrap();
        assert_eq!(spent, u64::try_from(calls).unwrap(), "{end_user:?}");
    }
    for (sql, index) in [(OF_ANY, "at_ms"), (OF_UNNAMED, "at_ms"), (OF_END_USER, "end_user_at_ms")] {
        let plan = plan(store, sql).await;
        assert!(plan.contains(index) && !plan.to_lowercase().contains("seq scan"), "{plan}");
    }
}

/// How the store would answer; SQLite's indexes under the names that PostgreSQL gives them in a partition.
async fn plan(store: &Store, sql: &'static str) -> String {
    let (from, to, key) = (to_sql(ALL.from_ms), to_sql(ALL.to_ms), None::<&str>);
    match &store.pools {
        Either::Sqlite(pool) => {
            let asked = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).bind(from).bind(to);
            let asked = asked.bind("acme").bind(key);
            let asked = if sql == OF_END_USER { asked.bind("eu_7") } else { asked };
            let rows = asked.fetch_all(pool).await.unwrap();
            let lines: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
            lines.join("\n").replace("usage_end_user", "usage_end_user_at_ms").replace("usage_at", "usage_at_ms")
        }
        Either::Postgres(pool) => {
            let mut tx = pool.begin().await.unwrap();
            sqlx::query("ANALYZE usage").execute(&mut *tx).await.unwrap();
            // So few rows are read as fast without.
            sqlx::query("SET LOCAL enable_seqscan = off").execute(&mut *tx).await.unwrap();
            let asked = sqlx::query(AssertSqlSafe(format!("EXPLAIN {sql}"))).bind(from).bind(to);
            let asked = asked.bind("acme").bind(key);
            let asked = if sql == OF_END_USER { asked.bind("eu_7") } else { asked };
            let rows = asked.fetch_all(&mut *tx).await.unwrap();
            rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>().join("\n")
        }
    }
}
