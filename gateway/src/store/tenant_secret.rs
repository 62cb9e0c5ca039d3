//! Secrets of tenants as stored: sealed, never in the clear.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError, from_sql, to_sql};

/// One stored secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRow {
    /// Whose it is.
    pub tenant: String,
    /// What it is called.
    pub name: String,
    /// Version of the master key that it is sealed with.
    pub version: u32,
    /// Nonce and ciphertext.
    pub sealed: Vec<u8>,
    /// Unix milliseconds.
    pub changed_ms: u64,
}

impl Store {
    /// Adds a secret or puts it in the place of the one of that name.
    pub async fn secret_set(&self, row: &SecretRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO tenant_secrets VALUES (?, ?, ?, ?, ?) ON CONFLICT (tenant, name) DO UPDATE SET \
             version = excluded.version, sealed = excluded.sealed, changed_ms = excluded.changed_ms";
        sqlx::query(sql)
            .bind(&row.tenant)
            .bind(&row.name)
            .bind(i64::from(row.version))
            .bind(&row.sealed)
            .bind(to_sql(row.changed_ms))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Every secret, by tenant and name.
    pub async fn secrets_all(&self) -> Result<Vec<SecretRow>, StoreError> {
        let sql = "SELECT tenant, name, version, sealed, changed_ms FROM tenant_secrets ORDER BY tenant, name";
        sqlx::query(sql).fetch_all(&self.pool).await?.iter().map(read).collect()
    }

    /// One secret.
    pub async fn secret_get(&self, tenant: &str, name: &str) -> Result<Option<SecretRow>, StoreError> {
        let sql = "SELECT tenant, name, version, sealed, changed_ms FROM tenant_secrets WHERE tenant = ? AND name = ?";
        let row = sqlx::query(sql).bind(tenant).bind(name).fetch_optional(&self.pool).await?;
        row.as_ref().map(read).transpose()
    }

    /// Takes a secret out; false where there is none.
    pub async fn secret_remove(&self, tenant: &str, name: &str) -> Result<bool, StoreError> {
        let query = sqlx::query("DELETE FROM tenant_secrets WHERE tenant = ? AND name = ?").bind(tenant).bind(name);
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }
}

fn read(row: &SqliteRow) -> Result<SecretRow, StoreError> {
    let version: i64 = row.try_get(2)?;
    Ok(SecretRow {
        tenant: row.try_get(0)?,
        name: row.try_get(1)?,
        version: u32::try_from(version).map_err(|_| StoreError::Broken { column: "tenant_secrets.version" })?,
        sealed: row.try_get(3)?,
        changed_ms: from_sql(row.try_get(4)?, "tenant_secrets.changed_ms")?,
    })
}
