//! The one transaction that moves the ledger, the audit log's head and the journal's position together.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection, Row};

use super::either::{Cells, Conn, Either, change, on, row};
use super::node::Node;
use super::url::{ServerUrl, StoreUrl};
use super::{StoreError, months, postgres, sqlite, to_sql, usage_row};
use crate::audit::record::{Link, unhex};
use crate::audit::sink::Head;
use crate::journal::{Closing, Position};

/// Longest commit on a server, a new connection included. The journal's writer waits for it, and so do its syncs.
const COMMIT_MAX: Duration = Duration::from_secs(5);

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
    to: Either<SqliteConnection, Remote>,
}

/// A node's connection to a server, made anew after any failure: what a broken one did or did not do, the next try
/// finds out by doing it again.
#[derive(Debug)]
struct Remote {
    url: ServerUrl,
    node: Node,
    /// This run of the node. Whoever starts later under the same name takes the node over.
    run: String,
    connection: Option<sqlx::PgConnection>,
    months: months::Known,
}

const MOVE: &str = "INSERT INTO projection VALUES (1, $1, $2, $3, $4, $5, $6) ON CONFLICT (one) DO UPDATE SET \
     segment = excluded.segment, offset = excluded.offset, audit_seq = excluded.audit_seq, \
     audit_hash = excluded.audit_hash, audit_file = excluded.audit_file, audit_offset = excluded.audit_offset";
/// Only while this run holds the node, which is held to the end of the transaction.
const MOVE_NODE: &str = "INSERT INTO projection SELECT node, $1, $2, $3, $4, $5, $6 FROM \
     (SELECT node FROM nodes WHERE node = $7 AND run = $8 FOR SHARE) AS held ON CONFLICT (node) DO UPDATE SET \
     segment = excluded.segment, \"offset\" = excluded.\"offset\", audit_seq = excluded.audit_seq, \
     audit_hash = excluded.audit_hash, audit_file = excluded.audit_file, audit_offset = excluded.audit_offset";
const READ: &str = "SELECT segment, \"offset\", audit_seq, audit_hash, audit_file, audit_offset FROM projection";
const READ_NODE: &str = "SELECT segment, \"offset\", audit_seq, audit_hash, audit_file, audit_offset FROM projection \
     WHERE node = $1";

impl Projection {
    /// Connects to a store that exists. On a server the data folder's node is taken: call it under the folder's lock.
    pub async fn connect(at: &StoreUrl, data: &Path) -> Result<Self, StoreError> {
        let to = match at {
            StoreUrl::File(path) => Either::Sqlite(sqlite::options(path).connect().await?),
            StoreUrl::Server(url) => Either::Postgres(Remote::take(url.clone(), Node::keep(data)?).await?),
        };
        Ok(Self { to })
    }

    /// How far the last run came; `None` in a new store.
    pub async fn read(&mut self) -> Result<Option<Projected>, StoreError> {
        match &mut self.to {
            Either::Sqlite(connection) => read(Either::Sqlite(connection), None).await,
            Either::Postgres(remote) => {
                let node = remote.node.clone();
                read(Either::Postgres(remote.connected().await?), Some(&node)).await
            }
        }
    }

    /// Writes the usage rows of the closings and moves both heads; all or nothing.
    pub async fn commit<'a>(
        &mut self,
        closings: impl Iterator<Item = &'a Closing> + Clone,
        to: &Projected,
    ) -> Result<(), StoreError> {
        let remote = match &mut self.to {
            Either::Sqlite(connection) => return commit_file(connection, closings, to).await,
            Either::Postgres(remote) => remote,
        };
        let done = tokio::time::timeout(COMMIT_MAX, remote.commit(closings, to)).await;
        let done = done.unwrap_or_else(|_| Err(StoreError::Away(sqlx::Error::PoolTimedOut)));
        if done.is_err() {
            remote.connection = None;
        }
        done
    }

    /// Makes what was committed survive a power loss: before journal segments are deleted. A server's commit does.
    pub async fn checkpoint(&mut self) -> Result<(), StoreError> {
        let Either::Sqlite(connection) = &mut self.to else { return Ok(()) };
        let row = sqlx::query("PRAGMA wal_checkpoint(FULL)").fetch_one(connection).await?;
        match row.try_get::<i64, _>(0)? {
            0 => Ok(()),
            _ => Err(StoreError::Busy(sqlx::Error::Protocol("a reader holds the checkpoint up".into()))),
        }
    }
}

