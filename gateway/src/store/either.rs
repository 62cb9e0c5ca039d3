//! One statement, two databases: what lies in SQLite or in PostgreSQL is an [`Either`], and the macros here compile
//! their body once for each. No type is erased on the way, so every value is bound and read by the database's own
//! driver.
//!
//! A statement is one text with `$1`, `$2` .. wherever both agree, which is nearly everywhere: `CAST(.. AS BIGINT)`
//! around sums that PostgreSQL would make wider, `ON CONFLICT DO NOTHING`, `CASE` in the place of `min` and `least`.
//! Where they don't agree, match on the two. Columns are integers (64 bits), text or bytes; read them with [`Cells`].

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{ColumnIndex, PgPool, Postgres, Row as _, Sqlite, SqlitePool, Transaction};

use super::StoreError;

/// Something of SQLite's or the same of PostgreSQL's.
#[derive(Debug, Clone)]
pub(crate) enum Either<S, P> {
    /// SQLite's.
    Sqlite(S),
    /// PostgreSQL's.
    Postgres(P),
}

/// The connections of a store.
pub(crate) type Pools = Either<SqlitePool, PgPool>;
/// A transaction that writes, and sees no other that does.
pub(crate) type Tx = Either<Transaction<'static, Sqlite>, Transaction<'static, Postgres>>;
/// One connection, mostly that of a transaction.
pub(crate) type Conn<'c> = Either<&'c mut SqliteConnection, &'c mut PgConnection>;

/// Compiles the body for either database, with its connection or pool under the given name.
macro_rules! on {
    ($at:expr, $connection:ident => $body:expr) => {
        match $at {
            $crate::store::either::Either::Sqlite($connection) => $body,
            $crate::store::either::Either::Postgres($connection) => $body,
        }
    };
}

/// Runs a statement: how many rows it wrote.
macro_rules! change {
    ($at:expr, $sql:expr $(, $value:expr)* $(,)?) => {
        on!($at, c => sqlx::query($sql)$(.bind($value))*.execute(c).await.map(|done| done.rows_affected()))
    };
}

/// Reads every row of a question with `$read`, a function of a row.
macro_rules! rows {
    ($at:expr, $read:expr, $sql:expr $(, $value:expr)* $(,)?) => {
        on!($at, c => match sqlx::query($sql)$(.bind($value))*.fetch_all(c).await {
            Ok(rows) => rows.iter().map($read).collect::<Result<Vec<_>, $crate::store::StoreError>>(),
            Err(error) => Err($crate::store::StoreError::from(error)),
        })
    };
}

/// Reads the one row of a question, if there is one.
macro_rules! row {
    ($at:expr, $read:expr, $sql:expr $(, $value:expr)* $(,)?) => {
        on!($at, c => match sqlx::query($sql)$(.bind($value))*.fetch_optional(c).await {
            Ok(row) => row.as_ref().map($read).transpose(),
            Err(error) => Err($crate::store::StoreError::from(error)),
        })
    };
}

/// Reads one whole number.
macro_rules! number {
    ($at:expr, $column:literal, $sql:expr $(, $value:expr)* $(,)?) => {
        on!($at, c => match sqlx::query_scalar::<_, i64>($sql)$(.bind($value))*.fetch_one(c).await {
            Ok(value) => $crate::store::from_sql(value, $column),
            Err(error) => Err($crate::store::StoreError::from(error)),
        })
    };
}

pub(crate) use {change, number, on, row, rows};

impl Tx {
    /// The transaction's connection.
    pub(crate) fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Sqlite(tx) => Either::Sqlite(&mut **tx),
            Self::Postgres(tx) => Either::Postgres(&mut **tx),
        }
    }

    /// Makes what was written visible to all; a transaction that is dropped wrote nothing.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        Ok(on!(self, tx => tx.commit().await)?)
    }
}

impl Conn<'_> {
    /// The same connection once more.
    pub(crate) fn again(&mut self) -> Conn<'_> {
        match self {
            Self::Sqlite(connection) => Either::Sqlite(&mut **connection),
            Self::Postgres(connection) => Either::Postgres(&mut **connection),
        }
    }
}

/// A place in a row: its number or its name.
pub(crate) trait Column: ColumnIndex<SqliteRow> + ColumnIndex<PgRow> {}
impl Column for usize {}
impl Column for &str {}

/// A row of either database: whole numbers, text, bytes, each of which may be absent.
pub(crate) trait Cells {
    /// A whole number.
    fn int(&self, at: impl Column) -> Result<i64, StoreError>;
    /// A whole number, or nothing.
    fn int_or(&self, at: impl Column) -> Result<Option<i64>, StoreError>;
    /// A count, which is never negative.
    fn count(&self, at: impl Column, column: &'static str) -> Result<u64, StoreError> {
        super::from_sql(self.int(at)?, column)
    }
    /// A count, or nothing.
    fn count_or(&self, at: impl Column, column: &'static str) -> Result<Option<u64>, StoreError> {
        self.int_or(at)?.map(|value| super::from_sql(value, column)).transpose()
    }
    /// Text.
    fn text(&self, at: impl Column) -> Result<String, StoreError>;
    /// Text, or nothing.
    fn text_or(&self, at: impl Column) -> Result<Option<String>, StoreError>;
    /// Bytes.
    fn bytes(&self, at: impl Column) -> Result<Vec<u8>, StoreError>;
}

macro_rules! cells {
    ($row:ty) => {
        impl Cells for $row {
            fn int(&self, at: impl Column) -> Result<i64, StoreError> {
                Ok(self.try_get(at)?)
            }
            fn int_or(&self, at: impl Column) -> Result<Option<i64>, StoreError> {
                Ok(self.try_get(at)?)
            }
            fn text(&self, at: impl Column) -> Result<String, StoreError> {
                Ok(self.try_get(at)?)
            }
            fn text_or(&self, at: impl Column) -> Result<Option<String>, StoreError> {
                Ok(self.try_get(at)?)
            }
            fn bytes(&self, at: impl Column) -> Result<Vec<u8>, StoreError> {
                Ok(self.try_get(at)?)
            }
        }
    };
}

cells!(SqliteRow);
cells!(PgRow);
