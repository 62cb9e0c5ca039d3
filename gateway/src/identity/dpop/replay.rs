//! Proofs that were used (RFC 9449, section 11.1). State of one process; it outlives every World.
//!
//! Each is remembered until it is too old to be used anyway. Where no place is left, a proof is refused: forgetting one
//! would let it be used again. Another gateway does not know what was used here; a short window bounds that.

use std::collections::{BTreeMap, HashSet};

use parking_lot::Mutex;

use super::{DpopFault, Proof};

/// Proofs that are remembered: some 2,000 a second with the usual window of a minute, in about 12 MB.
pub const REMEMBERED_MAX: usize = 131_072;

/// What was used lately.
#[derive(Debug)]
pub struct Replays {
    used: Mutex<Used>,
    most: usize,
}

#[derive(Debug, Default)]
struct Used {
    ids: HashSet<[u8; 32]>,
    /// The same by their last second, so that the old ones go first.
    by_end: BTreeMap<u64, Vec<[u8; 32]>>,
}

impl Default for Replays {
    fn default() -> Self {
        Self::holding(REMEMBERED_MAX)
    }
}

impl Replays {
    /// With this many places.
    pub fn holding(most: usize) -> Self {
        Self { used: Mutex::default(), most }
    }

    /// Notes the use of a proof that is good in every other way.
    ///
    /// # Errors
    /// It was used before, or there is no place.
    pub fn take(&self, proof: &Proof, now_s: u64) -> Result<(), DpopFault> {
        let mut used = self.used.lock();
        while let Some(oldest) = used.by_end.first_entry().filter(|entry| *entry.key() < now_s) {
            for id in oldest.remove() {
                used.ids.remove(&id);
            }
        }
        if used.ids.contains(&proof.id) {
            return Err(DpopFault::Replayed);
        }
        if used.ids.len() >= self.most {
            return Err(DpopFault::ReplaysFull);
        }
        used.ids.insert(proof.id);
        used.by_end.entry(proof.until_s).or_default().push(proof.id);
        Ok(())
    }

    /// Proofs that are remembered.
    pub fn count(&self) -> usize {
        self.used.lock().ids.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(id: u8, until_s: u64) -> Proof {
        Proof { key: [0; 32], id: [id; 32], until_s }
    }

    #[test]
    fn a_proof_is_used_once_while_it_can_be_used_at_all() {
        let replays = Replays::default();
        assert_eq!(replays.take(&proof(1, 100), 50), Ok(()));
        assert_eq!(replays.take(&proof(1, 100), 100), Err(DpopFault::Replayed));
        assert_eq!(replays.take(&proof(2, 170), 101), Ok(()));
        assert_eq!(replays.count(), 1, "the first is forgotten with its last second");
    }

    #[test]
    fn without_a_place_it_is_refused_and_none_is_forgotten() {
        let replays = Replays::holding(2);
        assert_eq!((replays.take(&proof(1, 100), 50), replays.take(&proof(2, 90), 50)), (Ok(()), Ok(())));
        assert_eq!(replays.take(&proof(3, 100), 50), Err(DpopFault::ReplaysFull));
        assert_eq!(replays.take(&proof(1, 100), 50), Err(DpopFault::Replayed));
        assert_eq!(replays.take(&proof(3, 150), 91), Ok(()), "one has ended");
    }
}
