//! Opens a schema of a PostgreSQL server (15 or later): tables made or brought up to date by whoever comes first, and
//! the waits of every connection bounded by the server itself.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{Connection, PgPool, Postgres, Transaction};

use super::url::ServerUrl;
use super::{StoreError, postgres_schema};

/// Connections for reads and for changes of keys; the journal's projection has one of its own.
const CONNECTIONS_MAX: u32 = 8;
/// Wait for a free connection, a new one included. Keys are stale after five seconds.
const CONNECTION_WAIT: Duration = Duration::from_secs(3);
/// A connection that nobody used for so long is closed.
const CONNECTION_IDLE: Duration = Duration::from_secs(120);
/// Longest statement: the server ends it then. Reports over a year of rows take a second.
pub(super) const STATEMENT_MAX: Duration = Duration::from_secs(30);
/// Longest wait for another's lock.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Longest pause within a transaction: changes of keys are held while they are put on the audit log.
pub(super) const TRANSACTION_IDLE_MAX: Duration = Duration::from_secs(60);
/// Class of advisory locks around the making of tables.
pub(super) const LOCK_SCHEMA: i32 = 0x5765_6901;

/// Opens the schema and brings it up to date.
pub(super) async fn open(url: &ServerUrl) -> Result<PgPool, StoreError> {
    let options = url.options(None)?;
    let mut first = connect(&options).await?;
    migrate(&mut first, url.schema()).await?;
    first.close().await?;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(CONNECTION_WAIT)
        .idle_timeout(CONNECTION_IDLE);
    Ok(pool.connect_lazy_with(options))
}

/// One connection, within the bounded wait.
pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    match tokio::time::timeout(CONNECTION_WAIT, PgConnection::connect_with(options)).await {
        Ok(connected) => Ok(connected?),
        Err(_) => Err(StoreError::Away(sqlx::Error::PoolTimedOut)),
    }
}

/// Begins a transaction that writes. It waits for every other one that does: the triggers of the schema take the same
/// lock before a single statement changes a row.
pub(super) async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, StoreError> {
    let mut transaction = pool.begin().await?;
    sqlx::query("SELECT revision FROM revision FOR UPDATE").execute(&mut *transaction).await?;
    Ok(transaction)
}

/// What an error is, by its SQLSTATE.
pub(super) fn kind(code: &str) -> fn(sqlx::Error) -> StoreError {
    match code {
        // disk_full; out of memory and of other resources are no matter of the disk.
        "53100" => StoreError::Full,
        // read_only_sql_transaction (a standby), insufficient_privilege
        "25006" | "42501" => StoreError::ReadOnly,
        // lock_not_available, query_canceled by a timeout, serialization_failure, deadlock_detected
        "55P03" | "57014" | "40001" | "40P01" => StoreError::Busy,
        // data_corrupted, index_corrupted
        "XX001" | "XX002" => StoreError::Damaged,
        // Connections that failed, servers that start or stop; too many connections, and a pause that was too long
        code if code.starts_with("08") || code.starts_with("57P") => StoreError::Away,
        "53300" | "25P03" => StoreError::Away,
        _ => StoreError::Sql,
    }
}

async fn migrate(connection: &mut PgConnection, schema: Option<&str>) -> Result<(), StoreError> {
    let known = i64::try_from(postgres_schema::STEPS.len()).unwrap_or(i64::MAX);
    if version(connection).await? == Some(known) {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    // The version is read again under the lock: another process may be doing the same.
    sqlx::query("SELECT pg_advisory_xact_lock($1, 0)").bind(LOCK_SCHEMA).execute(&mut *transaction).await?;
    if let Some(schema) = schema {
        // Its name was checked to need no quotes. A schema that is there needs no right to make one.
        let there = sqlx::query("SELECT 1 FROM pg_namespace WHERE nspname = $1").bind(schema);
        if there.fetch_optional(&mut *transaction).await?.is_none() {
            let sql = format!("CREATE SCHEMA {schema}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *transaction).await?;
        }
    }
    let found = version(&mut transaction).await?.unwrap_or(0);
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    let done = usize::try_from(found).map_err(|_| StoreError::Broken { column: "weir_version" })?;
    for step in postgres_schema::STEPS.iter().skip(done) {
        sqlx::raw_sql(*step).execute(&mut *transaction).await?;
    }
    sqlx::query("UPDATE weir_version SET version = $1").bind(known).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

/// The schema's version; `None` where there are no tables yet.
async fn version(connection: &mut PgConnection) -> Result<Option<i64>, StoreError> {
    let there: bool =
        sqlx::query_scalar("SELECT to_regclass('weir_version') IS NOT NULL").fetch_one(&mut *connection).await?;
    match there {
        true => Ok(Some(sqlx::query_scalar("SELECT version FROM weir_version").fetch_one(connection).await?)),
        false => Ok(None),
    }
}
