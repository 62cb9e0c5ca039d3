//! The store: keys, usage rows, the audit log's head and the journal position that was projected.
//!
//! Owns all SQL. Refuses a database of a later version, and says by type when the disk is full or the
//! file can't be written. Start at [`Store`]; [`key`] holds the API keys, [`usage`] the rows of the ledger,
//! [`projection`] the one transaction that moves all three heads together.

pub mod directory;
pub mod directory_group;
pub mod key;
pub mod key_change;
pub mod key_events;
pub mod pepper;
pub mod projection;
mod schema;
pub mod sqlite;
pub mod tenant;
pub mod tenant_secret;
pub mod usage;
pub mod usage_event;

pub use key::KeyRow;
pub use sqlite::Store;
pub use tenant::TenantRow;

use std::path::PathBuf;

/// File name of the store in the data folder.
pub const STORE_FILE: &str = "weir.db";

/// Why the store failed. Except for `NoSuchStore`, `Newer` and `KeyExists` a later try may work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no database and none was to be made.
    #[error("there is no store at `{0}`: start the gateway once, or name its data folder")]
    NoSuchStore(PathBuf),
    /// Written by a later version of Weir.
    #[error("the store has schema version {found}, this program knows {known}: use a newer weir")]
    Newer {
        /// Version in the file.
        found: i64,
        /// Latest version known here.
        known: i64,
    },
    /// A key with that id is already there.
    #[error("a key with the id `{0}` exists already")]
    KeyExists(String),
    /// A tenant with that path is already there.
    #[error("the tenant `{0}` exists already")]
    TenantExists(String),
    /// A user of that name is already in the directory.
    #[error("the directory has a user of that name already")]
    UserExists,
    /// A directory that takes no more.
    #[error("the directory has {0} entries and takes no more")]
    DirectoryFull(u64),
    /// A member that the directory doesn't have.
    #[error("the directory has no user or group with the id of a member")]
    NoSuchMember,
    /// A stored value that no version of Weir writes.
    #[error("the store holds a broken value in `{column}`")]
    Broken {
        /// Table and column.
        column: &'static str,
    },
    /// The disk is full, or a quota was reached.
    #[error("the store's disk is full")]
    Full(#[source] sqlx::Error),
    /// The file or its folder can't be written.
    #[error("the store can't be written")]
    ReadOnly(#[source] sqlx::Error),
    /// Another process held the write lock for longer than the wait.
    #[error("the store is locked by another process")]
    Busy(#[source] sqlx::Error),
    /// The file is damaged or is no database.
    #[error("the store is damaged")]
    Damaged(#[source] sqlx::Error),
    /// Anything else that SQLite says.
    #[error("the store failed")]
    Sql(#[source] sqlx::Error),
    /// The folder or file could not be made.
    #[error("the store's file can't be opened")]
    Io(#[from] std::io::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match primary_code(&error) {
            Some(13) => StoreError::Full(error),
            Some(8) => StoreError::ReadOnly(error),
            Some(5 | 6) => StoreError::Busy(error),
            Some(11 | 26) => StoreError::Damaged(error),
            _ => StoreError::Sql(error),
        }
    }
}

/// SQLite's primary result code: the low byte of the extended one.
fn primary_code(error: &sqlx::Error) -> Option<i64> {
    let code = error.as_database_error()?.code()?.parse::<i64>().ok()?;
    Some(code & 0xff)
}

/// SQLite's integers are signed: a count beyond 2^63 is stored as the largest.
pub(crate) fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Back again; a negative number was never written.
pub(crate) fn from_sql(value: i64, column: &'static str) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Broken { column })
}
