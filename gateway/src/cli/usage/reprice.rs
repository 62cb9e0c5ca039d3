//! `weir usage reprice`: holds rows against a price book, and with `--apply` writes the differences as corrections.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::UsageError;
use crate::cli::place::Place;
use crate::cli::when::When;
use crate::config;
use crate::identity::TenantPath;
use crate::journal::Closing;
use crate::store::Store;
use crate::store::usage::UsageFilter;
use crate::store::usage_event::UsageEvent;
use crate::usage::price::PriceBook;
use crate::usage::query::dollars;
use crate::usage::reprice::{Charged, Rating, Verdict, correction, judge};

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
    /// Only this tenant and below
    #[arg(long, value_name = "PATH", value_parser = TenantPath::parse)]
    pub tenant: Option<TenantPath>,
    /// Only calls from then on: a date, a time (UTC), or an age such as 24h
    #[arg(long, value_name = "WHEN")]
    pub since: Option<When>,
    /// Only calls before then
    #[arg(long, value_name = "WHEN")]
    pub until: Option<When>,
    /// Write the corrections; without it nothing is changed
    #[arg(long)]
    pub apply: bool,
    /// A line of JSON for each correction, and one of sums
    #[arg(long)]
    pub json: bool,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    rows: u64,
    right: u64,
    corrections: u64,
    /// Rows that have no price, or were charged at what was held.
    apart: u64,
    unpriced: u64,
    difference_nano: i64,
    applied: bool,
    price_version: String,
}

/// One correction, as it is shown.
#[derive(Serialize)]
struct Line<'a> {
    corrects: String,
    tenant: &'a str,
    model: &'a str,
    charged_nano: i64,
    difference_nano: i64,
    price_version: &'a str,
}

/// Where prices are, and what the configuration calls each deployment's provider.
struct Prices {
    book: PriceBook,
    providers: HashMap<String, String>,
}

fn prices(args: &RepriceArgs) -> Result<Prices, UsageError> {
    let settings = match &args.place.config {
        Some(file) => Some(config::load(file).map_err(crate::cli::place::PlaceError::from)?.settings),
        None => None,
    };
    let file: Option<&Path> = args.prices.as_deref().or(settings.as_ref().and_then(|found| found.prices.as_deref()));
    let book = super::price::book(file)?;
    let models = settings.iter().flat_map(|settings| &settings.models);
    let rules = models.flat_map(|model| &model.deployments);
    let providers = rules.map(|rule| (rule.name.to_string(), rule.price_provider.to_string())).collect();
    Ok(Prices { book, providers })
}

/// Holds the rows against the prices, page by page.
pub(super) async fn run(args: &RepriceArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), UsageError> {
    let prices = prices(args)?;
    let store = super::opened(&args.place).await?;
    let done = pages(args, &prices, &store, now_ms, out).await;
    store.close().await;
    let done = done?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&done)?)?;
        return Ok(());
    }
    let Outcome { rows, right, corrections, apart, unpriced, .. } = done;
    let verb = if args.apply { "corrected" } else { "to correct" };
    writeln!(
        out,
        "{rows} rows: {right} as they should be, {corrections} {verb}, {apart} apart, {unpriced} without a price"
    )?;
    writeln!(out, "difference by {}: {} dollars", done.price_version, dollars(done.difference_nano))?;
    Ok(())
}

async fn pages(
    args: &RepriceArgs,
    prices: &Prices,
    store: &Store,
    now_ms: u64,
    out: &mut (dyn Write + Send),
) -> Result<Outcome, UsageError> {
    let filter = UsageFilter {
        since_ms: args.since.map(|when| when.ms(now_ms)),
        until_ms: args.until.map(|when| when.ms(now_ms)),
        tenant: args.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()),
    };
    let as_of_ms = args.as_of.map(|when| when.ms(now_ms));
    let version = prices.book.version().to_string();
    let mut sums = Outcome { applied: args.apply, price_version: version, ..Outcome::default() };
    let mut after = None;
    loop {
        let page = store.usage_events(&filter, after).await?;
        let Some(last) = page.last() else { return Ok(sums) };
        after = Some(last.event);
        let corrected = store.corrections(&page).await?;
        let mut closings = Vec::new();
        for event in page.iter().filter(|event| event.kind == "usage") {
            let own = Charged { cost_nano: event.cost_nano, list_nano: event.list_nano };
            let charged = own.plus(corrected.get(&event.event.to_string()).copied().unwrap_or_default());
            let provider = prices.providers.get(&event.deployment).unwrap_or(&event.provider);
            let verdict = judge(event, charged, Rating { book: &prices.book, provider, as_of_ms });
            closings.extend(take(&mut sums, event, charged, &verdict, now_ms));
            if args.json {
                line(event, charged, &verdict, out)?;
            }
        }
        if args.apply {
            store.correct(&closings).await?;
        }
    }
}

fn take(sums: &mut Outcome, event: &UsageEvent, charged: Charged, verdict: &Verdict, now_ms: u64) -> Option<Closing> {
    sums.rows = sums.rows.saturating_add(1);
    let (of, difference) = match verdict {
        Verdict::Right => (&mut sums.right, 0),
        Verdict::Off { difference, .. } => (&mut sums.corrections, difference.cost_nano),
        Verdict::Apart => (&mut sums.apart, 0),
        Verdict::Unpriced(_) => (&mut sums.unpriced, 0),
    };
    *of = of.saturating_add(1);
    sums.difference_nano = sums.difference_nano.saturating_add(difference);
    correction(event, charged, verdict, now_ms)
}

fn line(
    event: &UsageEvent,
    charged: Charged,
    verdict: &Verdict,
    out: &mut (dyn Write + Send),
) -> Result<(), UsageError> {
    let Verdict::Off { difference, version, .. } = verdict else { return Ok(()) };
    let line = Line {
        corrects: event.event.to_string(),
        tenant: &event.tenant,
        model: &event.model,
        charged_nano: charged.cost_nano,
        difference_nano: difference.cost_nano,
        price_version: version,
    };
    writeln!(out, "{}", serde_json::to_string(&line)?)?;
    Ok(())
}
