//! `weir serve`: run a gateway.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{EX_CONFIG, fail};
use crate::config::{Fault, Settings, Warning, Wrong};
use crate::policy::Pushed;
use crate::policy::bundle::rule::{BundleRule, Source};
use crate::policy::bundle::{archive, content};
use crate::serve::{self, ServeFault};
use crate::telemetry::metric;
use crate::tls;
use crate::world::{World, WorldFault};

/// `weir serve`
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Configuration file.
    #[arg(long, short, value_name = "FILE")]
    pub config: PathBuf,
    /// Log filter, such as `info` or `weir=debug`.
    #[arg(long, default_value = "info")]
    pub log: String,
}

/// Serves until a signal.
pub fn run(args: &ServeArgs) -> ExitCode {
    start_log(&args.log);
    if let Err(error) = metric::install() {
        eprintln!("weir: metrics: {error}");
        return ExitCode::FAILURE;
    }
    let served = serve::prepare(&args.config).and_then(|prepared| {
        prepared.serve(&args.config, |running| {
            tracing::info!(revision = running.world.load().revision, "ready");
        })
    });
    conclude(served)
}

/// Writes logs to stderr.
pub(super) fn start_log(filter: &str) {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).unwrap_or_else(|_| "info".into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    // A second start in one process (tests) keeps the first log.
    log.try_init().unwrap_or(());
}

/// The exit status of a gateway's end: 78 where the settings are at fault.
pub(super) fn conclude(served: Result<(), ServeFault>) -> ExitCode {
    let Err(fault) = served else { return ExitCode::SUCCESS };
    let code = match fault {
        ServeFault::Config(_)
        | ServeFault::World(_)
        | ServeFault::Tls(_)
        | ServeFault::Pepper(_)
        | ServeFault::TokenKeys(_)
        | ServeFault::Engine(_) => EX_CONFIG,
        ServeFault::Data { .. }
        | ServeFault::Store(_)
        | ServeFault::Journal(_)
        | ServeFault::Decisions(_)
        | ServeFault::Redis { .. }
        | ServeFault::Listen { .. }
        | ServeFault::Threads(_) => 1,
    };
    fail(&fault, code)
}

/// What `weir check` looks at beyond the file itself: the policy compiles, prices and certificates can be read.
pub(super) fn deeper(settings: &Settings) -> Result<Vec<Warning>, Vec<Fault>> {
    let fault = |error: WorldFault| match &error {
        WorldFault::Policy(fault) => Fault { path: "policy.path".to_owned(), wrong: Wrong::Policy(fault.to_string()) },
        WorldFault::Trust(fault) => Fault { path: fault.setting.clone(), wrong: Wrong::Tls(fault.why.clone()) },
        // Not looked at here: no gateway's data folder is read.
        WorldFault::Pushed(fault) => Fault { path: "data".to_owned(), wrong: Wrong::Policy(fault.to_string()) },
        WorldFault::Limits(fault) => Fault { path: "tenants".to_owned(), wrong: Wrong::Limits(fault.to_string()) },
        WorldFault::PriceFile { .. } | WorldFault::Prices(_) => {
            Fault { path: "prices".to_owned(), wrong: Wrong::Prices(error.to_string()) }
        }
    };
    let mut faults: Vec<Fault> = tls::faults(settings)
        .into_iter()
        .map(|fault| Fault { path: fault.setting, wrong: Wrong::Tls(fault.why) })
        .collect();
    faults.extend(bundles(settings));
    match World::build(settings.clone(), &Pushed::default(), 0).map_err(fault) {
        Ok(world) if faults.is_empty() => Ok(world.unpriced()),
        world => {
            // What the first look found is not said twice.
            let more = world.err().filter(|fault| !faults.contains(fault));
            faults.extend(more);
            Err(faults)
        }
    }
}

/// Bundles that lie on this machine and would be refused.
fn bundles(settings: &Settings) -> Vec<Fault> {
    let fault = |(place, rule): (usize, &std::sync::Arc<BundleRule>)| {
        let Source::Path(path) = &rule.source else { return None };
        let checked = archive::from_disk(path).and_then(|bytes| content::check(rule, &archive::unpack(&bytes)?));
        let refused = checked.err()?;
        Some(Fault { path: format!("policy.bundles[{place}].url"), wrong: Wrong::Bundle(refused.to_string()) })
    };
    settings.bundles.iter().enumerate().filter_map(fault).collect()
}
