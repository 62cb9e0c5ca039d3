//! The command line: one file per verb.

pub mod audit;
pub mod check;
pub mod date;
pub mod demo;
pub mod directory;
pub mod key;
pub mod place;
pub mod policy;
pub mod prices;
pub mod routes;
pub mod serve;
pub mod tenant;
pub mod token;
pub mod usage;
pub mod when;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::clock;

/// Exit status for wrong settings (sysexits `EX_CONFIG`).
pub const EX_CONFIG: u8 = 78;

/// Weir, an AI gateway: every call is identified, authorised, limited, routed, metered and recorded.
#[derive(Debug, Parser)]
#[command(name = "weir", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a gateway with a configuration file.
    Serve(serve::ServeArgs),
    /// Check a configuration file and say everything that is wrong with it.
    Check(check::CheckArgs),
    /// Run a gateway with its own engine and two demo tenants.
    Demo(demo::DemoArgs),
    /// Create, list, rotate, narrow and revoke API keys.
    Key(key::KeyArgs),
    /// Create, list, narrow, disable and delete tenants below those of the configuration.
    Tenant(tenant::TenantArgs),
    /// Ask directories of users what they know.
    Directory(directory::DirectoryArgs),
    /// Check, test and ask policies.
    Policy(policy::PolicyArgs),
    /// Judge tokens of issuers.
    Token(token::TokenArgs),
    /// Report usage and cost.
    Usage(usage::UsageArgs),
    /// Show prices and make price files of public lists.
    Prices(prices::PricesArgs),
    /// Verify and list the audit log.
    Audit(audit::AuditArgs),
    /// List every endpoint and who may use it.
    Routes(routes::RoutesArgs),
}

/// Runs a verb.
pub fn run(cli: Cli) -> ExitCode {
    match cli.verb {
        Verb::Serve(args) => serve::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Check(args) => {
            let done = check::run(&args, serve::deeper, &mut std::io::stdout());
            done.map_or_else(|error| fail(&error, error.exit_code()), |()| ExitCode::SUCCESS)
        }
        Verb::Key(args) => block_on(async {
            let done = key::run(&args, clock::unix_ms(), &mut std::io::stdout()).await;
            done.map_or_else(|error| fail(&error, error.exit_code()), |()| ExitCode::SUCCESS)
        }),
        Verb::Policy(args) => {
            let done = policy::run(&args, &mut std::io::stdout());
            done.map_or_else(|error| fail(&error, 2), ExitCode::from)
        }
        Verb::Token(args) => block_on(async {
            let done = token::run(&args, &mut std::io::stdout()).await;
            done.map_or_else(|error| fail(&error, error.exit_code()), ExitCode::from)
        }),
        Verb::Directory(args) => block_on(async {
            let done = directory::run(&args, clock::unix_ms(), &mut std::io::stdout()).await;
            done.map_or_else(|error| fail(&error, error.exit_code()), ExitCode::from)
        }),
        Verb::Tenant(args) => block_on(async {
            let done = tenant::run(&args, clock::unix_ms(), &mut std::io::stdout()).await;
            done.map_or_else(|error| fail(&error, error.exit_code()), |()| ExitCode::SUCCESS)
        }),
        Verb::Usage(args) => block_on(async {
            let done = usage::run(&args, clock::unix_ms(), &mut std::io::stdout()).await;
            done.map_or_else(|error| fail(&error, error.exit_code()), |()| ExitCode::SUCCESS)
        }),
        Verb::Prices(args) => {
            let done = prices::run(&args, clock::unix_ms(), &mut std::io::stdout(), &mut std::io::stderr());
            done.map_or_else(|error| fail(&error, 1), |()| ExitCode::SUCCESS)
        }
        Verb::Routes(args) => {
            routes::run(&args, &mut std::io::stdout()).map_or_else(|error| fail(&error, 1), |()| ExitCode::SUCCESS)
        }
        Verb::Audit(args) => block_on(async {
            let done = audit::run(&args, &mut std::io::stdout()).await;
            done.map_or_else(|error| fail(&error, error.exit_code()), ExitCode::from)
        }),
    }
}

/// Says what went wrong, with every cause behind it. A reader that has seen enough (`… | head -1`) is told nothing.
pub(crate) fn fail(error: &(dyn std::error::Error + 'static), code: u8) -> ExitCode {
    if reader_is_gone(error) {
        return ExitCode::from(code);
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    eprintln!("weir: {text}");
    ExitCode::from(code)
}

fn reader_is_gone(error: &(dyn std::error::Error + 'static)) -> bool {
    let broken = |error: &(dyn std::error::Error + 'static)| {
        error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    };
    std::iter::successors(Some(error), |error| error.source()).any(broken)
}

fn block_on(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => fail(&error, 1),
    }
}
