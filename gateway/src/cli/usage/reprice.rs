//! `weir usage reprice`: holds rows against a price book, and with `--apply` writes the differences as corrections.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::UsageError;
use super::which::Which;
use crate::cli::place::Place;
use crate::cli::when::When;
use crate::config;
use crate::finance::reprice::{Prices, RepriceOf, Repriced, reprice};
use crate::usage::query::dollars;

/// Arguments of `weir usage reprice`.
#[derive(Debug, clap::Args)]
pub struct RepriceArgs {
    /// Where the store is
    #[command(flatten)]
    pub place: Place,
    /// Price file; otherwise the configuration's, otherwise the one that ships with Weir
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// Prices in force then; otherwise those in force at each call's own time
    #[arg(long, value_name = "WHEN")]
    pub as_of: Option<When>,
    /// Which rows
    #[command(flatten)]
    pub which: Which,
    /// Write the corrections; without it nothing is changed
    #[arg(long)]
    pub apply: bool,
    /// A line of JSON for each correction, and one of sums
    #[arg(long)]
    pub json: bool,
}

fn prices(args: &RepriceArgs) -> Result<Prices, UsageError> {
    let settings = match &args.place.config {
        Some(file) => Some(config::load(file).map_err(crate::cli::place::PlaceError::from)?.settings),
        None => None,
    };
    let file: Option<&Path> = args.prices.as_deref().or(settings.as_ref().and_then(|found| found.prices.as_deref()));
    let book = super::price::book(file)?;
    let book = match &settings {
        Some(settings) => book.with(&settings.terms).map_err(super::price::BookError::from)?,
        None => book,
    };
    Ok(Prices::new(book, settings.as_ref().map_or(&[], |settings| &settings.models)))
}

/// Holds the rows against the prices.
pub(super) async fn run(args: &RepriceArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), UsageError> {
    let prices = prices(args)?;
    let of = RepriceOf {
        filter: args.which.filter(now_ms),
        as_of_ms: args.as_of.map(|when| when.ms(now_ms)),
        apply: args.apply,
        now_ms,
    };
    let store = super::opened(&args.place).await?;
    let done = reprice(&store, &prices, &of, |off| match args.json {
        true => Ok(writeln!(out, "{}", serde_json::to_string(off)?)?),
        false => Ok::<_, UsageError>(()),
    })
    .await;
    store.close().await;
    let done = done?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&done)?)?;
        return Ok(());
    }
    let Repriced { rows, right, corrections, apart, unpriced, .. } = done;
    let verb = if args.apply { "corrected" } else { "to correct" };
    writeln!(
        out,
        "{rows} rows: {right} as they should be, {corrections} {verb}, {apart} apart, {unpriced} without a price"
    )?;
    writeln!(out, "difference by {}: {} dollars", done.price_version, dollars(done.difference_nano))?;
    Ok(())
}
