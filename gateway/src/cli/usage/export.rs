//! `weir usage export`: the ledger in the columns of FOCUS, as CSV or Parquet.

use std::io::Write;
use std::path::PathBuf;

use super::which::Which;
use super::{UsageError, opened};
use crate::cli::place::Place;
use crate::finance::export::{Export, ExportOf};
use crate::finance::focus::Version;
use crate::finance::focus::sink::{Format, Sink};
use crate::store::Store;
use crate::store::rollup::RollupFilter;

/// Arguments of `weir usage export`.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// Where the store is
    #[command(flatten)]
    pub place: Place,
    /// What to write
    #[arg(long, value_enum, default_value_t = Format::FocusCsv)]
    pub format: Format,
    /// Version of FOCUS
    #[arg(long, value_enum, default_value_t = Version::V1_2)]
    pub version: Version,
    /// Which rows
    #[command(flatten)]
    pub which: Which,
    /// Who issues the invoices, as `finance.issuer` says
    #[arg(long, value_name = "NAME")]
    pub issuer: Option<String>,
    /// Write there and not to the standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Runs it; `now_ms` is Unix time.
pub(super) async fn run(args: &ExportArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), UsageError> {
    let which = args.which.filter(now_ms);
    let of = ExportOf {
        since_ms: which.since_ms,
        until_ms: which.until_ms,
        filter: RollupFilter { tenant: which.tenant, ..RollupFilter::default() },
        issuer: args.issuer.clone().map_or_else(|| super::finance_of(&args.place).map(|of| of.issuer), Ok)?,
    };
    let store = opened(&args.place).await?;
    let done = match &args.output {
        Some(path) => write(&store, of, args, &mut std::fs::File::create(path)?).await,
        None => write(&store, of, args, out).await,
    };
    store.close().await;
    done
}

async fn write(store: &Store, of: ExportOf, args: &ExportArgs, out: &mut (dyn Write + Send)) -> Result<(), UsageError> {
    let mut sink = Sink::new(out, args.format, args.version)?;
    let mut export = Export::begin(store, of).await?;
    while let Some(piece) = export.next(store).await? {
        sink.write(&piece)?;
    }
    Ok(sink.finish()?)
}
