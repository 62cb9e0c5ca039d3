//! Decisions remembered for one World: a bounded, sharded map that dies with its policy.
//!
//! The key covers all that a remembered policy reads (the whole subject, endpoint and model, and of the rest what
//! [`super::reads`] found) and is compared in full on every hit, so that two calls never share a decision by a
//! collision.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;

use super::input::Input;
use super::permit::{Denied, Permit};
use super::reads::{Member, Members};
use crate::identity::Subject;

/// Shards; each has its own lock.
const SHARDS: usize = 16;
/// Decisions of one shard. A full shard forgets all of them: cheap, and what is in use comes back at once.
const SHARD_ENTRIES_MAX: usize = 1_024;
/// Bytes of a model's name; longer ones are not remembered, so that a caller can't fill the memory with them.
const MODEL_BYTES_MAX: usize = 256;

/// Bytes of what else a policy reads of one call; calls with longer lists of tools are not remembered.
const REST_BYTES_MAX: usize = 1_024;

type Verdict = Result<Permit, Denied>;

/// Remembered decisions.
pub(super) struct Cache {
    hasher: RandomState,
    members: Members,
    shards: [Mutex<HashMap<u64, Entry>>; SHARDS],
}

struct Entry {
    subject: Subject,
    key_models: Option<Vec<String>>,
    endpoint: Arc<str>,
    model: Arc<str>,
    rest: Box<[u8]>,
    verdict: Verdict,
}

impl Cache {
    /// For a policy that reads these beside who asks for which model.
    pub(super) fn new(members: Members) -> Self {
        Self { hasher: RandomState::new(), members, shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Whether more than who asks for which model is part of the key.
    pub(super) fn reads_more(&self) -> bool {
        !self.members.is_empty()
    }

    /// The remembered decision for this very caller, endpoint and model.
    pub(super) fn get(&self, input: &Input<'_>) -> Option<Verdict> {
        let rest = self.rest(input);
        let hash = self.hash(input, &rest);
        let shard = self.shard(hash)?.lock();
        shard.get(&hash).filter(|entry| *entry.rest == *rest && entry.is_for(input)).map(|entry| entry.verdict.clone())
    }

    pub(super) fn put(&self, input: &Input<'_>, verdict: &Verdict) {
        let rest = self.rest(input);
        if input.request.model.len() > MODEL_BYTES_MAX || rest.len() > REST_BYTES_MAX {
            return;
        }
        let hash = self.hash(input, &rest);
        let entry = Entry {
            subject: input.subject.clone(),
            key_models: input.key_models.map(<[String]>::to_vec),
            endpoint: input.request.endpoint.into(),
            model: input.request.model.into(),
            rest: rest.into_boxed_slice(),
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

    fn hash(&self, input: &Input<'_>, rest: &[u8]) -> u64 {
        let subject = input.subject;
        let caller = (subject.tenant.as_str(), &*subject.key.0, subject.key_epoch);
        self.hasher.hash_one((caller, input.request.endpoint, input.request.model, rest))
    }

    /// What else the policy reads, one member after the other; nothing in it can be taken for something else, since
    /// each text and each list begins with its length.
    fn rest(&self, input: &Input<'_>) -> Vec<u8> {
        let mut rest = Rest(Vec::new());
        if self.members.is_empty() {
            return rest.0;
        }
        let request = input.request;
        let has = |member| self.members.has(member);
        if has(Member::Stream) {
            rest.flag(request.stream);
        }
        if has(Member::MaxTokens) {
            rest.flag(request.max_tokens.is_some());
            rest.number(request.max_tokens.unwrap_or_default());
        }
        if has(Member::Choices) {
            rest.number(request.n.into());
        }
        if has(Member::Tools) {
            rest.texts(request.tools.iter().map(String::as_str));
        }
        if has(Member::Modality) {
            rest.flag(request.has_media);
        }
        if has(Member::Candidates) {
            for candidate in input.candidates {
                let known = [candidate.region, candidate.owner, candidate.data_class];
                rest.texts([candidate.deployment, candidate.provider].into_iter());
                known.into_iter().for_each(|text| rest.maybe(text));
            }
            rest.number(u64::try_from(input.candidates.len()).unwrap_or(u64::MAX));
        }
        if has(Member::Ip) {
            rest.maybe(input.client.ip.map(|ip| ip.to_canonical().to_string()).as_deref());
        }
        if has(Member::Environment) {
            rest.maybe(request.environment);
        }
        if has(Member::Geo) {
            rest.maybe(input.client.geo);
        }
        if has(Member::UserAgent) {
            rest.maybe(input.client.user_agent);
        }
        let moment = input.moment();
        if has(Member::Weekday) {
            rest.number(moment.weekday);
        }
        if has(Member::Hour) {
            rest.number(moment.hour);
        }
        rest.0
    }

    fn shard(&self, hash: u64) -> Option<&Mutex<HashMap<u64, Entry>>> {
        let index = usize::try_from(hash >> 32).unwrap_or_default() % SHARDS;
        self.shards.get(index)
    }
}

/// A key under construction.
struct Rest(Vec<u8>);

impl Rest {
    fn flag(&mut self, flag: bool) {
        self.0.push(u8::from(flag));
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(u64::try_from(text.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(text.as_bytes());
    }

    fn texts<'t>(&mut self, texts: impl ExactSizeIterator<Item = &'t str>) {
        self.number(u64::try_from(texts.len()).unwrap_or(u64::MAX));
        texts.for_each(|text| self.text(text));
    }

    fn maybe(&mut self, text: Option<&str>) {
        self.flag(text.is_some());
        self.text(text.unwrap_or_default());
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
