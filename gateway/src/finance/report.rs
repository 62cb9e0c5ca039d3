//! Reports: the ledger's sums by up to three things at once, by any level of the tenant path, in any time zone.
//!
//! Every figure is an exact integer and equal to the sum of the rows.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::Serialize;

use super::calendar::{self, TooMany};
use crate::limits::window::{CalendarUnit, Span};
use crate::store::rollup::{Column, RollupFilter};
use crate::store::usage::{GroupBy, UsageFilter, UsageSum};
use crate::store::{Store, StoreError};

/// Most things that one report sums by.
pub const DIMENSIONS_MAX: usize = 3;
/// Most rows of one report: what still fits a spreadsheet.
pub const ROWS_MAX: usize = 1_000_000;

/// What a report sums by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// Tenant path, or its outer levels
    Tenant,
    /// Key's id
    Key,
    /// Model as asked for
    Model,
    /// Model as the deployment knows it
    UpstreamModel,
    /// Provider
    Provider,
    /// Deployment
    Deployment,
    /// Tier of the price
    Tier,
    /// Hour of the call's birth
    Hour,
    /// Day of the call's birth
    Day,
    /// Month of the call's birth
    Month,
    /// Single calls, by their ids; alone
    Call,
}

/// What a dimension is read from.
enum Kind {
    Column(Column),
    Time(CalendarUnit),
    Call,
}

impl By {
    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            By::Tenant => "tenant",
            By::Key => "key",
            By::Model => "model",
            By::UpstreamModel => "upstream-model",
            By::Provider => "provider",
            By::Deployment => "deployment",
            By::Tier => "tier",
            By::Hour => "hour",
            By::Day => "day",
            By::Month => "month",
            By::Call => "call",
        }
    }

    fn kind(self) -> Kind {
        match self {
            By::Tenant => Kind::Column(Column::Tenant),
            By::Key => Kind::Column(Column::Key),
            By::Model => Kind::Column(Column::Model),
            By::UpstreamModel => Kind::Column(Column::UpstreamModel),
            By::Provider => Kind::Column(Column::Provider),
            By::Deployment => Kind::Column(Column::Deployment),
            By::Tier => Kind::Column(Column::Tier),
            By::Hour => Kind::Time(CalendarUnit::Hour),
            By::Day => Kind::Time(CalendarUnit::Day),
            By::Month => Kind::Time(CalendarUnit::Month),
            By::Call => Kind::Call,
        }
    }
}

/// A level of the tenant path: paths are summed up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// The first name
    Org,
    /// The first two
    Team,
    /// The first three
    Project,
    /// The whole path
    User,
}

