//! The canary: every limit that is configured has to be able to refuse, or the World that says so is not built. A limit
//! that was written down and never takes part is worse than none.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::{LimitRules, lines};
use crate::clock;
use crate::config::settings::{LimitRule, TenantRule};
use crate::exchange::CallId;
use crate::identity::{CredentialKind, KeyId, Subject, TenantPath};
use crate::limits::counter::{Ask, Line, Outage};
use crate::limits::ledger::{Denied, Ledger, Room};
use crate::limits::quantity::{Amounts, Quantity};
use crate::limits::reservation::Asked;
use crate::limits::rule::{Each, RuleSettings};
use crate::limits::window::{ROLLING_STEPS, Window};
use crate::limits::{LimitKind, Limits, MINUTE_MS};

/// A configured limit can't refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CanaryFault {
    /// No call is ever counted by it.
    #[error("the limit on {} at `{level}` counts no call", quantity.name())]
    Unused {
        /// The level.
        level: String,
        /// What it should count.
        quantity: Quantity,
    },
    /// A call beyond it passes.
    #[error("the limit on {} at `{level}` lets a call beyond it through", quantity.name())]
    Toothless {
        /// The level.
        level: String,
        /// What it should count.
        quantity: Quantity,
    },
    /// It can't be counted as it is meant.
    #[error("the limit on {} at `{level}` can't be kept: {why}", quantity.name())]
    Senseless {
        /// The level.
        level: String,
        /// What it should count.
        quantity: Quantity,
        /// Why.
        why: &'static str,
    },
}

/// Some moment; nothing depends on which.
const BORN_MS: u64 = 1_700_000_000_000;
/// Stands for any name where a rule takes them all.
const ANY: &str = "canary";

impl LimitRules {
    /// Proves that each limit of these settings takes part in calls and refuses one beyond it, and that the throttle
    /// does, which counts the short forms before a body is read.
    ///
    /// # Errors
    /// The first limit that doesn't.
    pub fn prove(&self, tenants: &[TenantRule]) -> Result<(), CanaryFault> {
        tenants.first().map_or(Ok(()), throttle_refuses)?;
        for tenant in tenants {
            let (path, subject) = (tenant.path.as_str(), subject(tenant.path.clone()));
            for rule in short_forms(tenant.limits, Each::default()) {
                self.prove_rule(&subject, path, &rule)?;
            }
            for rule in short_forms(tenant.key_limits, Each { key: true, ..Each::default() }) {
                self.prove_rule(&subject, "key", &rule)?;
            }
            for rule in tenant.rules.iter() {
                sensible(path, rule)?;
                self.prove_rule(&subject, &lines::level(&tenant.path.as_str().into(), rule), rule)?;
            }
        }
        Ok(())
    }

    /// The rule has a line among those of a call that it is for, and that line alone refuses a call beyond its amount.
    fn prove_rule(&self, subject: &Subject, level: &str, rule: &RuleSettings) -> Result<(), CanaryFault> {
        let model = rule.models.first().map_or(ANY, |pattern| pattern.trim_end_matches('*'));
        let endpoint = rule.endpoints.first().map_or(ANY, |endpoint| endpoint);
        let call = CallId(uuid::Uuid::nil());
        let asked = Asked { call, model, endpoint, end_user: Some(ANY), born_ms: BORN_MS };
        let (_, lines) = self.lines(subject, &asked, true);
        let models = |line: &Line| rule.each.model || line.scope.models == rule.models;
        let counts = |line: &&Line| {
            (line.quantity, line.window) == (rule.quantity, rule.window)
                && line.cap <= rule.amount
                && *line.level == *level
                && models(line)
        };
        let unused = || CanaryFault::Unused { level: level.to_owned(), quantity: rule.quantity };
        let line = lines.iter().find(counts).ok_or_else(unused)?;
        if refuses(line) {
            Ok(())
        } else {
            Err(CanaryFault::Toothless { level: level.to_owned(), quantity: rule.quantity })
        }
    }
}

