//! API keys as stored: a keyed hash, never the key. Every change moves the store's revision.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError, from_sql, to_sql};
use crate::identity::scope::{KeyKind, Scopes};

/// One stored key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Public id; may be logged.
    pub id: String,
    /// Tenant path that the key proves.
    pub tenant: String,
    /// What its owner calls it.
    pub name: String,
    /// Version of the pepper in `hash`.
    pub pepper_version: u32,
    /// Keyed hash of the whole key.
    pub hash: [u8; 32],
    /// Roles granted by the key.
    pub roles: Vec<String>,
    /// Models it may use; `None`: those of its tenant.
    pub models: Option<Vec<String>>,
    /// Unix milliseconds.
    pub created_ms: u64,
    /// Unix milliseconds; `None`: never.
    pub expires_ms: Option<u64>,
    /// Unix milliseconds; `None`: it is not revoked.
    pub revoked_ms: Option<u64>,
    /// Moves with every change that takes something away; a running stream ends when the store knows a later one.
    pub epoch: u64,
    /// Whose key it is.
    pub kind: KeyKind,
    /// Where it may be used.
    pub scopes: Scopes,
    /// The key that it was made to replace.
    pub replaces: Option<String>,
    /// Unix milliseconds of its last use, some seconds late; `None`: it was not used yet.
    pub used_ms: Option<u64>,
}

const SELECT_ALL: &str = "SELECT id, tenant, name, pepper_version, hash, roles, models, created_ms, expires_ms, \
     revoked_ms, epoch, kind, scopes, replaces, used_ms FROM keys LEFT JOIN key_uses ON key = id \
     ORDER BY created_ms, id";
const SELECT_ONE: &str = "SELECT id, tenant, name, pepper_version, hash, roles, models, created_ms, expires_ms, \
     revoked_ms, epoch, kind, scopes, replaces, used_ms FROM keys LEFT JOIN key_uses ON key = id WHERE id = ?";
const INSERT: &str = "INSERT INTO keys (id, tenant, name, pepper_version, hash, roles, models, created_ms, expires_ms, \
     revoked_ms, epoch, kind, scopes, replaces) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

impl Store {
    /// Adds a key. An id that is taken is an error.
    pub async fn key_insert(&self, row: &KeyRow) -> Result<(), StoreError> {
        insert(row).execute(&self.pool).await.map_err(|error| taken(error, row)).map(drop)
    }

    /// Every key, revoked ones too, oldest first.
    pub async fn keys_all(&self) -> Result<Vec<KeyRow>, StoreError> {
        sqlx::query(SELECT_ALL).fetch_all(&self.pool).await?.iter().map(read).collect()
    }

    /// The keys of a tenant path and of everything below it, oldest first; all keys where `tenant` is `None`.
    pub async fn key_list(&self, tenant: Option<&str>) -> Result<Vec<KeyRow>, StoreError> {
        let mut rows = self.keys_all().await?;
        if let Some(tenant) = tenant {
            rows.retain(|row| {
                row.tenant.strip_prefix(tenant).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            });
        }
        Ok(rows)
    }

    /// One key.
    pub async fn key_get(&self, id: &str) -> Result<Option<KeyRow>, StoreError> {
        sqlx::query(SELECT_ONE).bind(id).fetch_optional(&self.pool).await?.as_ref().map(read).transpose()
    }

