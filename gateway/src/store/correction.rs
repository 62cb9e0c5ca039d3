//! Corrections: rows that point at another and hold what it was charged too little or too much. Nothing is updated.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use super::either::{Cells, Conn, change, on, rows};
use super::usage_event::UsageEvent;
use super::{Store, StoreError, to_sql, usage_row};
use crate::journal::Closing;
use crate::usage::reprice::Charged;

const SUMS: &str = "SELECT corrects, CAST(sum(cost_nano) AS BIGINT), CAST(sum(list_nano) AS BIGINT), count(*) \
     FROM usage \
     WHERE kind = 'correction' AND call >= $1 AND call <= $2 GROUP BY corrects";

const MADE: &str = "SELECT call FROM usage WHERE kind = 'correction' AND call >= $1 AND call <= $2";

/// For the audit log, in the transaction of the corrections themselves.
const EVENT: &str = "INSERT INTO key_events (event, key, tenant, at_ms) VALUES ('usage_repriced', $1, $2, $3)";

/// Who holds it writes corrections, and nobody else.
const LOCK: i64 = 0x0072_6570_7269_6365;

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
        if let Conn::Postgres(at) = tx.conn() {
            // A row's key has its time too, which two who correct at once don't share: one goes after the other.
            sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(at).await?;
        }
        let made: HashSet<Vec<u8>> = made(tx.conn(), closings).await?;
        let new: Vec<_> = closings.iter().filter(|one| !made.contains(one.call.0.as_bytes().as_slice())).collect();
        usage_row::insert(tx.conn(), new.iter().copied()).await?;
        for (tenant, (rows, nano)) in sums(&new) {
            let what = format!("{rows} rows, {nano} nano-dollars");
            let at_ms = new.first().map(|one| to_sql(one.at_ms));
            change!(tx.conn(), EVENT, what, tenant, at_ms)?;
        }
        tx.commit().await
    }
}

/// Those of the corrections that are there already.
async fn made(at: Conn<'_>, closings: &[Closing]) -> Result<HashSet<Vec<u8>>, StoreError> {
    let calls = || closings.iter().map(|one| one.call.0);
    let (Some(first), Some(last)) = (calls().min(), calls().max()) else { return Ok(HashSet::new()) };
    let (first, last) = (first.as_bytes().to_vec(), last.as_bytes().to_vec());
    let made = rows!(at, |row| row.bytes("call"), MADE, first, last)?;
    Ok(made.into_iter().collect())
}

/// Rows and nano-dollars by tenant.
fn sums<'a>(closings: &[&'a Closing]) -> BTreeMap<&'a str, (u64, i64)> {
    let mut sums: BTreeMap<&str, (u64, i64)> = BTreeMap::new();
    for closing in closings {
        let (rows, nano) = sums.entry(closing.tenant.as_ref().map_or("", |tenant| tenant.as_str())).or_default();
        let more: i64 = closing.attempts.iter().map(|attempt| attempt.cost_nano).fold(0, i64::saturating_add);
        (*rows, *nano) = (rows.saturating_add(1), nano.saturating_add(more));
    }
    sums
}

/// The lowest or highest id of the same millisecond.
fn edge(call: Uuid, rest: u8) -> Vec<u8> {
    let mut bytes = call.as_bytes().to_vec();
    bytes.iter_mut().skip(TIME_BYTES).for_each(|byte| *byte = rest);
    bytes
}

fn sum(row: &impl Cells) -> Result<(String, Charged), StoreError> {
    Ok((
        row.text(0)?,
        Charged { cost_nano: row.int(1)?, list_nano: row.int(2)?, corrections: row.count(3, "usage.corrects")? },
    ))
}
