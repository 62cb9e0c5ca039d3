//! Groups of directories and their members. A member is a user or a group of the same directory: the tenant is part of
//! every key, so that no group can reach into another directory.

use super::directory::{Pick, ResourceRow, counted, picked, read};
use super::either::{Cells, Conn, change, number, on, rows};
use super::{Store, StoreError, to_sql};

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
        let mut tx = self.begin().await?;
        let count = "SELECT count(*) FROM directory_groups WHERE tenant = $1";
        if number!(tx.conn(), "directory_groups", count, tenant)? >= GROUPS_MAX {
            return Err(StoreError::DirectoryFull(GROUPS_MAX));
        }
        let sql = "INSERT INTO directory_groups VALUES ($1, $2, $3, $4, $5, 1, $6, $6)";
        let external = group.external_id.as_deref();
        change!(tx.conn(), sql, tenant, id, &group.name, external, &group.document, to_sql(now_ms))?;
        join(tx.conn(), tenant, id, &group.members).await?;
        tx.commit().await
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
        let mut tx = self.begin().await?;
        let sql = "UPDATE directory_groups SET name = $1, external_id = $2, document = $3, changed_ms = $4, \
             version = version + 1 WHERE tenant = $5 AND id = $6 AND version = $7";
        let (external, version) = (group.external_id.as_deref(), to_sql(version));
        let done =
            change!(tx.conn(), sql, &group.name, external, &group.document, to_sql(now_ms), tenant, id, version)?;
        if done != 1 {
            return Ok(false);
        }
        let sql = "DELETE FROM directory_members WHERE tenant = $1 AND parent = $2";
        change!(tx.conn(), sql, tenant, id)?;
        join(tx.conn(), tenant, id, &group.members).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Takes a group out, with its memberships; false where there is none.
    pub async fn group_delete(&self, tenant: &str, id: &str) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let sql = "DELETE FROM directory_members WHERE tenant = $1 AND (parent = $2 OR member = $2)";
        change!(tx.conn(), sql, tenant, id)?;
        let done = change!(tx.conn(), "DELETE FROM directory_groups WHERE tenant = $1 AND id = $2", tenant, id)?;
        tx.commit().await?;
        Ok(done == 1)
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
             WHERE tenant = $1{condition} ORDER BY id LIMIT $2 OFFSET $3"
        );
        picked!(&self.pools, sql, tenant, to_sql(limit), to_sql(offset), text)
    }

    /// How many groups are picked.
    pub async fn groups_count(&self, tenant: &str, pick: &Pick) -> Result<u64, StoreError> {
        let (condition, text) = pick.condition("name");
        let sql = format!("SELECT count(*) FROM directory_groups WHERE tenant = $1{condition}");
        counted!(&self.pools, sql, tenant, text)
    }

    /// Members of a group, as (id, `User` or `Group`).
    pub async fn group_members(&self, tenant: &str, id: &str) -> Result<Vec<(String, String)>, StoreError> {
        let sql = "SELECT member, kind FROM directory_members WHERE tenant = $1 AND parent = $2 ORDER BY member";
        rows!(&self.pools, |row| Ok((row.text(0)?, row.text(1)?)), sql, tenant, id)
    }

    /// The groups that a user or group is a member of, as (id, document).
    pub async fn groups_of(&self, tenant: &str, member: &str) -> Result<Vec<(String, String)>, StoreError> {
        let sql = "SELECT id, document FROM directory_members AS m \
             JOIN directory_groups AS g ON g.tenant = m.tenant AND g.id = m.parent \
             WHERE m.tenant = $1 AND m.member = $2 ORDER BY id";
        rows!(&self.pools, |row| Ok((row.text(0)?, row.text(1)?)), sql, tenant, member)
    }

    /// Every group of every directory, and every membership.
    pub async fn groups_all(&self) -> Result<(Vec<GroupRow>, Vec<MemberRow>), StoreError> {
        let groups = rows!(
            &self.pools,
            |row| Ok(GroupRow { tenant: row.text(0)?, id: row.text(1)?, document: row.text(2)? }),
            "SELECT tenant, id, document FROM directory_groups"
        )?;
        let members = rows!(
            &self.pools,
            |row| Ok(MemberRow { tenant: row.text(0)?, parent: row.text(1)?, member: row.text(2)? }),
            "SELECT tenant, parent, member FROM directory_members"
        )?;
        Ok((groups, members))
    }
}

/// Makes them members; what kind each is, the directory knows itself.
async fn join(mut at: Conn<'_>, tenant: &str, parent: &str, members: &[String]) -> Result<(), StoreError> {
    let sql = "INSERT INTO directory_members \
         SELECT tenant, $1, id, 'User' FROM directory_users WHERE tenant = $2 AND id = $3 AND deleted_ms IS NULL \
         UNION ALL SELECT tenant, $1, id, 'Group' FROM directory_groups WHERE tenant = $2 AND id = $3";
    for member in members {
        if change!(at.again(), sql, parent, tenant, member)? != 1 {
            return Err(StoreError::NoSuchMember);
        }
    }
    Ok(())
}
