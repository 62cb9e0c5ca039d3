//! `weir usage export`: the ledger in the columns of FOCUS, as CSV or Parquet.

use std::io::Write;
use std::path::PathBuf;

use super::{UsageError, opened};
use crate::cli::place::Place;
use crate::cli::when::When;
use crate::finance::export::{Export, ExportOf};
use crate::finance::focus::Version;
use crate::finance::focus::sink::{Format, Sink};
use crate::identity::TenantPath;
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
    /// Only this tenant and below
    #[arg(long, value_name = "PATH", value_parser = TenantPath::parse)]
    pub tenant: Option<TenantPath>,
    /// Only calls from then on: a date, a time (UTC), or an age such as 24h
    #[arg(long, value_name = "WHEN")]
    pub since: Option<When>,
    /// Only calls before then
    #[arg(long, value_name = "WHEN")]
    pub until: Option<When>,
    /// Who issues the invoices, as `finance.issuer` says
    #[arg(long, value_name = "NAME")]
    pub issuer: Option<String>,
    /// Write there and not to the standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Runs it; `now_ms` is Unix time.
pub(super) async fn run(args: &ExportArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), UsageError> {
    let of = ExportOf {
        since_ms: args.since.map(|when| when.ms(now_ms)),
        until_ms: args.until.map(|when| when.ms(now_ms)),
        filter: RollupFilter {
            tenant: args.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()),
            ..RollupFilter::default()
        },
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
