//! Stored tenants: levels below those of the configuration. Every change moves the store's revision.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError, from_sql, to_sql};
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
const SELECT_ONE: &str = "SELECT path, name, disabled, settings, created_ms, changed_ms FROM tenants WHERE path = ?";

/// SQL for: the column `c` is the path `?1`, or lies below it. `LIKE` would take `_` for any character.
macro_rules! within {
    ($c:literal) => {
        concat!("(", $c, " = ?1 OR substr(", $c, ", 1, length(?1) + 1) = ?1 || '/')")
    };
}

impl Store {
    /// Adds a tenant. A path that is taken is an error.
    pub async fn tenant_insert(&self, row: &TenantRow) -> Result<(), StoreError> {
        let done = sqlx::query("INSERT INTO tenants VALUES (?, ?, ?, ?, ?, ?)")
            .bind(&row.path)
            .bind(&row.name)
            .bind(i64::from(row.disabled))
            .bind(settings_text(&row.settings))
            .bind(to_sql(row.created_ms))
            .bind(to_sql(row.changed_ms))
            .execute(&self.pool)
            .await;
        match done {
            Ok(_) => Ok(()),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                Err(StoreError::TenantExists(row.path.clone()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Every stored tenant, by path.
    pub async fn tenants_all(&self) -> Result<Vec<TenantRow>, StoreError> {
        sqlx::query(SELECT).fetch_all(&self.pool).await?.iter().map(read).collect()
    }

    /// One stored tenant.
    pub async fn tenant_get(&self, path: &str) -> Result<Option<TenantRow>, StoreError> {
        sqlx::query(SELECT_ONE).bind(path).fetch_optional(&self.pool).await?.as_ref().map(read).transpose()
    }

    /// Gives a tenant other settings; false where it is not stored.
    pub async fn tenant_set(&self, path: &str, settings: &TenantSettings, now_ms: u64) -> Result<bool, StoreError> {
        let query = sqlx::query("UPDATE tenants SET settings = ?, changed_ms = ? WHERE path = ?");
        let query = query.bind(settings_text(settings)).bind(to_sql(now_ms)).bind(path);
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }

    /// Disables a level. One that is not stored yet is added, so that any level of a path can be disabled.
    pub async fn tenant_disable(&self, path: &str, now_ms: u64) -> Result<(), StoreError> {
        let sql = "INSERT INTO tenants VALUES (?1, '', 1, '{}', ?2, ?2) \
             ON CONFLICT (path) DO UPDATE SET disabled = 1, changed_ms = ?2";
        sqlx::query(sql).bind(path).bind(to_sql(now_ms)).execute(&self.pool).await?;
        Ok(())
    }

    /// Enables a level again; false where it is not stored.
    pub async fn tenant_enable(&self, path: &str, now_ms: u64) -> Result<bool, StoreError> {
        let query = sqlx::query("UPDATE tenants SET disabled = 0, changed_ms = ? WHERE path = ?");
        Ok(query.bind(to_sql(now_ms)).bind(path).execute(&self.pool).await?.rows_affected() == 1)
    }

    /// Takes a tenant out with everything below it: levels and secrets are removed, keys are revoked; all or nothing.
    pub async fn tenant_delete(&self, path: &str, now_ms: u64) -> Result<TenantGone, StoreError> {
        let revoke = concat!(
            "UPDATE keys SET revoked_ms = ?2, epoch = epoch + 1 WHERE revoked_ms IS NULL AND ",
            within!("tenant")
        );
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let keys = sqlx::query(revoke).bind(path).bind(to_sql(now_ms)).execute(&mut *transaction).await?;
        let secrets = concat!("DELETE FROM tenant_secrets WHERE ", within!("tenant"));
        let secrets = sqlx::query(secrets).bind(path).execute(&mut *transaction).await?;
        let tenants = concat!("DELETE FROM tenants WHERE ", within!("path"));
        let tenants = sqlx::query(tenants).bind(path).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(TenantGone {
            tenants: tenants.rows_affected(),
            keys: keys.rows_affected(),
            secrets: secrets.rows_affected(),
        })
    }
}

fn settings_text(settings: &TenantSettings) -> String {
    // Texts and numbers always serialise; what can't be read back is an error at the next look.
    serde_json::to_string(settings).unwrap_or_default()
}

fn read(row: &SqliteRow) -> Result<TenantRow, StoreError> {
    Ok(TenantRow {
        path: row.try_get(0)?,
        name: row.try_get(1)?,
        disabled: row.try_get::<i64, _>(2)? != 0,
        settings: serde_json::from_str(row.try_get(3)?)
            .map_err(|_| StoreError::Broken { column: "tenants.settings" })?,
        created_ms: from_sql(row.try_get(4)?, "tenants.created_ms")?,
        changed_ms: from_sql(row.try_get(5)?, "tenants.changed_ms")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::Create;

    fn row(path: &str) -> TenantRow {
        TenantRow {
            path: path.to_owned(),
            name: "Research".to_owned(),
            disabled: false,
            settings: TenantSettings { models: Some(vec!["a*".to_owned()]), ..TenantSettings::default() },
            created_ms: 1,
            changed_ms: 1,
        }
    }

    #[tokio::test]
    async fn a_tenant_comes_back_and_every_change_moves_the_revision() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("weir.db"), Create::IfMissing).await.unwrap();
        store.tenant_insert(&row("acme/re")).await.unwrap();
        assert_eq!(store.tenant_get("acme/re").await.unwrap(), Some(row("acme/re")));
        assert!(matches!(store.tenant_insert(&row("acme/re")).await, Err(StoreError::TenantExists(_))));
        assert!(store.tenant_set("acme/re", &TenantSettings::default(), 2).await.unwrap());
        assert!(!store.tenant_set("acme", &TenantSettings::default(), 2).await.unwrap());
        store.tenant_disable("acme/re", 3).await.unwrap();
        store.tenant_disable("globex", 3).await.unwrap();
        assert!(store.tenant_enable("acme/re", 4).await.unwrap() && !store.tenant_enable("none", 4).await.unwrap());
        let states: Vec<_> =
            store.tenants_all().await.unwrap().into_iter().map(|row| (row.path, row.disabled)).collect();
        assert_eq!(states, [("acme/re".to_owned(), false), ("globex".to_owned(), true)]);
        assert_eq!(store.revision().await.unwrap(), 5);
        let events: Vec<_> = store.key_events().await.unwrap().into_iter().map(|event| event.event).collect();
        let expected = ["tenant_created", "tenant_changed", "tenant_disabled", "tenant_created", "tenant_enabled"];
        assert_eq!(events, expected);
    }

    #[tokio::test]
    async fn a_deletion_takes_what_lies_below_and_no_sibling() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("weir.db"), Create::IfMissing).await.unwrap();
        for path in ["a_c", "a_c/x", "abc/x", "a_c-2"] {
            store.tenant_insert(&row(path)).await.unwrap();
        }
        let gone = store.tenant_delete("a_c", 9).await.unwrap();
        assert_eq!(gone, TenantGone { tenants: 2, keys: 0, secrets: 0 });
        let left: Vec<_> = store.tenants_all().await.unwrap().into_iter().map(|row| row.path).collect();
        assert_eq!(left, ["a_c-2", "abc/x"]);
        assert_eq!(store.tenant_delete("a_c", 9).await.unwrap(), TenantGone::default());
    }
}
