//! Looks at the budgets again and again: shows them as metrics, and gives each alert once per window.
//!
//! That an alert was given is kept in the store, with what goes on the audit log, in one statement: of several gateways
//! one gives it, and none gives it again after a restart.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::budget::{Budget, BudgetError, alert_key, budgets, due, rules};
use crate::clock;
use crate::running::Running;
use crate::telemetry::metric;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(20);

/// Watches until `stop` turns true.
pub async fn watch(running: Arc<Running>, mut stop: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        if let Err(error) = look(&running, clock::unix_ms()).await {
            tracing::error!(%error, "the budgets could not be looked at");
        }
    }
}

async fn look(running: &Running, now_ms: u64) -> Result<(), BudgetError> {
    let rules = rules(&running.world.load().settings.tenants);
    if rules.is_empty() {
        return Ok(());
    }
    for budget in budgets(&running.store, &rules, now_ms).await? {
        show(&budget);
        give(running, &budget, now_ms).await?;
    }
    Ok(())
}

/// Metrics of budgets that aren't split: their number is that of the configuration.
fn show(budget: &Budget) {
    let (Some(used), None) = (budget.used_permille, &budget.part) else { return };
    metric::budget_used(&budget.tenant, &budget.name, used);
}

async fn give(running: &Running, budget: &Budget, now_ms: u64) -> Result<(), BudgetError> {
    let window_ms = alert_key(budget, now_ms);
    for kind in due(budget) {
        if budget.alerts.iter().any(|given| given.kind == kind) {
            continue;
        }
        let part = budget.part.as_deref().unwrap_or("");
        if running.store.give_budget_alert((&budget.tenant, &budget.name, part), window_ms, kind, now_ms).await? {
            metrics::counter!(metric::BUDGET_ALERTS, "kind" => kind).increment(1);
            tracing::warn!(tenant = %budget.tenant, budget = %budget.name, kind, "a budget's alert");
        }
    }
    Ok(())
}
