//! Closed months: statements, numbered without a gap, never changed and never deleted.
//!
//! The schema refuses every other statement than an insert, and puts each new number and digest among the changes that
//! the gateway notes on the audit log. Several gateways may close at once: the number is taken under the store's write
//! lock.

use sqlx::AssertSqlSafe;

use super::either::{Cells, Either, change, number, on, row, rows};
use super::{Store, StoreError, to_sql};
use crate::limits::window::Span;

/// The step of SQLite.
pub(super) const SQLITE: &str = r"
CREATE TABLE statements (
  number INTEGER PRIMARY KEY CHECK (number > 0),
  tenant TEXT NOT NULL,
  month TEXT NOT NULL,
  from_ms INTEGER NOT NULL,
  to_ms INTEGER NOT NULL,
  closed_ms INTEGER NOT NULL,
  cost_nano INTEGER NOT NULL,
  digest TEXT NOT NULL,
  body TEXT NOT NULL,
  UNIQUE (tenant, month)
) STRICT;
CREATE TRIGGER statements_stay_updated BEFORE UPDATE ON statements BEGIN
  SELECT RAISE(ABORT, 'a statement is never changed');
END;
CREATE TRIGGER statements_stay_deleted BEFORE DELETE ON statements BEGIN
  SELECT RAISE(ABORT, 'a statement is never deleted');
END;
CREATE TRIGGER statements_inserted_event AFTER INSERT ON statements BEGIN
  INSERT INTO key_events (event, key, tenant, at_ms)
  VALUES ('statement_closed', new.number || ' sha256:' || new.digest, new.tenant, new.closed_ms);
END;
";

/// The step of PostgreSQL.
pub(super) const POSTGRES: &str = r#"
CREATE TABLE statements (
  number BIGINT PRIMARY KEY CHECK (number > 0),
  tenant TEXT COLLATE "C" NOT NULL,
  month TEXT COLLATE "C" NOT NULL,
  from_ms BIGINT NOT NULL,
  to_ms BIGINT NOT NULL,
  closed_ms BIGINT NOT NULL,
  cost_nano BIGINT NOT NULL,
  digest TEXT NOT NULL,
  body TEXT NOT NULL,
  UNIQUE (tenant, month)
);
CREATE FUNCTION statements_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'a statement is never changed and never deleted'; END $$;
CREATE TRIGGER statements_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON statements
FOR EACH STATEMENT EXECUTE FUNCTION statements_stay();
CREATE FUNCTION statements_inserted_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO key_events (event, key, tenant, at_ms)
  VALUES ('statement_closed', new.number || ' sha256:' || new.digest, new.tenant, new.closed_ms);
  RETURN NULL;
END $$;
CREATE TRIGGER statements_inserted_event AFTER INSERT ON statements
FOR EACH ROW EXECUTE FUNCTION statements_inserted_event();
"#;

/// A statement as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StatementRow {
    /// Counts up from 1 without a gap.
    pub number: u64,
    /// Tenant path; empty: the whole deployment.
    pub tenant: String,
    /// `2026-11`.
    pub month: String,
    /// Unix milliseconds, inclusive.
    pub from_ms: u64,
    /// Unix milliseconds, exclusive.
    pub to_ms: u64,
    /// Unix milliseconds at the closing.
    pub closed_ms: u64,
    /// Its sum, in nano-dollars.
    pub cost_nano: i64,
    /// SHA-256 of the body, hexadecimal.
    pub digest: String,
    /// Canonical JSON.
    #[serde(skip)]
    pub body: String,
}

/// Where a gateway's audit log was when its last call was written down.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AuditHead {
    /// The gateway among those that share the store; empty where none do.
    pub node: String,
    /// Number of its last line.
    pub seq: u64,
    /// Hash of that line, hexadecimal.
    pub hash: String,
}

const COLUMNS: &str =
    "SELECT number, tenant, month, from_ms, to_ms, closed_ms, cost_nano, digest, body FROM statements";

