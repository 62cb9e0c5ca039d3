//! `weir usage`: what was used, what it cost, and what finance makes of it; also while a gateway runs.

pub mod price;
pub mod report;
mod rows;

use std::io::Write;

use super::place::{Place, PlaceError};
use crate::finance::report::ReportError;
use crate::store::sqlite::Create;
use crate::store::{Store, StoreError};

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
    Report(report::ReportArgs),
    /// Print every row of the ledger as a line of JSON
    Rows(RowsArgs),
    /// Say what calls cost
    Price(price::PriceArgs),
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
    /// There is no such report.
    #[error(transparent)]
    Report(#[from] ReportError),
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
        UsageCommand::Report(args) => report::run(args, now_ms, out).await,
        UsageCommand::Rows(args) => rows::run(args, now_ms, out).await,
        UsageCommand::Price(args) => {
            let book = price::book(args.prices.as_deref())?;
            Ok(price::run(&book, now_ms, &mut std::io::stdin().lock(), out)?)
        }
    }
}

/// The store of a place, which must be there.
async fn opened(place: &Place) -> Result<Store, UsageError> {
    Ok(Store::open(&place.store()?, Create::Never).await?)
}
