//! Rows on their way in: a table of columns, a value for each, and the two ways of writing many at once.
//!
//! SQLite takes blocks of bound values: cheaper than one JSON text taken apart, and a statement's fixed cost is shared
//! by its rows. PostgreSQL takes one array a column, however many rows there are: one statement, planned once, one
//! round trip. Its text can't hold the character NUL, which a model's name or an upstream's finish reason may have;
//! what can't be kept is replaced, so that no row is ever refused for it.

use std::borrow::Cow;
use std::sync::Arc;

use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Postgres, Sqlite};

use super::StoreError;
use super::either::{Conn, Either};

/// Rows of one of SQLite's statements, largest first.
const BLOCKS: [usize; 3] = [64, 8, 1];

/// The largest sum that is kept: it has room for as much again.
pub(super) const SUM_MAX: i64 = i64::MAX / 2;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// A whole number, or nothing.
    Int,
    /// Text, or nothing.
    Text,
    /// Bytes.
    Bytes,
}

/// A value of a row.
#[derive(Debug, Clone)]
pub(super) enum Cell<'a> {
    /// A whole number, or nothing.
    Int(Option<i64>),
    /// Text that is shared with SQLite's driver and not copied, or nothing.
    Shared(Option<&'a Arc<str>>),
    /// Text.
    Text(&'a str),
    /// Text that was made for the row.
    Owned(String),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl From<i64> for Cell<'_> {
    fn from(value: i64) -> Self {
        Cell::Int(Some(value))
    }
}

impl<'a> From<&'a Arc<str>> for Cell<'a> {
    fn from(value: &'a Arc<str>) -> Self {
        Cell::Shared(Some(value))
    }
}

impl Cell<'_> {
    fn int(&self) -> Option<i64> {
        match self {
            Cell::Int(value) => *value,
            Cell::Shared(_) | Cell::Text(_) | Cell::Owned(_) | Cell::Bytes(_) => None,
        }
    }

    fn text(&self) -> Option<Cow<'_, str>> {
        let text = match self {
            Cell::Shared(value) => value.map(|value| &**value),
            Cell::Text(value) => Some(*value),
            Cell::Owned(value) => Some(value.as_str()),
            Cell::Int(_) | Cell::Bytes(_) => None,
        };
        text.map(|text| match text.contains('\0') {
            true => Cow::Owned(text.replace('\0', "\u{fffd}")),
            false => Cow::Borrowed(text),
        })
    }

    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Cell::Bytes(value) => Some(value),
            Cell::Int(_) | Cell::Shared(_) | Cell::Text(_) | Cell::Owned(_) => None,
        }
    }
}

/// A table's columns, and the statements that insert rows of them: what is there already stays.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    columns: [(&'static str, Holds); N],
    blocks: [String; BLOCKS.len()],
    arrays: String,
}

impl<const N: usize> Table<N> {
    /// The statements for a table with these columns: what is there already stays.
    pub(super) fn new(name: &'static str, columns: [(&'static str, Holds); N]) -> Self {
        Self::with(name, columns, "DO NOTHING")
    }

    /// The statements for a table of sums, whose first `keys` columns say of what: they are added to what is there.
    pub(super) fn adding(name: &'static str, columns: [(&'static str, Holds); N], keys: usize) -> Self {
        let (of, sums) = columns.split_at_checked(keys).unwrap_or((&columns, &[]));
        let of: Vec<&str> = of.iter().map(|(name, _)| *name).collect();
        // A sum that grows beyond what can be counted stays there: it must never stop the rows behind it.
        let add = |(sum, _): &(&str, Holds)| {
            format!(
                "{sum} = CASE WHEN {name}.{sum} BETWEEN -{SUM_MAX} AND {SUM_MAX} THEN {name}.{sum} + excluded.{sum} \
                 ELSE {name}.{sum} END"
            )
        };
        let sums: Vec<String> = sums.iter().map(add).collect();
        Self::with(name, columns, &format!("({}) DO UPDATE SET {}", of.join(", "), sums.join(", ")))
    }

    fn with(name: &'static str, columns: [(&'static str, Holds); N], conflict: &str) -> Self {
        let names = columns.map(|(name, _)| name).join(", ");
        let row = format!("({})", ["?"; N].join(","));
        let block = |rows: usize| {
            let rows = vec![row.as_str(); rows].join(",");
            format!("INSERT INTO {name} ({names}) VALUES {rows} ON CONFLICT {conflict}")
        };
        let array = |(at, (_, holds)): (usize, &(&str, Holds))| {
            let of = match holds {
                Holds::Int => "bigint",
                Holds::Text => "text",
                Holds::Bytes => "bytea",
            };
            format!("${}::{of}[]", at.saturating_add(1))
        };
        let arrays: Vec<String> = columns.iter().enumerate().map(array).collect();
        let arrays = arrays.join(", ");
        let arrays = format!("INSERT INTO {name} ({names}) SELECT * FROM unnest({arrays}) ON CONFLICT {conflict}");
        Self { columns, blocks: BLOCKS.map(block), arrays }
    }

    /// Inserts the rows that are not there yet: how many these were.
    pub(super) async fn insert(&'static self, at: Conn<'_>, rows: &[[Cell<'_>; N]]) -> Result<u64, StoreError> {
        match at {
            Either::Sqlite(connection) => {
                let mut written = 0_u64;
                let mut rest = rows;
                for (size, sql) in BLOCKS.iter().zip(&self.blocks) {
                    while let Some((block, behind)) = rest.split_at_checked(*size) {
                        let query = block.iter().flatten().fold(sqlx::query(sql.as_str()), bound);
                        let done = query.execute(&mut *connection).await?;
                        written = written.saturating_add(done.rows_affected());
                        rest = behind;
                    }
                }
                Ok(written)
            }
            Either::Postgres(_) if rows.is_empty() => Ok(0),
            Either::Postgres(connection) => {
                let columns = self.columns.iter().enumerate();
                let query = columns.fold(sqlx::query(self.arrays.as_str()), |query, (at, (_, holds))| {
                    array(query, *holds, rows.iter().filter_map(|row| row.get(at)))
                });
                Ok(query.execute(connection).await?.rows_affected())
            }
        }
    }
}

type SqliteQuery<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;
type PgQuery<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

fn bound<'q>(query: SqliteQuery<'q>, cell: &Cell<'_>) -> SqliteQuery<'q> {
    match cell {
        Cell::Int(value) => query.bind(*value),
        Cell::Shared(value) => query.bind(value.map(Arc::clone)),
        Cell::Text(value) => query.bind((*value).to_owned()),
        Cell::Owned(value) => query.bind(value.clone()),
        Cell::Bytes(value) => query.bind(value.to_vec()),
    }
}

fn array<'q, 'a>(query: PgQuery<'q>, holds: Holds, cells: impl Iterator<Item = &'a Cell<'a>>) -> PgQuery<'q> {
    match holds {
        Holds::Int => query.bind(cells.map(Cell::int).collect::<Vec<_>>()),
        Holds::Text => query.bind(cells.map(Cell::text).collect::<Vec<_>>()),
        Holds::Bytes => query.bind(cells.map(Cell::bytes).collect::<Vec<_>>()),
    }
}
