//! Corrections: rows that point at another and hold what it was charged too little or too much. Nothing is updated.

use std::collections::HashMap;

use uuid::Uuid;

use super::either::{Cells, on, rows};
use super::usage_event::UsageEvent;
use super::{Store, StoreError, usage_row};
use crate::journal::Closing;
use crate::usage::reprice::Charged;

const SUMS: &str = "SELECT corrects, CAST(sum(cost_nano) AS BIGINT), CAST(sum(list_nano) AS BIGINT) FROM usage \
     WHERE kind = 'correction' AND call >= $1 AND call <= $2 GROUP BY corrects";

/// The milliseconds in an id's first six bytes.
const TIME_BYTES: usize = 6;

impl Store {
    /// What the corrections of a page's rows amount to, by the row's id. They have ids of the same millisecond.
    pub async fn corrections(&self, page: &[UsageEvent]) -> Result<HashMap<String, Charged>, StoreError> {
        let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(HashMap::new()) };
        let (first, last) = (edge(first.event.call, 0), edge(last.event.call, u8::MAX));
        let sums = rows!(&self.pools, sum, SUMS, first, last)?;
        Ok(sums.into_iter().collect())
    }

    /// Writes corrections that are not there yet, all or none, with the sums that they belong to.
    pub async fn correct(&self, closings: &[Closing]) -> Result<(), StoreError> {
        if closings.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        usage_row::insert(tx.conn(), closings.iter()).await?;
        tx.commit().await
    }
}

/// The lowest or highest id of the same millisecond.
fn edge(call: Uuid, rest: u8) -> Vec<u8> {
    let mut bytes = call.as_bytes().to_vec();
    bytes.iter_mut().skip(TIME_BYTES).for_each(|byte| *byte = rest);
    bytes
}

fn sum(row: &impl Cells) -> Result<(String, Charged), StoreError> {
    Ok((row.text(0)?, Charged { cost_nano: row.int(1)?, list_nano: row.int(2)? }))
}
