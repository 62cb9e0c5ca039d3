//! Users of directories, as identity providers tell of them. The tenant is part of every key and of every question.
//!
//! A change is made to the version that was read, or not at all. What a deleted user was called stays, so that nobody
//! is served under the name until there is such a user again.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError, from_sql, to_sql};

/// Users of one directory, those that were deleted included.
pub const USERS_MAX: u64 = 100_000;

/// A stored user or group, as the protocol sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceRow {
    /// Its id.
    pub id: String,
    /// The document as JSON; a group's without its members.
    pub document: String,
    /// Counts its changes.
    pub version: u64,
    /// Unix milliseconds.
    pub created_ms: u64,
    /// Unix milliseconds.
    pub changed_ms: u64,
}

/// A user to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEntry {
    /// Name as it is compared: one user of a directory has it.
    pub user_name: String,
    /// The client's own id.
    pub external_id: Option<String>,
    /// Whether the user is served.
    pub active: bool,
    /// Every name that the user is found by, as JSON.
    pub names: String,
    /// What attributes for policy may be taken from, as JSON.
    pub facts: String,
    /// The document as JSON.
    pub document: String,
}

/// How resources are picked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// All of them.
    All,
    /// The one with this id.
    Id(String),
    /// By name as it is compared.
    Name(String),
    /// By the client's own id.
    External(String),
}

/// A user as it is looked up by callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonRow {
    /// Whose directory.
    pub tenant: String,
    /// The user's id.
    pub id: String,
    /// Whether the user is served.
    pub active: bool,
    /// Whether the user was deleted.
    pub deleted: bool,
    /// Names, as JSON.
    pub names: String,
    /// Facts, as JSON.
    pub facts: String,
}

impl Pick {
    /// The condition beside that of the tenant, and what is compared. `name` is the column of names.
    pub(super) fn condition(&self, name: &'static str) -> (&'static str, Option<&str>) {
        match self {
            Self::All => ("", None),
            Self::Id(id) => (" AND id = ?", Some(id)),
            Self::Name(text) if name == "user_name" => (" AND user_name = ?", Some(text)),
            Self::Name(text) => (" AND name = ?", Some(text)),
            Self::External(text) => (" AND external_id = ?", Some(text)),
        }
    }
}

impl Store {
    /// One integer that moves with every change of a directory.
    pub async fn directory_revision(&self) -> Result<u64, StoreError> {
        let revision = sqlx::query_scalar("SELECT revision FROM directory_revision").fetch_one(&self.pool).await?;
        from_sql(revision, "directory_revision.revision")
    }

