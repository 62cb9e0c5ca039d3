//! The ledger's rows: one per upstream attempt, written once.

use std::sync::{Arc, LazyLock};

use sqlx::Row as _;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};

use super::projection::{self, Projected};
use super::{Store, StoreError, from_sql, to_sql};
use crate::exchange::{Attempt, UsageSource};
use crate::journal::Closing;
use crate::usage::bill::Bill;

fn source_name(source: UsageSource) -> &'static str {
    match source {
        UsageSource::Exact => "exact",
        UsageSource::Provider => "provider",
        UsageSource::Estimated => "estimated",
        UsageSource::None => "none",
    }
}

/// Columns of a row.
const COLUMNS: usize = 35;
/// Rows of one statement, largest first. Bound values cost less than half of one JSON text taken apart by SQLite,
/// and a statement's fixed cost is shared by its rows.
const BLOCKS: [usize; 3] = [64, 8, 1];

static STATEMENTS: LazyLock<[String; 3]> = LazyLock::new(|| BLOCKS.map(statement));

fn statement(rows: usize) -> String {
    let row = format!("({})", ["?"; COLUMNS].join(","));
    let rows = vec![row; rows].join(",");
    format!("INSERT INTO usage VALUES {rows} ON CONFLICT (call, attempt) DO NOTHING")
}

/// Writes every attempt of the closings that is not there yet.
pub(super) async fn insert<'a>(
    connection: &mut SqliteConnection,
    closings: impl Iterator<Item = &'a Closing>,
) -> Result<(), StoreError> {
    let rows: Vec<Row<'_>> =
        closings.flat_map(|closing| closing.attempts.iter().map(move |attempt| Row(closing, attempt))).collect();
    let mut rest = rows.as_slice();
    for (size, sql) in BLOCKS.iter().zip(STATEMENTS.iter()) {
        while let Some((block, behind)) = rest.split_at_checked(*size) {
            let query = block.iter().fold(sqlx::query(sql.as_str()), |query, row| row.bind(query));
            query.execute(&mut *connection).await?;
            rest = behind;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }
    Ok(())
}

struct Row<'a>(&'a Closing, &'a Attempt);

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, SqliteArguments>;

impl Row<'_> {
    /// Binds the row's values in the order of the table's columns. Shared text is shared, not copied.
    fn bind<'q>(&self, query: Query<'q>) -> Query<'q> {
        let Row(closing, attempt) = self;
        let bill = &attempt.bill;
        let tenant = closing.tenant.as_ref().map_or("", |tenant| tenant.as_str());
        query
            .bind(closing.call.0.as_bytes().to_vec())
            .bind(i64::from(attempt.attempt))
            .bind(to_sql(closing.at_ms))
            .bind(tenant.to_owned())
            .bind(closing.key.as_ref().map_or_else(Arc::default, |key| Arc::clone(&key.0)))
            .bind(Arc::clone(&closing.endpoint))
            .bind(closing.model.clone().unwrap_or_default())
            .bind(Arc::clone(&attempt.deployment))
            .bind(Arc::clone(&attempt.provider))
            .bind(Arc::clone(&attempt.model))
            .bind(i64::from(attempt.status))
            .bind(attempt.outcome.name())
            .bind(attempt.reason.clone())
            .bind(to_sql(attempt.input_tokens))
            .bind(to_sql(attempt.output_tokens))
            .bind(source_name(attempt.source))
            .bind(attempt.cost_nano)
            .bind(Arc::clone(&attempt.price_version))
            .bind(attempt.first_token_ms.map(i64::from))
            .bind(i64::from(attempt.total_ms))
            .bind(attempt.finish_reason.clone())
            .bind(closing.end_user.clone())
            .bind(Arc::clone(&bill.tier))
            .bind(buckets_text(bill))
            .bind(to_sql(bill.sum("cache_read")))
            .bind(to_sql(bill.sum("cache_write")))
            .bind(to_sql(bill.sum("reasoning")))
            .bind(bill.list_nano)
            .bind(bill.provider_cost_nano)
            .bind(bill.arm.clone())
            .bind(bill.queue_ms.map(i64::from))
            .bind("usage")
            .bind(bill.pricing.name())
            .bind(bill.region.clone())
            .bind(None::<&str>)
    }
}

