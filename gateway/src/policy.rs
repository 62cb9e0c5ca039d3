//! Who may what. Owns the Rego, its evaluation and the [`Permit`], the proof that a call was allowed.
//!
//! Refuses by default: an undefined decision, an error, a wrong shape, a timeout and an unknown obligation are all
//! refusals with a rule's name. Start at [`Compiled`]; [`Input`] is what a policy sees, [`source`] where it comes from.

pub mod active;
pub mod bundle;
pub mod cache;
mod calls;
pub mod compiled;
pub mod decision_log;
pub mod engines;
pub mod envoy;
pub mod eval;
pub mod explain;
pub mod fmt;
pub mod input;
mod kinds;
mod machine;
pub mod obligation;
pub mod opa_test;
pub mod permit;
pub mod pushed;
pub mod reads;
pub mod rego;
pub mod replay;
pub mod source;
pub mod test_inputs;
mod walk;
pub mod wasm;

#[cfg(test)]
mod field_tests;
#[cfg(test)]
mod rego_test;

pub use active::Active;
pub use compiled::{Compiled, PolicyFault};
pub use input::{BudgetInput, CandidateInput, EstimateInput, Input, RequestInput};
pub use permit::{Denied, DeniedBy, Permit};
pub use pushed::Pushed;

use source::{Bundle, Tests};

use crate::config::settings::{AdminSettings, PolicyEngine, PolicyInput, PolicySettings, TenantRule};

/// Reads the policies, joins the grants of the tenants' rules and what was pushed to their data, and compiles it all:
/// what a World needs.
pub fn prepare(settings: &PolicySettings, tenants: &[TenantRule], pushed: &Pushed) -> Result<Compiled, PolicyFault> {
    let bundle = own(settings, tenants, pushed)?;
    match bundle.wasm {
        Some(module) => Compiled::wasm(&module, &bundle.data, settings),
        None => {
            let asked = tested(settings)?;
            Compiled::with_probes(&bundle.policies, &bundle.data, settings, &asked)
        }
    }
}

/// The inputs that the tests in the operator's folder ask about. Those of the shipped policies were asked before they
/// shipped.
fn tested(settings: &PolicySettings) -> Result<Vec<regorus::Value>, PolicyFault> {
    let Some(folder) = settings.path.as_ref().filter(|path| path.is_dir()) else { return Ok(Vec::new()) };
    let all = source::read(std::slice::from_ref(folder), Tests::Taken)?.policies;
    Ok(test_inputs::inputs(all.iter().filter(|(file, _)| file.ends_with("_test.rego"))))
}

/// The operator's own policies as read; of their data the grants come first, then what was pushed.
pub fn own(settings: &PolicySettings, tenants: &[TenantRule], pushed: &Pushed) -> Result<Bundle, PolicyFault> {
    let bundle = source::load(settings)?;
    let data = [grants(tenants), pushed.document()].into_iter().chain(bundle.data).collect();
    Ok(Bundle { data, ..bundle })
}

/// The rule that decides about administrators.
pub const ADMIN_ENTRYPOINT: &str = "data.weir.admin.decision";

/// The policy of the admin API: the shipped one, or the operator's own folder.
pub fn prepare_admin(admin: &AdminSettings, settings: &PolicySettings) -> Result<Compiled, PolicyFault> {
    let settings = PolicySettings {
        path: admin.policy.clone(),
        data: None,
        entrypoint: ADMIN_ENTRYPOINT.to_owned(),
        // A few questions an hour are no reason to try a faster engine out.
        engine: PolicyEngine::Interpreter,
        input: PolicyInput::Weir,
        ..settings.clone()
    };
    let bundle = source::load(&settings)?;
    Compiled::new(bundle.policies, bundle.data, &settings)
}

/// `data.weir.grants`: for each level of the tenant path that lists models, the patterns.
/// A level without a list neither grants nor narrows, so it is left out.
pub fn grants(tenants: &[TenantRule]) -> serde_json::Value {
    let levels: serde_json::Map<_, _> = tenants
        .iter()
        .filter(|rule| !rule.models.is_empty())
        .map(|rule| (rule.path.as_str().to_owned(), serde_json::json!(rule.models)))
        .collect();
    serde_json::json!({"weir": {"grants": levels}})
}
