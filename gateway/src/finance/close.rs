//! The monthly close: freezes what a month cost as a statement.
//!
//! A statement is canonical JSON with its digest: sums by tenant, model and tier with the counts of every bucket, the
//! versions of the prices, the digest of the statement before it, and where the audit log was. It is never changed:
//! what is written down later about a month that is closed (a call that ended late, a correction) stands in the next
//! statement of that tenant, as a correction of the closed one. The sum of all statements is the sum of the ledger.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::Serialize;

use super::calendar;
use super::canonical::{NotWhole, canonical, digest};
use super::report::plus;
use super::statement::{Correction, FORM, LINE, LineKey, Lines, StatedHead, Statement, Sums, add, minus, written};
use crate::limits::window::Span;
use crate::store::rollup::RollupFilter;
use crate::store::statement::{Kept, StatementRow};
use crate::store::usage::UsageSum;
use crate::store::{Store, StoreError};

/// Closed months that a closing looks back at for what came late.
const MONTHS_BACK_MAX: usize = 36;
/// Tries while other statements take the number.
const TRIES_MAX: usize = 8;

/// Whose month, and how statements are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseOf {
    /// `2026-11`.
    pub month: String,
    /// Tenant path; `None`: the whole deployment.
    pub tenant: Option<String>,
    /// Whose months.
    pub zone: Tz,
    /// Who issues statements.
    pub issuer: String,
}