    /// Adds a user.
    ///
    /// # Errors
    /// Also [`StoreError::UserExists`] and [`StoreError::DirectoryFull`].
    pub async fn user_insert(&self, tenant: &str, id: &str, user: &UserEntry, now_ms: u64) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let count = sqlx::query_scalar("SELECT count(*) FROM directory_users WHERE tenant = ?").bind(tenant);
        let count: i64 = count.fetch_one(&mut *transaction).await?;
        if from_sql(count, "directory_users")? >= USERS_MAX {
            return Err(StoreError::DirectoryFull(USERS_MAX));
        }
        let sql = "INSERT INTO directory_users VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, ?9, ?9, NULL)";
        let query = sqlx::query(sql).bind(tenant).bind(id).bind(&user.user_name).bind(user.external_id.as_deref());
        let query = query.bind(i64::from(user.active)).bind(&user.names).bind(&user.facts).bind(&user.document);
        query.bind(to_sql(now_ms)).execute(&mut *transaction).await.map_err(taken)?;
        transaction.commit().await?;
        Ok(())
    }

    /// Puts another state in the place of a user's; false where the version is another by now, or there is no such
    /// user.
    ///
    /// # Errors
    /// Also [`StoreError::UserExists`].
    pub async fn user_replace(
        &self,
        tenant: &str,
        (id, version): (&str, u64),
        user: &UserEntry,
        now_ms: u64,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE directory_users SET user_name = ?, external_id = ?, active = ?, names = ?, facts = ?, \
             document = ?, changed_ms = ?, version = version + 1 \
             WHERE tenant = ? AND id = ? AND version = ? AND deleted_ms IS NULL";
        let query = sqlx::query(sql).bind(&user.user_name).bind(user.external_id.as_deref());
        let query = query.bind(i64::from(user.active)).bind(&user.names).bind(&user.facts).bind(&user.document);
        let query = query.bind(to_sql(now_ms)).bind(tenant).bind(id).bind(to_sql(version));
        Ok(query.execute(&self.pool).await.map_err(taken)?.rows_affected() == 1)
    }

    /// Takes a user out, by all but the names; false where there is none.
    pub async fn user_delete(&self, tenant: &str, id: &str, now_ms: u64) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let sql = "UPDATE directory_users SET active = 0, facts = '{}', document = '{}', changed_ms = ?1, \
             deleted_ms = ?1, version = version + 1 WHERE tenant = ?2 AND id = ?3 AND deleted_ms IS NULL";
        let done = sqlx::query(sql).bind(to_sql(now_ms)).bind(tenant).bind(id).execute(&mut *transaction).await?;
        let sql = "DELETE FROM directory_members WHERE tenant = ? AND member = ?";
        sqlx::query(sql).bind(tenant).bind(id).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// Users of a directory, oldest first.
    pub async fn users_list(
        &self,
        tenant: &str,
        pick: &Pick,
        (offset, limit): (u64, u64),
    ) -> Result<Vec<ResourceRow>, StoreError> {
        let (condition, text) = pick.condition("user_name");
        let sql = format!(
            "SELECT id, document, version, created_ms, changed_ms FROM directory_users \
             WHERE tenant = ? AND deleted_ms IS NULL{condition} ORDER BY id LIMIT ? OFFSET ?"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant);
        let query = if let Some(text) = text { query.bind(text) } else { query };
        let rows = query.bind(to_sql(limit)).bind(to_sql(offset)).fetch_all(&self.pool).await?;
        rows.iter().map(read).collect()
    }

    /// How many users are picked.
    pub async fn users_count(&self, tenant: &str, pick: &Pick) -> Result<u64, StoreError> {
        let (condition, text) = pick.condition("user_name");
        let sql = format!("SELECT count(*) FROM directory_users WHERE tenant = ? AND deleted_ms IS NULL{condition}");
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(tenant);
        let query = if let Some(text) = text { query.bind(text) } else { query };
        from_sql(query.fetch_one(&self.pool).await?, "directory_users")
    }

    /// Every user of every directory, as callers are looked up.
    pub async fn people_all(&self) -> Result<Vec<PersonRow>, StoreError> {
        let sql = "SELECT tenant, id, active, deleted_ms IS NOT NULL, names, facts FROM directory_users";
        let person = |row: SqliteRow| {
            Ok(PersonRow {
                tenant: row.try_get(0)?,
                id: row.try_get(1)?,
                active: row.try_get::<i64, _>(2)? != 0,
                deleted: row.try_get::<i64, _>(3)? != 0,
                names: row.try_get(4)?,
                facts: row.try_get(5)?,
            })
        };
        sqlx::query(sql).fetch_all(&self.pool).await?.into_iter().map(person).collect()
    }
}

pub(super) fn read(row: &SqliteRow) -> Result<ResourceRow, StoreError> {
    Ok(ResourceRow {
        id: row.try_get(0)?,
        document: row.try_get(1)?,
        version: from_sql(row.try_get(2)?, "directory.version")?,
        created_ms: from_sql(row.try_get(3)?, "directory.created_ms")?,
        changed_ms: from_sql(row.try_get(4)?, "directory.changed_ms")?,
    })
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the list is sqlx's")]
fn taken(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(error) if error.is_unique_violation() => StoreError::UserExists,
        error => error.into(),
    }
}

#[cfg(test)]
mod tests;
