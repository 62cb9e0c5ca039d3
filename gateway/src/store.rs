//! The store: keys, usage rows, the audit log's head and the journal position that was projected.
//!
//! Owns all SQL. Refuses a database of a later version, and says by type when the disk is full, the file can't be
//! written or the server is away. Start at [`Store`]: a file of SQLite's or a schema of PostgreSQL's, told apart by
//! [`either`] and by nobody outside. [`key`] holds the API keys, [`usage`] the rows of the ledger, [`projection`] the
//! one transaction that moves all three heads together.

pub mod budget;
mod cells;
pub mod correction;
pub mod directory;
pub mod directory_group;
pub(crate) mod either;
pub mod key;
pub mod key_change;
pub mod key_events;
mod months;
pub mod node;
pub mod pepper;
mod postgres;
mod postgres_schema;
pub mod projection;
pub mod rollup;
mod rollup_schema;
mod schema;
mod spent;
pub mod sqlite;
pub mod statement;
mod stored_response;
pub mod tenant;
pub mod tenant_secret;
pub mod url;
pub mod usage;
pub mod usage_event;
mod usage_row;

pub use key::KeyRow;
pub use tenant::TenantRow;
pub use url::StoreUrl;

use std::path::PathBuf;

use either::{Either, Pools, Tx, number, on};
use sqlite::Create;

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
    /// The database server can't be reached, takes no more connections, or did not answer in time.
    #[error("the store's server can't be reached")]
    Away(#[source] sqlx::Error),
    /// Another gateway runs under this one's name.
    #[error("another gateway uses the store as node `{0}`: a data folder can't be shared or copied")]
    NodeTaken(String),
    /// Anything else that the database says.
    #[error("the store failed")]
    Sql(#[source] sqlx::Error),
    /// The folder or file could not be made.
    #[error("the store's file can't be opened")]
    Io(#[from] std::io::Error),
}

impl From<sqlx::Error> for StoreError {
    #[allow(clippy::wildcard_enum_match_arm, reason = "the list is sqlx's")]
    fn from(error: sqlx::Error) -> Self {
        let kind = match &error {
            sqlx::Error::Database(says) => match says.code() {
                Some(code) if says.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() => {
                    postgres::kind(&code)
                }
                code => sqlite::kind(code.as_deref()),
            },
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::PoolTimedOut => {
                StoreError::Away
            }
            _ => StoreError::Sql,
        };
        kind(error)
    }
}

/// An open store. Cloning shares the connections.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) pools: Pools,
}

impl Store {
    /// Opens a store and brings its schema up to date. Whether a file may be made where there is none, `create` says;
    /// on a server the tables are made in either case.
    pub async fn open(at: impl Into<StoreUrl>, create: Create) -> Result<Self, StoreError> {
        let pools = match at.into() {
            StoreUrl::File(path) => Either::Sqlite(sqlite::open(&path, create).await?),
            StoreUrl::Server(url) => Either::Postgres(postgres::open(&url).await?),
        };
        Ok(Self { pools })
    }

    /// Whether other gateways may write to it.
    pub fn is_shared(&self) -> bool {
        matches!(self.pools, Either::Postgres(_))
    }

    /// Closes every connection; the last one of SQLite's to close folds the write-ahead log into the file.
    pub async fn close(&self) {
        on!(&self.pools, pool => pool.close().await);
    }

    /// One integer that moves with every change of a key. Gateways poll it.
    pub async fn revision(&self) -> Result<u64, StoreError> {
        number!(&self.pools, "revision.revision", "SELECT revision FROM revision")
    }

    /// Begins a transaction that writes keys, tenants or directories: one at a time, whoever writes, so that nothing
    /// that it read has changed when it writes.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        match &self.pools {
            Either::Sqlite(pool) => Ok(Either::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?)),
            Either::Postgres(pool) => Ok(Either::Postgres(postgres::begin(pool).await?)),
        }
    }
}

#[cfg(test)]
impl Store {
    /// Changes the store behind everybody's back.
    pub(crate) async fn execute(&self, sql: &'static str) {
        match &self.pools {
            Either::Sqlite(pool) => drop(sqlx::raw_sql(sql).execute(pool).await.unwrap()),
            Either::Postgres(pool) => {
                // It may take longer than a gateway's statement.
                let sql = format!("SET statement_timeout = 0; {sql}; RESET statement_timeout");
                sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(pool).await.map(drop).unwrap();
            }
        }
    }

    /// Adds the sums of rows that came in past them.
    pub(crate) async fn sum_up(&self) {
        let step = match &self.pools {
            Either::Sqlite(_) => rollup_schema::SQLITE,
            Either::Postgres(_) => rollup_schema::POSTGRES,
        };
        self.execute(&step[step.find("INSERT INTO usage_hour").unwrap()..]).await;
    }
}

/// The databases' integers are signed: a count beyond 2^63 is stored as the largest.
pub(crate) fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Back again; a negative number was never written.
pub(crate) fn from_sql(value: i64, column: &'static str) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Broken { column })
}

#[cfg(test)]
mod suite;
