//! What the configuration says about limits, prepared for one World: which levels a caller belongs to and what holds
//! there. Rules only; the counters live in [`super::Limits`] and outlive every World.
//!
//! The short forms of a level (`requests_per_minute` and its like) and its further rules become the [`Line`]s of a
//! call.
//! Prepared once per caller and whatever else of a call the rules look at.

mod canary;
mod lines;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::counter::Line;
use super::quantity::Quantity;
use super::reservation::Asked;
use super::rule::RuleSettings;
use super::state::{self, LevelId};
use crate::config::settings::{LimitRule, TenantRule};
use crate::identity::{KeyId, Subject, TenantPath};
pub use canary::CanaryFault;
use lines::Prepared;

/// Shards of what is prepared; each has its own lock.
const SHARDS: usize = 16;
/// Plans of one shard. A full shard forgets all of them and prepares again what is in use.
const SHARD_PLANS_MAX: usize = 4_096;
/// Sets of lines of one shard, the same way: one for each caller, model, endpoint and end-user, as far as rules look at
/// them. About a kilobyte each.
const SHARD_LINES_MAX: usize = 4_096;

/// Limits of every level, from one revision of the configuration.
pub struct LimitRules {
    tenants: HashMap<Box<str>, Configured>,
    /// Limits of the store's tenants: they only tighten.
    stored: ArcSwap<HashMap<Box<str>, (LimitRule, LimitRule)>>,
    hasher: RandomState,
    plans: [Mutex<HashMap<u64, Arc<Plan>>>; SHARDS],
    lines: [Mutex<HashMap<u64, Prepared>>; SHARDS],
}

/// What the configuration says of one level.
#[derive(Debug, Clone, Default)]
struct Configured {
    limits: LimitRule,
    key_limits: LimitRule,
    rules: Arc<[RuleSettings]>,
}

/// The levels of one key, innermost first: the key itself, then the tenant path inside out.
#[derive(Debug)]
pub struct Plan {
    pub(super) key: KeyId,
    pub(super) tenant: TenantPath,
    pub(super) levels: Box<[Level]>,
    /// Hash of the organisation; picks the shard of the throttle's counters.
    pub(super) org_hash: u64,
    org: Arc<str>,
    /// Rules of the path's levels, innermost first.
    rules: Box<[(Arc<str>, Arc<[RuleSettings]>)]>,
    /// Lines that are the same for all of the caller's calls: with a counter of this process, with a shared one.
    fixed: [OnceLock<Arc<[Line]>>; 2],
    /// Whether the lines depend on more than the key.
    varies: bool,
}

/// One level and its limits.
#[derive(Debug)]
pub(super) struct Level {
    /// Unique name of the level's state. `:` can't be in a tenant's name, so keys and tenants never meet.
    pub(super) id: LevelId,
    /// Name for messages: the path, or `key`.
    pub(super) name: Arc<str>,
    /// The innermost tenant of the level.
    pub(super) path: Arc<str>,
    /// Whether it is the key's own; a tenant may be called `key` too.
    pub(super) is_key: bool,
    pub(super) rule: LimitRule,
}

