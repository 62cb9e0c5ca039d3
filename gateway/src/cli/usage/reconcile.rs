//! `weir usage reconcile`: a provider's bill against the ledger; `weir usage allocate`: shared cost, spread.

use std::io::Write;
use std::path::PathBuf;

use super::{UsageError, finance_of, opened};
use crate::cli::place::Place;
use crate::cli::when::When;
use crate::finance::allocation::{AllocationError, allocate};
use crate::finance::reconcile::read::{Kind, read};
use crate::finance::reconcile::{ReconcileOf, Reconciliation, reconcile};
use crate::limits::window::Span;

/// Bytes of an export at most.
const EXPORT_BYTES_MAX: u64 = 1 << 30;

/// Arguments of `weir usage reconcile`.
#[derive(Debug, clap::Args)]
pub struct ReconcileArgs {
    /// Where the store is
    #[command(flatten)]
    pub place: Place,
    /// Whose export it is
    #[arg(long, value_enum)]
    pub provider: Kind,
    /// The provider as the ledger calls it
    #[arg(long, value_name = "NAME")]
    pub ledger_provider: Option<String>,
    /// A model as the export calls it, and as the ledger does
    #[arg(long = "model", value_name = "THEIRS=OURS", value_parser = pair)]
    pub models: Vec<(String, String)>,
    /// Only from then on
    #[arg(long, value_name = "WHEN")]
    pub since: Option<When>,
    /// Only before then
    #[arg(long, value_name = "WHEN")]
    pub until: Option<When>,
    /// One JSON object; money in whole nano-dollars
    #[arg(long)]
    pub json: bool,
    /// The exports; costs and tokens may be in files of their own
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
}

/// Arguments of `weir usage allocate`.
#[derive(Debug, clap::Args)]
pub struct AllocateArgs {
    /// The configuration, which has the rules
    #[command(flatten)]
    pub place: Place,
    /// From then on
    #[arg(long, value_name = "WHEN")]
    pub since: Option<When>,
    /// Before then
    #[arg(long, value_name = "WHEN")]
    pub until: Option<When>,
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (theirs, ours) = text.split_once('=').ok_or("write it as THEIRS=OURS")?;
    Ok((theirs.to_owned(), ours.to_owned()))
}

/// Runs it; `now_ms` is Unix time.
pub(super) async fn run(args: &ReconcileArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), UsageError> {
    let mut export = crate::finance::reconcile::read::Export::default();
    for path in &args.files {
        let size = std::fs::metadata(path)?.len();
        if size > EXPORT_BYTES_MAX {
            return Err(UsageError::Export(EXPORT_BYTES_MAX));
        }
        export.join(read(args.provider, &std::fs::read_to_string(path)?)?);
    }
    let of = ReconcileOf {
        provider: args.ledger_provider.clone().unwrap_or_else(|| args.provider.provider().to_owned()),
        names: args.models.iter().cloned().collect(),
        since_ms: args.since.map(|when| when.ms(now_ms)),
        until_ms: args.until.map(|when| when.ms(now_ms)),
    };
    let store = opened(&args.place).await?;
    let told = reconcile(&store, &export.bill, &of).await;
    store.close().await;
    let told = told?;
    if args.json {
        let told = serde_json::to_string(&told)?;
        writeln!(out, "{told}")?;
        return Ok(());
    }
    show(&told, out)?;
    if export.others > 0 {
        let (others, nano) = (export.others, long_dollars(export.others_nano));
        writeln!(out, "note: {others} lines about no model, {nano} dollars, were left out")?;
    }
    Ok(())
}

fn show(told: &Reconciliation, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
    let [theirs, ours, residual] = [told.theirs_nano, told.ours_nano, told.residual_nano].map(long_dollars);
    writeln!(out, "{}: {theirs} dollars billed, {ours} in the ledger, residual {residual}", told.provider)?;
    for (cause, nano) in &told.causes {
        writeln!(out, "  {:<16} {:>20}", cause.name(), long_dollars(*nano))?;
    }
    for row in told.rows.iter().filter(|row| !row.causes.is_empty()) {
        let causes: Vec<String> =
            row.causes.iter().map(|(cause, nano)| format!("{} {}", cause.name(), long_dollars(*nano))).collect();
        writeln!(out, "{} {} {}: {}", row.day, row.model, row.tier, causes.join(", "))?;
    }
    Ok(())
}

fn long_dollars(nano: i128) -> String {
    crate::finance::focus::decimal_text(nano)
}

/// Spreads shared cost; `now_ms` is Unix time.
pub(super) async fn run_allocate(
    args: &AllocateArgs,
    now_ms: u64,
    out: &mut (dyn Write + Send),
) -> Result<(), UsageError> {
    let rules = finance_of(&args.place)?.allocation;
    let span = Span {
        from_ms: args.since.map_or(0, |when| when.ms(now_ms)),
        to_ms: args.until.map_or(u64::MAX, |when| when.ms(now_ms)),
    };
    let store = opened(&args.place).await?;
    let told: Result<_, AllocationError> = allocate(&store, &rules, span).await;
    store.close().await;
    for part in told? {
        writeln!(out, "{}", serde_json::to_string(&part)?)?;
    }
    Ok(())
}
