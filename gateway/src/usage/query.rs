//! Reports over the ledger: sums by group, and their total. Every figure is an exact integer.

use serde::Serialize;

use crate::store::usage::{GroupBy, UsageFilter, UsageSum};
use crate::store::{Store, StoreError};

/// One report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsageReport {
    /// What the rows are grouped by.
    pub by: &'static str,
    /// Unix milliseconds, inclusive; `None`: from the beginning.
    pub since_ms: Option<u64>,
    /// Unix milliseconds, exclusive; `None`: to the end.
    pub until_ms: Option<u64>,
    /// One row per group, in the group's order.
    pub rows: Vec<UsageSum>,
    /// Sums over all rows; its group is empty.
    pub total: UsageSum,
}

/// Sums the ledger up.
pub async fn usage_report(store: &Store, by: GroupBy, filter: &UsageFilter) -> Result<UsageReport, StoreError> {
    let rows = store.usage_rows(by, filter).await?;
    let total = rows.iter().fold(UsageSum::default(), |total, row| UsageSum {
        group: String::new(),
        // A call's attempts may go to several deployments: it is counted once per row, so `by` matters here.
        calls: total.calls.saturating_add(row.calls),
        attempts: total.attempts.saturating_add(row.attempts),
        input_tokens: total.input_tokens.saturating_add(row.input_tokens),
        output_tokens: total.output_tokens.saturating_add(row.output_tokens),
        cache_read_tokens: total.cache_read_tokens.saturating_add(row.cache_read_tokens),
        cache_write_tokens: total.cache_write_tokens.saturating_add(row.cache_write_tokens),
        reasoning_tokens: total.reasoning_tokens.saturating_add(row.reasoning_tokens),
        inconsistent: total.inconsistent.saturating_add(row.inconsistent),
        corrections: total.corrections.saturating_add(row.corrections),
        list_nano: total.list_nano.saturating_add(row.list_nano),
        estimated: total.estimated.saturating_add(row.estimated),
        cost_nano: total.cost_nano.saturating_add(row.cost_nano),
    });
    Ok(UsageReport { by: by.name(), since_ms: filter.since_ms, until_ms: filter.until_ms, rows, total })
}

/// Nano-dollars as dollars, exact: `1.000004200`.
pub fn dollars(nano: i64) -> String {
    let sign = if nano < 0 { "-" } else { "" };
    let nano = nano.unsigned_abs();
    let whole = nano.checked_div(1_000_000_000).unwrap_or_default();
    let fraction = nano.checked_rem(1_000_000_000).unwrap_or_default();
    format!("{sign}{whole}.{fraction:09}")
}

#[cfg(test)]
mod tests {
    use super::dollars;

    #[test]
    fn dollars_are_exact() {
        let table = [
            (0, "0.000000000"),
            (1, "0.000000001"),
            (-4_200, "-0.000004200"),
            (1_234_567_890_123, "1234.567890123"),
            (i64::MIN, "-9223372036.854775808"),
        ];
        for (nano, text) in table {
            assert_eq!(dollars(nano), text);
        }
    }
}
