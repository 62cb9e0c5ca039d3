//! Inputs that a bundle's own tests ask about: the fast machine must agree with the interpreter on them before it
//! answers a call.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;
use regorus::unstable::{Expr, ExprRef, Module};

use super::rego::Rego;
use super::rego::builtins::OnError;
use super::walk::{self, Found};

/// Inputs taken from one bundle's tests.
const INPUTS_MAX: usize = 512;

/// What stands behind `with input as` in these modules, wherever it is written out. A module that doesn't parse has
/// none: whoever runs the tests says what is wrong with it.
pub fn inputs<'a>(modules: impl IntoIterator<Item = &'a (String, String)>) -> Vec<Value> {
    let mut rego = Rego::new(OnError::Undefined);
    for (file, text) in modules {
        if rego.add(file, text).is_err() {
            return Vec::new();
        }
    }
    let modules = rego.engine.get_modules().clone();
    let mut found = Vec::new();
    modules.iter().for_each(|module| of_module(module, &mut found));
    found
}

fn of_module(module: &Module, found: &mut Vec<Value>) {
    let walked: Result<(), std::convert::Infallible> = walk::each(module, &mut |target, seen| {
        if let Found::With(replacement) = seen
            && found.len() < INPUTS_MAX
            && is_input(target)
            && let Some(value) = constant(replacement)
        {
            found.push(value);
        }
        Ok(())
    });
    let Ok(()) = walked;
}

/// A value that is written out.
#[allow(clippy::wildcard_enum_match_arm, reason = "whatever is not named is computed")]
fn constant(node: &ExprRef) -> Option<Value> {
    match node.as_ref() {
        Expr::String { value, .. } | Expr::RawString { value, .. } | Expr::Number { value, .. } => Some(value.clone()),
        Expr::Bool { value, .. } | Expr::Null { value, .. } => Some(value.clone()),
        Expr::Array { items, .. } => items.iter().map(constant).collect::<Option<Vec<_>>>().map(Value::from),
        Expr::Set { items, .. } => items.iter().map(constant).collect::<Option<BTreeSet<_>>>().map(Value::from),
        Expr::Object { fields, .. } => {
            let fields = fields.iter().map(|(_, name, value)| Some((constant(name)?, constant(value)?)));
            fields.collect::<Option<BTreeMap<_, _>>>().map(Value::from)
        }
        _ => None,
    }
}

fn is_input(target: &ExprRef) -> bool {
    matches!(target.as_ref(), Expr::Var { span, .. } if span.text() == "input")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_that_are_written_out_are_found_wherever_they_stand() {
        let text = r#"package x_test
test_a if data.x.d with input as {"role": "chief", "list": [1, {"a": null}]}
test_b if not data.x.d with input as {} with data.y as {"z": 1}
_some := {"role": "clerk"}
test_c if data.x.d with input as _some
test_d if { every role in ["a"] { data.x.d with input as {"role": role} } }
test_e if data.x.d with input.role as "chief"
"#;
        let found = inputs(&[("x_test.rego".to_owned(), text.to_owned())]);
        let want = [r#"{"role": "chief", "list": [1, {"a": null}]}"#, "{}"];
        assert_eq!(found, want.map(|json| Value::from_json_str(json).unwrap()));
        assert!(inputs(&[("bad.rego".to_owned(), "package".to_owned())]).is_empty());
    }
}
