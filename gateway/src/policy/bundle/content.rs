//! From files to a policy that may decide: manifest, roots, self-tests, compilation. Pure but for the
//! time that self-tests may take.

use std::cell::Cell;
use std::time::Duration;

use regorus::Value;
use serde_json::Value as Json;

use super::archive::Files;
use super::rule::BundleRule;
use super::{BundleFault, roots, signature};
use crate::clock;
use crate::config::settings::PolicySettings;
use crate::policy::Compiled;
use crate::policy::opa_test::{self, Coverage, End, Plan};
use crate::policy::rego::builtins::OnError;
use crate::policy::rego::{Rego, RegoFault};
use crate::policy::test_inputs;

/// Where a bundle says what it is.
const MANIFEST: &str = ".manifest";
/// A bundle compiled to WebAssembly.
const WASM: &str = "policy.wasm";
/// What only changes another bundle.
const PATCH: &str = "patch.json";
/// Bytes of all data files together: as values they take some forty times as much, in each of three engines.
const DATA_BYTES_MAX: usize = 8 << 20;
/// Longest run of a bundle's own tests.
const TESTS_TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes of a revision's name.
const REVISION_BYTES_MAX: usize = 256;

/// A bundle that was checked from its signature to its tests, compiled with its own data and nobody else's.
#[derive(Debug)]
pub struct Checked {
    /// Its manifest's revision; may be empty.
    pub revision: String,
    /// What it owns.
    pub roots: Vec<roots::Root>,
    /// Ready to decide.
    pub compiled: Compiled,
    /// Own tests that passed.
    pub tests: usize,
    /// Whether a signature proved it.
    pub signed: bool,
}

/// What a bundle says of itself.
struct Manifest {
    revision: String,
    roots: Vec<roots::Root>,
}

/// What a bundle brings.
#[derive(Default)]
struct Content {
    policies: Vec<(String, String)>,
    tests: Vec<(String, String)>,
    data: Vec<Json>,
}

/// Checks and compiles a bundle's files. Nothing of what decides now is touched.
///
/// # Errors
/// The first thing that keeps it from deciding.
pub fn check(rule: &BundleRule, files: &Files) -> Result<Checked, BundleFault> {
    let signed = signature::verify(files, rule.signer.as_ref())?;
    let manifest = manifest(files)?;
    roots::confine(&manifest.roots, &rule.roots)?;
    if files.contains_key(PATCH) {
        return Err(BundleFault::Unsupported("it is a patch of another bundle; whole ones are taken"));
    }
    let content = content(files, &manifest.roots)?;
    check_packages(&content.policies, &manifest.roots)?;
    let tests = run_tests(&content)?;
    let settings = PolicySettings::of_rule(&rule.entrypoint, rule.timeout, rule.engine);
    let compiled = match files.get(WASM) {
        // What was compiled decides; the Rego beside it is for its tests and for people.
        Some(module) => Compiled::wasm(module, &content.data, &settings)?,
        None if content.policies.is_empty() => return Err(BundleFault::Empty),
        None => {
            let asked = test_inputs::inputs(&content.tests);
            Compiled::with_probes(&content.policies, &content.data, &settings, &asked)?
        }
    };
    Ok(Checked { revision: manifest.revision, roots: manifest.roots, compiled, tests, signed })
}

fn check_packages(policies: &[(String, String)], owned: &[roots::Root]) -> Result<(), BundleFault> {
    let mut rego = Rego::new(OnError::Undefined);
    for (file, text) in policies {
        rego.add(file, text).map_err(|fault| policy(file, fault))?;
    }
    roots::check_modules(owned, rego.engine.get_modules().iter().map(AsRef::as_ref))
}

fn policy(file: &str, fault: RegoFault) -> BundleFault {
    let file = fault.file.unwrap_or_else(|| file.to_owned());
    let line = fault.place.map(|(line, _)| line);
    crate::policy::PolicyFault::Policy { file, line, text: fault.text }.into()
}

