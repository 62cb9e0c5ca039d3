//! `weir usage close` and `weir usage statement`: months that are closed for good.

use std::io::Write;

use super::{UsageError, finance_of, opened};
use crate::audit::files::{self, Line, Lines};
use crate::cli::date::utc;
use crate::cli::place::Place;
use crate::finance::close::{CloseOf, Verdict, close, verify};
use crate::identity::TenantPath;
use crate::store::statement::StatementRow;
use crate::usage::query::dollars;

/// Arguments of `weir usage close`.
#[derive(Debug, clap::Args)]
pub struct CloseArgs {
    /// Where the store is; issuer and time zone come from the configuration
    #[command(flatten)]
    pub place: Place,
    /// The month, such as 2026-11
    #[arg(long)]
    pub month: String,
    /// Of this tenant and below; without it, of the whole deployment
    #[arg(long, value_name = "PATH", value_parser = TenantPath::parse)]
    pub tenant: Option<TenantPath>,
    /// The statement itself
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `weir usage statement`.
#[derive(Debug, clap::Args)]
pub struct StatementArgs {
    /// What to do
    #[command(subcommand)]
    pub command: StatementCommand,
}

/// What one does with statements.
#[derive(Debug, clap::Subcommand)]
pub enum StatementCommand {
    /// List all
    List(ListArgs),
    /// Print one, byte for byte as it was signed for
    Show(OneArgs),
    /// Check that one was not changed; exit status 1 if it was
    Verify(OneArgs),
}

/// Arguments of `weir usage statement list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Where the store is
    #[command(flatten)]
    pub place: Place,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Arguments about one statement.
#[derive(Debug, clap::Args)]
pub struct OneArgs {
    /// Its number
    pub number: u64,
    /// Where the store is
    #[command(flatten)]
    pub place: Place,
}

/// Closes a month; `now_ms` is Unix time.
pub(super) async fn run(args: &CloseArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), UsageError> {
    let finance = finance_of(&args.place)?;
    let of = CloseOf {
        month: args.month.clone(),
        tenant: args.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()),
        zone: finance.zone,
        issuer: finance.issuer,
    };
    let store = opened(&args.place).await?;
    let row = close(&store, &of, now_ms).await;
    store.close().await;
    let row = row?;
    if args.json {
        writeln!(out, "{}", row.body)?
    } else {
        line(&row, out)?
    }
    Ok(())
}

/// Lists, shows and checks statements.
pub(super) async fn statement(args: &StatementArgs, out: &mut (dyn Write + Send)) -> Result<(), UsageError> {
    match &args.command {
        StatementCommand::List(args) => {
            let store = opened(&args.place).await?;
            let rows = store.statements(None).await;
            store.close().await;
            for row in rows? {
                if args.json { writeln!(out, "{}", serde_json::to_string(&row)?)? } else { line(&row, out)? }
            }
            Ok(())
        }
        StatementCommand::Show(args) => {
            let store = opened(&args.place).await?;
            let row = store.statement(args.number).await;
            store.close().await;
            let row = row?.ok_or(crate::finance::close::CloseError::NoSuchStatement(args.number))?;
            Ok(out.write_all(row.body.as_bytes())?)
        }
        StatementCommand::Verify(args) => {
            let store = opened(&args.place).await?;
            let verdict = verify(&store, args.number).await;
            store.close().await;
            let mut verdict = verdict?;
            let noted = noted(&args.place, &verdict)?;
            if noted == Noted::Otherwise {
                verdict.faults.push("the audit log has another digest for its number");
                verdict.ok = false;
            }
            show(&verdict, &noted, out)?;
            if verdict.ok { Ok(()) } else { Err(UsageError::NotSound(args.number)) }
        }
    }
}

/// What the audit log says of a statement.
#[derive(Debug, PartialEq, Eq)]
enum Noted {
    /// Nothing: no gateway has noted it yet, or its log lies elsewhere.
    Not,
    /// Its digest, in the line of that number.
    There(u64),
    /// Another digest.
    Otherwise,
}

/// Looks for the note of a statement in the audit log of the place, where it has one.
fn noted(place: &Place, verdict: &Verdict) -> Result<Noted, UsageError> {
    let folder = place.folder()?.join(files::AUDIT_FOLDER);
    if !folder.exists() {
        return Ok(Noted::Not);
    }
    let begin = format!("{} sha256:", verdict.number);
    let mut found = Noted::Not;
    for number in files::numbers(&folder)? {
        let mut lines = Lines::open(&files::path(&folder, number), 0)?;
        while let Some(line) = lines.read()? {
            let Line::Whole(line) = line else { continue };
            let record: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
            let text = |at: &str| record.pointer(at).and_then(serde_json::Value::as_str).unwrap_or("");
            let Some(digest) = text("/detail/resource").strip_prefix(&begin) else { continue };
            if text("/event") != "statement_closed" {
                continue;
            }
            if digest != verdict.digest {
                return Ok(Noted::Otherwise);
            }
            found = Noted::There(record.pointer("/seq").and_then(serde_json::Value::as_u64).unwrap_or(0));
        }
    }
    Ok(found)
}

fn line(row: &StatementRow, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
    let StatementRow { number, month, digest, .. } = row;
    let whose = if row.tenant.is_empty() { "everybody" } else { &row.tenant };
    let (cost, closed) = (dollars(row.cost_nano), utc(row.closed_ms));
    writeln!(out, "statement {number}: {whose} {month} {cost} dollars, closed {closed}, sha256 {digest}")
}

fn show(verdict: &Verdict, noted: &Noted, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
    let Verdict { number, digest, .. } = verdict;
    writeln!(out, "statement {number} is {}, sha256 {digest}", if verdict.ok { "sound" } else { "NOT SOUND" })?;
    for fault in &verdict.faults {
        writeln!(out, "fault: {fault}")?;
    }
    match noted {
        Noted::There(seq) => writeln!(out, "the audit log has it in line {seq}")?,
        Noted::Not => writeln!(out, "note: this place's audit log does not have it yet")?,
        Noted::Otherwise => {}
    }
    if verdict.late_nano != 0 {
        writeln!(out, "note: {} dollars came later and stand in no statement yet", dollars(verdict.late_nano))?;
    }
    Ok(())
}
