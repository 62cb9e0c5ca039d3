//! `weir usage report`: what was used and what it cost, from the store, also while a gateway runs.

use std::io::Write;

use super::place::{Place, PlaceError};
use super::when::When;
use crate::identity::TenantPath;
use crate::store::sqlite::Create;
use crate::store::usage::{GroupBy, UsageFilter, UsageSum};
use crate::store::{Store, StoreError};
use crate::usage::query::{UsageReport, dollars, usage_report};

pub mod price;
mod rows;

pub use rows::RowsArgs;

/// Arguments of `weir usage`.
#[derive(Debug, clap::Args)]
pub struct UsageArgs {
    /// What to do
    #[command(subcommand)]
    pub command: UsageCommand,
}

/// What one does with usage.
#[derive(Debug, clap::Subcommand)]
pub enum UsageCommand {
    /// Sum tokens and cost up
    Report(ReportArgs),
    /// Print every row of the ledger as a line of JSON
    Rows(RowsArgs),
    /// Say what calls cost
    Price(price::PriceArgs),
}

/// Arguments of `weir usage report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// Where the store is
    #[command(flatten)]
    pub place: Place,
    /// What to sum up by
    #[arg(long, value_enum, default_value_t = GroupBy::Tenant)]
    pub by: GroupBy,
    /// Only this tenant and below
    #[arg(long, value_name = "PATH", value_parser = TenantPath::parse)]
    pub tenant: Option<TenantPath>,
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

/// Why a usage command failed.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The place is no good.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The price file is no good.
    #[error(transparent)]
    Prices(#[from] price::BookError),
    /// The output can't be written.
    #[error("the output can't be written")]
    Output(#[from] std::io::Error),
    /// The report is no JSON.
    #[error("the report can't be encoded")]
    Encode(#[from] serde_json::Error),
}

impl UsageError {
    /// The process's exit status: 78 for faults of the configuration, else 1.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::Place(PlaceError::Config(_))) { 78 } else { 1 }
    }
}

/// Runs a usage command; `now_ms` is Unix time.
pub async fn run(args: &UsageArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), UsageError> {
    match &args.command {
        UsageCommand::Report(args) => report(args, now_ms, out).await,
        UsageCommand::Rows(args) => rows::run(args, now_ms, out).await,
        UsageCommand::Price(args) => {
            let book = price::book(args.prices.as_deref())?;
            Ok(price::run(&book, now_ms, &mut std::io::stdin().lock(), out)?)
        }
    }
}

async fn report(args: &ReportArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), UsageError> {
    let filter = UsageFilter {
        since_ms: args.since.map(|when| when.ms(now_ms)),
        until_ms: args.until.map(|when| when.ms(now_ms)),
        tenant: args.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()),
    };
    let store = Store::open(&args.place.store()?, Create::Never).await?;
    let report = usage_report(&store, args.by, &filter).await;
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
    let (by, head) = (report.by, ["calls", "attempts", "input", "output", "estimated", "dollars"]);
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
