//! `weir usage report`: what was used and what it cost, from the store, also while a gateway runs.

use std::io::Write;

use chrono_tz::Tz;

use super::{UsageError, opened};
use crate::cli::place::Place;
use crate::cli::when::When;
use crate::finance::report::{By, Level, ReportOf, UsageReport, usage_report};
use crate::identity::TenantPath;
use crate::store::rollup::RollupFilter;
use crate::store::usage::UsageSum;
use crate::usage::query::dollars;

/// Arguments of `weir usage report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// Where the store is
    #[command(flatten)]
    pub place: Place,
    /// What to sum up by: one to three, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tenant")]
    pub by: Vec<By>,
    /// Sum tenants up to this level of their path
    #[arg(long, value_enum, default_value_t = Level::User)]
    pub level: Level,
    /// Whose days and months: a time zone such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub zone: Tz,
    /// Only this tenant and below
    #[arg(long, value_name = "PATH", value_parser = TenantPath::parse)]
    pub tenant: Option<TenantPath>,
    /// Only this key, by its id
    #[arg(long, value_name = "ID")]
    pub key: Option<String>,
    /// Only this model, as asked for
    #[arg(long)]
    pub model: Option<String>,
    /// Only this provider
    #[arg(long)]
    pub provider: Option<String>,
    /// Only this deployment
    #[arg(long)]
    pub deployment: Option<String>,
    /// Only calls from then on: a date, a time (UTC), or an age such as 24h
    #[arg(long, value_name = "WHEN")]
    pub since: Option<When>,
    /// Only calls before then
    #[arg(long, value_name = "WHEN")]
    pub until: Option<When>,
    /// One JSON object; money in whole nano-dollars
    #[arg(long)]
    pub json: bool,
}

/// Runs it; `now_ms` is Unix time.
pub(super) async fn run(args: &ReportArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), UsageError> {
    let of = ReportOf {
        by: args.by.clone(),
        level: args.level,
        zone: args.zone,
        since_ms: args.since.map(|when| when.ms(now_ms)),
        until_ms: args.until.map(|when| when.ms(now_ms)),
        filter: RollupFilter {
            tenant: args.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()),
            key: args.key.clone(),
            model: args.model.clone(),
            provider: args.provider.clone(),
            deployment: args.deployment.clone(),
            ..RollupFilter::default()
        },
    };
    let store = opened(&args.place).await?;
    let report = usage_report(&store, &of).await;
    store.close().await;
    let report = report?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        table(&report, out)?;
    }
    Ok(())
}

fn table(report: &UsageReport, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
    if report.rows.is_empty() {
        return writeln!(out, "no usage");
    }
    let width = report.rows.iter().map(|row| row.group.len()).max().unwrap_or(0).max(report.by.len()).max(5);
    let (by, head) = (&report.by, ["calls", "attempts", "input", "output", "estimated", "dollars"]);
    let [calls, attempts, input, output, estimated, cost] = head;
    writeln!(out, "{by:width$} {calls:>8} {attempts:>8} {input:>12} {output:>12} {estimated:>9} {cost:>18}")?;
    for row in &report.rows {
        line(width, &row.group, row, out)?;
    }
    line(width, "total", &report.total, out)
}

fn line(width: usize, name: &str, row: &UsageSum, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
    let UsageSum { calls, attempts, input_tokens, output_tokens, estimated, cost_nano, .. } = row;
    let cost = dollars(*cost_nano);
    let tokens = format!("{input_tokens:>12} {output_tokens:>12}");
    writeln!(out, "{name:width$} {calls:>8} {attempts:>8} {tokens} {estimated:>9} {cost:>18}")
}
