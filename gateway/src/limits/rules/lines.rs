//! The lines of one call: the short forms and the rules of every level of its path, innermost first.

use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::{Level, Plan};
use crate::limits::MINUTE_MS;
use crate::limits::counter::{Line, Outage, Scope};
use crate::limits::quantity::Quantity;
use crate::limits::reservation::Asked;
use crate::limits::rule::{RuleSettings, counts_model};
use crate::limits::window::Window;

/// Everything that lines depend on.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    plan: &'a Arc<Plan>,
    model: &'a str,
    endpoint: &'a str,
    end_user: Option<&'a str>,
    is_shared: bool,
}

/// Lines, and all that they depend on.
pub(super) struct Prepared {
    plan: Arc<Plan>,
    model: Box<str>,
    endpoint: Box<str>,
    end_user: Option<Box<str>>,
    is_shared: bool,
    pub(super) lines: Arc<[Line]>,
}

impl<'a> Of<'a> {
    pub(super) fn new(plan: &'a Arc<Plan>, asked: &Asked<'a>, is_shared: bool) -> Self {
        let Asked { model, endpoint, end_user, .. } = *asked;
        // Where no rule looks at the end-user, all of them share the same lines.
        let looks = plan.rules.iter().flat_map(|(_, rules)| rules.iter()).any(|rule| rule.each.end_user);
        let end_user = end_user.filter(|_| looks);
        Self { plan, model, endpoint, end_user, is_shared }
    }

    pub(super) fn hash(&self, hasher: &RandomState) -> u64 {
        let plan = Arc::as_ptr(self.plan);
        hasher.hash_one((plan, self.model, self.endpoint, self.end_user, self.is_shared))
    }
}

impl Prepared {
    pub(super) fn new(of: &Of<'_>, lines: &Arc<[Line]>) -> Self {
        Self {
            plan: Arc::clone(of.plan),
            model: of.model.into(),
            endpoint: of.endpoint.into(),
            end_user: of.end_user.map(Into::into),
            is_shared: of.is_shared,
            lines: Arc::clone(lines),
        }
    }

    pub(super) fn is_of(&self, of: &Of<'_>) -> bool {
        Arc::ptr_eq(&self.plan, of.plan)
            && *self.model == *of.model
            && *self.endpoint == *of.endpoint
            && self.end_user.as_deref() == of.end_user
            && self.is_shared == of.is_shared
    }
}

/// Whether the rule's lines depend on more than the caller's key.
pub(super) fn varies(rule: &RuleSettings) -> bool {
    let each = rule.each;
    !rule.models.is_empty() || !rule.endpoints.is_empty() || each.end_user || each.model || each.endpoint
}

/// The lines of one call. Of two that count the same thing the smaller holds: one counter can't be taken twice.
pub(super) fn build(plan: &Plan, asked: &Asked<'_>, is_shared: bool) -> Arc<[Line]> {
    let short = plan.levels.iter().flat_map(|level| short_forms(plan, level, is_shared));
    let rules = plan.rules.iter().flat_map(|(path, rules)| rules.iter().map(move |rule| (path, rule)));
    let rules = rules.filter(|(_, rule)| applies(rule, asked)).map(|(path, rule)| line(plan, path, rule, asked));
    let mut lines: Vec<Line> = Vec::new();
    let mut places: HashMap<Arc<str>, usize> = HashMap::new();
    for line in short.chain(rules) {
        match places.get(&line.id).and_then(|at| lines.get_mut(*at)) {
            Some(known) if known.cap <= line.cap => {}
            Some(known) => *known = line,
            None => {
                places.insert(Arc::clone(&line.id), lines.len());
                lines.push(line);
            }
        }
    }
    lines.into()
}

