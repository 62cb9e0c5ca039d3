//! `weir policy`: write, test and ask policies away from any gateway.

mod check;
mod eval;
mod place;
mod test;

use std::io::Write;

use crate::policy::PolicyFault;

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
    }
}
