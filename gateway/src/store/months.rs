//! Partitions of PostgreSQL's usage table, one a month (UTC), made ahead by whoever writes: before the first row of a
//! month, and with it the next one's. Where one can't be made, the default partition takes the rows: nothing is lost,
//! and a report finds them.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, Months, NaiveDate};
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::StoreError;
use super::postgres::LOCK_SCHEMA;

/// Months that are remembered as made, and that one batch may make: replayed calls are hours old, not years.
const MONTHS_MAX: usize = 24;

/// Months whose partition is there, or could not be made: not asked for again by this connection.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeSet<NaiveDate>);

impl Known {
    /// Makes the partitions for rows of these times (Unix milliseconds).
    pub(super) async fn make(
        &mut self,
        connection: &mut PgConnection,
        times: impl Iterator<Item = u64>,
    ) -> Result<(), StoreError> {
        let mut wanted = BTreeSet::new();
        for month in times.filter_map(month_of) {
            wanted.insert(month);
            wanted.extend(month.checked_add_months(Months::new(1)));
        }
        for month in wanted.into_iter().filter(|month| !self.0.contains(month)).take(MONTHS_MAX).collect::<Vec<_>>() {
            if let Err(error) = make(connection, month).await {
                if matches!(error, StoreError::Away(_)) {
                    return Err(error);
                }
                tracing::warn!(%month, %error, "no partition for this month: its rows go to the default one");
            }
            if self.0.len() >= MONTHS_MAX {
                self.0.pop_first();
            }
            self.0.insert(month);
        }
        Ok(())
    }
}

/// The first day of the month.
fn month_of(at_ms: u64) -> Option<NaiveDate> {
    DateTime::from_timestamp_millis(i64::try_from(at_ms).ok()?)?.date_naive().with_day(1)
}

async fn make(connection: &mut PgConnection, month: NaiveDate) -> Result<(), StoreError> {
    let ms = |day: NaiveDate| day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis();
    let Some(next) = month.checked_add_months(Months::new(1)) else { return Ok(()) };
    let (from, to) = (ms(month), ms(next));
    let name = format!("usage_{:04}_{:02}", month.year(), month.month());
    let there = sqlx::query("SELECT to_regclass($1)::text").bind(&name);
    let exists: Option<String> = sqlx::Row::try_get(&there.fetch_one(&mut *connection).await?, 0)?;
    if exists.is_some() {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1, 1)").bind(LOCK_SCHEMA).execute(&mut *transaction).await?;
    // Made apart and attached: readers and writers of the other months go on meanwhile.
    let sql = format!(
        "DO $$ BEGIN IF to_regclass('{name}') IS NULL THEN \
         CREATE TABLE {name} (LIKE usage INCLUDING ALL); \
         ALTER TABLE usage ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({to}); END IF; END $$"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_belongs_to_its_month_in_utc() {
        let first = |year, month| NaiveDate::from_ymd_opt(year, month, 1);
        assert_eq!(month_of(1_700_000_000_000), first(2023, 11));
        assert_eq!(month_of(1_704_067_199_999), first(2023, 12));
        assert_eq!(month_of(1_704_067_200_000), first(2024, 1));
        assert_eq!(month_of(u64::MAX), None);
    }
}
