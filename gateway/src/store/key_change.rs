//! Changes of stored keys. Each is one statement or one transaction, and moves the store's revision by its triggers, so
//! that every gateway knows of it at its next look.

use sqlx::Row;

use super::key::{insert, list, scopes_text, taken};
use super::{KeyRow, Store, StoreError, from_sql, to_sql};
use crate::identity::scope::Scopes;

/// Uses of keys that are written in one transaction.
const USES_MAX: usize = 500;

impl Store {
    /// Lets a key end at `at_ms`, if it doesn't end before; false where no live key has this id.
    pub async fn key_expire(&self, id: &str, at_ms: u64) -> Result<bool, StoreError> {
        let sql = "UPDATE keys SET expires_ms = min(coalesce(expires_ms, ?1), ?1) WHERE id = ?2 AND revoked_ms IS NULL";
        let done = sqlx::query(sql).bind(to_sql(at_ms)).bind(id).execute(&self.pool).await?;
        Ok(done.rows_affected() == 1)
    }

    /// Adds the key that replaces another, which then ends at `until_ms`: one change, so that there is always one that
    /// works. False where no live key has the old id; nothing is added then.
    pub async fn key_rotate(&self, old: &str, new: &KeyRow, until_ms: u64) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let sql = "UPDATE keys SET expires_ms = min(coalesce(expires_ms, ?1), ?1) WHERE id = ?2 AND revoked_ms IS NULL";
        let done = sqlx::query(sql).bind(to_sql(until_ms)).bind(old).execute(&mut *transaction).await?;
        if done.rows_affected() != 1 {
            return Ok(false);
        }
        insert(new).execute(&mut *transaction).await.map_err(|error| taken(error, new))?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Gives a key other models and scopes and ends its running streams; false where no live key has this id.
    pub async fn key_narrow(&self, id: &str, models: Option<&[String]>, scopes: &Scopes) -> Result<bool, StoreError> {
        let sql = "UPDATE keys SET models = ?, scopes = ?, epoch = epoch + 1 WHERE id = ? AND revoked_ms IS NULL";
        let query = sqlx::query(sql).bind(models.map(list)).bind(scopes_text(scopes)).bind(id);
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }

    /// Takes a key out; false where there is none.
    pub async fn key_delete(&self, id: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM keys WHERE id = ?").bind(id).execute(&self.pool).await?;
        Ok(done.rows_affected() == 1)
    }

    /// Writes down when keys were last used, as (id, Unix milliseconds); a later time stays.
    pub async fn key_uses(&self, uses: &[(String, u64)]) -> Result<(), StoreError> {
        for batch in uses.chunks(USES_MAX) {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            for (id, used_ms) in batch {
                let sql = "INSERT INTO key_uses SELECT id, ?1 FROM keys WHERE id = ?2 \
                     ON CONFLICT (key) DO UPDATE SET used_ms = max(used_ms, excluded.used_ms)";
                sqlx::query(sql).bind(to_sql(*used_ms)).bind(id).execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
        }
        Ok(())
    }

    /// When keys were last used, by id.
    pub async fn key_uses_all(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let rows = sqlx::query("SELECT key, used_ms FROM key_uses ORDER BY key").fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, from_sql(row.try_get(1)?, "key_uses.used_ms")?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::scope::KeyKind;
    use crate::store::sqlite::Create;

    fn row(id: &str) -> KeyRow {
        KeyRow {
            id: id.to_owned(),
            tenant: "acme".to_owned(),
            name: String::new(),
            pepper_version: 1,
            hash: [7; 32],
            roles: Vec::new(),
            models: None,
            created_ms: 10,
            expires_ms: None,
            revoked_ms: None,
            epoch: 0,
            kind: KeyKind::User,
            scopes: Scopes::default(),
            replaces: None,
            used_ms: None,
        }
    }

    #[tokio::test]
    async fn every_change_moves_the_revision_and_a_use_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("weir.db"), Create::IfMissing).await.unwrap();
        store.key_insert(&row("aaaaaaaa")).await.unwrap();
        let mut revision = store.revision().await.unwrap();
        let mut moved = async |store: &Store| {
            let now = store.revision().await.unwrap();
            std::mem::replace(&mut revision, now) != now
        };
        assert!(store.key_expire("aaaaaaaa", 100).await.unwrap());
        assert!(store.key_expire("aaaaaaaa", 200).await.unwrap(), "a later end changes nothing");
        assert_eq!(store.key_get("aaaaaaaa").await.unwrap().unwrap().expires_ms, Some(100));
        assert!(moved(&store).await);
        let new = KeyRow { replaces: Some("aaaaaaaa".to_owned()), ..row("bbbbbbbb") };
        assert!(store.key_rotate("aaaaaaaa", &new, 50).await.unwrap());
        assert!(!store.key_rotate("zzzzzzzz", &row("cccccccc"), 50).await.unwrap());
        assert_eq!(store.key_get("cccccccc").await.unwrap(), None, "nothing was added");
        assert_eq!(store.key_get("aaaaaaaa").await.unwrap().unwrap().expires_ms, Some(50));
        assert!(moved(&store).await);
        let scopes = Scopes { endpoints: Some(vec!["models".to_owned()]), ..Scopes::default() };
        assert!(store.key_narrow("bbbbbbbb", Some(&["m".to_owned()]), &scopes).await.unwrap());
        let found = store.key_get("bbbbbbbb").await.unwrap().unwrap();
        assert_eq!((found.epoch, found.scopes, found.models), (1, scopes, Some(vec!["m".to_owned()])));
        assert!(moved(&store).await);
        store.key_uses(&[("bbbbbbbb".to_owned(), 9), ("gone".to_owned(), 9)]).await.unwrap();
        store.key_uses(&[("bbbbbbbb".to_owned(), 8)]).await.unwrap();
        assert_eq!(store.key_uses_all().await.unwrap(), [("bbbbbbbb".to_owned(), 9)]);
        assert!(!moved(&store).await, "no gateway reads the keys again for a use");
        assert!(store.key_delete("bbbbbbbb").await.unwrap() && !store.key_delete("bbbbbbbb").await.unwrap());
        assert_eq!(store.key_uses_all().await.unwrap(), []);
        assert!(moved(&store).await);
        assert!(store.key_events().await.unwrap().iter().any(|event| event.event == "key_deleted"));
    }
}
