//! `weir usage rows`: every row of the ledger, for people who check a bill and for scripts.

use std::io::Write;

use super::UsageError;
use crate::cli::place::Place;
use crate::cli::when::When;
use crate::identity::TenantPath;
use crate::store::Store;
use crate::store::sqlite::Create;
use crate::store::usage::UsageFilter;

/// Arguments of `weir usage rows`.
#[derive(Debug, clap::Args)]
pub struct RowsArgs {
    /// Where the store is
    #[command(flatten)]
    pub place: Place,
    /// Only this tenant and below
    #[arg(long, value_name = "PATH", value_parser = TenantPath::parse)]
    pub tenant: Option<TenantPath>,
    /// Only calls from then on: a date, a time (UTC), or an age such as 24h
    #[arg(long, value_name = "WHEN")]
    pub since: Option<When>,
    /// Only calls before then
    #[arg(long, value_name = "WHEN")]
    pub until: Option<When>,
}

/// Prints the rows, page by page.
pub(super) async fn run(args: &RowsArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), UsageError> {
    let filter = UsageFilter {
        since_ms: args.since.map(|when| when.ms(now_ms)),
        until_ms: args.until.map(|when| when.ms(now_ms)),
        tenant: args.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()),
    };
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
