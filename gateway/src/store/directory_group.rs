//! Groups of directories and their members. A member is a user or a group of the same directory: the tenant is part of
//! every key, so that no group can reach into another directory.

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::directory::{Pick, ResourceRow, read};
use super::{Store, StoreError, from_sql, to_sql};

/// Groups of one directory.
pub const GROUPS_MAX: u64 = 20_000;

/// A group to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEntry {
    /// Name as it is compared in a list.
    pub name: String,
    /// The client's own id.
    pub external_id: Option<String>,
    /// The document as JSON, without members.
    pub document: String,
    /// Ids of the members.
    pub members: Vec<String>,
}

/// A group's member, or a member's group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow {
    /// Whose directory.
    pub tenant: String,
    /// The group's id.
    pub parent: String,
    /// The member's id.
    pub member: String,
}

/// A group as callers are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRow {
    /// Whose directory.
    pub tenant: String,
    /// The group's id.
    pub id: String,
    /// The document as JSON.
    pub document: String,
}

impl Store {
    /// Adds a group.
    ///
    /// # Errors
    /// Also [`StoreError::NoSuchMember`] and [`StoreError::DirectoryFull`].
    pub async fn group_insert(
        &self,
        tenant: &str,
        id: &str,
        group: &GroupEntry,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let count = sqlx::query_scalar("SELECT count(*) FROM directory_groups WHERE tenant = ?").bind(tenant);
        let count: i64 = count.fetch_one(&mut *transaction).await?;
        if from_sql(count, "directory_groups")? >= GROUPS_MAX {
            return Err(StoreError::DirectoryFull(GROUPS_MAX));
        }
        let query = sqlx::query("INSERT INTO directory_groups VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?6)");
        let query = query.bind(tenant).bind(id).bind(&group.name).bind(group.external_id.as_deref());
        query.bind(&group.document).bind(to_sql(now_ms)).execute(&mut *transaction).await?;
        join(&mut transaction, tenant, id, &group.members).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Puts another state in the place of a group's; false where the version is another by now, or there is no such
    /// group.
    ///
    /// # Errors
    /// Also [`StoreError::NoSuchMember`].
    pub async fn group_replace(
        &self,
        tenant: &str,
        (id, version): (&str, u64),
        group: &GroupEntry,
        now_ms: u64,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let sql = "UPDATE directory_groups SET name = ?, external_id = ?, document = ?, changed_ms = ?, \
             version = version + 1 WHERE tenant = ? AND id = ? AND version = ?";
        let query = sqlx::query(sql).bind(&group.name).bind(group.external_id.as_deref()).bind(&group.document);
        let query = query.bind(to_sql(now_ms)).bind(tenant).bind(id).bind(to_sql(version));
        if query.execute(&mut *transaction).await?.rows_affected() != 1 {
            return Ok(false);
        }
        let sql = "DELETE FROM directory_members WHERE tenant = ? AND parent = ?";
        sqlx::query(sql).bind(tenant).bind(id).execute(&mut *transaction).await?;
        join(&mut transaction, tenant, id, &group.members).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Takes a group out, with its memberships; false where there is none.
    pub async fn group_delete(&self, tenant: &str, id: &str) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let sql = "DELETE FROM directory_members WHERE tenant = ?1 AND (parent = ?2 OR member = ?2)";
        sqlx::query(sql).bind(tenant).bind(id).execute(&mut *transaction).await?;
        let sql = "DELETE FROM directory_groups WHERE tenant = ? AND id = ?";
        let done = sqlx::query(sql).bind(tenant).bind(id).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// Groups of a directory, oldest first.
    pub async fn groups_list(
        &self,
        tenant: &str,
        pick: &Pick,
        (offset, limit): (u64, u64),
    ) -> Result<Vec<ResourceRow>, StoreError> {
        let (condition, text) = pick.condition("name");
        let sql = format!(
            "SELECT id, document, version, created_ms, changed_ms FROM directory_groups \
             WHERE tenant = ?{condition} ORDER BY id LIMIT ? OFFSET ?"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant);
        let query = if let Some(text) = text { query.bind(text) } else { query };
        let rows = query.bind(to_sql(limit)).bind(to_sql(offset)).fetch_all(&self.pool).await?;
        rows.iter().map(read).collect()
    }

    /// How many groups are picked.
    pub async fn groups_count(&self, tenant: &str, pick: &Pick) -> Result<u64, StoreError> {
        let (condition, text) = pick.condition("name");
        let sql = format!("SELECT count(*) FROM directory_groups WHERE tenant = ?{condition}");
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(tenant);
        let query = if let Some(text) = text { query.bind(text) } else { query };
        from_sql(query.fetch_one(&self.pool).await?, "directory_groups")
    }

    /// Members of a group, as (id, `User` or `Group`).
    pub async fn group_members(&self, tenant: &str, id: &str) -> Result<Vec<(String, String)>, StoreError> {
        let sql = "SELECT member, kind FROM directory_members WHERE tenant = ? AND parent = ? ORDER BY member";
        Ok(sqlx::query_as(sql).bind(tenant).bind(id).fetch_all(&self.pool).await?)
    }

    /// The groups that a user or group is a member of, as (id, document).
    pub async fn groups_of(&self, tenant: &str, member: &str) -> Result<Vec<(String, String)>, StoreError> {
        let sql = "SELECT id, document FROM directory_members AS m \
             JOIN directory_groups AS g ON g.tenant = m.tenant AND g.id = m.parent \
             WHERE m.tenant = ? AND m.member = ? ORDER BY id";
        Ok(sqlx::query_as(sql).bind(tenant).bind(member).fetch_all(&self.pool).await?)
    }

    /// Every group of every directory, and every membership.
    pub async fn groups_all(&self) -> Result<(Vec<GroupRow>, Vec<MemberRow>), StoreError> {
        let sql = "SELECT tenant, id, document FROM directory_groups";
        let groups = sqlx::query(sql).fetch_all(&self.pool).await?;
        let group = |row: SqliteRow| {
            Ok::<_, StoreError>(GroupRow { tenant: row.try_get(0)?, id: row.try_get(1)?, document: row.try_get(2)? })
        };
        let sql = "SELECT tenant, parent, member FROM directory_members";
        let members = sqlx::query(sql).fetch_all(&self.pool).await?;
        let member = |row: SqliteRow| {
            Ok::<_, StoreError>(MemberRow { tenant: row.try_get(0)?, parent: row.try_get(1)?, member: row.try_get(2)? })
        };
        Ok((
            groups.into_iter().map(group).collect::<Result<_, _>>()?,
            members.into_iter().map(member).collect::<Result<_, _>>()?,
        ))
    }
}

/// Makes them members; what kind each is, the directory knows itself.
async fn join(
    connection: &mut SqliteConnection,
    tenant: &str,
    parent: &str,
    members: &[String],
) -> Result<(), StoreError> {
    let sql = "INSERT INTO directory_members \
         SELECT tenant, ?1, id, 'User' FROM directory_users WHERE tenant = ?2 AND id = ?3 AND deleted_ms IS NULL \
         UNION ALL SELECT tenant, ?1, id, 'Group' FROM directory_groups WHERE tenant = ?2 AND id = ?3";
    for member in members {
        let query = sqlx::query(sql).bind(parent).bind(tenant).bind(member);
        if query.execute(&mut *connection).await?.rows_affected() != 1 {
            return Err(StoreError::NoSuchMember);
        }
    }
    Ok(())
}
