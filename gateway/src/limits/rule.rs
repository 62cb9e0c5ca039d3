//! One limit as the configuration says it, for a level of the tenant path and everything below it. Pure.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::counter::Outage;
use super::quantity::Quantity;
use super::window::Window;

/// One limit of a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSettings {
    /// Its name, unique at its level: part of its counter's name, and what budgets are called in reports.
    pub name: Arc<str>,
    /// What it counts.
    pub quantity: Quantity,
    /// How much; money in nano-dollars. Never 0.
    pub amount: u64,
    /// In which time.
    pub window: Window,
    /// Only calls for these models: names, or a beginning and `*`. Empty: all.
    pub models: Arc<[Arc<str>]>,
    /// Only calls at these endpoints, by their names. Empty: all.
    pub endpoints: Arc<[Arc<str>]>,
    /// Whose each own amount it is; shared by all where nothing is set.
    pub each: Each,
    /// What happens while a counter that gateways share can't be asked.
    pub outage: Outage,
    /// Percent of it that a gateway takes from a shared counter at a time; 0: each call asks.
    pub lease_percent: u8,
}

/// What a rule counts separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Each {
    /// Every key.
    pub key: bool,
    /// Every end-user that calls are made for.
    pub end_user: bool,
    /// Every user of the tenant path (its fourth level).
    pub user: bool,
    /// Every model.
    pub model: bool,
    /// Every endpoint.
    pub endpoint: bool,
}

/// Whether a limit for these models counts calls for this one: it is named, or begins as a pattern that ends in `*`.
/// Without any, all count.
pub fn counts_model(patterns: &[Arc<str>], model: &str) -> bool {
    let fits = |pattern: &Arc<str>| match pattern.strip_suffix('*') {
        Some(beginning) => model.starts_with(beginning),
        None => **pattern == *model,
    };
    patterns.is_empty() || patterns.iter().any(fits)
}

impl RuleSettings {
    /// How much a gateway takes from a shared counter at a time; no less than one, or a small limit would have none.
    pub fn lease(&self) -> Option<NonZeroU64> {
        let part = u128::from(self.amount).saturating_mul(self.lease_percent.into()) / 100;
        let part = u64::try_from(part).unwrap_or(u64::MAX).max(1);
        NonZeroU64::new(part).filter(|_| self.lease_percent > 0)
    }

    /// Whether it is a budget: an amount that is held in slices and given back by a calendar, not by the minute.
    pub fn is_budget(&self) -> bool {
        self.window.is_budget()
    }
}
