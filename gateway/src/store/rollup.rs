//! Sums of the ledger by day and by hour (UTC), and every question that they answer.
//!
//! They move with the rows of usage, in the same transaction, so that they can't differ from the rows: a row that was
//! there already moves nothing ([`add`]). A span of time is cut into whole days, whole hours and
//! what is left at its edges, which is read from the rows themselves: answers are exact for any span in any time zone,
//! and a year costs its days.

pub(super) mod add;

use sqlx::AssertSqlSafe;

use super::either::{Cells, Either, number, on, rows};
use super::usage::UsageSum;
use super::{Store, StoreError, to_sql};
use crate::limits::window::Span;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 86_400_000;

/// A column that sums are kept by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Tenant path.
    Tenant,
    /// Key's id.
    Key,
    /// Model as asked for.
    Model,
    /// Model as the deployment knows it.
    UpstreamModel,
    /// Provider.
    Provider,
    /// Deployment.
    Deployment,
    /// Tier of the price.
    Tier,
}

impl Column {
    /// Every column, in the order of a rollup's key.
    pub const ALL: [Self; 7] =
        [Self::Tenant, Self::Key, Self::Model, Self::UpstreamModel, Self::Provider, Self::Deployment, Self::Tier];

    /// Its name in tables and questions.
    pub fn name(self) -> &'static str {
        match self {
            Column::Tenant => "tenant",
            Column::Key => "key",
            Column::Model => "model",
            Column::UpstreamModel => "upstream_model",
            Column::Provider => "provider",
            Column::Deployment => "deployment",
            Column::Tier => "tier",
        }
    }
}

/// Which sums are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RollupFilter {
    /// This tenant path and everything below it.
    pub tenant: Option<String>,
    /// Only this key.
    pub key: Option<String>,
    /// Only this model as asked for.
    pub model: Option<String>,
    /// Only this model as the deployment knows it.
    pub upstream_model: Option<String>,
    /// Only this provider.
    pub provider: Option<String>,
    /// Only this deployment.
    pub deployment: Option<String>,
    /// Only this tier.
    pub tier: Option<String>,
}

/// Sums of one group within one span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rolled {
    /// Place of the span among those asked for.
    pub span: usize,
    /// The group: a value for each column asked for.
    pub columns: Vec<String>,
    /// Its sums; groups may come in several parts.
    pub sums: UsageSum,
}

/// One bucket's count of one group within one span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSum {
    /// Place of the span among those asked for.
    pub span: usize,
    /// The group: a value for each column asked for.
    pub columns: Vec<String>,
    /// The bucket's name.
    pub bucket: String,
    /// How much; groups may come in several parts.
    pub amount: u64,
}

/// A place that sums are read from.
struct Source {
    from: &'static str,
    time: &'static str,
    sums: &'static str,
}

const KEPT: &str = "CAST(sum(calls) AS BIGINT), CAST(sum(attempts) AS BIGINT), CAST(sum(input_tokens) AS BIGINT), \
     CAST(sum(output_tokens) AS BIGINT), CAST(sum(cache_read_tokens) AS BIGINT), \
     CAST(sum(cache_write_tokens) AS BIGINT), CAST(sum(reasoning_tokens) AS BIGINT), \
     CAST(sum(estimated) AS BIGINT), CAST(sum(inconsistent) AS BIGINT), CAST(sum(corrections) AS BIGINT), \
     CAST(sum(list_nano) AS BIGINT), CAST(sum(cost_nano) AS BIGINT)";
const COUNTED: &str = "count(*) FILTER (WHERE attempt = 0 AND kind = 'usage'), \
     count(*) FILTER (WHERE kind = 'usage'), CAST(sum(input_tokens) AS BIGINT), CAST(sum(output_tokens) AS BIGINT), \
     CAST(sum(cache_read_tokens) AS BIGINT), CAST(sum(cache_write_tokens) AS BIGINT), \
     CAST(sum(reasoning_tokens) AS BIGINT), count(*) FILTER (WHERE source = 'estimated'), \
     count(*) FILTER (WHERE pricing = 'inconsistent'), count(*) FILTER (WHERE kind = 'correction'), \
     CAST(sum(list_nano) AS BIGINT), CAST(sum(cost_nano) AS BIGINT)";

const DAYS: Source = Source { from: "usage_day AS r", time: "day_ms", sums: KEPT };
const HOURS: Source = Source { from: "usage_hour AS r", time: "hour_ms", sums: KEPT };
const ROWS: Source = Source { from: "usage AS r", time: "at_ms", sums: COUNTED };
const BUCKET_DAYS: Source =
    Source { from: "usage_day_bucket AS r", time: "day_ms", sums: "bucket, CAST(sum(amount) AS BIGINT)" };
