//! Reconciliation: what a provider bills against what the ledger says, by day, model and tier, with the residual by
//! cause.
//!
//! The causes of a residual add up to it exactly. Where both sides know the tokens, the part of the difference that the
//! tokens explain at our own price is theirs, the rest is the price's. Start at [`reconcile`]; [`read`] knows the
//! providers' exports.

pub mod decimal;
pub mod read;

use std::collections::{BTreeMap, BTreeSet};

use chrono_tz::Tz;
use serde::Serialize;

use super::calendar;
use super::report::plus;
use crate::limits::window::{CalendarUnit, Span};
use crate::store::rollup::{Column, RollupFilter};
use crate::store::usage::UsageSum;
use crate::store::{Store, StoreError};

/// What a provider bills for a day, a model and a tier.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Billed {
    /// Tokens, where the export has them.
    pub tokens: Option<u64>,
    /// Nano-dollars, where the export has them.
    pub nano: Option<i128>,
    /// Lines of the export.
    pub lines: u64,
    /// Nano-dollars that its lines may be off by because they are rounded.
    pub rounding: i128,
}

/// Day, model, tier.
pub type Place = (String, String, String);
/// An export, summed up.
pub type Bill = BTreeMap<Place, Billed>;

/// Why the two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The ledger has nothing for that day, model and tier.
    MissingHere,
    /// The provider bills nothing for what the ledger has.
    MissingThere,
    /// The ledger has never seen the model.
    UnmatchedModel,
    /// Another count of tokens.
    Tokens,
    /// Another price, or tokens where the export doesn't have them.
    Price,
    /// Within what the rounding of the lines explains.
    Rounding,
}

impl Cause {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Cause::MissingHere => "missing_here",
            Cause::MissingThere => "missing_there",
            Cause::UnmatchedModel => "unmatched_model",
            Cause::Tokens => "tokens",
            Cause::Price => "price",
            Cause::Rounding => "rounding",
        }
    }
}

/// One day, model and tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Day, UTC.
    pub day: String,
    /// The provider's name of the model.
    pub model: String,
    /// Tier.
    pub tier: String,
    /// Nano-dollars there.
    pub theirs_nano: Option<i128>,
    /// Nano-dollars here.
    pub ours_nano: i128,
    /// Tokens there.
    pub theirs_tokens: Option<u64>,
    /// Tokens here.
    pub ours_tokens: u64,
    /// What of the difference has which cause, in nano-dollars, without the zeros.
    pub causes: BTreeMap<Cause, i128>,
}

/// The whole comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reconciliation {
    /// The provider.
    pub provider: String,
    /// Unix milliseconds, inclusive.
    pub from_ms: u64,
    /// Unix milliseconds, exclusive.
    pub to_ms: u64,
    /// Every day, model and tier of either side.
    pub rows: Vec<Compared>,
    /// Nano-dollars there; what has no cost in the export counts as ours.
    pub theirs_nano: i128,
    /// Nano-dollars here.
    pub ours_nano: i128,
    /// Their sum less ours.
    pub residual_nano: i128,
    /// The residual by cause: adds up to it.
    pub causes: BTreeMap<Cause, i128>,
}

/// What to compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconcileOf {
    /// Provider as the ledger calls it.
    pub provider: String,
    /// The provider's names of models, and ours.
    pub names: BTreeMap<String, String>,
    /// Unix milliseconds, inclusive; `None`: the export's first day.
    pub since_ms: Option<u64>,
    /// Unix milliseconds, exclusive; `None`: the end of the export's last day.
    pub until_ms: Option<u64>,
}

