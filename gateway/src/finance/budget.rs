//! Budgets as finance sees them: what the configured limits of money have cost in their window, what is left, when it
//! will be used up, and which alerts that gave.
//!
//! Read from the ledger's sums, not from the counters: what was written down, whoever counted. Calls that are running
//! are not in it. Where a budget is split in a way that the sums aren't kept by (end-users, endpoints), that is said
//! instead of a sum.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono_tz::Tz;
use serde::Serialize;

use super::calendar::{self, TooMany};
use super::forecast::{Day, Forecast, HISTORY_DAYS, forecast};
use crate::config::settings::TenantRule;
use crate::limits::quantity::Quantity;
use crate::limits::rule::{Each, RuleSettings, counts_model};
use crate::limits::window::{CalendarUnit, Span, Window};
use crate::store::rollup::{Column, RollupFilter};
use crate::store::{Store, StoreError};

const DAY_MS: u64 = 86_400_000;
/// Most parts of a budget that is split.
const PARTS_MAX: usize = 10_000;

/// A budget that is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetRule {
    /// Tenant path whose budget it is.
    pub tenant: Arc<str>,
    /// The limit.
    pub rule: RuleSettings,
}

/// What a budget says at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// Tenant path whose budget it is.
    pub tenant: Arc<str>,
    /// The limit's name.
    pub name: Arc<str>,
    /// Whose part, where it is split: values joined by spaces.
    pub part: Option<String>,
    /// `hour`, `day`, `week`, `month`, `rolling` or `total`.
    pub window: &'static str,
    /// The calendar's time zone.
    pub zone: &'static str,
    /// Unix milliseconds, inclusive.
    pub from_ms: u64,
    /// Unix milliseconds, exclusive; `None`: no end.
    pub to_ms: Option<u64>,
    /// Nano-dollars.
    pub cap_nano: u64,
    /// Nano-dollars; `None` where sums aren't kept like that.
    pub spent_nano: Option<i64>,
    /// Nano-dollars; below zero where more was spent.
    pub left_nano: Option<i64>,
    /// Thousandths of the cap that are spent.
    pub used_permille: Option<i64>,
    /// What is to be expected.
    pub forecast: Option<Forecast>,
    /// The window's days up to now, the last 400.
    pub days: Vec<BurnDay>,
    /// Alerts that this window has given.
    pub alerts: Vec<Alert>,
}

/// One day of a burn-down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BurnDay {
    /// `2026-11-25`.
    pub day: String,
    /// Nano-dollars of the day.
    pub spent_nano: i64,
    /// Nano-dollars left at its end.
    pub left_nano: i64,
}

/// An alert, once per window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// `50`, `80`, `100` (per cent spent) or `forecast`.
    pub kind: String,
    /// Unix milliseconds when it was given.
    pub at_ms: u64,
}

