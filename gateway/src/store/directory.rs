//! Users of directories, as identity providers tell of them. The tenant is part of every key and of every question.
//!
//! A change is made to the version that was read, or not at all. What a deleted user was called stays, so that nobody
//! is served under the name until there is such a user again.

use super::either::{Cells, change, number, on, rows};
use super::{Store, StoreError, to_sql};

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
    /// The condition beside that of the tenant, and what is compared, `$4`. `name` is the column of names.
    pub(super) fn condition(&self, name: &'static str) -> (&'static str, Option<&str>) {
        match self {
            Self::All => ("", None),
            Self::Id(id) => (" AND id = $4", Some(id)),
            Self::Name(text) if name == "user_name" => (" AND user_name = $4", Some(text)),
            Self::Name(text) => (" AND name = $4", Some(text)),
            Self::External(text) => (" AND external_id = $4", Some(text)),
        }
    }
}

/// A page of what is picked: `$1` the tenant, `$2` and `$3` the page, `$4` what is compared, if anything is.
macro_rules! picked {
    ($at:expr, $sql:expr, $tenant:expr, $limit:expr, $offset:expr, $text:expr) => {
        match $text {
            Some(text) => rows!($at, read, sqlx::AssertSqlSafe($sql), $tenant, $limit, $offset, text),
            None => rows!($at, read, sqlx::AssertSqlSafe($sql), $tenant, $limit, $offset),
        }
    };
}

/// How many are picked.
macro_rules! counted {
    ($at:expr, $sql:expr, $tenant:expr, $text:expr) => {
        match $text {
            Some(text) => {
                let sql = $sql.replace("$4", "$2");
                number!($at, "directory", sqlx::AssertSqlSafe(sql), $tenant, text)
            }
            None => number!($at, "directory", sqlx::AssertSqlSafe($sql), $tenant),
        }
    };
}
pub(super) use {counted, picked};

impl Store {
    /// One integer that moves with every change of a directory.
    pub async fn directory_revision(&self) -> Result<u64, StoreError> {
        number!(&self.pools, "directory_revision.revision", "SELECT revision FROM directory_revision")
    }

    /// Adds a user.
    ///
    /// # Errors
    /// Also [`StoreError::UserExists`] and [`StoreError::DirectoryFull`].
    pub async fn user_insert(&self, tenant: &str, id: &str, user: &UserEntry, now_ms: u64) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let count = "SELECT count(*) FROM directory_users WHERE tenant = $1";
        if number!(tx.conn(), "directory_users", count, tenant)? >= USERS_MAX {
            return Err(StoreError::DirectoryFull(USERS_MAX));
        }
        let sql = "INSERT INTO directory_users VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $9, NULL)";
        let (external, active) = (user.external_id.as_deref(), i64::from(user.active));
        let UserEntry { user_name, names, facts, document, .. } = user;
        change!(tx.conn(), sql, tenant, id, user_name, external, active, names, facts, document, to_sql(now_ms))
            .map_err(taken)?;
        tx.commit().await
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
        let sql = "UPDATE directory_users SET user_name = $1, external_id = $2, active = $3, names = $4, facts = $5, \
             document = $6, changed_ms = $7, version = version + 1 \
             WHERE tenant = $8 AND id = $9 AND version = $10 AND deleted_ms IS NULL";
        let (external, active) = (user.external_id.as_deref(), i64::from(user.active));
        let UserEntry { user_name, names, facts, document, .. } = user;
        let (now, version) = (to_sql(now_ms), to_sql(version));
        let done =
            change!(&self.pools, sql, user_name, external, active, names, facts, document, now, tenant, id, version);
        Ok(done.map_err(taken)? == 1)
    }

    /// Takes a user out, by all but the names; false where there is none.
    pub async fn user_delete(&self, tenant: &str, id: &str, now_ms: u64) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let sql = "UPDATE directory_users SET active = 0, facts = '{}', document = '{}', changed_ms = $1, \
             deleted_ms = $1, version = version + 1 WHERE tenant = $2 AND id = $3 AND deleted_ms IS NULL";
        let done = change!(tx.conn(), sql, to_sql(now_ms), tenant, id)?;
        let sql = "DELETE FROM directory_members WHERE tenant = $1 AND member = $2";
        change!(tx.conn(), sql, tenant, id)?;
        tx.commit().await?;
        Ok(done == 1)
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
             WHERE tenant = $1 AND deleted_ms IS NULL{condition} ORDER BY id LIMIT $2 OFFSET $3"
        );
        picked!(&self.pools, sql, tenant, to_sql(limit), to_sql(offset), text)
    }

    /// How many users are picked.
    pub async fn users_count(&self, tenant: &str, pick: &Pick) -> Result<u64, StoreError> {
        let (condition, text) = pick.condition("user_name");
        let sql = format!("SELECT count(*) FROM directory_users WHERE tenant = $1 AND deleted_ms IS NULL{condition}");
        counted!(&self.pools, sql, tenant, text)
    }

    /// Every user of every directory, as callers are looked up.
    pub async fn people_all(&self) -> Result<Vec<PersonRow>, StoreError> {
        let sql = "SELECT tenant, id, active, deleted_ms, names, facts FROM directory_users";
        rows!(&self.pools, person, sql)
    }
}

fn person(row: &impl Cells) -> Result<PersonRow, StoreError> {
    Ok(PersonRow {
        tenant: row.text(0)?,
        id: row.text(1)?,
        active: row.int(2)? != 0,
        deleted: row.int_or(3)?.is_some(),
        names: row.text(4)?,
        facts: row.text(5)?,
    })
}

pub(super) fn read(row: &impl Cells) -> Result<ResourceRow, StoreError> {
    Ok(ResourceRow {
        id: row.text(0)?,
        document: row.text(1)?,
        version: row.count(2, "directory.version")?,
        created_ms: row.count(3, "directory.created_ms")?,
        changed_ms: row.count(4, "directory.changed_ms")?,
    })
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the list is sqlx's")]
fn taken(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(error) if error.is_unique_violation() => StoreError::UserExists,
        error => error.into(),
    }
}