/// Why nothing is compared.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Nothing in it.
    #[error("the export has no line of usage or cost")]
    Empty,
    /// Days that aren't.
    #[error("`{0}` is no day")]
    Day(String),
    /// Too long.
    #[error(transparent)]
    Units(#[from] calendar::TooMany),
    /// A sum beyond what can be counted.
    #[error("a sum is beyond what can be counted")]
    Overflow,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Compares an export with the ledger, over the days that the export has.
///
/// # Errors
/// The export has no day, or the store fails.
pub async fn reconcile(store: &Store, bill: &Bill, of: &ReconcileOf) -> Result<Reconciliation, ReconcileError> {
    let span = span(bill, of)?;
    let days = calendar::units(CalendarUnit::Day, Tz::UTC, span)?;
    let spans: Vec<Span> = days.iter().map(|day| day.span).collect();
    let filter = RollupFilter { provider: Some(of.provider.clone()), ..RollupFilter::default() };
    let mut ours: BTreeMap<Place, UsageSum> = BTreeMap::new();
    for part in store.rollups(&[Column::UpstreamModel, Column::Tier], &spans, &filter).await? {
        let day = days.get(part.span).map(|day| day.name.clone()).unwrap_or_default();
        let [model, tier] = part.columns.as_slice() else { continue };
        let sum = ours.entry((day, model.clone(), tier.clone())).or_default();
        *sum = plus(std::mem::take(sum), &part.sums).ok_or(ReconcileError::Overflow)?;
    }
    let known: BTreeSet<&str> = ours.keys().map(|(_, model, _)| model.as_str()).collect();
    let mut theirs: BTreeMap<Place, (String, Billed)> = BTreeMap::new();
    let mut unmatched = Vec::new();
    let inside = |day: &str| days.iter().any(|named| named.name == day);
    for ((day, model, tier), billed) in bill.iter().filter(|((day, _, _), _)| inside(day)) {
        match named(model, &of.names, &known) {
            Some(own) => {
                let (_, sum) =
                    theirs.entry((day.clone(), own, tier.clone())).or_insert((model.clone(), Billed::default()));
                sum.add(billed);
            }
            None => unmatched.push(alone((day, model, tier), billed, Cause::UnmatchedModel)),
        }
    }
    let places: BTreeSet<&Place> = ours.keys().chain(theirs.keys()).collect();
    let mut rows: Vec<Compared> =
        places.into_iter().map(|place| compared(place, ours.get(place), theirs.get(place))).collect();
    rows.append(&mut unmatched);
    rows.sort_by(|a, b| (&a.day, &a.model, &a.tier).cmp(&(&b.day, &b.model, &b.tier)));
    Ok(summed(of.provider.clone(), span, rows))
}

fn summed(provider: String, span: Span, rows: Vec<Compared>) -> Reconciliation {
    let mut causes: BTreeMap<Cause, i128> = BTreeMap::new();
    for (cause, nano) in rows.iter().flat_map(|row| &row.causes) {
        let of = causes.entry(*cause).or_default();
        *of = of.saturating_add(*nano);
    }
    let ours_nano = rows.iter().map(|row| row.ours_nano).sum::<i128>();
    let theirs_nano = rows.iter().map(|row| row.theirs_nano.unwrap_or(row.ours_nano)).sum::<i128>();
    let residual_nano = theirs_nano.saturating_sub(ours_nano);
    Reconciliation {
        provider,
        from_ms: span.from_ms,
        to_ms: span.to_ms,
        rows,
        theirs_nano,
        ours_nano,
        residual_nano,
        causes,
    }
}

fn span(bill: &Bill, of: &ReconcileOf) -> Result<Span, ReconcileError> {
    let (first, last) = bill.keys().next().zip(bill.keys().next_back()).ok_or(ReconcileError::Empty)?;
    let day = |text: &str| {
        let moment = text.parse::<chrono::NaiveDate>().ok().and_then(|day| day.and_hms_opt(0, 0, 0));
        let ms = moment.and_then(|moment| u64::try_from(moment.and_utc().timestamp_millis()).ok());
        ms.map(|ms| CalendarUnit::Day.span(Tz::UTC, ms)).ok_or_else(|| ReconcileError::Day(text.to_owned()))
    };
    let (first, last) = (day(&first.0)?, day(&last.0)?);
    Ok(Span { from_ms: of.since_ms.unwrap_or(first.from_ms), to_ms: of.until_ms.unwrap_or(last.to_ms) })
}

/// Our name of a provider's model: as was said, the same, or the same without its date.
fn named(model: &str, names: &BTreeMap<String, String>, known: &BTreeSet<&str>) -> Option<String> {
    if let Some(own) = names.get(model) {
        return Some(own.clone());
    }
    if known.contains(model) {
        return Some(model.to_owned());
    }
    let dated = |own: &&&str| {
        let rest = model.strip_prefix(**own).and_then(|rest| rest.strip_prefix('-'));
        rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-'))
    };
    known.iter().filter(dated).max_by_key(|own| own.len()).map(|own| (*own).to_owned())
}

impl Billed {
    /// Adds lines. Sums that are beyond counting stay at the end, and differ then.
    pub fn add(&mut self, more: &Billed) {
        let tokens = |sum: Option<u64>, more: Option<u64>| match (sum, more) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (one, other) => one.or(other),
        };
        self.tokens = tokens(self.tokens, more.tokens);
        self.nano = match (self.nano, more.nano) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (one, other) => one.or(other),
        };
        self.lines = self.lines.saturating_add(more.lines);
        self.rounding = self.rounding.saturating_add(more.rounding);
    }
}

