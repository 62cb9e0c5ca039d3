//! Stored tenants: levels below those of the configuration. Every change moves the store's revision.

use super::either::{Cells, change, on, row, rows};
use super::{Store, StoreError, to_sql};
use crate::identity::stored::TenantSettings;

/// One stored tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRow {
    /// `org[/team[/project[/user]]]`.
    pub path: String,
    /// What people call it.
    pub name: String,
    /// Nobody at this level and below is served.
    pub disabled: bool,
    /// What holds at this level and below.
    pub settings: TenantSettings,
    /// Unix milliseconds.
    pub created_ms: u64,
    /// Unix milliseconds of the last change.
    pub changed_ms: u64,
}

/// What the deletion of a tenant took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TenantGone {
    /// Levels, the tenant's own included.
    pub tenants: u64,
    /// Keys that were revoked.
    pub keys: u64,
    /// Secrets that were removed.
    pub secrets: u64,
}

const SELECT: &str = "SELECT path, name, disabled, settings, created_ms, changed_ms FROM tenants ORDER BY path";
const SELECT_ONE: &str = "SELECT path, name, disabled, settings, created_ms, changed_ms FROM tenants WHERE path = $1";

/// SQL for: the column `c` is the path `$1`, or lies below it. `LIKE` would take `_` for any character.
macro_rules! within {
    ($c:literal) => {
        concat!("(", $c, " = $1 OR substr(", $c, ", 1, length($1) + 1) = $1 || '/')")
    };
}

impl Store {
    /// Adds a tenant. A path that is taken is an error.
    pub async fn tenant_insert(&self, row: &TenantRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO tenants VALUES ($1, $2, $3, $4, $5, $6)";
        let (disabled, settings) = (i64::from(row.disabled), settings_text(&row.settings));
        let times = (to_sql(row.created_ms), to_sql(row.changed_ms));
        match change!(&self.pools, sql, &row.path, &row.name, disabled, settings, times.0, times.1) {
            Ok(_) => Ok(()),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                Err(StoreError::TenantExists(row.path.clone()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Every stored tenant, by path.
    pub async fn tenants_all(&self) -> Result<Vec<TenantRow>, StoreError> {
        rows!(&self.pools, read, SELECT)
    }

    /// One stored tenant.
    pub async fn tenant_get(&self, path: &str) -> Result<Option<TenantRow>, StoreError> {
        row!(&self.pools, read, SELECT_ONE, path)
    }

    /// Gives a tenant other settings; false where it is not stored.
    pub async fn tenant_set(&self, path: &str, settings: &TenantSettings, now_ms: u64) -> Result<bool, StoreError> {
        let sql = "UPDATE tenants SET settings = $1, changed_ms = $2 WHERE path = $3";
        Ok(change!(&self.pools, sql, settings_text(settings), to_sql(now_ms), path)? == 1)
    }

    /// Disables a level. One that is not stored yet is added, so that any level of a path can be disabled.
    pub async fn tenant_disable(&self, path: &str, now_ms: u64) -> Result<(), StoreError> {
        let sql = "INSERT INTO tenants VALUES ($1, '', 1, '{}', $2, $2) \
             ON CONFLICT (path) DO UPDATE SET disabled = 1, changed_ms = $2";
        change!(&self.pools, sql, path, to_sql(now_ms))?;
        Ok(())
    }

    /// Enables a level again; false where it is not stored.
    pub async fn tenant_enable(&self, path: &str, now_ms: u64) -> Result<bool, StoreError> {
        let sql = "UPDATE tenants SET disabled = 0, changed_ms = $1 WHERE path = $2";
        Ok(change!(&self.pools, sql, to_sql(now_ms), path)? == 1)
    }

    /// Takes a tenant out with everything below it: levels and secrets are removed, keys are revoked; all or nothing.
    pub async fn tenant_delete(&self, path: &str, now_ms: u64) -> Result<TenantGone, StoreError> {
        let revoke = concat!(
            "UPDATE keys SET revoked_ms = $2, epoch = epoch + 1 WHERE revoked_ms IS NULL AND ",
            within!("tenant")
        );
        let mut tx = self.begin().await?;
        let keys = change!(tx.conn(), revoke, path, to_sql(now_ms))?;
        let secrets = change!(tx.conn(), concat!("DELETE FROM tenant_secrets WHERE ", within!("tenant")), path)?;
        let tenants = change!(tx.conn(), concat!("DELETE FROM tenants WHERE ", within!("path")), path)?;
        tx.commit().await?;
        Ok(TenantGone { tenants, keys, secrets })
    }
}

fn settings_text(settings: &TenantSettings) -> String {
    // Texts and numbers always serialise; what can't be read back is an error at the next look.
    serde_json::to_string(settings).unwrap_or_default()
}

fn read(row: &impl Cells) -> Result<TenantRow, StoreError> {
    Ok(TenantRow {
        path: row.text(0)?,
        name: row.text(1)?,
        disabled: row.int(2)? != 0,
        settings: serde_json::from_str(&row.text(3)?).map_err(|_| StoreError::Broken { column: "tenants.settings" })?,
        created_ms: row.count(4, "tenants.created_ms")?,
        changed_ms: row.count(5, "tenants.changed_ms")?,
    })
}