const BUCKET_ROWS: Source = Source {
    from: "usage AS r CROSS JOIN json_each(r.buckets) AS counted",
    time: "at_ms",
    sums: "counted.key, CAST(sum(counted.value) AS BIGINT)",
};
const BUCKET_ROWS_POSTGRES: Source = Source {
    from: "usage AS r CROSS JOIN LATERAL jsonb_each_text(CAST(r.buckets AS jsonb)) AS counted",
    time: "at_ms",
    sums: "counted.key, CAST(sum(CAST(counted.value AS BIGINT)) AS BIGINT)",
};

/// Labelled spans, cut by what answers them.
#[derive(Debug, Default)]
struct Cut {
    days: Vec<(usize, Span)>,
    hours: Vec<(usize, Span)>,
    rows: Vec<(usize, Span)>,
}

impl Cut {
    /// Cuts every span into whole days, whole hours and rows.
    fn by_hours(spans: &[Span]) -> Self {
        let mut cut = Self::default();
        for (label, span) in spans.iter().enumerate() {
            let (hours, edges) = whole(*span, HOUR_MS);
            cut.rows.extend(edges.into_iter().flatten().map(|edge| (label, edge)));
            if let Some(hours) = hours {
                let (days, edges) = whole(hours, DAY_MS);
                cut.hours.extend(edges.into_iter().flatten().map(|edge| (label, edge)));
                cut.days.extend(days.map(|days| (label, days)));
            }
        }
        cut
    }

    /// Cuts every span into whole days and rows.
    fn by_days(spans: &[Span]) -> Self {
        let mut cut = Self::default();
        for (label, span) in spans.iter().enumerate() {
            let (days, edges) = whole(*span, DAY_MS);
            cut.rows.extend(edges.into_iter().flatten().map(|edge| (label, edge)));
            cut.days.extend(days.map(|days| (label, days)));
        }
        cut
    }
}

/// The whole units within a span, and what is left before and behind them.
fn whole(span: Span, unit_ms: u64) -> (Option<Span>, [Option<Span>; 2]) {
    let some = |from_ms, to_ms| (from_ms < to_ms).then_some(Span { from_ms, to_ms });
    let first = span.from_ms.checked_next_multiple_of(unit_ms).unwrap_or(span.to_ms);
    let last = span.to_ms.saturating_sub(span.to_ms.checked_rem(unit_ms).unwrap_or(0));
    match some(first, last) {
        Some(units) => (Some(units), [some(span.from_ms, first), some(last, span.to_ms)]),
        None => (None, [some(span.from_ms, span.to_ms), None]),
    }
}

/// The question's text: nothing of it comes from outside but numbers and the fixed names of columns.
fn question(columns: &[Column], extra_group: &str, parts: &[(&Source, &[(usize, Span)])]) -> Option<String> {
    let names: String = columns.iter().map(|column| format!("r.{}, ", column.name())).collect();
    let mut with = Vec::new();
    let mut selects = Vec::new();
    for (at, (source, spans)) in parts.iter().enumerate().filter(|(_, (_, spans))| !spans.is_empty()) {
        let spans: Vec<String> = spans
            .iter()
            .map(|(label, span)| format!("({label},{},{})", to_sql(span.from_ms), to_sql(span.to_ms)))
            .collect();
        with.push(format!("s{at}(label, first_ms, end_ms) AS (VALUES {})", spans.join(",")));
        let Source { from, time, sums } = source;
        let filter: String = Column::ALL
            .iter()
            .zip(1..)
            .map(|(column, place)| match column {
                Column::Tenant => format!(
                    " AND (${place} IS NULL OR r.tenant = ${place} \
                     OR substr(r.tenant, 1, length(${place}) + 1) = ${place} || '/')"
                ),
                Column::Key
                | Column::Model
                | Column::UpstreamModel
                | Column::Provider
                | Column::Deployment
                | Column::Tier => format!(" AND (${place} IS NULL OR r.{} = ${place})", column.name()),
            })
            .collect();
        let groups = format!("label, {names}{extra_group}");
        selects.push(format!(
            "SELECT CAST(label AS BIGINT), {names}{sums} FROM s{at} CROSS JOIN {from} \
             WHERE {time} >= first_ms AND {time} < end_ms{filter} GROUP BY {}",
            groups.trim_end_matches(", ")
        ));
    }
    (!selects.is_empty()).then(|| format!("WITH {} {}", with.join(", "), selects.join(" UNION ALL ")))
}