fn statement(row: &impl Cells) -> Result<StatementRow, StoreError> {
    Ok(StatementRow {
        number: row.count(0, "statements.number")?,
        tenant: row.text(1)?,
        month: row.text(2)?,
        from_ms: row.count(3, "statements.from_ms")?,
        to_ms: row.count(4, "statements.to_ms")?,
        closed_ms: row.count(5, "statements.closed_ms")?,
        cost_nano: row.int(6)?,
        digest: row.text(7)?,
        body: row.text(8)?,
    })
}

/// What came of keeping a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It is kept.
    New,
    /// The month was closed before: this is its statement.
    Before(StatementRow),
    /// Another statement took the number: write it anew.
    Late,
}

impl Store {
    /// Every statement about this tenant or what lies below it, by number; `None`: all.
    pub async fn statements(&self, tenant: Option<&str>) -> Result<Vec<StatementRow>, StoreError> {
        let sql = format!(
            "{COLUMNS} WHERE ($1 IS NULL OR tenant = $1 OR substr(tenant, 1, length($1) + 1) = $1 || '/') \
             ORDER BY number"
        );
        rows!(&self.pools, statement, AssertSqlSafe(sql), tenant)
    }

    /// The statement of that number.
    pub async fn statement(&self, number: u64) -> Result<Option<StatementRow>, StoreError> {
        let sql = format!("{COLUMNS} WHERE number = $1");
        row!(&self.pools, statement, AssertSqlSafe(sql), to_sql(number))
    }

    /// The last statement.
    pub async fn last_statement(&self) -> Result<Option<StatementRow>, StoreError> {
        let sql = format!("{COLUMNS} ORDER BY number DESC LIMIT 1");
        row!(&self.pools, statement, AssertSqlSafe(sql))
    }

    /// Keeps a statement, if its number is still the next one.
    pub async fn keep_statement(&self, new: &StatementRow) -> Result<Kept, StoreError> {
        let mut tx = self.begin().await?;
        let sql = format!("{COLUMNS} WHERE tenant = $1 AND month = $2");
        if let Some(there) = row!(tx.conn(), statement, AssertSqlSafe(sql), &new.tenant, &new.month)? {
            return Ok(Kept::Before(there));
        }
        let sql = "SELECT coalesce(max(number), 0) FROM statements";
        if number!(tx.conn(), "statements.number", sql)?.saturating_add(1) != new.number {
            return Ok(Kept::Late);
        }
        let sql = "INSERT INTO statements (number, tenant, month, from_ms, to_ms, closed_ms, cost_nano, digest, body) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        change!(
            tx.conn(),
            sql,
            to_sql(new.number),
            &new.tenant,
            &new.month,
            to_sql(new.from_ms),
            to_sql(new.to_ms),
            to_sql(new.closed_ms),
            new.cost_nano,
            &new.digest,
            &new.body
        )?;
        tx.commit().await?;
        Ok(Kept::New)
    }

    /// Versions of the prices that were applied within a span, in order.
    pub async fn price_versions(&self, span: Span, tenant: Option<&str>) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT DISTINCT price_version FROM usage WHERE at_ms >= $1 AND at_ms < $2 AND price_version <> '' \
             AND ($3 IS NULL OR tenant = $3 OR substr(tenant, 1, length($3) + 1) = $3 || '/')";
        let mut versions = rows!(&self.pools, first_text, sql, to_sql(span.from_ms), to_sql(span.to_ms), tenant)?;
        versions.sort();
        Ok(versions)
    }

    /// The heads of the audit logs of all gateways on this store.
    pub async fn audit_heads(&self) -> Result<Vec<AuditHead>, StoreError> {
        match &self.pools {
            at @ Either::Sqlite(_) => rows!(at, audit_head, "SELECT '', audit_seq, audit_hash FROM projection"),
            at @ Either::Postgres(_) => {
                rows!(at, audit_head, "SELECT node, audit_seq, audit_hash FROM projection ORDER BY node")
            }
        }
    }
}

fn first_text(row: &impl Cells) -> Result<String, StoreError> {
    row.text(0)
}

fn audit_head(row: &impl Cells) -> Result<AuditHead, StoreError> {
    Ok(AuditHead { node: row.text(0)?, seq: row.count(1, "projection.audit_seq")?, hash: row.text(2)? })
}
