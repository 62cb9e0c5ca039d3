//! Questions to the engine about parts of rules: a body's first expressions, and the values of one more in them.

use regorus::Value;
use regorus::unstable::Module;
use serde_json::Value as Json;

use crate::policy::rego::{Rego, RegoFault};

/// The rule that is added to ask.
const NAME: &str = "weir_explain_probe";
/// Values told of one expression.
const VALUES_MAX: usize = 8;

/// An engine with modules, data and input, of which each question takes a clone.
pub(super) struct Probe {
    rego: Rego,
    input: Json,
}

impl Probe {
    pub(super) fn new(rego: Rego, input: &Json) -> Self {
        Self { rego, input: input.clone() }
    }

    /// The value of a rule; `None` where it is undefined.
    pub(super) fn rule(&self, name: &str) -> Result<Option<Json>, RegoFault> {
        let mut engine = self.rego.engine.clone();
        let value = engine.eval_rule(name.to_owned()).map_err(|fault| self.rego.fault(&fault))?;
        Ok(json(&value))
    }

    /// A member of the input by its path from `input`.
    pub(super) fn member(&self, path: &[String]) -> Option<Json> {
        path.iter().skip(1).try_fold(&self.input, |at, name| at.get(name)).cloned()
    }

    /// The values that `term` has where `body` holds, in the names of the module; `None` where that can't be asked.
    pub(super) fn values(&self, module: &Module, body: &[String], term: &str) -> Option<Vec<Json>> {
        let imports: String = module.imports.iter().map(|import| format!("{}\n", import.span.text())).collect();
        let package = module.package.refr.span().text();
        let body: String = body.iter().map(|one| format!("\t{one}\n")).collect();
        let text =
            format!("package {package}\n{imports}\n{NAME} := {{{NAME}_value |\n{body}\t{NAME}_value := {term}\n}}\n");
        let mut engine = self.rego.engine.clone();
        engine.add_policy(format!("{NAME}.rego"), text).ok()?;
        let Value::Set(found) = engine.eval_rule(format!("data.{package}.{NAME}")).ok()? else { return None };
        Some(found.iter().filter_map(json).take(VALUES_MAX).collect())
    }
}

fn json(value: &Value) -> Option<Json> {
    if *value == Value::Undefined {
        return None;
    }
    value.to_json_str().ok().and_then(|text| serde_json::from_str(&text).ok())
}
