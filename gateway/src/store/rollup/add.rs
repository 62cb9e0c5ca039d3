//! Adds the rows of one transaction to the ledger's sums: first summed up here, so that a batch of a thousand rows
//! costs some dozen statements.
//!
//! Groups are written in their order, so that two writers never wait for each other.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::{DAY_MS, HOUR_MS};
use crate::exchange::{Attempt, UsageSource};
use crate::journal::Closing;
use crate::store::cells::{Cell, Holds, SUM_MAX, Table};
use crate::store::either::Conn;
use crate::store::{StoreError, to_sql};
use crate::usage::bill::Pricing;

/// Columns of a group behind its time.
const GROUP: usize = 7;
/// Sums of a group.
const SUMS: usize = 12;
/// A group's time and columns.
const KEYS: usize = 1 + GROUP;

const fn columns(time: &'static str) -> [(&'static str, Holds); KEYS + SUMS] {
    [
        (time, Holds::Int),
        ("tenant", Holds::Text),
        ("key", Holds::Text),
        ("model", Holds::Text),
        ("upstream_model", Holds::Text),
        ("provider", Holds::Text),
        ("deployment", Holds::Text),
        ("tier", Holds::Text),
        ("calls", Holds::Int),
        ("attempts", Holds::Int),
        ("input_tokens", Holds::Int),
        ("output_tokens", Holds::Int),
        ("cache_read_tokens", Holds::Int),
        ("cache_write_tokens", Holds::Int),
        ("reasoning_tokens", Holds::Int),
        ("estimated", Holds::Int),
        ("inconsistent", Holds::Int),
        ("corrections", Holds::Int),
        ("list_nano", Holds::Int),
        ("cost_nano", Holds::Int),
    ]
}

static HOURS: LazyLock<Table<{ KEYS + SUMS }>> =
    LazyLock::new(|| Table::adding("usage_hour", columns("hour_ms"), KEYS));
static DAYS: LazyLock<Table<{ KEYS + SUMS }>> = LazyLock::new(|| Table::adding("usage_day", columns("day_ms"), KEYS));
static BUCKETS: LazyLock<Table<{ KEYS + 2 }>> = LazyLock::new(|| {
    let columns = [
        ("day_ms", Holds::Int),
        ("tenant", Holds::Text),
        ("key", Holds::Text),
        ("model", Holds::Text),
        ("upstream_model", Holds::Text),
        ("provider", Holds::Text),
        ("deployment", Holds::Text),
        ("tier", Holds::Text),
        ("bucket", Holds::Text),
        ("amount", Holds::Int),
    ];
    Table::adding("usage_day_bucket", columns, KEYS + 1)
});

type Group<'a> = (u64, [&'a str; GROUP]);

/// Sums of the rows of one transaction.
#[derive(Debug, Default)]
pub(in crate::store) struct Batch<'a> {
    hours: BTreeMap<Group<'a>, [i64; SUMS]>,
    buckets: BTreeMap<(Group<'a>, &'a str), i64>,
}

impl<'a> Batch<'a> {
    /// Sums up the rows.
    pub(in crate::store) fn of(rows: impl Iterator<Item = (&'a Closing, &'a Attempt)>) -> Self {
        let mut batch = Self::default();
        rows.for_each(|(closing, attempt)| batch.add(closing, attempt));
        batch
    }

    /// Adds an attempt's row.
    fn add(&mut self, closing: &'a Closing, attempt: &'a Attempt) {
        let bill = &attempt.bill;
        let is_correction = bill.corrects.is_some();
        let columns = [
            closing.tenant.as_ref().map_or("", |tenant| tenant.as_str()),
            closing.key.as_ref().map_or("", |key| &*key.0),
            closing.model.as_deref().unwrap_or(""),
            &*attempt.model,
            &*attempt.provider,
            &*attempt.deployment,
            &*bill.tier,
        ];
        let sums = [
            i64::from(attempt.attempt == 0 && !is_correction),
            i64::from(!is_correction),
            to_sql(attempt.input_tokens),
            to_sql(attempt.output_tokens),
            to_sql(bill.sum("cache_read")),
            to_sql(bill.sum("cache_write")),
            to_sql(bill.sum("reasoning")),
            i64::from(attempt.source == UsageSource::Estimated),
            i64::from(bill.pricing == Pricing::Inconsistent),
            i64::from(is_correction),
            bill.list_nano,
            attempt.cost_nano,
        ];
        let of = self.hours.entry((begin(closing.at_ms, HOUR_MS), columns)).or_default();
        plus(of, &sums);
        for (bucket, amount) in &bill.buckets {
            let of = self.buckets.entry(((begin(closing.at_ms, DAY_MS), columns), &**bucket)).or_default();
            *of = grown(*of, to_sql(*amount));
        }
    }

    /// Adds the sums to those that are kept.
    pub(in crate::store) async fn write(&self, mut at: Conn<'_>) -> Result<(), StoreError> {
        let mut days: BTreeMap<Group<'_>, [i64; SUMS]> = BTreeMap::new();
        for ((hour_ms, columns), sums) in &self.hours {
            plus(days.entry((begin(*hour_ms, DAY_MS), *columns)).or_default(), sums);
        }
        let hours: Vec<_> = self.hours.iter().map(|(group, sums)| cells(group, sums)).collect();
        HOURS.insert(at.again(), &hours).await?;
        let days: Vec<_> = days.iter().map(|(group, sums)| cells(group, sums)).collect();
        DAYS.insert(at.again(), &days).await?;
        let bucket = |(((day_ms, [a, b, c, d, e, f, g]), bucket), amount): (&(Group<'a>, &'a str), &i64)| {
            let [a, b, c, d, e, f, g] = [*a, *b, *c, *d, *e, *f, *g].map(Cell::Text);
            [to_sql(*day_ms).into(), a, b, c, d, e, f, g, Cell::Text(bucket), (*amount).into()]
        };
        let buckets: Vec<_> = self.buckets.iter().map(bucket).collect();
        BUCKETS.insert(at, &buckets).await.map(drop)
    }
}

fn begin(at_ms: u64, unit_ms: u64) -> u64 {
    at_ms.saturating_sub(at_ms.checked_rem(unit_ms).unwrap_or(0))
}

/// A sum that can't grow further stays there.
fn plus(of: &mut [i64; SUMS], more: &[i64; SUMS]) {
    for (of, more) in of.iter_mut().zip(more) {
        *of = grown(*of, *more);
    }
}

/// At most [`SUM_MAX`] and never less than its opposite, so that one more of them is still a whole number of the store.
fn grown(of: i64, more: i64) -> i64 {
    of.saturating_add(more).clamp(SUM_MAX.saturating_neg(), SUM_MAX)
}

fn cells<'c>(group: &Group<'c>, sums: &[i64; SUMS]) -> [Cell<'c>; KEYS + SUMS] {
    let (time, columns) = group;
    let mut cells = [const { Cell::Int(None) }; KEYS + SUMS];
    let values = std::iter::once(to_sql(*time).into())
        .chain(columns.iter().map(|text| Cell::Text(text)))
        .chain(sums.iter().map(|sum| (*sum).into()));
    for (cell, value) in cells.iter_mut().zip(values) {
        *cell = value;
    }
    cells
}
