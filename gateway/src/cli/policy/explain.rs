//! `weir policy explain`: which rule decided, and what would have to change.

use std::io::Write;
use std::path::PathBuf;

use regorus::Value;

use super::{PolicyError, bundle, document, place, text_only};
use crate::policy::explain;

/// Exit status where the policies can't answer.
const FAILED: u8 = 2;

/// Arguments of `weir policy explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// Files and folders of policies and data; without policies among them the shipped ones
    #[arg(long = "data", short = 'd', value_name = "PATH")]
    pub data: Vec<PathBuf>,
    /// JSON file of the document `input`; `-` is standard input
    #[arg(long, short, value_name = "FILE")]
    pub input: PathBuf,
    /// The rule that decides
    #[arg(long, value_name = "RULE", default_value = super::ENTRYPOINT)]
    pub entrypoint: String,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &ExplainArgs, out: &mut dyn Write) -> Result<u8, PolicyError> {
    let bundle = bundle(&args.data, &args.entrypoint)?;
    text_only(&bundle)?;
    let data: Vec<Value> = bundle.data.into_iter().map(Value::from).collect();
    let input = document(&args.input)?;
    match explain::explain(&bundle.policies, &data, &input, &args.entrypoint) {
        Err(fault) => {
            writeln!(out, "{}", serde_json::to_string_pretty(&place::errors(&[fault])).unwrap_or_default())?;
            return Ok(FAILED);
        }
        Ok(told) if args.json => writeln!(out, "{}", serde_json::to_string_pretty(&told).unwrap_or_default())?,
        Ok(told) => write!(out, "{told}")?,
    }
    Ok(0)
}