impl LimitRules {
    /// Takes the limits out of the tenants' rules.
    pub fn new(tenants: &[TenantRule]) -> Self {
        let configured = |tenant: &TenantRule| {
            let rules = Arc::clone(&tenant.rules);
            let configured = Configured { limits: tenant.limits, key_limits: tenant.key_limits, rules };
            (tenant.path.as_str().into(), configured)
        };
        Self {
            tenants: tenants.iter().map(configured).collect(),
            stored: ArcSwap::default(),
            hasher: RandomState::new(),
            plans: std::array::from_fn(|_| Mutex::default()),
            lines: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Follows the limits of the store's tenants; what was prepared with others is forgotten. Cheap where nothing
    /// moved.
    pub fn follow(&self, stored: Arc<HashMap<Box<str>, (LimitRule, LimitRule)>>) {
        if Arc::ptr_eq(&self.stored.load(), &stored) {
            return;
        }
        self.stored.store(stored);
        // Whoever prepares a plan meanwhile holds its shard, and is forgotten after it. Lines know their plan.
        self.plans.iter().for_each(|shard| shard.lock().clear());
    }

    /// The levels of this caller; prepared once per key.
    pub(super) fn plan(&self, subject: &Subject) -> Arc<Plan> {
        let hash = self.hasher.hash_one((&*subject.key.0, subject.tenant.as_str()));
        let Some(shard) = self.plans.get(shard(hash)) else {
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

    /// The organisation and the lines that a call is counted on. With a counter of this process alone the throttle has
    /// counted requests and running calls by the short forms already; a shared one counts them for all processes.
    pub(super) fn lines(&self, subject: &Subject, asked: &Asked<'_>, is_shared: bool) -> (Arc<str>, Arc<[Line]>) {
        let plan = self.plan(subject);
        let org = Arc::clone(&plan.org);
        if !plan.varies {
            let [own, shared] = &plan.fixed;
            let fixed = if is_shared { shared } else { own };
            let lines = fixed.get_or_init(|| lines::build(&plan, asked, is_shared));
            return (org, Arc::clone(lines));
        }
        let of = lines::Of::new(&plan, asked, is_shared);
        let hash = of.hash(&self.hasher);
        let build = || lines::build(&plan, asked, is_shared);
        let Some(shard) = self.lines.get(shard(hash)) else { return (org, build()) };
        let mut shard = shard.lock();
        if let Some(prepared) = shard.get(&hash).filter(|prepared| prepared.is_of(&of)) {
            return (org, Arc::clone(&prepared.lines));
        }
        if shard.len() >= SHARD_LINES_MAX {
            shard.clear();
        }
        let lines = build();
        shard.insert(hash, Prepared::new(&of, &lines));
        (org, lines)
    }

    /// Whether any budget counts the call: then its hold grows in slices while it streams.
    pub fn has_budgets(&self, subject: &Subject, asked: &Asked<'_>) -> bool {
        let (_, lines) = self.lines(subject, asked, false);
        lines.iter().any(|line| line.window.is_budget())
    }

    /// Whether any limit counts prompt tokens, or money, which depends on them.
    pub fn counts_prompts(&self, subject: &Subject, asked: &Asked<'_>) -> bool {
        let (_, lines) = self.lines(subject, asked, false);
        lines.iter().any(|line| match line.quantity {
            Quantity::InputTokens | Quantity::Tokens | Quantity::Money => true,
            Quantity::Requests | Quantity::OutputTokens | Quantity::Concurrency => false,
        })
    }

    /// Every level of the path is there, limited or not: its running calls are counted, so that a limit which a reload
    /// adds knows the calls that run already.
    fn prepare(&self, subject: &Subject) -> Plan {
        let mut key_rule = LimitRule::default();
        let (mut levels, mut rules) = (Vec::new(), Vec::new());
        let stored = self.stored.load();
        for prefix in subject.tenant.prefixes() {
            let configured = self.tenants.get(prefix).cloned().unwrap_or_default();
            let (stored_rule, stored_key) = stored.get(prefix).copied().unwrap_or_default();
            let rule = tightest(configured.limits, stored_rule);
            key_rule = tightest(key_rule, tightest(configured.key_limits, stored_key));
            let path: Arc<str> = prefix.into();
            let (id, name) = (LevelId::new(prefix.into()), Arc::clone(&path));
            levels.push(Level { id, name, path: Arc::clone(&path), is_key: false, rule });
            rules.push((path, configured.rules));
        }
        let path = subject.tenant.as_str().into();
        let id = LevelId::new(format!("key:{}", subject.key).into());
        levels.push(Level { id, name: "key".into(), path, is_key: true, rule: key_rule });
        levels.reverse();
        rules.reverse();
        Plan {
            key: subject.key.clone(),
            tenant: subject.tenant.clone(),
            org_hash: state::hash(subject.tenant.org()),
            org: subject.tenant.org().into(),
            varies: rules.iter().flat_map(|(_, rules)| rules.iter()).any(lines::varies),
            levels: levels.into(),
            rules: rules.into(),
            fixed: Default::default(),
        }
    }
}

impl std::fmt::Debug for LimitRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LimitRules").field("tenants", &self.tenants).finish_non_exhaustive()
    }
}

fn shard(hash: u64) -> usize {
    // The upper half: the lower one picks the place within the shard's own table.
    usize::try_from(hash >> 32).unwrap_or_default() % SHARDS
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

#[cfg(test)]
mod tests;
