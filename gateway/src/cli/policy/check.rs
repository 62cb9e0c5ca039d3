//! `weir policy check`: everything that is wrong with policies, before they decide anything.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::{PolicyError, place};
use crate::config::settings::{PolicyEngine, PolicySettings};
use crate::policy::rego::builtins::OnError;
use crate::policy::rego::{Rego, RegoFault};
use crate::policy::source::{self, Bundle, Tests};
use crate::policy::wasm::Wasm;
use crate::policy::{Compiled, PolicyFault};

/// Bound of an evaluation; nothing is evaluated here.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Arguments of `weir policy check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Files and folders of policies and data
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The rule that will decide; it must exist
    #[arg(long, value_name = "RULE")]
    pub entrypoint: Option<String>,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &CheckArgs, out: &mut dyn Write) -> Result<u8, PolicyError> {
    let bundle = source::read(&args.paths, Tests::Taken)?;
    let (faults, what) = match &bundle.wasm {
        Some(module) => (module_faults(module, &bundle, args.entrypoint.as_deref()), "1 compiled policy".to_owned()),
        None => (faults(&bundle, args.entrypoint.as_deref()), format!("{} policies", bundle.policies.len())),
    };
    match args.json {
        true if faults.is_empty() => writeln!(out, "{{}}")?,
        true => writeln!(out, "{}", serde_json::to_string_pretty(&place::errors(&faults)).unwrap_or_default())?,
        false => {
            for fault in &faults {
                let file = fault.file.as_deref().unwrap_or("policies");
                let place = fault.place.map_or_else(String::new, |(row, column)| format!(":{row}:{column}"));
                writeln!(out, "{file}{place}: {}: {}", fault.code, fault.text)?;
            }
            if faults.is_empty() {
                writeln!(out, "ok: {what}")?;
            }
        }
    }
    Ok(u8::from(!faults.is_empty()))
}

/// The first thing that is wrong with a compiled policy.
fn module_faults(module: &[u8], bundle: &Bundle, entrypoint: Option<&str>) -> Vec<RegoFault> {
    let made = match entrypoint {
        Some(entrypoint) => Compiled::wasm(module, &bundle.data, &settings(entrypoint)).map(|_| ()),
        None => Wasm::new(module, "{}", TIMEOUT).map(|_| ()).map_err(PolicyFault::from),
    };
    made.err().map(RegoFault::from).into_iter().collect()
}

/// Every module that doesn't parse; where all do, the first thing that doesn't compile.
fn faults(bundle: &Bundle, entrypoint: Option<&str>) -> Vec<RegoFault> {
    let parsed = |(file, text): &(String, String)| Rego::new(OnError::Undefined).add(file, text).err();
    let faults: Vec<RegoFault> = bundle.policies.iter().filter_map(parsed).collect();
    if !faults.is_empty() {
        return faults;
    }
    let any = bundle.policies.first().and_then(|(_, text)| first_rule(text));
    let Some(entrypoint) = entrypoint.map(str::to_owned).or(any) else { return Vec::new() };
    let compiled = Compiled::new(bundle.policies.clone(), bundle.data.clone(), &settings(&entrypoint));
    compiled.err().map(RegoFault::from).into_iter().collect()
}

fn settings(entrypoint: &str) -> PolicySettings {
    PolicySettings::of_rule(entrypoint, TIMEOUT, PolicyEngine::Auto)
}

/// Some rule of a module: compiling needs one to begin with.
fn first_rule(text: &str) -> Option<String> {
    let mut rego = Rego::new(OnError::Undefined);
    rego.add("first", text).ok()?;
    let modules = rego.engine.get_modules().clone();
    let module = modules.first()?;
    let name = module.policy.first().map(|rule| rule.span().text().to_owned())?;
    let name: String =
        name.trim_start_matches("default ").chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    Some(format!("data.{}.{name}", module.package.refr.span().text()))
}
