//! `weir prices`: price files. `show` says what a model costs on a day; `import` makes a file of a public list.

use std::io::Write;
use std::path::PathBuf;

use super::usage::price::{BookError, book};
use crate::usage::price::file::Moment;
use crate::usage::price::import::{self, Source};
use crate::usage::price::show::Shown;

/// Arguments of `weir prices`.
#[derive(Debug, clap::Args)]
pub struct PricesArgs {
    /// What to do
    #[command(subcommand)]
    pub command: PricesCommand,
}

/// What one does with price files.
#[derive(Debug, clap::Subcommand)]
pub enum PricesCommand {
    /// Show what a model costs
    Show(ShowArgs),
    /// Write a price file from a public list; what can't be carried over is named on standard error
    Import(ImportArgs),
}

/// Arguments of `weir prices show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The upstream's name of the model
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// Only of this provider
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// On this day, or at this time (RFC 3339); now where it is missing
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub at: Option<Moment>,
    /// The price file; the shipped one where it is missing
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
}

/// Arguments of `weir prices import`.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// Which list it is
    #[arg(long, value_enum)]
    pub from: Source,
    /// Only of these providers
    #[arg(long, value_name = "NAME")]
    pub provider: Vec<String>,
    /// Version of the file that is written
    #[arg(long, value_name = "TEXT")]
    pub version: String,
    /// The list
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum PricesError {
    /// The price file is no good.
    #[error(transparent)]
    Book(#[from] BookError),
    /// The list can't be read.
    #[error("the list `{path}` can't be read")]
    List {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is no such list.
    #[error(transparent)]
    Import(#[from] import::ImportError),
    /// The output can't be written.
    #[error("the output can't be written")]
    Output(#[from] std::io::Error),
    /// No price.
    #[error("no price for `{0}` is in effect then")]
    Unknown(String),
}

fn moment(text: &str) -> Result<Moment, String> {
    Moment::read(text).ok_or_else(|| "write a date such as `2026-01-31` or a time with its zone".to_owned())
}

/// Runs a command; `now_ms` is Unix time. What can't be carried over goes to `notes`.
pub fn run(args: &PricesArgs, now_ms: u64, out: &mut dyn Write, notes: &mut dyn Write) -> Result<(), PricesError> {
    match &args.command {
        PricesCommand::Show(args) => show(args, now_ms, out),
        PricesCommand::Import(args) => {
            let fault = |source| PricesError::List { path: args.file.display().to_string(), source };
            let text = std::fs::read_to_string(&args.file).map_err(fault)?;
            let imported = import::import(args.from, &text, &args.version, &args.provider)?;
            for note in &imported.left_out {
                writeln!(notes, "left out: {note}")?;
            }
            writeln!(notes, "{} prices, {} notes", imported.entries, imported.left_out.len())?;
            Ok(out.write_all(imported.yaml.as_bytes())?)
        }
    }
}

fn show(args: &ShowArgs, now_ms: u64, out: &mut dyn Write) -> Result<(), PricesError> {
    let book = book(args.prices.as_deref())?;
    let at_ms = args.at.map_or(now_ms, |at| at.0);
    let shown = book.show(args.provider.as_deref(), &args.model, at_ms);
    if shown.is_empty() {
        return Err(PricesError::Unknown(args.model.clone()));
    }
    for Shown { provider, name, region, prices } in shown {
        let region = region.map(|region| format!(" in {region}")).unwrap_or_default();
        writeln!(out, "{provider}/{name}{region}, version {}", book.version())?;
        for price in prices {
            let length = price.above.map(|above| format!(" above {above} tokens")).unwrap_or_default();
            writeln!(out, "  {:16} {:>24}  {}{length}", price.bucket, price.price, price.tier.name())?;
        }
    }
    Ok(())
}
