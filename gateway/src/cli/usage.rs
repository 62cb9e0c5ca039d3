//! `weir usage`: what was used, what it cost, and what finance makes of it; also while a gateway runs.

pub mod budgets;
pub mod close;
pub mod export;
pub mod price;
pub mod reconcile;
pub mod report;
mod reprice;
mod rows;
mod which;

use std::io::Write;

use super::place::{Place, PlaceError};
use crate::config;
use crate::finance::FinanceSettings;
use crate::finance::allocation::AllocationError;
use crate::finance::budget::BudgetError;
use crate::finance::close::CloseError;
use crate::finance::export::ExportError;
use crate::finance::focus::sink::SinkError;
use crate::finance::reconcile::ReconcileError;
use crate::finance::reconcile::read::ReadError;
use crate::finance::report::ReportError;
use crate::store::sqlite::Create;
use crate::store::{Store, StoreError};

pub use reprice::RepriceArgs;
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
    /// Hold rows against a price book; differences become corrections, no row is changed
    Reprice(RepriceArgs),
    /// Say what calls cost
    Price(price::PriceArgs),
    /// What the configured budgets have left
    Budgets(budgets::BudgetsArgs),
    /// Close a month for good: a numbered statement that is never changed
    Close(close::CloseArgs),
    /// List, print and check statements
    Statement(close::StatementArgs),
    /// Write the ledger in the columns of FOCUS
    Export(export::ExportArgs),
    /// Compare a provider's bill with the ledger
    Reconcile(reconcile::ReconcileArgs),
    /// Spread shared cost by the rules of the configuration
    Allocate(reconcile::AllocateArgs),
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
    /// Budgets can't be told.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// A month can't be closed, or there is no statement.
    #[error(transparent)]
    Close(#[from] CloseError),
    /// A statement that was changed.
    #[error("the statement {0} is not sound")]
    NotSound(u64),
    /// Nothing can be exported.
    #[error(transparent)]
    Walk(#[from] ExportError),
    /// Rows can't be written.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A bill that is too large.
    #[error("the export is larger than {0} bytes")]
    Export(u64),
    /// A bill that can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nothing can be compared.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// Nothing can be spread.
    #[error(transparent)]
    Allocation(#[from] AllocationError),
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
        UsageCommand::Reprice(args) => reprice::run(args, now_ms, out).await,
        UsageCommand::Price(args) => {
            let book = args.book()?;
            Ok(price::run(&book, now_ms, &mut std::io::stdin().lock(), out)?)
        }
        UsageCommand::Budgets(args) => budgets::run(args, now_ms, out).await,
        UsageCommand::Close(args) => close::run(args, now_ms, out).await,
        UsageCommand::Statement(args) => close::statement(args, out).await,
        UsageCommand::Export(args) => export::run(args, now_ms, out).await,
        UsageCommand::Reconcile(args) => reconcile::run(args, now_ms, out).await,
        UsageCommand::Allocate(args) => reconcile::run_allocate(args, now_ms, out).await,
    }
}

/// The store of a place, which must be there.
async fn opened(place: &Place) -> Result<Store, UsageError> {
    Ok(Store::open(&place.store()?, Create::Never).await?)
}

/// What the configuration of a place says of finance; the usual, where only a data folder is named.
fn finance_of(place: &Place) -> Result<FinanceSettings, PlaceError> {
    match &place.config {
        Some(file) => Ok(config::load(file)?.settings.finance),
        None => Ok(FinanceSettings::default()),
    }
}
