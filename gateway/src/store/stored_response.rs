//! Where the responses lie that providers keep. Written with the usage rows of the calls that made them, so that they
//! are there after a crash, and for every gateway at the same store.

use weir_wire::endpoint::is_plain_id;

use super::either::{Cells, Conn, change, on, row};
use super::{Store, StoreError, to_sql};
use crate::exchange::Attempt;
use crate::journal::Closing;
use crate::routing::stored::Place;

/// How long a place is kept: providers keep responses for 30 days.
const KEPT_MS: u64 = 35 * 24 * 3_600_000;

/// The step of SQLite.
pub(super) const SQLITE: &str = r"
CREATE TABLE stored_responses (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  model TEXT NOT NULL,
  deployment TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  tokens INTEGER NOT NULL,
  PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX stored_responses_at ON stored_responses (at_ms);
";

/// The step of PostgreSQL.
pub(super) const POSTGRES: &str = r#"
CREATE TABLE stored_responses (
  tenant TEXT COLLATE "C" NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  model TEXT COLLATE "C" NOT NULL,
  deployment TEXT COLLATE "C" NOT NULL,
  at_ms BIGINT NOT NULL,
  tokens BIGINT NOT NULL,
  PRIMARY KEY (tenant, id)
);
CREATE INDEX stored_responses_at ON stored_responses (at_ms);
"#;

const KEEP: &str = "INSERT INTO stored_responses (tenant, id, model, deployment, at_ms, tokens) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant, id) DO UPDATE SET model = excluded.model, \
     deployment = excluded.deployment, at_ms = excluded.at_ms, tokens = excluded.tokens";
const FORGET: &str = "DELETE FROM stored_responses WHERE tenant = $1 AND id = $2";
const EXPIRE: &str = "DELETE FROM stored_responses WHERE at_ms < $1";
const FIND: &str = "SELECT model, deployment, tokens FROM stored_responses WHERE tenant = $1 AND id = $2";

/// Keeps what these new rows made, and forgets what they took away.
pub(super) async fn follow(mut at: Conn<'_>, attempts: &[(&Closing, &Attempt)]) -> Result<(), StoreError> {
    let mut newest_ms = None;
    for (closing, attempt) in attempts {
        let Some(tenant) = closing.tenant.as_ref().map(|tenant| tenant.as_str()) else { continue };
        if let Some(id) = attempt.bill.made.as_deref().filter(|id| is_plain_id(id)) {
            let (model, at_ms) = (closing.model.as_deref().unwrap_or_default(), to_sql(closing.at_ms));
            change!(at.again(), KEEP, tenant, id, model, &*attempt.deployment, at_ms, to_sql(attempt.history()))?;
            newest_ms = newest_ms.max(Some(closing.at_ms));
        }
        if let Some(id) = attempt.bill.took_away.as_deref().filter(|id| is_plain_id(id)) {
            change!(at.again(), FORGET, tenant, id)?;
        }
    }
    if let Some(newest_ms) = newest_ms {
        change!(at, EXPIRE, to_sql(newest_ms.saturating_sub(KEPT_MS)))?;
    }
    Ok(())
}

impl Store {
    /// Where a response lies that a call of `tenant` made.
    pub async fn stored_response(&self, tenant: &str, id: &str) -> Result<Option<Place>, StoreError> {
        row!(&self.pools, place, FIND, tenant, id)
    }
}

fn place<R: Cells>(row: &R) -> Result<Place, StoreError> {
    let tokens = row.count(2, "stored_responses.tokens")?;
    Ok(Place { model: row.text(0)?.into(), deployment: row.text(1)?.into(), tokens })
}