fn alone((day, model, tier): (&str, &str, &str), billed: &Billed, cause: Cause) -> Compared {
    let nano = billed.nano.unwrap_or(0);
    Compared {
        day: day.to_owned(),
        model: model.to_owned(),
        tier: tier.to_owned(),
        theirs_nano: Some(nano),
        ours_nano: 0,
        theirs_tokens: billed.tokens,
        ours_tokens: 0,
        causes: [(cause, nano)].into_iter().filter(|(_, nano)| *nano != 0).collect(),
    }
}

fn compared(place: &Place, ours: Option<&UsageSum>, theirs: Option<&(String, Billed)>) -> Compared {
    let (day, model, tier) = place;
    let Some(ours) = ours else {
        let (model, billed) = theirs.cloned().unwrap_or_default();
        return alone((day, &model, tier), &billed, Cause::MissingHere);
    };
    let ours_nano = i128::from(ours.cost_nano);
    let ours_tokens = ours.input_tokens.saturating_add(ours.output_tokens);
    let mut causes: BTreeMap<Cause, i128> = BTreeMap::new();
    let (theirs_nano, theirs_tokens) = match theirs {
        None => {
            causes.insert(Cause::MissingThere, ours_nano.saturating_neg());
            (Some(0), None)
        }
        Some((_, billed)) => {
            if let Some(nano) = billed.nano {
                let tolerance = billed.rounding.saturating_add(i128::from(ours.attempts));
                causes = why(nano, ours_nano, billed.tokens, ours_tokens, tolerance);
            }
            (billed.nano, billed.tokens)
        }
    };
    causes.retain(|_, nano| *nano != 0);
    let (day, tier) = (day.clone(), tier.clone());
    Compared { day, model: model.clone(), tier, theirs_nano, ours_nano, theirs_tokens, ours_tokens, causes }
}

/// Divides a difference among its causes.
fn why(
    theirs: i128,
    ours: i128,
    theirs_tokens: Option<u64>,
    ours_tokens: u64,
    tolerance: i128,
) -> BTreeMap<Cause, i128> {
    let difference = theirs.saturating_sub(ours);
    let by_tokens = match theirs_tokens {
        Some(tokens) if tokens != ours_tokens && ours_tokens > 0 => {
            let more = i128::from(tokens).saturating_sub(i128::from(ours_tokens));
            ours.checked_mul(more).and_then(|nano| nano.checked_div(i128::from(ours_tokens))).unwrap_or(0)
        }
        Some(_) | None => 0,
    };
    let rest = difference.saturating_sub(by_tokens);
    let kind = if rest.saturating_abs() <= tolerance { Cause::Rounding } else { Cause::Price };
    BTreeMap::from([(Cause::Tokens, by_tokens), (kind, rest)])
}

#[cfg(test)]
mod tests;