/// Whether the line lets its cap through and refuses one more.
fn refuses(line: &Line) -> bool {
    let cap = if line.window == Window::Now { line.cap.min(1) } else { line.cap };
    let lines: Arc<[Line]> = Arc::new([Line { cap, ..line.clone() }]);
    let mut ledger = Ledger::new(false);
    let mut reserve = |number: u128, amount: u64| {
        let amounts = Amounts::only(line.quantity, amount);
        let ask = Ask {
            call: CallId(uuid::Uuid::from_u128(number)),
            org: ANY.into(),
            lines: Arc::clone(&lines),
            rates: amounts,
            budgets: amounts,
            born_ms: BORN_MS,
            ttl: Duration::from_secs(1),
        };
        let room = Room { others: 0, lines_max: 1, own_max: 1 };
        let answer = ledger.reserve(&ask, 0, room);
        let Err(Denied::Unseeded(unseeded)) = answer else { return answer };
        for (_, span) in unseeded {
            lines.iter().for_each(|line| ledger.seed(line, BORN_MS, span, &[]));
        }
        ledger.reserve(&ask, 0, room)
    };
    let passes = cap == 0 || reserve(1, cap).is_ok();
    passes && matches!(reserve(2, 1), Err(Denied::Exceeded(exceeded)) if exceeded.level == line.level)
}

/// The throttle lets one call through and refuses the second, where one is the limit: at a level and of a key.
fn throttle_refuses(tenant: &TenantRule) -> Result<(), CanaryFault> {
    let (none, one, now) = (LimitRule::default(), Some(NonZeroU32::MIN), clock::instant());
    let requests = (LimitRule { requests_per_minute: one, ..none }, LimitKind::Requests, Quantity::Requests);
    let running = (LimitRule { concurrency: one, ..none }, LimitKind::Concurrency, Quantity::Concurrency);
    for (rule, kind, quantity) in [requests, running] {
        for (limits, key_limits) in [(rule, none), (none, rule)] {
            let rules = LimitRules::new(&[TenantRule { limits, key_limits, ..tenant.clone() }]);
            let (throttle, caller) = (Limits::new(now), subject(tenant.path.clone()));
            let first = throttle.throttle(&rules, &caller, now);
            let second = throttle.throttle(&rules, &caller, now);
            if first.is_err() || !second.is_err_and(|exceeded| exceeded.kind == kind) {
                return Err(CanaryFault::Toothless { level: tenant.path.as_str().to_owned(), quantity });
            }
        }
    }
    Ok(())
}

/// What can't be counted as it is written.
fn sensible(level: &str, rule: &RuleSettings) -> Result<(), CanaryFault> {
    let counts_running = rule.quantity == Quantity::Concurrency;
    let why = match rule.window {
        Window::Now if !counts_running => Some("only concurrency is counted at a moment"),
        Window::Rate { .. } | Window::Calendar { .. } | Window::Rolling { .. } | Window::Total if counts_running => {
            Some("concurrency has no window")
        }
        Window::Rate { ms: 0 } => Some("a rate needs some time"),
        Window::Rolling { ms } if ms < ROLLING_STEPS => Some("the window is too short"),
        Window::Now | Window::Rate { .. } | Window::Calendar { .. } | Window::Rolling { .. } | Window::Total => None,
    };
    let senseless = |why| CanaryFault::Senseless { level: level.to_owned(), quantity: rule.quantity, why };
    why.map_or(Ok(()), |why| Err(senseless(why)))
}

/// The short forms as rules.
fn short_forms(limits: LimitRule, each: Each) -> Vec<RuleSettings> {
    let minute = Window::Rate { ms: MINUTE_MS };
    let requests = limits.requests_per_minute.map(|cap| (Quantity::Requests, u64::from(cap.get()), minute));
    let tokens = limits.tokens_per_minute.map(|cap| (Quantity::Tokens, cap.get(), minute));
    let running = limits.concurrency.map(|cap| (Quantity::Concurrency, u64::from(cap.get()), Window::Now));
    let all = requests.into_iter().chain(tokens).chain(running);
    all.map(|(quantity, amount, window)| RuleSettings {
        name: ANY.into(),
        quantity,
        amount,
        window,
        models: Arc::default(),
        endpoints: Arc::default(),
        each,
        outage: Outage::Local,
        lease_percent: 0,
    })
    .collect()
}

/// A caller at the level.
fn subject(tenant: TenantPath) -> Subject {
    Subject {
        tenant,
        key: KeyId(ANY.into()),
        key_epoch: 0,
        vouchers: Arc::default(),
        credential: CredentialKind::ApiKey,
        roles: Arc::default(),
        attributes: Arc::default(),
        user: None,
    }
}
