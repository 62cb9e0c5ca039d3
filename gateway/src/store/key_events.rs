//! Changes of keys that are not on the audit log yet. The triggers of the schema write them in the transaction of the
//! change itself, so that none is lost, whichever process made it and whether or not a gateway ran.

use sqlx::Row;

use super::{Store, StoreError, from_sql, to_sql};

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

impl Store {
    /// The oldest changes that were not noted yet.
    pub async fn key_events(&self) -> Result<Vec<KeyEvent>, StoreError> {
        let sql = "SELECT number, event, key, tenant, at_ms FROM key_events ORDER BY number LIMIT ?";
        let rows = sqlx::query(sql).bind(EVENTS_MAX).fetch_all(&self.pool).await?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            let at_ms = row.try_get::<Option<i64>, _>(4)?;
            Ok(KeyEvent {
                number: from_sql(row.try_get(0)?, "key_events.number")?,
                event: row.try_get(1)?,
                key: row.try_get(2)?,
                tenant: row.try_get(3)?,
                at_ms: at_ms.map(|ms| from_sql(ms, "key_events.at_ms")).transpose()?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Takes the changes up to `number` out: they are on the audit log.
    pub async fn key_events_noted(&self, number: u64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM key_events WHERE number <= ?").bind(to_sql(number)).execute(&self.pool).await?;
        Ok(())
    }
}
