//! Changes of keys that are not on the audit log yet. The triggers of the schema write them in the transaction of the
//! change itself, so that none is lost, whichever process made it and whether or not a gateway ran.

use sqlx::{Postgres, Transaction};

use super::either::{Cells, Either, change, on, rows};
use super::{Store, StoreError, to_sql};

/// Events of one look at most; the next look takes the rest.
const EVENTS_MAX: i64 = 256;

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEvent {
    /// Counts up; never used twice.
    pub number: u64,
    /// `key_created`, `key_revoked`, `key_changed` or `key_deleted`.
    pub event: String,
    /// The key's public id.
    pub key: String,
    /// Its tenant path.
    pub tenant: String,
    /// Unix milliseconds, where the change itself says when.
    pub at_ms: Option<u64>,
}

/// Changes that one gateway puts on its audit log. Several may share the store: each change goes to one of them, and to
/// another where that one ends before [`noted`](Self::noted).
#[derive(Debug)]
pub struct TakenEvents {
    /// The oldest changes that nobody else holds.
    pub events: Vec<KeyEvent>,
    store: Store,
    held: Option<Transaction<'static, Postgres>>,
}

const SELECT: &str = "SELECT number, event, key, tenant, at_ms FROM key_events ORDER BY number LIMIT $1";
const SELECT_HELD: &str = "SELECT number, event, key, tenant, at_ms FROM key_events ORDER BY number LIMIT $1 \
     FOR UPDATE SKIP LOCKED";

impl Store {
    /// The oldest changes that were not noted yet.
    pub async fn key_events(&self) -> Result<Vec<KeyEvent>, StoreError> {
        rows!(&self.pools, read, SELECT, EVENTS_MAX)
    }

    /// The same, held so that no other gateway notes them meanwhile; `None` where there are none.
    pub async fn key_events_take(&self) -> Result<Option<TakenEvents>, StoreError> {
        let (events, held) = match &self.pools {
            Either::Sqlite(_) => (self.key_events().await?, None),
            Either::Postgres(pool) => {
                // A transaction is only begun where there is something, which is seldom.
                if self.key_events().await?.is_empty() {
                    return Ok(None);
                }
                let mut held = pool.begin().await?;
                let rows = sqlx::query(SELECT_HELD).bind(EVENTS_MAX).fetch_all(&mut *held).await?;
                (rows.iter().map(read).collect::<Result<_, _>>()?, Some(held))
            }
        };
        Ok((!events.is_empty()).then(|| TakenEvents { events, store: self.clone(), held }))
    }
}

impl TakenEvents {
    /// Takes the changes out of the store: they are on the audit log.
    pub async fn noted(self) -> Result<(), StoreError> {
        let numbers = self.events.iter().map(|event| to_sql(event.number));
        match self.held {
            None => {
                let last = numbers.max().unwrap_or(0);
                change!(&self.store.pools, "DELETE FROM key_events WHERE number <= $1", last)?;
            }
            // Only those that were read: a lower number may become visible after a higher one.
            Some(mut held) => {
                let numbers: Vec<i64> = numbers.collect();
                let sql = "DELETE FROM key_events WHERE number = ANY($1)";
                sqlx::query(sql).bind(numbers).execute(&mut *held).await?;
                held.commit().await?;
            }
        }
        Ok(())
    }
}

fn read(row: &impl Cells) -> Result<KeyEvent, StoreError> {
    Ok(KeyEvent {
        number: row.count(0, "key_events.number")?,
        event: row.text(1)?,
        key: row.text(2)?,
        tenant: row.text(3)?,
        at_ms: row.count_or(4, "key_events.at_ms")?,
    })
}
