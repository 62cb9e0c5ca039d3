//! `weir audit verify|list`: the audit log as it lies on the disk, also while a gateway runs.

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::date::utc;
use super::place::{Place, PlaceError};
use crate::audit::files::{self, Line, Lines};
use crate::audit::verify::{Report, VerifyError, audit_verify_on};

/// Arguments of `weir audit`.
#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    /// What to do
    #[command(subcommand)]
    pub command: AuditCommand,
}

/// What one does with the audit log.
#[derive(Debug, clap::Subcommand)]
pub enum AuditCommand {
    /// Check the chain, its head against the store's, its sums against the ledger's; exit status 1 if one is wrong
    Verify(VerifyArgs),
    /// Show the last records
    List(ListArgs),
}

/// Arguments of `weir audit verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Where the log is
    #[command(flatten)]
    pub place: Place,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `weir audit list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Where the log is
    #[command(flatten)]
    pub place: Place,
    /// How many records
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// The lines as they are
    #[arg(long)]
    pub json: bool,
}

/// Why an audit command failed.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The place is no good.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The check could not be made.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// Reading the log or writing the output.
    #[error("the audit log can't be read or shown")]
    Io(#[from] std::io::Error),
    /// The report is no JSON.
    #[error("the report can't be encoded")]
    Encode(#[from] serde_json::Error),
}

impl AuditError {
    /// The process's exit status: 78 for faults of the configuration, else 1.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::Place(PlaceError::Config(_))) { 78 } else { 1 }
    }
}

/// Runs an audit command and returns the process's exit status: 1 where the log is not sound.
pub async fn run(args: &AuditArgs, out: &mut (dyn Write + Send)) -> Result<u8, AuditError> {
    match &args.command {
        AuditCommand::Verify(args) => {
            let report = audit_verify_on(&args.place.folder()?, &args.place.store()?).await?;
            if args.json {
                writeln!(out, "{}", serde_json::to_string(&report)?)?;
            } else {
                show(&report, out)?;
            }
            Ok(u8::from(!report.ok))
        }
        AuditCommand::List(args) => {
            list(&args.place.folder()?, args, out)?;
            Ok(0)
        }
    }
}

fn show(report: &Report, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
    let verdict = if report.ok { "sound" } else { "NOT SOUND" };
    let Report { records, files, head_seq, head_hash, attempts, .. } = report;
    writeln!(out, "{verdict}: {records} records in {files} files, {attempts} upstream attempts")?;
    writeln!(out, "head: {head_seq} {head_hash}")?;
    if let Some(seq) = report.store_seq {
        writeln!(out, "the store knows the log up to {seq}")?;
    }
    for fault in &report.faults {
        writeln!(out, "fault: {fault}")?;
    }
    let named = u64::try_from(report.faults.len()).unwrap_or(u64::MAX);
    if report.faults_total > named {
        writeln!(out, "and {} faults more", report.faults_total.saturating_sub(named))?;
    }
    for note in &report.notes {
        writeln!(out, "note: {note}")?;
    }
    for unproven in &report.unproven {
        writeln!(out, "not proven: {unproven}")?;
    }
    Ok(())
}

fn list(data: &Path, args: &ListArgs, out: &mut (dyn Write + Send)) -> Result<(), AuditError> {
    for line in last_lines(data, usize::try_from(args.limit).unwrap_or(usize::MAX))? {
        if args.json {
            out.write_all(&line)?;
            writeln!(out)?;
        } else {
            let record: Value = serde_json::from_slice(&line).unwrap_or_default();
            writeln!(out, "{}", one_line(&record))?;
        }
    }
    Ok(())
}

/// The last whole lines, oldest first; only as many of the last files are read as that takes.
fn last_lines(data: &Path, limit: usize) -> std::io::Result<VecDeque<Vec<u8>>> {
    let folder = data.join(files::AUDIT_FOLDER);
    // A folder of no gateway has no log: that is not an empty one.
    std::fs::read_dir(&folder)?;
    let mut last = VecDeque::new();
    for number in files::numbers(&folder)?.into_iter().rev() {
        let room = limit.saturating_sub(last.len());
        let mut of_file = VecDeque::new();
        let mut lines = Lines::open(&files::path(&folder, number), 0)?;
        while let Some(line) = lines.read()? {
            if let Line::Whole(line) = line {
                of_file.push_back(line.to_vec());
            }
            if of_file.len() > room {
                of_file.pop_front();
            }
        }
        of_file.append(&mut last);
        last = of_file;
        if last.len() >= limit {
            break;
        }
    }
    Ok(last)
}

fn one_line(record: &Value) -> String {
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let number = |name: &str| record.get(name).and_then(Value::as_u64).unwrap_or(0);
    let head = format!("{:>8} {}", number("seq"), utc(number("at_ms")));
    if text("kind") == "note" {
        return format!("{head} note {} {}", text("event"), record.get("detail").unwrap_or(&Value::Null));
    }
    let attempts = record.get("attempts").and_then(Value::as_array).map_or(0, Vec::len);
    let who = format!("{} {} {}", text("tenant"), text("key"), text("model"));
    let what = format!("{} {} {}", number("status"), text("outcome"), text("reason"));
    format!("{head} {} {who} {what} attempts={attempts}", text("id"))
}
