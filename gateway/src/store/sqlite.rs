//! Opens the SQLite file: WAL, one write at a time, mode 0600, schema brought up to date.

use std::fs::OpenOptions;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqlitePool};

use super::{StoreError, schema};

/// Connections for reads and for changes of keys; the journal's projection has one of its own.
const CONNECTIONS_MAX: u32 = 4;
/// Wait for another process's write lock.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// What to do where there is no file yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// Make it (the gateway, and `weir key` before the first start).
    IfMissing,
    /// Refuse (reports).
    Never,
}

/// Opens a file and brings its schema up to date.
pub(super) async fn open(path: &Path, create: Create) -> Result<SqlitePool, StoreError> {
    prepare(path, create)?;
    let options = options(path);
    let mut first = options.connect().await?;
    migrate(&mut first).await?;
    first.close().await?;
    let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).test_before_acquire(false);
    Ok(pool.connect_lazy_with(options))
}

/// What an error is, by SQLite's primary result code: the low byte of the extended one.
pub(super) fn kind(code: Option<&str>) -> fn(sqlx::Error) -> StoreError {
    match code.and_then(|code| code.parse::<i64>().ok()).map(|code| code & 0xff) {
        Some(13) => StoreError::Full,
        Some(8) => StoreError::ReadOnly,
        Some(5 | 6) => StoreError::Busy,
        Some(11 | 26) => StoreError::Damaged,
        Some(_) | None => StoreError::Sql,
    }
}

/// Options of every connection.
pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_WAIT)
        .disable_statement_logging()
}

/// SQLite gives its side files the main file's mode, so that is made here, empty and private.
fn prepare(path: &Path, create: Create) -> Result<(), StoreError> {
    if path.exists() {
        return Ok(());
    }
    match create {
        Create::Never => Err(StoreError::NoSuchStore(path.to_owned())),
        Create::IfMissing => {
            if let Some(folder) = path.parent() {
                std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
            Ok(())
        }
    }
}

async fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let known = i64::try_from(schema::STEPS.len()).unwrap_or(i64::MAX);
    if version(connection).await? == known {
        return Ok(());
    }
    // The version is read again under the write lock: another process may be doing the same.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let found = version(&mut transaction).await?;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    let done = usize::try_from(found).map_err(|_| StoreError::Broken { column: "user_version" })?;
    for step in schema::STEPS.iter().skip(done) {
        sqlx::raw_sql(*step).execute(&mut *transaction).await?;
    }
    let set = format!("PRAGMA user_version = {known}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

async fn version(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("PRAGMA user_version").fetch_one(connection).await?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::{STORE_FILE, Store};

    #[tokio::test]
    async fn a_store_is_private_and_opens_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data").join(STORE_FILE);
        let store = Store::open(&path, Create::IfMissing).await.unwrap();
        assert_eq!(store.revision().await.unwrap(), 0);
        let again = Store::open(&path, Create::Never).await.unwrap();
        assert_eq!(again.revision().await.unwrap(), 0);
        for name in ["weir.db", "weir.db-wal", "weir.db-shm"] {
            let mode = std::fs::metadata(path.with_file_name(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[tokio::test]
    async fn reports_make_no_empty_store() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STORE_FILE);
        let error = Store::open(&path, Create::Never).await.unwrap_err();
        assert!(matches!(error, StoreError::NoSuchStore(_)), "{error}");
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_later_schema_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STORE_FILE);
        let store = Store::open(&path, Create::IfMissing).await.unwrap();
        store.execute("PRAGMA user_version = 999").await;
        store.close().await;
        let error = Store::open(&path, Create::IfMissing).await.unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 999, .. }), "{error}");
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_called_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STORE_FILE);
        std::fs::write(&path, vec![b'x'; 8192]).unwrap();
        let error = Store::open(&path, Create::IfMissing).await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
    }
}
