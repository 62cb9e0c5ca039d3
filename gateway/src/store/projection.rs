//! The one transaction that moves the ledger, the audit log's head and the journal's position together.

use std::path::Path;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions, Connection, Row};

use super::{Store, StoreError, from_sql, sqlite, to_sql, usage};
use crate::audit::record::{Link, unhex};
use crate::audit::sink::Head;
use crate::journal::{Closing, Position};

/// How far the journal was projected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Projected {
    /// Closings before this place are in the ledger and in the audit log.
    pub position: Position,
    /// The audit log's last line then.
    pub audit: Head,
}

/// The journal's own connection to the store.
#[derive(Debug)]
pub struct Projection {
    connection: SqliteConnection,
}

const MOVE: &str = "INSERT INTO projection VALUES (1, ?, ?, ?, ?, ?, ?) ON CONFLICT (one) DO UPDATE SET \
     segment = excluded.segment, offset = excluded.offset, audit_seq = excluded.audit_seq, \
     audit_hash = excluded.audit_hash, audit_file = excluded.audit_file, audit_offset = excluded.audit_offset";
const READ: &str = "SELECT segment, offset, audit_seq, audit_hash, audit_file, audit_offset FROM projection";

impl Projection {
    /// Connects to a store that exists.
    pub async fn connect(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { connection: sqlite::options(path).connect().await? })
    }

    /// How far the last run came; `None` in a new store.
    pub async fn read(&mut self) -> Result<Option<Projected>, StoreError> {
        read(&mut self.connection).await
    }

    /// Writes the usage rows of the closings and moves both heads; all or nothing.
    pub async fn commit<'a>(
        &mut self,
        closings: impl Iterator<Item = &'a Closing>,
        to: &Projected,
    ) -> Result<(), StoreError> {
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        usage::insert(&mut transaction, closings).await?;
        sqlx::query(MOVE)
            .bind(to_sql(to.position.segment))
            .bind(to_sql(to.position.offset))
            .bind(to_sql(to.audit.link.seq))
            .bind(to.audit.link.hex())
            .bind(to_sql(to.audit.file))
            .bind(to_sql(to.audit.offset))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Makes what was committed survive a power loss: before journal segments are deleted.
    pub async fn checkpoint(&mut self) -> Result<(), StoreError> {
        let row = sqlx::query("PRAGMA wal_checkpoint(FULL)").fetch_one(&mut self.connection).await?;
        match row.try_get::<i64, _>(0)? {
            0 => Ok(()),
            _ => Err(StoreError::Busy(sqlx::Error::Protocol("a reader holds the checkpoint up".into()))),
        }
    }
}

impl Store {
    /// How far the journal was projected; `None` before the first call.
    pub async fn projected(&self) -> Result<Option<Projected>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        read(&mut connection).await
    }
}

pub(super) async fn read(connection: &mut SqliteConnection) -> Result<Option<Projected>, StoreError> {
    let row = sqlx::query(READ).fetch_optional(connection).await?;
    row.as_ref().map(projected).transpose()
}

fn projected(row: &SqliteRow) -> Result<Projected, StoreError> {
    let hash: String = row.try_get(3)?;
    let hash = unhex(&hash).ok_or(StoreError::Broken { column: "projection.audit_hash" })?;
    Ok(Projected {
        position: Position {
            segment: from_sql(row.try_get(0)?, "projection.segment")?,
            offset: from_sql(row.try_get(1)?, "projection.offset")?,
        },
        audit: Head {
            link: Link { seq: from_sql(row.try_get(2)?, "projection.audit_seq")?, hash },
            file: from_sql(row.try_get(4)?, "projection.audit_file")?,
            offset: from_sql(row.try_get(5)?, "projection.audit_offset")?,
        },
    })
}