/// The buckets as a JSON object of whole numbers.
fn buckets_text(bill: &Bill) -> String {
    serde_json::to_string(&bill.buckets).unwrap_or_else(|_| "{}".to_owned())
}

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
    /// The group: a tenant path, a key's id, a model, a day (UTC), a call's id.
    pub group: String,
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
            " AS grouped, count(DISTINCT CASE WHEN kind = 'usage' THEN call END), sum(kind = 'usage'), ",
            "sum(input_tokens), sum(output_tokens), sum(source = 'estimated'), sum(cost_nano), ",
            "sum(cache_read_tokens), sum(cache_write_tokens), sum(reasoning_tokens), ",
            "sum(pricing = 'inconsistent'), sum(kind = 'correction'), sum(list_nano) ",
            "FROM usage WHERE at_ms >= ?1 AND at_ms < ?2 ",
            "AND (?3 IS NULL OR tenant = ?3 OR substr(tenant, 1, length(?3) + 1) = ?3 || '/') ",
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

    fn sql(self) -> &'static str {
        match self {
            GroupBy::Tenant => sums!("tenant"),
            GroupBy::Key => sums!("key"),
            GroupBy::Model => sums!("model"),
            GroupBy::Deployment => sums!("deployment"),
            GroupBy::Day => sums!("date(at_ms / 1000, 'unixepoch')"),
            GroupBy::Call => sums!("hex(call)"),
        }
    }
}

impl Store {
    /// Sums of the ledger's rows by group, in the group's order.
    pub async fn usage_rows(&self, by: GroupBy, filter: &UsageFilter) -> Result<Vec<UsageSum>, StoreError> {
        let rows = sqlx::query(by.sql())
            .bind(to_sql(filter.since_ms.unwrap_or(0)))
            .bind(filter.until_ms.map_or(i64::MAX, to_sql))
            .bind(filter.tenant.as_deref())
            .fetch_all(&self.pool)
            .await?;
        let mut sums: Vec<UsageSum> = rows.iter().map(sum).collect::<Result<_, _>>()?;
        if by == GroupBy::Call {
            for sum in &mut sums {
                let id = uuid::Uuid::parse_str(&sum.group).map_err(|_| StoreError::Broken { column: "usage.call" })?;
                sum.group = id.hyphenated().to_string();
            }
        }
        Ok(sums)
    }

    /// The heads and the ledger's sums as of one moment.
    pub async fn ledger_totals(&self) -> Result<(Option<Projected>, Totals), StoreError> {
        let mut transaction = self.pool.begin().await?;
        let projected = projection::read(&mut transaction).await?;
        let row = sqlx::query("SELECT count(*), coalesce(sum(cost_nano), 0) FROM usage WHERE kind = 'usage'")
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let attempts = from_sql(row.try_get(0)?, "usage")?;
        Ok((projected, Totals { attempts, cost_nano: row.try_get(1)? }))
    }
}

fn sum(row: &SqliteRow) -> Result<UsageSum, StoreError> {
    Ok(UsageSum {
        group: row.try_get(0)?,
        calls: from_sql(row.try_get(1)?, "usage.call")?,
        attempts: from_sql(row.try_get(2)?, "usage.attempt")?,
        input_tokens: from_sql(row.try_get(3)?, "usage.input_tokens")?,
        output_tokens: from_sql(row.try_get(4)?, "usage.output_tokens")?,
        estimated: from_sql(row.try_get(5)?, "usage.source")?,
        cost_nano: row.try_get(6)?,
        cache_read_tokens: from_sql(row.try_get(7)?, "usage.cache_read_tokens")?,
        cache_write_tokens: from_sql(row.try_get(8)?, "usage.cache_write_tokens")?,
        reasoning_tokens: from_sql(row.try_get(9)?, "usage.reasoning_tokens")?,
        inconsistent: from_sql(row.try_get(10)?, "usage.pricing")?,
        corrections: from_sql(row.try_get(11)?, "usage.kind")?,
        list_nano: row.try_get(12)?,
    })
}