/// Puts a question with a filter's values.
macro_rules! asked {
    ($store:expr, $sql:expr, $filter:expr, $read:expr) => {
        rows!(
            &$store.pools,
            $read,
            AssertSqlSafe($sql),
            $filter.tenant.as_deref(),
            $filter.key.as_deref(),
            $filter.model.as_deref(),
            $filter.upstream_model.as_deref(),
            $filter.provider.as_deref(),
            $filter.deployment.as_deref(),
            $filter.tier.as_deref()
        )
    };
}

impl Store {
    /// From the first day that has usage to the end of the last one; `None` in an empty ledger.
    pub async fn usage_extent(&self) -> Result<Option<Span>, StoreError> {
        let first = number!(&self.pools, "usage_day", "SELECT coalesce(min(day_ms), 0) FROM usage_day")?;
        let last = number!(&self.pools, "usage_day", "SELECT coalesce(max(day_ms), -1) + 1 FROM usage_day")?;
        Ok((last > 0).then(|| Span { from_ms: first, to_ms: last.saturating_sub(1).saturating_add(DAY_MS) }))
    }

    /// Sums by these columns within each of these spans. Groups come in no order, and in up to five parts.
    ///
    /// # Errors
    /// The store fails; a sum beyond 63 bits is such a failure.
    pub async fn rollups(
        &self,
        columns: &[Column],
        spans: &[Span],
        filter: &RollupFilter,
    ) -> Result<Vec<Rolled>, StoreError> {
        let cut = Cut::by_hours(spans);
        let parts: [(&Source, &[(usize, Span)]); 3] = [(&DAYS, &cut.days), (&HOURS, &cut.hours), (&ROWS, &cut.rows)];
        let Some(sql) = question(columns, "", &parts) else { return Ok(Vec::new()) };
        asked!(self, sql, filter, |row| rolled(row, columns.len()))
    }

    /// Counts of buckets by these columns within each of these spans. Groups come in no order, and in up to three
    /// parts.
    ///
    /// # Errors
    /// The store fails.
    pub async fn bucket_rollups(
        &self,
        columns: &[Column],
        spans: &[Span],
        filter: &RollupFilter,
    ) -> Result<Vec<BucketSum>, StoreError> {
        let cut = Cut::by_days(spans);
        let rows = match &self.pools {
            Either::Sqlite(_) => &BUCKET_ROWS,
            Either::Postgres(_) => &BUCKET_ROWS_POSTGRES,
        };
        let days = (&BUCKET_DAYS, cut.days.as_slice());
        let mut all = Vec::new();
        for (part, group) in [(days, "bucket"), ((rows, cut.rows.as_slice()), "counted.key")] {
            if let Some(sql) = question(columns, group, &[part]) {
                all.append(&mut asked!(self, sql, filter, |row| bucket_sum(row, columns.len()))?);
            }
        }
        Ok(all)
    }
}

fn group(row: &impl Cells, columns: usize) -> Result<(usize, Vec<String>), StoreError> {
    let label = row.count(0, "rollup.label")?;
    let label = usize::try_from(label).map_err(|_| StoreError::Broken { column: "rollup.label" })?;
    let columns = (1..=columns).map(|at| row.text(at)).collect::<Result<_, _>>()?;
    Ok((label, columns))
}

fn rolled(row: &impl Cells, columns: usize) -> Result<Rolled, StoreError> {
    let (span, groups) = group(row, columns)?;
    let at = |number: usize| columns.saturating_add(number);
    let sums = UsageSum {
        calls: row.count(at(1), "rollup.calls")?,
        attempts: row.count(at(2), "rollup.attempts")?,
        input_tokens: row.count(at(3), "rollup.input_tokens")?,
        output_tokens: row.count(at(4), "rollup.output_tokens")?,
        cache_read_tokens: row.count(at(5), "rollup.cache_read_tokens")?,
        cache_write_tokens: row.count(at(6), "rollup.cache_write_tokens")?,
        reasoning_tokens: row.count(at(7), "rollup.reasoning_tokens")?,
        estimated: row.count(at(8), "rollup.estimated")?,
        inconsistent: row.count(at(9), "rollup.inconsistent")?,
        corrections: row.count(at(10), "rollup.corrections")?,
        list_nano: row.int(at(11))?,
        cost_nano: row.int(at(12))?,
        ..UsageSum::default()
    };
    Ok(Rolled { span, columns: groups, sums })
}

fn bucket_sum(row: &impl Cells, columns: usize) -> Result<BucketSum, StoreError> {
    let (span, groups) = group(row, columns)?;
    let at = |number: usize| columns.saturating_add(number);
    let amount = row.count(at(2), "rollup.amount")?;
    Ok(BucketSum { span, columns: groups, bucket: row.text(at(1))?, amount })
}
