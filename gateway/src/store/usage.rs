//! Questions to the ledger's rows: one per upstream attempt, written once by [`super::usage_row`].

use super::either::{Cells, Either, on, row, rows};
use super::node::Node;
use super::projection::{self, Projected};
use super::{Store, StoreError, to_sql};

/// Sums over the whole ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Rows.
    pub attempts: u64,
    /// Nano-dollars.
    pub cost_nano: i64,
}

/// One row of a usage report: sums over a group.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct UsageSum {
    /// The group: a tenant path, a key's id, a model, a day, a call's id; several joined by spaces.
    pub group: String,
    /// Its parts, one for each thing that is summed by.
    pub groups: Vec<String>,
    /// Calls that reached an upstream.
    pub calls: u64,
    /// Attempts of these calls.
    pub attempts: u64,
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Completion tokens.
    pub output_tokens: u64,
    /// Prompt tokens among them that came from a provider's cache.
    pub cache_read_tokens: u64,
    /// Prompt tokens among them that were written to a provider's cache.
    pub cache_write_tokens: u64,
    /// Completion tokens among them that are reasoning.
    pub reasoning_tokens: u64,
    /// Attempts whose counts are estimates.
    pub estimated: u64,
    /// Attempts whose provider's report contradicts itself.
    pub inconsistent: u64,
    /// Corrections: rows that re-rate others.
    pub corrections: u64,
    /// Nano-dollars by list price.
    pub list_nano: i64,
    /// Nano-dollars.
    pub cost_nano: i64,
}

/// What a report sums over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum GroupBy {
    /// Tenant path.
    Tenant,
    /// Key's id.
    Key,
    /// Model as asked for.
    Model,
    /// Deployment.
    Deployment,
    /// Day of the call's birth, UTC.
    Day,
    /// Single calls.
    Call,
}

/// Which rows a report looks at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageFilter {
    /// Unix milliseconds, inclusive.
    pub since_ms: Option<u64>,
    /// Unix milliseconds, exclusive.
    pub until_ms: Option<u64>,
    /// This tenant path and everything below it.
    pub tenant: Option<String>,
}

macro_rules! sums {
    ($group:literal) => {
        concat!(
            "SELECT ",
            $group,
            " AS grouped, count(DISTINCT CASE WHEN kind = 'usage' THEN call END), ",
            "count(*) FILTER (WHERE kind = 'usage'), CAST(sum(input_tokens) AS BIGINT), ",
            "CAST(sum(output_tokens) AS BIGINT), count(*) FILTER (WHERE source = 'estimated'), ",
            "CAST(sum(cost_nano) AS BIGINT), CAST(sum(cache_read_tokens) AS BIGINT), ",
            "CAST(sum(cache_write_tokens) AS BIGINT), CAST(sum(reasoning_tokens) AS BIGINT), ",
            "count(*) FILTER (WHERE pricing = 'inconsistent'), count(*) FILTER (WHERE kind = 'correction'), ",
            "CAST(sum(list_nano) AS BIGINT) FROM usage WHERE at_ms >= $1 AND at_ms < $2 ",
            "AND ($3 IS NULL OR tenant = $3 OR substr(tenant, 1, length($3) + 1) = $3 || '/') ",
            "GROUP BY grouped ORDER BY grouped"
        )
    };
}

impl GroupBy {
    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            GroupBy::Tenant => "tenant",
            GroupBy::Key => "key",
            GroupBy::Model => "model",
            GroupBy::Deployment => "deployment",
            GroupBy::Day => "day",
            GroupBy::Call => "call",
        }
    }

    /// The question in the words of that database.
    fn sql<S, P>(self, of: &Either<S, P>) -> &'static str {
        match (self, of) {
            (GroupBy::Tenant, _) => sums!("tenant"),
            (GroupBy::Key, _) => sums!("key"),
            (GroupBy::Model, _) => sums!("model"),
            (GroupBy::Deployment, _) => sums!("deployment"),
            (GroupBy::Day, Either::Sqlite(_)) => sums!("date(at_ms / 1000, 'unixepoch')"),
            (GroupBy::Day, Either::Postgres(_)) => {
                sums!("to_char(to_timestamp(at_ms / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD') COLLATE \"C\"")
            }
            (GroupBy::Call, Either::Sqlite(_)) => sums!("hex(call)"),
            (GroupBy::Call, Either::Postgres(_)) => sums!("encode(call, 'hex') COLLATE \"C\""),
        }
    }
}

impl Store {
    /// Sums of the ledger's rows by group, in the group's order.
    pub async fn usage_rows(&self, by: GroupBy, filter: &UsageFilter) -> Result<Vec<UsageSum>, StoreError> {
        let since = to_sql(filter.since_ms.unwrap_or(0));
        let until = filter.until_ms.map_or(i64::MAX, to_sql);
        let mut sums = rows!(&self.pools, sum, by.sql(&self.pools), since, until, filter.tenant.as_deref())?;
        if by == GroupBy::Call {
            for sum in &mut sums {
                let id = uuid::Uuid::parse_str(&sum.group).map_err(|_| StoreError::Broken { column: "usage.call" })?;
                sum.group = id.hyphenated().to_string();
            }
        }
        Ok(sums)
    }

    /// The heads and the ledger's sums as of one moment; of a shared store, those of this node.
    pub async fn ledger_totals(&self, node: Option<&Node>) -> Result<(Option<Projected>, Totals), StoreError> {
        // One statement sees one moment, and so do several in a transaction of SQLite's; PostgreSQL is told.
        let mut tx = match &self.pools {
            Either::Sqlite(pool) => Either::Sqlite(pool.begin().await?),
            Either::Postgres(pool) => {
                Either::Postgres(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?)
            }
        };
        let projected = projection::read(tx.conn(), node).await?;
        let sums = "SELECT count(*), CAST(coalesce(sum(cost_nano), 0) AS BIGINT) FROM usage WHERE kind = 'usage'";
        let totals = match tx.conn() {
            at @ Either::Sqlite(_) => row!(at, totals, sums),
            at @ Either::Postgres(_) => {
                let sql = "SELECT count(*), CAST(coalesce(sum(cost_nano), 0) AS BIGINT) FROM usage \
                     WHERE kind = 'usage' AND node = $1";
                row!(at, totals, sql, node.map_or("", Node::as_str))
            }
        };
        let totals = totals?.unwrap_or_default();
        tx.commit().await?;
        Ok((projected, totals))
    }
}

fn totals(row: &impl Cells) -> Result<Totals, StoreError> {
    Ok(Totals { attempts: row.count(0, "usage")?, cost_nano: row.int(1)? })
}

fn sum(row: &impl Cells) -> Result<UsageSum, StoreError> {
    Ok(UsageSum {
        group: row.text(0)?,
        groups: Vec::new(),
        calls: row.count(1, "usage.call")?,
        attempts: row.count(2, "usage.attempt")?,
        input_tokens: row.count(3, "usage.input_tokens")?,
        output_tokens: row.count(4, "usage.output_tokens")?,
        estimated: row.count(5, "usage.source")?,
        cost_nano: row.int(6)?,
        cache_read_tokens: row.count(7, "usage.cache_read_tokens")?,
        cache_write_tokens: row.count(8, "usage.cache_write_tokens")?,
        reasoning_tokens: row.count(9, "usage.reasoning_tokens")?,
        inconsistent: row.count(10, "usage.pricing")?,
        corrections: row.count(11, "usage.kind")?,
        list_nano: row.int(12)?,
    })
}
