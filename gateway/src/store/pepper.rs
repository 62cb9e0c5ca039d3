//! Fingerprints of the peppers that stored keys were hashed with.

use sqlx::Row;

use super::{Store, StoreError};

impl Store {
    /// Version and fingerprint of every pepper that a stored key was made with.
    pub async fn pepper_fingerprints(&self) -> Result<Vec<(u32, [u8; 32])>, StoreError> {
        let rows =
            sqlx::query("SELECT version, fingerprint FROM peppers ORDER BY version").fetch_all(&self.pool).await?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            let broken = |_| StoreError::Broken { column: "peppers.fingerprint" };
            let version: i64 = row.try_get(0)?;
            let bytes: Vec<u8> = row.try_get(1)?;
            let version = u32::try_from(version).map_err(|_| StoreError::Broken { column: "peppers.version" })?;
            Ok((version, bytes.try_into().map_err(broken)?))
        };
        rows.iter().map(read).collect()
    }

    /// Records a version's fingerprint; one that is there already stays.
    pub async fn pepper_record(&self, version: u32, fingerprint: &[u8; 32]) -> Result<(), StoreError> {
        sqlx::query("INSERT OR IGNORE INTO peppers VALUES (?, ?)")
            .bind(i64::from(version))
            .bind(fingerprint.as_slice())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::Create;

    #[tokio::test]
    async fn the_first_fingerprint_of_a_version_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("weir.db"), Create::IfMissing).await.unwrap();
        assert_eq!(store.pepper_fingerprints().await.unwrap(), []);
        for (version, byte) in [(2, 1), (1, 2), (2, 3)] {
            store.pepper_record(version, &[byte; 32]).await.unwrap();
        }
        assert_eq!(store.pepper_fingerprints().await.unwrap(), [(1, [2; 32]), (2, [1; 32])]);
    }
}
