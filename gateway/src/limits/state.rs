//! The throttle's counters of every level in use. Bounded: what is idle is forgotten, and at the cap a new level is
//! refused.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};

use super::concurrency::Running;
use super::rate::Rate;

/// Levels of one shard before it first looks for idle ones; afterwards twice what was left.
const SWEEP_MIN: usize = 1_024;
/// Nanoseconds between two looks for idle levels at the cap: such a look reads the whole shard.
const SWEEP_PAUSE_NS: u64 = 1_000_000_000;

/// One seed for the whole process: the counters outlive the Worlds whose rules carry the hashes.
static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Unique name of a level's counters, hashed once when the rules are prepared instead of several times per call.
#[derive(Debug, Clone)]
pub(super) struct LevelId {
    hash: u64,
    name: Arc<str>,
}

impl LevelId {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self { hash: hash(&name), name }
    }
}

impl PartialEq for LevelId {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.name == other.name
    }
}

impl Eq for LevelId {}

impl Hash for LevelId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Passes on the hash that a [`LevelId`] carries.
#[derive(Debug, Default)]
pub(super) struct Carried(u64);

impl Hasher for Carried {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = SEED.hash_one((self.0, bytes));
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// The process's own hash of a name.
pub(super) fn hash(name: &str) -> u64 {
    SEED.hash_one(name)
}

/// Counters of one level. Made when first needed, changed when the rule changes.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) running: Running,
    pub(super) requests: Option<Rate>,
}

impl State {
    /// The request rate under this rule.
    pub(super) fn rate(&mut self, quota: NonZeroU32, now_ns: u64) -> &mut Rate {
        let rate = self.requests.get_or_insert_with(|| Rate::new(quota, now_ns));
        if rate.quota() != quota {
            rate.change(quota, now_ns);
        }
        rate
    }

    /// Whether a new state would answer the same; then this one may be forgotten.
    fn is_idle(&self, now_ns: u64) -> bool {
        self.running.count() == 0 && self.requests.as_ref().is_none_or(|rate| rate.is_idle(now_ns))
    }
}

/// The levels of the organisations that share one lock.
#[derive(Debug, Default)]
pub(super) struct States {
    levels: HashMap<LevelId, State, BuildHasherDefault<Carried>>,
    sweep_at: usize,
    swept_ns: Option<u64>,
}

impl States {
    pub(super) fn get_mut(&mut self, id: &LevelId) -> Option<&mut State> {
        self.levels.get_mut(id)
    }

    /// Makes the level's state; `false`: there is no room for another level. `others` counts the levels outside of this
    /// shard.
    pub(super) fn create(&mut self, id: &LevelId, others: usize, levels_max: usize, now_ns: u64) -> bool {
        let is_full = self.levels.len().saturating_add(others) >= levels_max;
        let rested = self.swept_ns.is_none_or(|swept| now_ns.saturating_sub(swept) >= SWEEP_PAUSE_NS);
        if self.levels.len() >= self.sweep_at.max(SWEEP_MIN) || (is_full && rested) {
            self.sweep(now_ns);
        }
        let has_room = self.levels.len().saturating_add(others) < levels_max;
        if has_room {
            self.levels.insert(id.clone(), State::default());
        }
        has_room
    }

    /// Forgets what is idle.
    pub(super) fn sweep(&mut self, now_ns: u64) {
        self.levels.retain(|_, state| !state.is_idle(now_ns));
        self.sweep_at = self.levels.len().saturating_mul(2);
        self.swept_ns = Some(now_ns);
    }

    pub(super) fn len(&self) -> usize {
        self.levels.len()
    }
}
