//! One side of a replay: a policy, and a decision cut down to what a comparison needs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use regorus::Value;

use crate::config::settings::{PolicyEngine, PolicySettings};
use crate::policy::decision_log::event;
use crate::policy::permit::{self, Denied, Permit};
use crate::policy::rego::builtins::OnError;
use crate::policy::rego::builtins::moment::Moment;
use crate::policy::source::Bundle;
use crate::policy::{Compiled, PolicyFault, eval, reads};

/// Longest evaluation. Longer than a gateway's: a busy machine must not make flips of its own.
const TIME_MAX: Duration = Duration::from_secs(1);

/// A policy that judges recorded decisions.
pub struct Judge {
    policy: Compiled,
    entrypoint: String,
    reads: Option<BTreeSet<Vec<String>>>,
}

/// A decision, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Told {
    /// Yes or no.
    pub allow: bool,
    /// Which rule.
    pub rule: Arc<str>,
    /// Its reason code.
    pub reason: Arc<str>,
    /// What it demands, as JSON; empty where it says no.
    pub obligations: Arc<str>,
}

impl Judge {
    /// Compiles a policy; its fast machine is tried on recorded inputs too.
    ///
    /// # Errors
    /// It doesn't compile.
    pub fn new(bundle: &Bundle, entrypoint: &str, probes: &[Value]) -> Result<Self, PolicyFault> {
        let settings = PolicySettings::of_rule(entrypoint, TIME_MAX, PolicyEngine::Auto);
        if let Some(module) = &bundle.wasm {
            // Nothing is known of what a compiled policy reads.
            let policy = Compiled::wasm(module, &bundle.data, &settings)?;
            return Ok(Self { policy, entrypoint: entrypoint.to_owned(), reads: None });
        }
        let policy = Compiled::with_probes(&bundle.policies, &bundle.data, &settings, probes)?;
        // It compiles, so nothing is wrong with the modules; without them nothing is remembered.
        let modules = eval::prepare(&bundle.policies, &[], OnError::Undefined).ok();
        let modules = modules.map(|mut rego| rego.engine.get_modules().clone());
        let reads = modules.and_then(|modules| reads::members(modules.iter().map(AsRef::as_ref)));
        Ok(Self { policy, entrypoint: entrypoint.to_owned(), reads })
    }

    /// Paths of `input` that it can read; `None` where it depends on more.
    pub(super) fn reads(&self) -> Option<&BTreeSet<Vec<String>>> {
        self.reads.as_ref()
    }

    /// Which engine answers, and if the slower one, why.
    pub fn engine(&self) -> String {
        super::engine(&self.policy)
    }

    /// The decision about a document, at a moment where the policy asks for one.
    pub(super) fn judge(&self, input: Value, moment_ns: Option<i64>) -> Told {
        let _moment = moment_ns.map(Moment::fix);
        Told::of(&self.policy.decide_document(input))
    }

    /// The decision that was recorded; undefined where there is none.
    pub(super) fn recorded(&self, result: Option<&str>) -> Option<Told> {
        let value = result.map_or(Ok(Value::Undefined), Value::from_json_str).ok()?;
        Some(Told::of(&permit::judge(&value, &self.entrypoint, "").verdict))
    }
}

impl Told {
    fn of(verdict: &Result<Permit, Denied>) -> Self {
        match verdict {
            Ok(permit) => Self {
                allow: true,
                rule: permit.rule().clone(),
                reason: permit.reason().clone(),
                obligations: event::obligations(permit.obligations()).to_string().into(),
            },
            Err(denied) => {
                Self { allow: false, rule: denied.rule.clone(), reason: denied.reason.clone(), obligations: "".into() }
            }
        }
    }
}
