//! `weir policy fmt`: one layout for every policy.

use std::io::Write;
use std::path::PathBuf;

use super::{PolicyError, place};
use crate::policy::{fmt, source};

/// Exit status where a file doesn't parse.
const FAILED: u8 = 2;

/// Arguments of `weir policy fmt`.
#[derive(Debug, clap::Args)]
pub struct FmtArgs {
    /// Files and folders of policies
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Write the files; without it the text goes to standard output
    #[arg(long, short, conflicts_with_all = ["check", "diff"])]
    pub write: bool,
    /// Only name the files that would change, and exit with 1 if there is one
    #[arg(long, conflicts_with = "diff")]
    pub check: bool,
    /// Only show the lines that would change
    #[arg(long, short)]
    pub diff: bool,
}

pub(super) fn run(args: &FmtArgs, out: &mut dyn Write) -> Result<u8, PolicyError> {
    let mut status = 0;
    for path in source::rego_files(&args.paths)? {
        let text = std::fs::read_to_string(&path)?;
        let file = path.display().to_string();
        let laid = match fmt::format(&file, &text) {
            Ok(laid) => laid,
            Err(fault) => {
                status = FAILED;
                writeln!(out, "{}", serde_json::to_string_pretty(&place::errors(&[fault])).unwrap_or_default())?;
                continue;
            }
        };
        let changes = laid != text;
        if args.check && changes {
            status = status.max(1);
            writeln!(out, "{file}")?;
        } else if args.diff && changes {
            writeln!(out, "{file}")?;
            for line in fmt::difference(&text, &laid) {
                writeln!(out, "{line}")?;
            }
        } else if args.write && changes {
            std::fs::write(&path, &laid)?;
            writeln!(out, "{file}")?;
        } else if !(args.check || args.diff || args.write) {
            write!(out, "{laid}")?;
        }
    }
    Ok(status)
}
