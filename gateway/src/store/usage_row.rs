//! The rows of the ledger on their way in: one per upstream attempt, in the order of the columns.

use std::sync::LazyLock;

use super::cells::{Cell, Holds, Table};
use super::either::{Conn, change, on};
use super::rollup::add::Batch;
use super::{StoreError, stored_response, to_sql};
use crate::exchange::{Attempt, UsageSource};
use crate::journal::Closing;
use crate::usage::bill::Bill;

/// Columns of a row: a new one is a line here, one in [`cells`] and a step of either schema.
const COLUMNS: [(&str, Holds); 35] = [
    ("call", Holds::Bytes),
    ("attempt", Holds::Int),
    ("at_ms", Holds::Int),
    ("tenant", Holds::Text),
    ("key", Holds::Text),
    ("endpoint", Holds::Text),
    ("model", Holds::Text),
    ("deployment", Holds::Text),
    ("provider", Holds::Text),
    ("upstream_model", Holds::Text),
    ("status", Holds::Int),
    ("outcome", Holds::Text),
    ("reason", Holds::Text),
    ("input_tokens", Holds::Int),
    ("output_tokens", Holds::Int),
    ("source", Holds::Text),
    ("cost_nano", Holds::Int),
    ("price_version", Holds::Text),
    ("first_token_ms", Holds::Int),
    ("total_ms", Holds::Int),
    ("finish_reason", Holds::Text),
    ("end_user", Holds::Text),
    ("tier", Holds::Text),
    ("buckets", Holds::Text),
    ("cache_read_tokens", Holds::Int),
    ("cache_write_tokens", Holds::Int),
    ("reasoning_tokens", Holds::Int),
    ("list_nano", Holds::Int),
    ("provider_cost_nano", Holds::Int),
    ("arm", Holds::Text),
    ("queue_ms", Holds::Int),
    ("kind", Holds::Text),
    ("pricing", Holds::Text),
    ("region", Holds::Text),
    ("corrects", Holds::Text),
];

static TABLE: LazyLock<Table<{ COLUMNS.len() }>> = LazyLock::new(|| Table::new("usage", COLUMNS));

/// Writes every attempt of the closings that is not there yet, and adds those to the ledger's sums.
pub(super) async fn insert<'a>(
    mut at: Conn<'_>,
    closings: impl Iterator<Item = &'a Closing>,
) -> Result<(), StoreError> {
    let attempts = closings.flat_map(|closing| closing.attempts.iter().map(move |attempt| (closing, attempt)));
    let mut attempts: Vec<_> = attempts.collect();
    let rows: Vec<_> = attempts.iter().map(|(closing, attempt)| cells(closing, attempt)).collect();
    change!(at.again(), "SAVEPOINT usage_rows")?;
    let written = TABLE.insert(at.again(), &rows).await?;
    if written < u64::try_from(rows.len()).unwrap_or(u64::MAX) {
        // Some were there already, which is rare: one by one, so that it is known which.
        change!(at.again(), "ROLLBACK TO SAVEPOINT usage_rows")?;
        let mut new = Vec::new();
        for (attempt, row) in attempts.iter().zip(&rows) {
            if TABLE.insert(at.again(), std::slice::from_ref(row)).await? == 1 {
                new.push(*attempt);
            }
        }
        attempts = new;
    }
    change!(at.again(), "RELEASE SAVEPOINT usage_rows")?;
    stored_response::follow(at.again(), &attempts).await?;
    Batch::of(attempts.into_iter()).write(at).await
}

fn cells<'a>(closing: &'a Closing, attempt: &'a Attempt) -> [Cell<'a>; COLUMNS.len()] {
    let bill = &attempt.bill;
    [
        Cell::Bytes(closing.call.0.as_bytes()),
        i64::from(attempt.attempt).into(),
        to_sql(closing.at_ms).into(),
        Cell::Text(closing.tenant.as_ref().map_or("", |tenant| tenant.as_str())),
        closing.key.as_ref().map_or(Cell::Text(""), |key| Cell::Shared(Some(&key.0))),
        (&closing.endpoint).into(),
        closing.model.as_ref().map_or(Cell::Text(""), |model| Cell::Shared(Some(model))),
        (&attempt.deployment).into(),
        (&attempt.provider).into(),
        (&attempt.model).into(),
        i64::from(attempt.status).into(),
        Cell::Text(attempt.outcome.name()),
        Cell::Shared(attempt.reason.as_ref()),
        to_sql(attempt.input_tokens).into(),
        to_sql(attempt.output_tokens).into(),
        Cell::Text(source_name(attempt.source)),
        attempt.cost_nano.into(),
        (&attempt.price_version).into(),
        Cell::Int(attempt.first_token_ms.map(i64::from)),
        i64::from(attempt.total_ms).into(),
        Cell::Shared(attempt.finish_reason.as_ref()),
        Cell::Shared(closing.end_user.as_ref()),
        (&bill.tier).into(),
        Cell::Owned(buckets_text(bill)),
        to_sql(bill.sum("cache_read")).into(),
        to_sql(bill.sum("cache_write")).into(),
        to_sql(bill.sum("reasoning")).into(),
        bill.list_nano.into(),
        Cell::Int(bill.provider_cost_nano),
        Cell::Shared(bill.arm.as_ref()),
        Cell::Int(bill.queue_ms.map(i64::from)),
        Cell::Text(if bill.corrects.is_some() { "correction" } else { "usage" }),
        Cell::Text(bill.pricing.name()),
        Cell::Shared(bill.region.as_ref()),
        Cell::Shared(bill.corrects.as_ref()),
    ]
}

/// The buckets as a JSON object of whole numbers.
fn buckets_text(bill: &Bill) -> String {
    serde_json::to_string(&bill.buckets).unwrap_or_else(|_| "{}".to_owned())
}

fn source_name(source: UsageSource) -> &'static str {
    match source {
        UsageSource::Exact => "exact",
        UsageSource::Provider => "provider",
        UsageSource::Estimated => "estimated",
        UsageSource::None => "none",
    }
}
