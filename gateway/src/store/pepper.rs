//! Fingerprints of the peppers that stored keys were hashed with.

use super::either::{Cells, change, on, rows};
use super::{Store, StoreError};

impl Store {
    /// Version and fingerprint of every pepper that a stored key was made with.
    pub async fn pepper_fingerprints(&self) -> Result<Vec<(u32, [u8; 32])>, StoreError> {
        rows!(&self.pools, read, "SELECT version, fingerprint FROM peppers ORDER BY version")
    }

    /// Records a version's fingerprint; one that is there already stays.
    pub async fn pepper_record(&self, version: u32, fingerprint: &[u8; 32]) -> Result<(), StoreError> {
        let sql = "INSERT INTO peppers VALUES ($1, $2) ON CONFLICT DO NOTHING";
        change!(&self.pools, sql, i64::from(version), fingerprint.as_slice())?;
        Ok(())
    }
}

fn read(row: &impl Cells) -> Result<(u32, [u8; 32]), StoreError> {
    let version = u32::try_from(row.int(0)?).map_err(|_| StoreError::Broken { column: "peppers.version" })?;
    let fingerprint = row.bytes(1)?.try_into();
    Ok((version, fingerprint.map_err(|_| StoreError::Broken { column: "peppers.fingerprint" })?))
}