async fn commit_file<'a>(
    connection: &mut SqliteConnection,
    closings: impl Iterator<Item = &'a Closing>,
    to: &Projected,
) -> Result<(), StoreError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    usage_row::insert(Either::Sqlite(&mut transaction), closings).await?;
    let [segment, offset, seq, file, audit_offset] = numbers(to);
    let at: Conn<'_> = Either::Sqlite(&mut transaction);
    change!(at, MOVE, segment, offset, seq, to.audit.link.hex(), file, audit_offset)?;
    transaction.commit().await?;
    Ok(())
}

/// Segment and offset of the journal; line, file and offset of the audit log.
fn numbers(to: &Projected) -> [i64; 5] {
    let Projected { position, audit } = to;
    [position.segment, position.offset, audit.link.seq, audit.file, audit.offset].map(to_sql)
}

impl Remote {
    /// Connects and takes the node over from whoever ran under its name before.
    async fn take(url: ServerUrl, node: Node) -> Result<Self, StoreError> {
        let mut run = [0; 16];
        getrandom::fill(&mut run).map_err(std::io::Error::other)?;
        let run = uuid::Uuid::from_bytes(run).simple().to_string();
        let mut remote = Self { url, node, run, connection: None, months: months::Known::default() };
        let (node, run) = (remote.node.as_str().to_owned(), remote.run.clone());
        let sql = "INSERT INTO nodes VALUES ($1, $2) ON CONFLICT (node) DO UPDATE SET run = excluded.run";
        sqlx::query(sql).bind(node).bind(run).execute(remote.connected().await?).await?;
        Ok(remote)
    }

    async fn connected(&mut self) -> Result<&mut sqlx::PgConnection, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => postgres::connect(&self.url.options(Some(&self.node))?).await?,
        };
        Ok(self.connection.insert(connection))
    }

    async fn commit<'a>(
        &mut self,
        closings: impl Iterator<Item = &'a Closing> + Clone,
        to: &Projected,
    ) -> Result<(), StoreError> {
        self.connected().await?;
        let Some(connection) = &mut self.connection else { return Ok(()) };
        self.months.make(connection, closings.clone().map(|closing| closing.at_ms)).await?;
        let mut transaction = connection.begin().await?;
        usage_row::insert(Either::Postgres(&mut transaction), closings).await?;
        let [segment, offset, seq, file, audit_offset] = numbers(to);
        let hash = to.audit.link.hex();
        let query = sqlx::query(MOVE_NODE).bind(segment).bind(offset).bind(seq).bind(hash).bind(file);
        let query = query.bind(audit_offset).bind(self.node.as_str()).bind(&self.run);
        if query.execute(&mut *transaction).await?.rows_affected() != 1 {
            return Err(StoreError::NodeTaken(self.node.as_str().to_owned()));
        }
        transaction.commit().await?;
        Ok(())
    }
}

pub(super) async fn read(at: Conn<'_>, node: Option<&Node>) -> Result<Option<Projected>, StoreError> {
    match at {
        at @ Either::Sqlite(_) => row!(at, projected, READ),
        at @ Either::Postgres(_) => row!(at, projected, READ_NODE, node.map_or("", Node::as_str)),
    }
}

fn projected(row: &impl Cells) -> Result<Projected, StoreError> {
    let hash = unhex(&row.text(3)?).ok_or(StoreError::Broken { column: "projection.audit_hash" })?;
    Ok(Projected {
        position: Position { segment: row.count(0, "projection.segment")?, offset: row.count(1, "projection.offset")? },
        audit: Head {
            link: Link { seq: row.count(2, "projection.audit_seq")?, hash },
            file: row.count(4, "projection.audit_file")?,
            offset: row.count(5, "projection.audit_offset")?,
        },
    })
}