/// Why budgets can't be told.
#[derive(Debug, thiserror::Error)]
pub enum BudgetError {
    /// A window that is too long.
    #[error(transparent)]
    Units(#[from] TooMany),
    /// A budget with too many parts.
    #[error("the budget `{0}` has more than {PARTS_MAX} parts")]
    Parts(Arc<str>),
    /// A sum beyond what can be counted.
    #[error("a sum is beyond what can be counted")]
    Overflow,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The budgets among the configured limits.
pub fn rules(tenants: &[TenantRule]) -> Vec<BudgetRule> {
    let of = |tenant: &TenantRule| {
        let path: Arc<str> = tenant.path.as_str().into();
        let money = tenant.rules.iter().filter(|rule| rule.quantity == Quantity::Money && rule.is_budget());
        money.map(|rule| BudgetRule { tenant: Arc::clone(&path), rule: rule.clone() }).collect::<Vec<_>>()
    };
    tenants.iter().flat_map(of).collect()
}

/// A window at one moment.
struct At {
    name: &'static str,
    zone: Tz,
    span: Span,
    ends: bool,
}

fn window(window: Window, now_ms: u64) -> Option<At> {
    let open = |name, from_ms| At { name, zone: Tz::UTC, span: Span { from_ms, to_ms: u64::MAX }, ends: false };
    match window {
        Window::Calendar { unit, zone } => {
            let name = match unit {
                CalendarUnit::Hour => "hour",
                CalendarUnit::Day => "day",
                CalendarUnit::Week => "week",
                CalendarUnit::Month => "month",
            };
            Some(At { name, zone, span: unit.span(zone, now_ms), ends: true })
        }
        Window::Rolling { ms } => Some(open("rolling", now_ms.saturating_sub(ms))),
        Window::Total => Some(open("total", 0)),
        Window::Rate { .. } | Window::Now => None,
    }
}

/// What every budget says, with the alerts that were given so far.
///
/// # Errors
/// The store fails, or a budget has too many parts.
pub async fn budgets(store: &Store, rules: &[BudgetRule], now_ms: u64) -> Result<Vec<Budget>, BudgetError> {
    let first_ms = store.usage_extent().await?.map_or(now_ms, |extent| extent.from_ms);
    let mut all = Vec::new();
    for rule in rules {
        let Some(at) = window(rule.rule.window, now_ms) else { continue };
        if rule.rule.each.end_user || rule.rule.each.endpoint || !rule.rule.endpoints.is_empty() {
            all.push(unknown(rule, &at));
            continue;
        }
        all.append(&mut parts(store, rule, &at, first_ms, now_ms).await?);
    }
    for budget in &mut all {
        let part = budget.part.as_deref().unwrap_or("");
        budget.alerts = store.budget_alerts(&budget.tenant, &budget.name, part, alert_key(budget, now_ms)).await?;
    }
    Ok(all)
}

/// What an alert is given once for: the window's beginning, and the day where the window has none.
pub fn alert_key(budget: &Budget, now_ms: u64) -> u64 {
    match budget.window {
        "rolling" => now_ms.saturating_sub(now_ms.checked_rem(DAY_MS).unwrap_or(0)),
        _ => budget.from_ms,
    }
}

/// Alerts that a budget is due, whether or not they were given before.
pub fn due(budget: &Budget) -> Vec<&'static str> {
    let used = budget.used_permille.unwrap_or(0);
    let cap = i128::from(budget.cap_nano);
    let exceeds = budget.forecast.and_then(|seen| seen.nano).is_some_and(|nano| i128::from(nano) > cap);
    let mut kinds: Vec<&'static str> = Vec::new();
    kinds.extend([(500, "50"), (800, "80"), (1_000, "100")].into_iter().filter(|(at, _)| used >= *at).map(|(_, k)| k));
    kinds.extend(exceeds.then_some("forecast"));
    kinds
}

fn unknown(rule: &BudgetRule, at: &At) -> Budget {
    Budget {
        tenant: Arc::clone(&rule.tenant),
        name: Arc::clone(&rule.rule.name),
        part: None,
        window: at.name,
        zone: at.zone.name(),
        from_ms: at.span.from_ms,
        to_ms: at.ends.then_some(at.span.to_ms),
        cap_nano: rule.rule.amount,
        spent_nano: None,
        left_nano: None,
        used_permille: None,
        forecast: None,
        days: Vec::new(),
        alerts: Vec::new(),
    }
}

/// Reads a budget's days, for each of its parts.
async fn parts(
    store: &Store,
    rule: &BudgetRule,
    at: &At,
    first_ms: u64,
    now_ms: u64,
) -> Result<Vec<Budget>, BudgetError> {
    let history = now_ms.saturating_sub(HISTORY_DAYS.saturating_mul(DAY_MS));
    let history = CalendarUnit::Day.span(at.zone, history).from_ms;
    let from_ms = history.min(at.span.from_ms).max(CalendarUnit::Day.span(at.zone, first_ms.min(now_ms)).from_ms);
    let within = Span { from_ms, to_ms: now_ms.saturating_add(1) };
    let days = calendar::units(CalendarUnit::Day, at.zone, within)?;
    // The window's own sum may begin within a day; its days are cut there.
    let mut spans: Vec<Span> = days.iter().map(|day| day.span).collect();
    spans.push(Span { from_ms: at.span.from_ms, to_ms: at.span.to_ms.min(within.to_ms) });
    let columns = [Column::Tenant, Column::Key, Column::Model];
    let filter = RollupFilter { tenant: Some(rule.tenant.to_string()), ..RollupFilter::default() };
    let mut sums: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    if rule.rule.each == Each::default() {
        sums.insert(String::new(), vec![0; spans.len()]);
    }
    for sum in store.rollups(&columns, &spans, &filter).await? {
        let [tenant, key, model] = sum.columns.as_slice() else { continue };
        if !counts_model(&rule.rule.models, model) {
            continue;
        }
        let of = sums.entry(part(rule.rule.each, tenant, key, model)).or_insert_with(|| vec![0; spans.len()]);
        if let Some(nano) = of.get_mut(sum.span) {
            *nano = nano.checked_add(sum.sums.cost_nano).ok_or(BudgetError::Overflow)?;
        }
        if sums.len() > PARTS_MAX {
            return Err(BudgetError::Parts(Arc::clone(&rule.rule.name)));
        }
    }
    Ok(sums.into_iter().map(|(part, nano)| budget(rule, at, &days, &nano, part, now_ms)).collect())
}

fn part(each: Each, tenant: &str, key: &str, model: &str) -> String {
    let parts = [(each.user, tenant), (each.key, key), (each.model, model)];
    let parts: Vec<&str> = parts.into_iter().filter(|(is, _)| *is).map(|(_, value)| value).collect();
    parts.join(" ")
}

/// `nano` are the days' sums, and behind them the window's.
fn budget(rule: &BudgetRule, at: &At, days: &[calendar::Named], nano: &[i64], part: String, now_ms: u64) -> Budget {
    let spent = nano.last().copied().unwrap_or(0);
    let cap = i64::try_from(rule.rule.amount).unwrap_or(i64::MAX);
    let today = CalendarUnit::Day.span(at.zone, now_ms);
    let history: Vec<Day> = days
        .iter()
        .zip(nano)
        .map(|(day, nano)| Day { span: if day.span.from_ms == today.from_ms { today } else { day.span }, nano: *nano })
        .collect();
    let end_ms = at.ends.then_some(at.span.to_ms);
    let seen = match at.name {
        // What a rolling window leaves behind comes back: nothing adds up there.
        "rolling" => None,
        _ => forecast(&history, now_ms, rule.rule.amount, spent, end_ms),
    };
    let permille = i128::from(spent).saturating_mul(1_000).checked_div(i128::from(rule.rule.amount)).unwrap_or(0);
    let mut left = cap;
    let mut burn = Vec::new();
    for (day, nano) in days.iter().zip(nano).filter(|(day, _)| day.span.to_ms > at.span.from_ms) {
        left = left.saturating_sub(*nano);
        burn.push(BurnDay { day: day.name.clone(), spent_nano: *nano, left_nano: left });
    }
    Budget {
        part: (rule.rule.each != Each::default()).then_some(part),
        spent_nano: Some(spent),
        left_nano: Some(cap.saturating_sub(spent)),
        used_permille: Some(i64::try_from(permille).unwrap_or(i64::MAX)),
        forecast: seen,
        days: burn,
        ..unknown(rule, at)
    }
}

#[cfg(test)]
mod tests;
