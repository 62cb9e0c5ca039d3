//! `weir usage rows`: every row of the ledger, for people who check a bill and for scripts.

use std::io::Write;

use super::UsageError;
use super::which::Which;
use crate::cli::place::Place;
use crate::store::Store;
use crate::store::sqlite::Create;
use crate::store::usage::UsageFilter;

/// Arguments of `weir usage rows`.
#[derive(Debug, clap::Args)]
pub struct RowsArgs {
    /// Where the store is
    #[command(flatten)]
    pub place: Place,
    /// Which rows
    #[command(flatten)]
    pub which: Which,
}

/// Prints the rows, page by page.
pub(super) async fn run(args: &RowsArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), UsageError> {
    let filter = args.which.filter(now_ms);
    let store = Store::open(&args.place.store()?, Create::Never).await?;
    let printed = print(&store, &filter, out).await;
    store.close().await;
    printed
}

async fn print(store: &Store, filter: &UsageFilter, out: &mut (dyn Write + Send)) -> Result<(), UsageError> {
    let mut after = None;
    loop {
        let page = store.usage_events(filter, after).await?;
        for event in &page {
            writeln!(out, "{}", serde_json::to_string(event)?)?;
        }
        // A page that is not full is the last; an empty one has no last row.
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.event);
    }
}