impl Level {
    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Level::Org => "org",
            Level::Team => "team",
            Level::Project => "project",
            Level::User => "user",
        }
    }

    /// The path up to this level; a shorter path is its own.
    pub fn of(self, path: &str) -> &str {
        let slash = match self {
            Level::Org => 0,
            Level::Team => 1,
            Level::Project => 2,
            Level::User => 3,
        };
        path.match_indices('/').nth(slash).and_then(|(end, _)| path.get(..end)).unwrap_or(path)
    }
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportOf {
    /// What to sum by, one to [`DIMENSIONS_MAX`].
    pub by: Vec<By>,
    /// Up to which level tenant paths are told apart.
    pub level: Level,
    /// Whose days and months.
    pub zone: Tz,
    /// Unix milliseconds, inclusive; `None`: from the beginning.
    pub since_ms: Option<u64>,
    /// Unix milliseconds, exclusive; `None`: to the end.
    pub until_ms: Option<u64>,
    /// Which usage.
    pub filter: RollupFilter,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsageReport {
    /// What the rows are grouped by, joined by commas.
    pub by: String,
    /// Up to which level tenant paths are told apart.
    pub level: &'static str,
    /// Whose days and months.
    pub zone: &'static str,
    /// Unix milliseconds, inclusive; `None`: from the beginning.
    pub since_ms: Option<u64>,
    /// Unix milliseconds, exclusive; `None`: to the end.
    pub until_ms: Option<u64>,
    /// One row per group, in the groups' order.
    pub rows: Vec<UsageSum>,
    /// Sums over all rows; its group is empty.
    pub total: UsageSum,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// None, or more than a report has.
    #[error("a report sums by one to {DIMENSIONS_MAX} things")]
    Dimensions,
    /// Twice the same, or times that contain each other.
    #[error("a report can't sum by `{0}` and `{1}` at once")]
    Clash(&'static str, &'static str),
    /// Single calls aren't kept in sums.
    #[error("a report by `call` can be narrowed by tenant and time only, and sums by nothing else")]
    Call,
    /// Too many units of time.
    #[error(transparent)]
    Units(#[from] TooMany),
    /// Too many rows.
    #[error("the report has more than {ROWS_MAX} rows: narrow it")]
    Rows,
    /// A sum beyond what can be counted.
    #[error("a sum is beyond what can be counted")]
    Overflow,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ReportError {
    /// Whether the question is at fault.
    pub fn is_the_askers(&self) -> bool {
        match self {
            Self::Dimensions | Self::Clash(..) | Self::Call | Self::Units(_) | Self::Rows => true,
            Self::Overflow | Self::Store(_) => false,
        }
    }
}

/// Sums the ledger up.
///
/// # Errors
/// The question can't be answered, or the store fails.
pub async fn usage_report(store: &Store, of: &ReportOf) -> Result<UsageReport, ReportError> {
    let rows = match columns_and_unit(of)? {
        None => by_call(store, of).await?,
        Some((columns, unit)) => by_rollup(store, of, &columns, unit).await?,
    };
    if rows.len() > ROWS_MAX {
        return Err(ReportError::Rows);
    }
    let total =
        rows.iter().try_fold(UsageSum::default(), |total, row| plus(total, row)).ok_or(ReportError::Overflow)?;
    let names: Vec<&str> = of.by.iter().map(|by| by.name()).collect();
    Ok(UsageReport {
        by: names.join(","),
        level: of.level.name(),
        zone: of.zone.name(),
        since_ms: of.since_ms,
        until_ms: of.until_ms,
        rows,
        total,
    })
}

/// The columns that the question needs, and its unit of time; `None` where it is about single calls.
fn columns_and_unit(of: &ReportOf) -> Result<Option<(Vec<Column>, Option<CalendarUnit>)>, ReportError> {
    if of.by.is_empty() || of.by.len() > DIMENSIONS_MAX {
        return Err(ReportError::Dimensions);
    }
    let (mut columns, mut unit) = (Vec::new(), None::<(&'static str, CalendarUnit)>);
    for by in &of.by {
        match by.kind() {
            Kind::Column(column) if columns.contains(&column) => return Err(ReportError::Clash(by.name(), by.name())),
            Kind::Column(column) => columns.push(column),
            Kind::Time(time) => match unit {
                Some((other, _)) => return Err(ReportError::Clash(other, by.name())),
                None => unit = Some((by.name(), time)),
            },
            Kind::Call => {
                let narrowed = RollupFilter { tenant: of.filter.tenant.clone(), ..RollupFilter::default() };
                let alone = of.by.len() == 1 && of.filter == narrowed;
                return if alone { Ok(None) } else { Err(ReportError::Call) };
            }
        }
    }
    Ok(Some((columns, unit.map(|(_, unit)| unit))))
}

async fn by_call(store: &Store, of: &ReportOf) -> Result<Vec<UsageSum>, StoreError> {
    let tenant = of.filter.tenant.clone();
    let filter = UsageFilter { since_ms: of.since_ms, until_ms: of.until_ms, tenant };
    store.usage_rows(GroupBy::Call, &filter).await
}

async fn by_rollup(
    store: &Store,
    of: &ReportOf,
    columns: &[Column],
    unit: Option<CalendarUnit>,
) -> Result<Vec<UsageSum>, ReportError> {
    let Some(extent) = store.usage_extent().await? else { return Ok(Vec::new()) };
    let within = Span {
        from_ms: of.since_ms.unwrap_or(0).max(extent.from_ms),
        to_ms: of.until_ms.unwrap_or(u64::MAX).min(extent.to_ms),
    };
    if within.from_ms >= within.to_ms {
        return Ok(Vec::new());
    }
    let units = match unit {
        Some(unit) => calendar::units(unit, of.zone, within)?,
        None => vec![calendar::Named { name: String::new(), span: within }],
    };
    let spans: Vec<Span> = units.iter().map(|unit| unit.span).collect();
    let mut groups: BTreeMap<Vec<String>, UsageSum> = BTreeMap::new();
    for part in store.rollups(columns, &spans, &of.filter).await? {
        let mut values = part.columns.into_iter();
        let group = of.by.iter().map(|by| match by.kind() {
            Kind::Column(Column::Tenant) => of.level.of(&values.next().unwrap_or_default()).to_owned(),
            Kind::Column(_) => values.next().unwrap_or_default(),
            Kind::Time(_) | Kind::Call => units.get(part.span).map(|unit| unit.name.clone()).unwrap_or_default(),
        });
        let sum = groups.entry(group.collect()).or_default();
        *sum = plus(std::mem::take(sum), &part.sums).ok_or(ReportError::Overflow)?;
        if groups.len() > ROWS_MAX {
            return Err(ReportError::Rows);
        }
    }
    Ok(groups.into_iter().map(|(groups, sum)| UsageSum { group: groups.join(" "), groups, ..sum }).collect())
}

/// Both together; `None` beyond what can be counted.
pub fn plus(total: UsageSum, more: &UsageSum) -> Option<UsageSum> {
    Some(UsageSum {
        group: total.group,
        groups: total.groups,
        calls: total.calls.checked_add(more.calls)?,
        attempts: total.attempts.checked_add(more.attempts)?,
        input_tokens: total.input_tokens.checked_add(more.input_tokens)?,
        output_tokens: total.output_tokens.checked_add(more.output_tokens)?,
        cache_read_tokens: total.cache_read_tokens.checked_add(more.cache_read_tokens)?,
        cache_write_tokens: total.cache_write_tokens.checked_add(more.cache_write_tokens)?,
        reasoning_tokens: total.reasoning_tokens.checked_add(more.reasoning_tokens)?,
        estimated: total.estimated.checked_add(more.estimated)?,
        inconsistent: total.inconsistent.checked_add(more.inconsistent)?,
        corrections: total.corrections.checked_add(more.corrections)?,
        list_nano: total.list_nano.checked_add(more.list_nano)?,
        cost_nano: total.cost_nano.checked_add(more.cost_nano)?,
    })
}

#[cfg(test)]
pub(crate) mod tests;