fn manifest(files: &Files) -> Result<Manifest, BundleFault> {
    let wrong = |text: &str| BundleFault::Manifest(text.to_owned());
    let json = match files.get(MANIFEST) {
        None => Json::Object(serde_json::Map::new()),
        Some(bytes) => {
            weir_wire::json::check(bytes).map_err(|fault| BundleFault::Manifest(fault.to_string()))?;
            serde_json::from_slice(bytes).map_err(|fault| BundleFault::Manifest(fault.to_string()))?
        }
    };
    let members = json.as_object().ok_or_else(|| wrong("it is no object"))?;
    let revision = match members.get("revision") {
        None => String::new(),
        Some(Json::String(text)) if text.len() <= REVISION_BYTES_MAX && !text.chars().any(char::is_control) => {
            text.clone()
        }
        Some(_) => return Err(wrong("`revision` is no text of at most 256 bytes")),
    };
    let is_v1 = |version: &Json| *version == 1;
    let all_v1 = members.get("rego_version").is_none_or(is_v1)
        && members
            .get("file_rego_versions")
            .is_none_or(|each| each.as_object().is_some_and(|all| all.values().all(is_v1)));
    if !all_v1 {
        return Err(BundleFault::Unsupported("its `rego_version` is 0; Rego of version 1 is taken"));
    }
    // `opa build` puts one module at the top; which rules it has, it says itself.
    let is_ours = |resolver: &Json| {
        resolver.get("module").and_then(Json::as_str).is_some_and(|module| module.trim_start_matches('/') == WASM)
    };
    if !members.get("wasm").is_none_or(|all| all.as_array().is_some_and(|all| all.iter().all(is_ours))) {
        return Err(BundleFault::Unsupported("its manifest names other modules than `policy.wasm`"));
    }
    Ok(Manifest { revision, roots: roots::read(members.get("roots"))? })
}

fn content(files: &Files, owned: &[roots::Root]) -> Result<Content, BundleFault> {
    let mut content = Content::default();
    let mut left = DATA_BYTES_MAX;
    for (name, bytes) in files {
        let (folder, last) = name.rsplit_once('/').unwrap_or(("", name));
        if matches!(last, "data.json" | "data.yaml" | "data.yml") {
            let too_large = || BundleFault::Large { what: "its data", most: 8 << 20 };
            left = left.checked_sub(bytes.len()).ok_or_else(too_large)?;
        }
        let text = || {
            std::str::from_utf8(bytes)
                .map_err(|_| BundleFault::Data { file: name.clone(), text: "it is no text".to_owned() })
        };
        match last {
            "data.json" => content.data.push(document(name, folder, from_json(name, text()?)?, owned)?),
            "data.yaml" | "data.yml" => {
                let value = serde_yaml_ng::from_str(text()?);
                let value = value.map_err(|fault| BundleFault::Data { file: name.clone(), text: fault.to_string() })?;
                content.data.push(document(name, folder, value, owned)?);
            }
            test if test.ends_with("_test.rego") => content.tests.push((name.clone(), text()?.to_owned())),
            rego if rego.ends_with(".rego") => content.policies.push((name.clone(), text()?.to_owned())),
            // Other files are signed like all, and mean nothing here.
            _ => {}
        }
    }
    Ok(content)
}

fn from_json(name: &str, text: &str) -> Result<Json, BundleFault> {
    let fault = |text: String| BundleFault::Data { file: name.to_owned(), text };
    // A member that stands twice is one thing to whoever reviewed it and another to who reads it last.
    weir_wire::json::check(text.as_bytes()).map_err(|error| fault(error.to_string()))?;
    serde_json::from_str(text).map_err(|error| fault(error.to_string()))
}

/// The document at its folder's place in `data`.
fn document(name: &str, folder: &str, value: Json, owned: &[roots::Root]) -> Result<Json, BundleFault> {
    let levels = folder.split('/').filter(|level| !level.is_empty()).rev();
    let whole = levels.fold(value, |inner, level| serde_json::json!({ level: inner }));
    roots::check_data(owned, name, &whole)?;
    Ok(whole)
}

/// Runs every `test_` rule; all must pass.
fn run_tests(content: &Content) -> Result<usize, BundleFault> {
    let modules: Vec<_> = content.policies.iter().chain(&content.tests).cloned().collect();
    let data: Vec<Value> = content.data.iter().cloned().map(Value::from).collect();
    let plan = Plan { modules: &modules, data: &data, coverage: Coverage::Off, now: clock::instant };
    let begun = clock::instant();
    let is_late = Cell::new(false);
    let in_time = |_: &str| {
        is_late.set(clock::instant().saturating_duration_since(begun) > TESTS_TIME_MAX);
        !is_late.get()
    };
    let report = opa_test::run(&plan, &in_time).map_err(|fault| policy("", fault))?;
    if is_late.get() {
        let name = "they did not end in 30 seconds".to_owned();
        return Err(BundleFault::Tests { failed: 0, ran: report.tests.len(), name });
    }
    let has_failed = |end: &End| matches!(end, End::Failed | End::Error(_));
    match report.tests.iter().find(|test| has_failed(&test.end)) {
        None => Ok(report.count(|end| *end == End::Passed)),
        Some(first) => {
            let name = format!("{}.{}", first.package, first.name);
            Err(BundleFault::Tests { failed: report.count(has_failed), ran: report.tests.len(), name })
        }
    }
}

#[cfg(test)]
mod tests;
