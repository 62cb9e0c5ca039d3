//! `weir policy`: write, test and ask policies away from any gateway.

mod bench;
mod check;
mod eval;
mod explain;
mod fmt;
mod place;
mod replay;
mod rollback;
mod test;

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::policy::PolicyFault;
use crate::policy::source::{self, Bundle, Tests};

/// The rule that decides, unless another is named.
const ENTRYPOINT: &str = "data.weir.authz.decision";

/// Arguments of `weir policy`.
#[derive(Debug, clap::Args)]
pub struct PolicyArgs {
    /// What to do
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// What one does with policies.
#[derive(Debug, clap::Subcommand)]
pub enum PolicyCommand {
    /// Find what is wrong with policies before they decide anything
    Check(check::CheckArgs),
    /// Run the tests of policies, as `opa test` does
    Test(test::TestArgs),
    /// Ask a question, as `opa eval` does
    Eval(eval::EvalArgs),
    /// Which rule decided, and what would have to change
    Explain(explain::ExplainArgs),
    /// Lay policies out in one way, without a change of meaning
    Fmt(fmt::FmtArgs),
    /// Let an earlier revision of a bundle decide again, in a running gateway
    Rollback(rollback::RollbackArgs),
    /// How long one decision takes
    Bench(bench::BenchArgs),
    /// Which recorded decisions a candidate would turn; exit status 0: none, 1: some, 2: not all could be judged
    Replay(replay::ReplayArgs),
}

/// Why a policy command failed.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Files can't be read or are no policies.
    #[error(transparent)]
    Policy(#[from] PolicyFault),
    /// A document is no JSON.
    #[error("`{name}` is no JSON: {source}")]
    Json {
        /// Which.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] crate::config::Faults),
    /// A roll-back was not done.
    #[error(transparent)]
    Rollback(#[from] rollback::RollbackError),
    /// No question.
    #[error("a query is needed, or `--jsonl`")]
    NoQuery,
    /// A pattern is none.
    #[error("`{pattern}` is no pattern: {text}")]
    Pattern {
        /// As given.
        pattern: String,
        /// Why.
        text: String,
    },
    /// It takes policies as text.
    #[error("a compiled policy can't be used here: name its Rego")]
    Compiled,
    /// Input or output failed.
    #[error("can't read the input or write the answer")]
    Io(#[from] std::io::Error),
}

/// Runs a policy command; the exit status comes back.
///
/// # Errors
/// It could not be done at all: exit status 2.
pub fn run(args: &PolicyArgs, out: &mut dyn Write) -> Result<u8, PolicyError> {
    match &args.command {
        PolicyCommand::Check(args) => check::run(args, out),
        PolicyCommand::Test(args) => test::run(args, out),
        PolicyCommand::Eval(args) => eval::run(args, out),
        PolicyCommand::Explain(args) => explain::run(args, out),
        PolicyCommand::Fmt(args) => fmt::run(args, out),
        PolicyCommand::Rollback(args) => Ok(rollback::run(args, out)?),
        PolicyCommand::Bench(args) => bench::run(args, out),
        PolicyCommand::Replay(args) => replay::run(args, out),
    }
}

/// Policies and data of the paths; where no policy is among them, the shipped ones that the entry point needs.
fn bundle(paths: &[PathBuf], entrypoint: &str) -> Result<Bundle, PolicyError> {
    let mut bundle = source::read(paths, Tests::LeftOut)?;
    if bundle.policies.is_empty() && bundle.wasm.is_none() {
        let shipped = source::shipped(entrypoint).iter();
        bundle.policies = shipped.map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    }
    Ok(bundle)
}

/// Refuses a compiled policy without its source.
fn text_only(bundle: &Bundle) -> Result<(), PolicyError> {
    if bundle.wasm.is_some() && bundle.policies.is_empty() { Err(PolicyError::Compiled) } else { Ok(()) }
}

/// A JSON document; `-` is standard input.
fn document(path: &Path) -> Result<serde_json::Value, PolicyError> {
    let text = match path.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin())?,
        false => std::fs::read_to_string(path)?,
    };
    let name = || path.display().to_string();
    serde_json::from_str(&text).map_err(|source| PolicyError::Json { name: name(), source })
}
