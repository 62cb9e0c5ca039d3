//! The export: walks the ledger's sums day by day and hands them on in pieces, so that a year takes no more memory than
//! a piece of it.

use std::collections::BTreeMap;

use chrono_tz::Tz;

use super::calendar::{self, TooMany};
use super::focus::Charge;
use crate::limits::window::{CalendarUnit, Span};
use crate::store::rollup::{Column, RollupFilter};
use crate::store::statement::StatementRow;
use crate::store::usage::UsageSum;
use crate::store::{Store, StoreError};

use super::report::plus;

/// Days of one piece: a month fits, and its rows fit the memory.
const DAYS: usize = 8;

/// What to export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportOf {
    /// Unix milliseconds, inclusive; `None`: from the beginning.
    pub since_ms: Option<u64>,
    /// Unix milliseconds, exclusive; `None`: to the end.
    pub until_ms: Option<u64>,
    /// Which usage.
    pub filter: RollupFilter,
    /// Who issues the invoices.
    pub issuer: String,
}

/// Why nothing more is exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A span that is too long.
    #[error(transparent)]
    Units(#[from] TooMany),
    /// A sum beyond what can be counted.
    #[error("a sum is beyond what can be counted")]
    Overflow,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A walk over the ledger.
pub struct Export {
    of: ExportOf,
    days: Vec<Span>,
    next: usize,
    statements: Vec<StatementRow>,
}

type Group = (usize, Vec<String>);

impl Export {
    /// Begins a walk.
    ///
    /// # Errors
    /// The span is too long, or the store fails.
    pub async fn begin(store: &Store, of: ExportOf) -> Result<Self, ExportError> {
        let extent = store.usage_extent().await?.unwrap_or(Span { from_ms: 0, to_ms: 0 });
        let within = Span {
            from_ms: of.since_ms.unwrap_or(0).max(extent.from_ms),
            to_ms: of.until_ms.unwrap_or(u64::MAX).min(extent.to_ms),
        };
        let days = calendar::units(CalendarUnit::Day, Tz::UTC, within)?.into_iter().map(|day| day.span).collect();
        let statements = store.statements(None).await?;
        Ok(Self { of, days, next: 0, statements })
    }

    /// The next piece, in the order of days and groups; `None` at the end.
    ///
    /// # Errors
    /// The store fails.
    pub async fn next(&mut self, store: &Store) -> Result<Option<Vec<Charge>>, ExportError> {
        let days = self.days.get(self.next..).unwrap_or_default();
        let days = days.get(..DAYS).unwrap_or(days).to_vec();
        if days.is_empty() {
            return Ok(None);
        }
        self.next = self.next.saturating_add(days.len());
        let mut groups: BTreeMap<Group, (UsageSum, BTreeMap<String, u64>)> = BTreeMap::new();
        for part in store.rollups(&Column::ALL, &days, &self.of.filter).await? {
            let (sums, _) = groups.entry((part.span, part.columns)).or_default();
            *sums = plus(std::mem::take(sums), &part.sums).ok_or(ExportError::Overflow)?;
        }
        for part in store.bucket_rollups(&Column::ALL, &days, &self.of.filter).await? {
            let (_, buckets) = groups.entry((part.span, part.columns)).or_default();
            let of = buckets.entry(part.bucket).or_default();
            *of = of.checked_add(part.amount).ok_or(ExportError::Overflow)?;
        }
        let charges = groups.into_iter().filter_map(|((day, columns), (sums, buckets))| {
            // The days of the specification are whole, also where only a part of one is asked for.
            let day = CalendarUnit::Day.span(Tz::UTC, days.get(day)?.from_ms);
            Some(self.charge(day, columns.try_into().ok()?, sums, buckets))
        });
        Ok(Some(charges.collect()))
    }

    fn charge(
        &self,
        day: Span,
        columns: [String; Column::ALL.len()],
        sums: UsageSum,
        buckets: BTreeMap<String, u64>,
    ) -> Charge {
        let [tenant, key, model, upstream_model, provider, deployment, tier] = columns;
        let statement = self.statement(day, &tenant);
        let issuer = self.of.issuer.clone();
        Charge { day, issuer, tenant, key, model, upstream_model, provider, deployment, tier, sums, buckets, statement }
    }

    /// The statement that has this day of this tenant: its organisation's, else that of the whole deployment.
    fn statement(&self, day: Span, tenant: &str) -> Option<u64> {
        let org = tenant.split('/').next().unwrap_or("");
        let of = |whose: &str| {
            let mut all = self.statements.iter().filter(|row| row.tenant == whose);
            all.find(|row| row.from_ms <= day.from_ms && day.to_ms <= row.to_ms).map(|row| row.number)
        };
        of(org).or_else(|| of(""))
    }
}
