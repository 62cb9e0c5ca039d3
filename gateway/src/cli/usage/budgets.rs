//! `weir usage budgets`: what the configured budgets have left, and when they will be used up.

use std::io::Write;

use super::UsageError;
use crate::cli::date::utc;
use crate::cli::place::PlaceError;
use crate::config;
use crate::finance::budget::{Budget, budgets, rules};
use crate::identity::TenantPath;
use crate::store::Store;
use crate::store::sqlite::Create;
use crate::usage::query::dollars;

/// Arguments of `weir usage budgets`.
#[derive(Debug, clap::Args)]
pub struct BudgetsArgs {
    /// Configuration file, which has the budgets
    #[arg(long, value_name = "FILE")]
    pub config: std::path::PathBuf,
    /// Only budgets of this tenant and below
    #[arg(long, value_name = "PATH", value_parser = TenantPath::parse)]
    pub tenant: Option<TenantPath>,
    /// JSON with each day; money in whole nano-dollars
    #[arg(long)]
    pub json: bool,
}

/// Runs it; `now_ms` is Unix time.
pub(super) async fn run(args: &BudgetsArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), UsageError> {
    let settings = config::load(&args.config).map_err(PlaceError::Config)?.settings;
    let mut rules = rules(&settings.tenants);
    let within = |path: &str| TenantPath::parse(path).ok();
    rules.retain(|rule| {
        args.tenant.as_ref().is_none_or(|above| within(&rule.tenant).is_some_and(|path| path.is_within(above)))
    });
    let store = Store::open(&settings.store, Create::Never).await?;
    let told = budgets(&store, &rules, now_ms).await;
    store.close().await;
    let told = told?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&serde_json::json!({"at_ms": now_ms, "budgets": told}))?)?;
        return Ok(());
    }
    if told.is_empty() {
        writeln!(out, "no budgets are configured")?;
    }
    for budget in &told {
        line(budget, out)?;
    }
    Ok(())
}

fn line(budget: &Budget, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
    let part = budget.part.as_ref().map(|part| format!(" ({part})")).unwrap_or_default();
    let Budget { tenant, name, window, .. } = budget;
    let cap = dollars(i64::try_from(budget.cap_nano).unwrap_or(i64::MAX));
    write!(out, "{tenant} {name}{part}, {window}: ")?;
    match (budget.spent_nano, budget.used_permille) {
        (Some(spent), Some(used)) => {
            let (whole, tenth) = (used.checked_div(10).unwrap_or(0), used.checked_rem(10).unwrap_or(0));
            write!(out, "{} of {cap} dollars spent ({whole}.{tenth} %)", dollars(spent))?;
        }
        (_, _) => write!(out, "{cap} dollars; its parts are not kept in the ledger's sums")?,
    }
    if let Some(seen) = budget.forecast {
        if let Some(nano) = seen.nano {
            write!(out, ", {} expected", dollars(nano))?;
        }
        if let Some(at_ms) = seen.used_up_ms {
            write!(out, ", used up {}", utc(at_ms))?;
        }
    }
    for alert in &budget.alerts {
        write!(out, ", alert {} {}", alert.kind, utc(alert.at_ms))?;
    }
    writeln!(out)
}
