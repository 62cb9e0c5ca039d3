//! API keys as stored: a keyed hash, never the key. Every change moves the store's revision.

use super::either::{Cells, change, on, row, rows};
use super::{Store, StoreError, to_sql};
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
     revoked_ms, epoch, kind, scopes, replaces, used_ms FROM keys LEFT JOIN key_uses ON key = id WHERE id = $1";
pub(super) const INSERT: &str = "INSERT INTO keys (id, tenant, name, pepper_version, hash, roles, models, \
     created_ms, expires_ms, revoked_ms, epoch, kind, scopes, replaces) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

/// Adds a key through a pool or a connection.
macro_rules! insert_key {
    ($at:expr, $row:expr) => {
        change!(
            $at,
            $crate::store::key::INSERT,
            &$row.id,
            &$row.tenant,
            &$row.name,
            i64::from($row.pepper_version),
            $row.hash.as_slice(),
            list(&$row.roles),
            $row.models.as_deref().map(list),
            to_sql($row.created_ms),
            $row.expires_ms.map(to_sql),
            $row.revoked_ms.map(to_sql),
            to_sql($row.epoch),
            $row.kind.name(),
            scopes_text(&$row.scopes),
            $row.replaces.as_deref(),
        )
        .map_err(|error| taken(error, $row))
    };
}
pub(super) use insert_key;

impl Store {
    /// Adds a key. An id that is taken is an error.
    pub async fn key_insert(&self, row: &KeyRow) -> Result<(), StoreError> {
        insert_key!(&self.pools, row).map(drop)
    }

    /// Every key, revoked ones too, oldest first.
    pub async fn keys_all(&self) -> Result<Vec<KeyRow>, StoreError> {
        rows!(&self.pools, read, SELECT_ALL)
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
        row!(&self.pools, read, SELECT_ONE, id)
    }

    /// Revokes a key; false where there is none or it was revoked before.
    pub async fn key_revoke(&self, id: &str, now_ms: u64) -> Result<bool, StoreError> {
        let sql = "UPDATE keys SET revoked_ms = $1, epoch = epoch + 1 WHERE id = $2 AND revoked_ms IS NULL";
        Ok(change!(&self.pools, sql, to_sql(now_ms), id)? == 1)
    }
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

fn read(row: &impl Cells) -> Result<KeyRow, StoreError> {
    Ok(KeyRow {
        id: row.text(0)?,
        tenant: row.text(1)?,
        name: row.text(2)?,
        pepper_version: u32::try_from(row.int(3)?).map_err(|_| StoreError::Broken { column: "keys.pepper_version" })?,
        hash: row.bytes(4)?.try_into().map_err(|_| StoreError::Broken { column: "keys.hash" })?,
        roles: unlist(&row.text(5)?, "keys.roles")?,
        models: row.text_or(6)?.map(|text| unlist(&text, "keys.models")).transpose()?,
        created_ms: row.count(7, "keys.created_ms")?,
        expires_ms: row.count_or(8, "keys.expires_ms")?,
        revoked_ms: row.count_or(9, "keys.revoked_ms")?,
        epoch: row.count(10, "keys.epoch")?,
        kind: KeyKind::from_name(&row.text(11)?).ok_or(StoreError::Broken { column: "keys.kind" })?,
        scopes: serde_json::from_str(&row.text(12)?).map_err(|_| StoreError::Broken { column: "keys.scopes" })?,
        replaces: row.text_or(13)?,
        used_ms: row.count_or(14, "key_uses.used_ms")?,
    })
}

fn unlist(text: &str, column: &'static str) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Broken { column })
}
