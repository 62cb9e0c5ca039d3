//! Decisions remembered for one World: a bounded, sharded map that dies with its policy.
//!
//! The key covers all that a remembered policy may read (the whole subject, endpoint and model) and is compared in full
//! on every hit, so that two callers never share a decision by a collision.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;

use super::input::Input;
use super::permit::{Denied, Permit};
use crate::identity::Subject;

/// Shards; each has its own lock.
const SHARDS: usize = 16;
/// Decisions of one shard. A full shard forgets all of them: cheap, and what is in use comes back at once.
const SHARD_ENTRIES_MAX: usize = 1_024;
/// Bytes of a model's name; longer ones are not remembered, so that a caller can't fill the memory with them.
const MODEL_BYTES_MAX: usize = 256;

type Verdict = Result<Permit, Denied>;

/// Remembered decisions.
pub(super) struct Cache {
    hasher: RandomState,
    shards: [Mutex<HashMap<u64, Entry>>; SHARDS],
}

struct Entry {
    subject: Subject,
    key_models: Option<Vec<String>>,
    endpoint: Arc<str>,
    model: Arc<str>,
    verdict: Verdict,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// The remembered decision for this very caller, endpoint and model.
    pub(super) fn get(&self, input: &Input<'_>) -> Option<Verdict> {
        let hash = self.hash(input);
        let shard = self.shard(hash)?.lock();
        shard.get(&hash).filter(|entry| entry.is_for(input)).map(|entry| entry.verdict.clone())
    }

    pub(super) fn put(&self, input: &Input<'_>, verdict: &Verdict) {
        if input.request.model.len() > MODEL_BYTES_MAX {
            return;
        }
        let hash = self.hash(input);
        let entry = Entry {
            subject: input.subject.clone(),
            key_models: input.key_models.map(<[String]>::to_vec),
            endpoint: input.request.endpoint.into(),
            model: input.request.model.into(),
            verdict: verdict.clone(),
        };
        if let Some(shard) = self.shard(hash) {
            let mut shard = shard.lock();
            if shard.len() >= SHARD_ENTRIES_MAX {
                shard.clear();
            }
            shard.insert(hash, entry);
        }
    }

    /// Decisions held now.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn hash(&self, input: &Input<'_>) -> u64 {
        let subject = input.subject;
        let caller = (subject.tenant.as_str(), &*subject.key.0, subject.key_epoch);
        self.hasher.hash_one((caller, input.request.endpoint, input.request.model))
    }

    fn shard(&self, hash: u64) -> Option<&Mutex<HashMap<u64, Entry>>> {
        let index = usize::try_from(hash >> 32).unwrap_or_default() % SHARDS;
        self.shards.get(index)
    }
}

impl Entry {
    fn is_for(&self, input: &Input<'_>) -> bool {
        let (own, asked) = (&self.subject, input.subject);
        own.key_epoch == asked.key_epoch
            && own.key == asked.key
            && own.tenant == asked.tenant
            && *self.model == *input.request.model
            && *self.endpoint == *input.request.endpoint
            && self.key_models.as_deref() == input.key_models
            && (Arc::ptr_eq(&own.roles, &asked.roles) || own.roles == asked.roles)
            && (Arc::ptr_eq(&own.attributes, &asked.attributes) || own.attributes == asked.attributes)
    }
}
