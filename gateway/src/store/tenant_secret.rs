//! Secrets of tenants as stored: sealed, never in the clear.

use super::either::{Cells, change, on, row, rows};
use super::{Store, StoreError, to_sql};

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
        let sql = "INSERT INTO tenant_secrets VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant, name) DO UPDATE SET \
             version = excluded.version, sealed = excluded.sealed, changed_ms = excluded.changed_ms";
        let (version, changed_ms) = (i64::from(row.version), to_sql(row.changed_ms));
        change!(&self.pools, sql, &row.tenant, &row.name, version, &row.sealed, changed_ms)?;
        Ok(())
    }

    /// Every secret, by tenant and name.
    pub async fn secrets_all(&self) -> Result<Vec<SecretRow>, StoreError> {
        let sql = "SELECT tenant, name, version, sealed, changed_ms FROM tenant_secrets ORDER BY tenant, name";
        rows!(&self.pools, read, sql)
    }

    /// One secret.
    pub async fn secret_get(&self, tenant: &str, name: &str) -> Result<Option<SecretRow>, StoreError> {
        let sql =
            "SELECT tenant, name, version, sealed, changed_ms FROM tenant_secrets WHERE tenant = $1 AND name = $2";
        row!(&self.pools, read, sql, tenant, name)
    }

    /// Takes a secret out; false where there is none.
    pub async fn secret_remove(&self, tenant: &str, name: &str) -> Result<bool, StoreError> {
        Ok(change!(&self.pools, "DELETE FROM tenant_secrets WHERE tenant = $1 AND name = $2", tenant, name)? == 1)
    }
}

fn read(row: &impl Cells) -> Result<SecretRow, StoreError> {
    Ok(SecretRow {
        tenant: row.text(0)?,
        name: row.text(1)?,
        version: u32::try_from(row.int(2)?).map_err(|_| StoreError::Broken { column: "tenant_secrets.version" })?,
        sealed: row.bytes(3)?,
        changed_ms: row.count(4, "tenant_secrets.changed_ms")?,
    })
}