/// Why a month can't be closed, or a statement is not sound.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// No month.
    #[error("`{0}` is no month such as `2026-11`")]
    Month(String),
    /// It isn't over.
    #[error("the month `{0}` is not over")]
    NotOver(String),
    /// Too many others at once.
    #[error("other statements were made meanwhile: try again")]
    Busy,
    /// There is no such statement.
    #[error("there is no statement {0}")]
    NoSuchStatement(u64),
    /// A sum beyond what can be counted.
    #[error("a sum is beyond what can be counted")]
    Overflow,
    /// A statement that can't be read.
    #[error("the statement {0} can't be read")]
    Unreadable(u64),
    /// A number with a fraction.
    #[error(transparent)]
    NotWhole(#[from] NotWhole),
    /// It is no JSON.
    #[error("the statement can't be encoded")]
    Encode(#[from] serde_json::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Closes a month, or answers the statement that it has.
///
/// # Errors
/// It is no month or not over, or the store fails.
pub async fn close(store: &Store, of: &CloseOf, now_ms: u64) -> Result<StatementRow, CloseError> {
    let span = calendar::month(of.zone, &of.month).ok_or_else(|| CloseError::Month(of.month.clone()))?;
    if span.to_ms > now_ms {
        return Err(CloseError::NotOver(of.month.clone()));
    }
    for _ in 0..TRIES_MAX {
        let new = match draft(store, of, span, now_ms).await? {
            Draft::There(row) => return Ok(row),
            Draft::New(row) => row,
        };
        match store.keep_statement(&new).await? {
            Kept::New => return Ok(new),
            Kept::Before(row) => return Ok(row),
            Kept::Late => {}
        }
    }
    Err(CloseError::Busy)
}

enum Draft {
    There(StatementRow),
    New(StatementRow),
}

async fn draft(store: &Store, of: &CloseOf, span: Span, now_ms: u64) -> Result<Draft, CloseError> {
    let tenant = of.tenant.clone().unwrap_or_default();
    let own = store.statements(of.tenant.as_deref()).await?;
    let own: Vec<StatementRow> = own.into_iter().filter(|row| row.tenant == tenant).collect();
    if let Some(there) = own.iter().find(|row| row.month == of.month) {
        return Ok(Draft::There(there.clone()));
    }
    let corrections = corrections(store, of.tenant.as_deref(), &own).await?;
    let lines = written(lines(store, of.tenant.as_deref(), span).await?);
    let all = lines.iter().chain(corrections.iter().flat_map(|correction| &correction.lines));
    let total = all.map(|line| i128::from(line.sums.cost_nano)).sum::<i128>();
    let last = store.last_statement().await?;
    let statement = Statement {
        form: FORM,
        number: last.as_ref().map_or(0, |last| last.number).saturating_add(1),
        issuer: of.issuer.clone(),
        tenant,
        month: of.month.clone(),
        zone: of.zone.name().to_owned(),
        from_ms: span.from_ms,
        to_ms: span.to_ms,
        closed_ms: now_ms,
        currency: "USD".to_owned(),
        lines,
        corrections,
        total_nano: i64::try_from(total).map_err(|_| CloseError::Overflow)?,
        price_versions: store.price_versions(span, of.tenant.as_deref()).await?,
        previous: last.map(|last| last.digest).unwrap_or_default(),
        audit: store.audit_heads().await?.into_iter().map(StatedHead::from).collect(),
    };
    Ok(Draft::New(row(&statement)?))
}

fn row(statement: &Statement) -> Result<StatementRow, CloseError> {
    let body = canonical(&serde_json::to_value(statement)?)?;
    Ok(StatementRow {
        number: statement.number,
        tenant: statement.tenant.clone(),
        month: statement.month.clone(),
        from_ms: statement.from_ms,
        to_ms: statement.to_ms,
        closed_ms: statement.closed_ms,
        cost_nano: statement.total_nano,
        digest: digest(&body),
        body,
    })
}

/// What the ledger says of a span at this moment.
pub async fn lines(store: &Store, tenant: Option<&str>, span: Span) -> Result<Lines, CloseError> {
    let filter = RollupFilter { tenant: tenant.map(str::to_owned), ..RollupFilter::default() };
    let mut sums: BTreeMap<LineKey, UsageSum> = BTreeMap::new();
    for part in store.rollups(&LINE, &[span], &filter).await? {
        let of = sums.entry(key(part.columns)?).or_default();
        *of = plus(std::mem::take(of), &part.sums).ok_or(CloseError::Overflow)?;
    }
    let mut lines: Lines =
        sums.into_iter().map(|(key, sum)| Ok((key, line(&sum)?))).collect::<Result<_, CloseError>>()?;
    for part in store.bucket_rollups(&LINE, &[span], &filter).await? {
        let of = lines.entry(key(part.columns)?).or_default().buckets.entry(part.bucket).or_default();
        let amount = i64::try_from(part.amount).map_err(|_| CloseError::Overflow)?;
        *of = of.checked_add(amount).ok_or(CloseError::Overflow)?;
    }
    Ok(lines)
}

fn key(columns: Vec<String>) -> Result<LineKey, StoreError> {
    columns.try_into().map_err(|_| StoreError::Broken { column: "rollup" })
}

fn line(sum: &UsageSum) -> Result<Sums, CloseError> {
    let whole = |count: u64| i64::try_from(count).map_err(|_| CloseError::Overflow);
    Ok(Sums {
        attempts: whole(sum.attempts)?,
        buckets: BTreeMap::new(),
        calls: whole(sum.calls)?,
        cost_nano: sum.cost_nano,
        input_tokens: whole(sum.input_tokens)?,
        list_nano: sum.list_nano,
        output_tokens: whole(sum.output_tokens)?,
    })
}

/// What the ledger says of closed months beyond what their statements and the corrections since said.
async fn corrections(store: &Store, tenant: Option<&str>, own: &[StatementRow]) -> Result<Vec<Correction>, CloseError> {
    let mut said: BTreeMap<u64, Lines> = BTreeMap::new();
    for row in own {
        let statement = read(row)?;
        add(said.entry(row.number).or_default(), &statement.lines).ok_or(CloseError::Overflow)?;
        for correction in &statement.corrections {
            let of = said.entry(correction.statement).or_default();
            add(of, &correction.lines).ok_or(CloseError::Overflow)?;
        }
    }
    let mut all = Vec::new();
    for row in own.iter().rev().take(MONTHS_BACK_MAX).rev() {
        let span = Span { from_ms: row.from_ms, to_ms: row.to_ms };
        let now = lines(store, tenant, span).await?;
        let difference = minus(now, said.get(&row.number).cloned().unwrap_or_default()).ok_or(CloseError::Overflow)?;
        if !difference.is_empty() {
            all.push(Correction { statement: row.number, month: row.month.clone(), lines: written(difference) });
        }
    }
    Ok(all)
}

/// What a kept statement says.
///
/// # Errors
/// It can't be read.
pub fn read(row: &StatementRow) -> Result<Statement, CloseError> {
    serde_json::from_str(&row.body).map_err(|_| CloseError::Unreadable(row.number))
}

/// What a check of a statement found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Its number.
    pub number: u64,
    /// Its digest as it is kept.
    pub digest: String,
    /// Whether nothing was changed.
    pub ok: bool,
    /// What is wrong.
    pub faults: Vec<&'static str>,
    /// Nano-dollars that came late for its month and stand in no statement yet.
    pub late_nano: i64,
}

/// Checks a statement: its digest, its form, its sum, its place in the row of statements.
///
/// # Errors
/// There is none of that number, or the store fails.
pub async fn verify(store: &Store, number: u64) -> Result<Verdict, CloseError> {
    let row = store.statement(number).await?.ok_or(CloseError::NoSuchStatement(number))?;
    let before = match number.checked_sub(1) {
        None | Some(0) => None,
        Some(before) => store.statement(before).await?,
    };
    let mut faults = Vec::new();
    let mut check = |ok: bool, fault: &'static str| {
        if !ok {
            faults.push(fault);
        }
    };
    check(digest(&row.body) == row.digest, "its digest is that of another text");
    check(number == 1 || before.is_some(), "the statement before it is missing");
    let mut late_nano = 0;
    match read(&row) {
        Err(_) => check(false, "it can't be read"),
        Ok(said) => {
            let again = self::row(&said)?;
            check(again.body == row.body, "its text is not canonical");
            check(StatementRow { digest: row.digest.clone(), ..again } == row, "it says other things than its columns");
            let previous = before.map(|before| digest(&before.body)).unwrap_or_default();
            check(said.previous == previous, "the statement before it was changed");
            let all = said.lines.iter().chain(said.corrections.iter().flat_map(|correction| &correction.lines));
            let total: i128 = all.map(|line| i128::from(line.sums.cost_nano)).sum();
            check(total == i128::from(said.total_nano), "its lines don't add up");
            late_nano = late(store, &row).await?;
        }
    }
    Ok(Verdict { number, digest: row.digest, ok: faults.is_empty(), faults, late_nano })
}

/// What the ledger has of a statement's month beyond all statements.
async fn late(store: &Store, row: &StatementRow) -> Result<i64, CloseError> {
    let tenant = (!row.tenant.is_empty()).then_some(row.tenant.as_str());
    let own = store.statements(tenant).await?;
    let own: Vec<StatementRow> = own.into_iter().filter(|other| other.tenant == row.tenant).collect();
    let late = match corrections(store, tenant, &own).await {
        // Another statement that can't be read has its own check.
        Err(CloseError::Unreadable(_)) => return Ok(0),
        other => other?,
    };
    let of_this = late.iter().filter(|correction| correction.statement == row.number);
    let sum: i128 = of_this.flat_map(|correction| &correction.lines).map(|line| i128::from(line.sums.cost_nano)).sum();
    i64::try_from(sum).map_err(|_| CloseError::Overflow)
}

#[cfg(test)]
pub(crate) mod tests;
