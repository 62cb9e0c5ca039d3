//! Changes of stored keys. Each is one statement or one transaction, and moves the store's revision by its triggers, so
//! that every gateway knows of it at its next look.

use std::collections::BTreeMap;

use super::either::{Cells, Either, change, on, rows};
use super::key::{insert_key, list, scopes_text, taken};
use super::{KeyRow, Store, StoreError, to_sql};
use crate::identity::scope::Scopes;

/// Uses of keys that are written in one transaction.
const USES_MAX: usize = 500;

const EXPIRE: &str = "UPDATE keys SET expires_ms = CASE WHEN expires_ms < $1 THEN expires_ms ELSE $1 END \
     WHERE id = $2 AND revoked_ms IS NULL";

impl Store {
    /// Lets a key end at `at_ms`, if it doesn't end before; false where no live key has this id.
    pub async fn key_expire(&self, id: &str, at_ms: u64) -> Result<bool, StoreError> {
        Ok(change!(&self.pools, EXPIRE, to_sql(at_ms), id)? == 1)
    }

    /// Adds the key that replaces another, which then ends at `until_ms`: one change, so that there is always one that
    /// works. False where no live key has the old id; nothing is added then.
    pub async fn key_rotate(&self, old: &str, new: &KeyRow, until_ms: u64) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        if change!(tx.conn(), EXPIRE, to_sql(until_ms), old)? != 1 {
            return Ok(false);
        }
        insert_key!(tx.conn(), new)?;
        tx.commit().await?;
        Ok(true)
    }

    /// Gives a key other models and scopes and ends its running streams; false where no live key has this id.
    pub async fn key_narrow(&self, id: &str, models: Option<&[String]>, scopes: &Scopes) -> Result<bool, StoreError> {
        let sql = "UPDATE keys SET models = $1, scopes = $2, epoch = epoch + 1 WHERE id = $3 AND revoked_ms IS NULL";
        Ok(change!(&self.pools, sql, models.map(list), scopes_text(scopes), id)? == 1)
    }

    /// Takes a key out; false where there is none.
    pub async fn key_delete(&self, id: &str) -> Result<bool, StoreError> {
        Ok(change!(&self.pools, "DELETE FROM keys WHERE id = $1", id)? == 1)
    }

    /// Writes down when keys were last used, as (id, Unix milliseconds); a later time stays.
    pub async fn key_uses(&self, uses: &[(String, u64)]) -> Result<(), StoreError> {
        for batch in uses.chunks(USES_MAX) {
            match &self.pools {
                Either::Sqlite(_) => self.key_uses_one_by_one(batch).await?,
                Either::Postgres(pool) => {
                    // One statement: each row once and in one order, so that two nodes don't wait for each other.
                    let latest: BTreeMap<&str, u64> =
                        batch.iter().fold(BTreeMap::new(), |mut latest, (id, used_ms)| {
                            let at = latest.entry(id.as_str()).or_default();
                            *at = (*at).max(*used_ms);
                            latest
                        });
                    let ids: Vec<&str> = latest.keys().copied().collect();
                    let times: Vec<i64> = latest.values().copied().map(to_sql).collect();
                    let sql = "INSERT INTO key_uses AS u (key, used_ms) SELECT k.id, n.used_ms \
                         FROM unnest($1::text[], $2::bigint[]) AS n (id, used_ms) JOIN keys AS k ON k.id = n.id \
                         ORDER BY k.id \
                         ON CONFLICT (key) DO UPDATE SET used_ms = greatest(u.used_ms, excluded.used_ms)";
                    sqlx::query(sql).bind(ids).bind(times).execute(pool).await?;
                }
            }
        }
        Ok(())
    }

    async fn key_uses_one_by_one(&self, batch: &[(String, u64)]) -> Result<(), StoreError> {
        let sql = "INSERT INTO key_uses SELECT id, $1 FROM keys WHERE id = $2 \
             ON CONFLICT (key) DO UPDATE SET used_ms = max(used_ms, excluded.used_ms)";
        let mut tx = self.begin().await?;
        for (id, used_ms) in batch {
            change!(tx.conn(), sql, to_sql(*used_ms), id)?;
        }
        tx.commit().await
    }

    /// When keys were last used, by id.
    pub async fn key_uses_all(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let sql = "SELECT key, used_ms FROM key_uses ORDER BY key";
        rows!(&self.pools, |row| Ok((row.text(0)?, row.count(1, "key_uses.used_ms")?)), sql)
    }
}
