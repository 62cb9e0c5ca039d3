//! What the configuration says about limits, prepared for one World: which levels a caller belongs to and what holds
//! there. Rules only; the counters live in [`super::Limits`] and outlive every World.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::state::{self, LevelId};
use crate::config::settings::{LimitRule, TenantRule};
use crate::identity::{KeyId, Subject, TenantPath};

/// Shards of the prepared plans; each has its own lock.
const SHARDS: usize = 16;
/// Plans of one shard. A full shard forgets all of them and prepares again what is in use.
const SHARD_PLANS_MAX: usize = 4_096;

/// Limits of every level, from one revision of the configuration.
pub struct LimitRules {
    tenants: HashMap<Box<str>, (LimitRule, LimitRule)>,
    /// Limits of the store's tenants: they only tighten.
    stored: ArcSwap<HashMap<Box<str>, (LimitRule, LimitRule)>>,
    hasher: RandomState,
    plans: [Mutex<HashMap<u64, Arc<Plan>>>; SHARDS],
}

/// The levels of one key, innermost first: the key itself, then the tenant path inside out.
#[derive(Debug)]
pub struct Plan {
    pub(super) key: KeyId,
    pub(super) tenant: TenantPath,
    pub(super) levels: Box<[Level]>,
    /// Hash of the organisation; picks the shard of the counters.
    pub(super) org_hash: u64,
    /// Whether any level limits tokens.
    pub(super) limits_tokens: bool,
}

/// One level and its limits.
#[derive(Debug)]
pub(super) struct Level {
    /// Unique name of the level's state. `:` can't be in a tenant's name, so keys and tenants never meet.
    pub(super) id: LevelId,
    /// Name for messages: the path, or `key`.
    pub(super) name: Arc<str>,
    pub(super) rule: LimitRule,
}

impl LimitRules {
    /// Takes the limits out of the tenants' rules.
    pub fn new(tenants: &[TenantRule]) -> Self {
        let limits = |rule: &TenantRule| (rule.path.as_str().into(), (rule.limits, rule.key_limits));
        Self {
            tenants: tenants.iter().map(limits).collect(),
            stored: ArcSwap::default(),
            hasher: RandomState::new(),
            plans: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Follows the limits of the store's tenants; what was prepared with others is forgotten. Cheap where nothing
    /// moved.
    pub fn follow(&self, stored: Arc<HashMap<Box<str>, (LimitRule, LimitRule)>>) {
        if Arc::ptr_eq(&self.stored.load(), &stored) {
            return;
        }
        self.stored.store(stored);
        // Whoever prepares a plan meanwhile holds its shard, and is forgotten after it.
        self.plans.iter().for_each(|shard| shard.lock().clear());
    }

    /// The levels of this caller; prepared once per key.
    pub(super) fn plan(&self, subject: &Subject) -> Arc<Plan> {
        let hash = self.hasher.hash_one((&*subject.key.0, subject.tenant.as_str()));
        let index = usize::try_from(hash >> 32).unwrap_or_default() % SHARDS;
        let Some(shard) = self.plans.get(index) else {
            return Arc::new(self.prepare(subject));
        };
        let mut shard = shard.lock();
        if let Some(plan) = shard.get(&hash).filter(|plan| plan.key == subject.key && plan.tenant == subject.tenant) {
            return Arc::clone(plan);
        }
        if shard.len() >= SHARD_PLANS_MAX {
            shard.clear();
        }
        let plan = Arc::new(self.prepare(subject));
        shard.insert(hash, Arc::clone(&plan));
        plan
    }

    /// Every level of the path is there, limited or not: its running calls are counted, so that a limit which a reload
    /// adds knows the calls that run already.
    fn prepare(&self, subject: &Subject) -> Plan {
        let mut key_rule = LimitRule::default();
        let mut levels = Vec::new();
        let stored = self.stored.load();
        for prefix in subject.tenant.prefixes() {
            let (rule, key_limits) = self.tenants.get(prefix).copied().unwrap_or_default();
            let (stored_rule, stored_key) = stored.get(prefix).copied().unwrap_or_default();
            let rule = tightest(rule, stored_rule);
            key_rule = tightest(key_rule, tightest(key_limits, stored_key));
            levels.push(Level { id: LevelId::new(prefix.into()), name: prefix.into(), rule });
        }
        levels.push(Level {
            id: LevelId::new(format!("key:{}", subject.key).into()),
            name: "key".into(),
            rule: key_rule,
        });
        levels.reverse();
        Plan {
            key: subject.key.clone(),
            tenant: subject.tenant.clone(),
            org_hash: state::hash(subject.tenant.org()),
            limits_tokens: levels.iter().any(|level| level.rule.tokens_per_minute.is_some()),
            levels: levels.into(),
        }
    }
}

impl std::fmt::Debug for LimitRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LimitRules").field("tenants", &self.tenants).finish_non_exhaustive()
    }
}

/// The smaller of each limit; a missing one is no limit.
fn tightest(a: LimitRule, b: LimitRule) -> LimitRule {
    fn smaller<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
        a.into_iter().chain(b).min()
    }
    LimitRule {
        requests_per_minute: smaller(a.requests_per_minute, b.requests_per_minute),
        tokens_per_minute: smaller(a.tokens_per_minute, b.tokens_per_minute),
        concurrency: smaller(a.concurrency, b.concurrency),
    }
}