    /// Revokes a key; false where there is none or it was revoked before.
    pub async fn key_revoke(&self, id: &str, now_ms: u64) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE keys SET revoked_ms = ?, epoch = epoch + 1 WHERE id = ? AND revoked_ms IS NULL")
            .bind(to_sql(now_ms))
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

pub(super) fn insert(row: &KeyRow) -> Query<'_> {
    sqlx::query(INSERT)
        .bind(&row.id)
        .bind(&row.tenant)
        .bind(&row.name)
        .bind(i64::from(row.pepper_version))
        .bind(row.hash.as_slice())
        .bind(list(&row.roles))
        .bind(row.models.as_deref().map(list))
        .bind(to_sql(row.created_ms))
        .bind(row.expires_ms.map(to_sql))
        .bind(row.revoked_ms.map(to_sql))
        .bind(to_sql(row.epoch))
        .bind(row.kind.name())
        .bind(scopes_text(&row.scopes))
        .bind(row.replaces.as_deref())
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the list is sqlx's")]
pub(super) fn taken(error: sqlx::Error, row: &KeyRow) -> StoreError {
    match error {
        sqlx::Error::Database(error) if error.is_unique_violation() => StoreError::KeyExists(row.id.clone()),
        error => error.into(),
    }
}

pub(super) fn scopes_text(scopes: &Scopes) -> String {
    // Lists of texts always serialise; what can't be read back proves nobody.
    serde_json::to_string(scopes).unwrap_or_default()
}

pub(super) fn list(items: &[String]) -> String {
    serde_json::Value::from(items).to_string()
}

fn read(row: &SqliteRow) -> Result<KeyRow, StoreError> {
    let hash: Vec<u8> = row.try_get(4)?;
    let models: Option<String> = row.try_get(6)?;
    Ok(KeyRow {
        id: row.try_get(0)?,
        tenant: row.try_get(1)?,
        name: row.try_get(2)?,
        pepper_version: u32::try_from(row.try_get::<i64, _>(3)?)
            .map_err(|_| StoreError::Broken { column: "keys.pepper_version" })?,
        hash: hash.try_into().map_err(|_| StoreError::Broken { column: "keys.hash" })?,
        roles: unlist(row.try_get(5)?, "keys.roles")?,
        models: models.map(|text| unlist(&text, "keys.models")).transpose()?,
        created_ms: from_sql(row.try_get(7)?, "keys.created_ms")?,
        expires_ms: row.try_get::<Option<i64>, _>(8)?.map(|ms| from_sql(ms, "keys.expires_ms")).transpose()?,
        revoked_ms: row.try_get::<Option<i64>, _>(9)?.map(|ms| from_sql(ms, "keys.revoked_ms")).transpose()?,
        epoch: from_sql(row.try_get(10)?, "keys.epoch")?,
        kind: KeyKind::from_name(row.try_get(11)?).ok_or(StoreError::Broken { column: "keys.kind" })?,
        scopes: serde_json::from_str(row.try_get(12)?).map_err(|_| StoreError::Broken { column: "keys.scopes" })?,
        replaces: row.try_get(13)?,
        used_ms: row.try_get::<Option<i64>, _>(14)?.map(|ms| from_sql(ms, "key_uses.used_ms")).transpose()?,
    })
}

fn unlist(text: &str, column: &'static str) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Broken { column })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::Create;

    fn row(id: &str, tenant: &str) -> KeyRow {
        KeyRow {
            id: id.to_owned(),
            tenant: tenant.to_owned(),
            name: "laptop".to_owned(),
            pepper_version: 1,
            hash: [7; 32],
            roles: vec!["dev".to_owned(), "say \"hi\"".to_owned()],
            models: Some(vec!["small*".to_owned()]),
            created_ms: 10,
            expires_ms: Some(20),
            revoked_ms: None,
            epoch: 0,
            kind: KeyKind::Service,
            scopes: Scopes { ips: Some(vec!["10.0.0.0/8".to_owned()]), ..Scopes::default() },
            replaces: None,
            used_ms: None,
        }
    }

    async fn store(folder: &tempfile::TempDir) -> Store {
        Store::open(&folder.path().join("weir.db"), Create::IfMissing).await.unwrap()
    }

    #[tokio::test]
    async fn a_key_comes_back_as_it_was_and_its_id_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let mut plain = row("bbbbbbbb", "acme");
        plain.models = None;
        plain.expires_ms = None;
        for key in [row("aaaaaaaa", "acme/re"), plain.clone()] {
            store.key_insert(&key).await.unwrap();
            assert_eq!(store.key_get(&key.id).await.unwrap(), Some(key));
        }
        let error = store.key_insert(&plain).await.unwrap_err();
        assert!(matches!(error, StoreError::KeyExists(id) if id == "bbbbbbbb"));
        assert_eq!(store.key_get("cccccccc").await.unwrap(), None);
    }

    #[tokio::test]
    async fn revoking_moves_epoch_and_revision_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        store.key_insert(&row("aaaaaaaa", "acme")).await.unwrap();
        let before = store.revision().await.unwrap();
        assert!(store.key_revoke("aaaaaaaa", 99).await.unwrap());
        assert!(!store.key_revoke("aaaaaaaa", 100).await.unwrap());
        assert!(!store.key_revoke("zzzzzzzz", 100).await.unwrap());
        let key = store.key_get("aaaaaaaa").await.unwrap().unwrap();
        assert_eq!((key.revoked_ms, key.epoch), (Some(99), 1));
        assert_eq!(store.revision().await.unwrap(), before + 1);
    }

    #[tokio::test]
    async fn a_list_holds_the_level_and_what_lies_below() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        for (id, tenant) in [("aaaaaaaa", "acme/re"), ("bbbbbbbb", "acme/research"), ("cccccccc", "acme/re/x")] {
            store.key_insert(&row(id, tenant)).await.unwrap();
        }
        let ids = |rows: Vec<KeyRow>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
        assert_eq!(ids(store.key_list(Some("acme/re")).await.unwrap()), ["aaaaaaaa", "cccccccc"]);
        assert_eq!(ids(store.key_list(None).await.unwrap()).len(), 3);
    }
}
