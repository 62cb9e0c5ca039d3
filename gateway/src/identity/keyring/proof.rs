//! What proves one key, whatever it is for: its hash, its time, whether it was revoked, and when it was last used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::IdentityFault;
use crate::identity::KeyId;
use crate::identity::api_key::{Presented, same_hash};
use crate::identity::pepper::Peppers;
use crate::store::KeyRow;

/// The proof of one key.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) id: KeyId,
    hash: [u8; 32],
    pepper_version: u32,
    expires_ms: Option<u64>,
    revoked: bool,
    pub(super) epoch: u64,
    /// Unix milliseconds of the last use; 0: none. Outlives the snapshot.
    pub(super) used_ms: Arc<AtomicU64>,
}

impl Proof {
    pub(super) fn read(row: &KeyRow, used_ms: Option<Arc<AtomicU64>>) -> Self {
        Self {
            id: KeyId(row.id.as_str().into()),
            hash: row.hash,
            pepper_version: row.pepper_version,
            expires_ms: row.expires_ms,
            revoked: row.revoked_ms.is_some(),
            epoch: row.epoch,
            used_ms: used_ms.unwrap_or_default(),
        }
    }

    /// Whether this is the key, and it holds. The order keeps a guess at a secret from learning whether its key is
    /// revoked.
    pub(super) fn prove(&self, key: &Presented<'_>, peppers: &Peppers, now_ms: u64) -> Result<(), IdentityFault> {
        let hash = peppers.hash(self.pepper_version, key).ok_or(IdentityFault::NoPepper)?;
        if !same_hash(&hash, &self.hash) {
            return Err(IdentityFault::WrongSecret);
        }
        if self.revoked {
            return Err(IdentityFault::Revoked);
        }
        if self.expired(now_ms) {
            return Err(IdentityFault::Expired);
        }
        Ok(())
    }

    /// Notes a use in memory; the store hears of it later.
    pub(super) fn used(&self, now_ms: u64) {
        self.used_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// Unix milliseconds of its end, where it has one.
    pub(super) fn expires_ms(&self) -> Option<u64> {
        self.expires_ms
    }

    pub(super) fn expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms)
    }

    /// Whether the key that was proven at `epoch` still holds.
    pub(super) fn is_live(&self, epoch: u64, now_ms: u64) -> bool {
        !self.revoked && self.epoch == epoch && !self.expired(now_ms)
    }
}