fn short_forms(plan: &Plan, level: &Level, is_shared: bool) -> Vec<Line> {
    let key = level.is_key.then(|| Arc::<str>::from(&*plan.key.0));
    let owner = key.as_ref().map_or_else(|| level.path.to_string(), |key| format!("key:{key}"));
    let per_minute = Window::Rate { ms: MINUTE_MS };
    let line = |quantity: Quantity, cap: u64, window: Window| Line {
        id: format!("{owner}|{}|{}", quantity.name(), window.name()).into(),
        level: Arc::clone(&level.name),
        scope: Scope {
            tenant: Arc::clone(&level.path),
            key: key.clone(),
            models: Arc::default(),
            endpoints: Arc::default(),
            end_user: None,
        },
        quantity,
        cap,
        window,
        outage: Outage::Local,
        lease: None,
    };
    let requests = level.rule.requests_per_minute.filter(|_| is_shared);
    let running = level.rule.concurrency.filter(|_| is_shared);
    let requests = requests.map(|cap| line(Quantity::Requests, cap.get().into(), per_minute));
    let tokens = level.rule.tokens_per_minute.map(|cap| line(Quantity::Tokens, cap.get(), per_minute));
    let running = running.map(|cap| line(Quantity::Concurrency, cap.get().into(), Window::Now));
    requests.into_iter().chain(tokens).chain(running).collect()
}

/// Whether the rule counts this call.
fn applies(rule: &RuleSettings, asked: &Asked<'_>) -> bool {
    counts_model(&rule.models, asked.model)
        && (rule.endpoints.is_empty() || rule.endpoints.iter().any(|endpoint| **endpoint == *asked.endpoint))
}

fn line(plan: &Plan, path: &Arc<str>, rule: &RuleSettings, asked: &Asked<'_>) -> Line {
    let mut scope = Scope {
        tenant: Arc::clone(path),
        key: None,
        models: Arc::clone(&rule.models),
        endpoints: Arc::clone(&rule.endpoints),
        end_user: None,
    };
    if rule.each.key {
        scope.key = Some(Arc::from(&*plan.key.0));
    }
    if rule.each.user {
        // The innermost level is the user's; who has none is counted by the level that the key is of.
        scope.tenant = plan.tenant.as_str().into();
    }
    if rule.each.end_user {
        // Those who name nobody are one.
        scope.end_user = Some(asked.end_user.unwrap_or_default().into());
    }
    if rule.each.model {
        scope.models = Arc::new([asked.model.into()]);
    }
    if rule.each.endpoint {
        scope.endpoints = Arc::new([asked.endpoint.into()]);
    }
    let mut id = format!("{path}|{}|{}|{}", rule.name, rule.quantity.name(), rule.window.name());
    for share in shares(rule) {
        let whose = match share {
            "key" => scope.key.as_deref(),
            "user" => Some(&*scope.tenant),
            "end user" => scope.end_user.as_deref(),
            "model" => Some(asked.model),
            _ => Some(asked.endpoint),
        };
        write!(id, "|{share}={}", whose.unwrap_or_default()).ok();
    }
    let RuleSettings { quantity, amount, window, outage, .. } = *rule;
    Line { id: id.into(), level: level(path, rule), scope, quantity, cap: amount, window, outage, lease: rule.lease() }
}

/// Whose shares the rule counts separately.
fn shares(rule: &RuleSettings) -> impl Iterator<Item = &'static str> {
    let each = rule.each;
    let all = [
        (each.key, "key"),
        (each.user, "user"),
        (each.end_user, "end user"),
        (each.model, "model"),
        (each.endpoint, "endpoint"),
    ];
    all.into_iter().filter(|(is_meant, _)| *is_meant).map(|(_, share)| share)
}

/// Where the rule's limit is, for messages: the path, and whose share of it.
pub(super) fn level(path: &Arc<str>, rule: &RuleSettings) -> Arc<str> {
    let shares: Vec<_> = shares(rule).collect();
    if shares.is_empty() { Arc::clone(path) } else { format!("{path} per {}", shares.join(" and ")).into() }
}
