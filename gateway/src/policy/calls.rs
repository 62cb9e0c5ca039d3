//! Calls of functions that don't exist. regorus finds them only when it evaluates one, and then every call of a client
//! would be refused; here they are a fault of the configuration, with file and line.

use std::collections::HashSet;

use regorus::unstable::{BUILTINS, ExprRef, Module, Rule, RuleHead};

use super::compiled::PolicyFault;
use super::walk::{self, Found};

/// `Ok` where every called function is a builtin, a rule of some module, or comes through an import.
pub(super) fn check(modules: &[&Module]) -> Result<(), PolicyFault> {
    let rules: HashSet<&str> =
        modules.iter().flat_map(|module| &module.policy).filter_map(|rule| rule_name(rule)).collect();
    for module in modules {
        let imports: HashSet<&str> = module.imports.iter().map(import_name).collect();
        walk::each(module, &mut |node, found| match found {
            Found::Call if !is_known(node.span().text(), &rules, &imports) => Err(unknown(node)),
            Found::Call | Found::With | Found::Reference { .. } => Ok(()),
        })?;
    }
    Ok(())
}

/// By the last name only: a rule of that name in another package passes, and fails when it is evaluated.
fn is_known(call: &str, rules: &HashSet<&str>, imports: &HashSet<&str>) -> bool {
    BUILTINS.contains_key(call) || call == "print" || rules.contains(last(call)) || imports.contains(first(call))
}

fn unknown(node: &ExprRef) -> PolicyFault {
    let span = node.span();
    PolicyFault::Policy {
        file: span.source.get_path().to_string(),
        line: Some(span.line),
        text: format!("there is no function `{}`", span.text()),
    }
}

fn rule_name(rule: &Rule) -> Option<&str> {
    match rule {
        Rule::Default { refr, .. } => Some(last(refr.span().text())),
        Rule::Spec { head: RuleHead::Func { refr, .. }, .. } => Some(last(refr.span().text())),
        Rule::Spec { head: RuleHead::Compr { .. } | RuleHead::Set { .. }, .. } => None,
    }
}

fn import_name(import: &regorus::unstable::Import) -> &str {
    import.r#as.as_ref().map_or_else(|| last(import.refr.span().text()), |name| name.text())
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn first(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(body: &str) -> Result<(), PolicyFault> {
        let mut engine = regorus::Engine::new();
        engine
            .add_policy("lib.rego".to_owned(), "package lib.text\nsame(x) := x\ndefault all(_) := 1".to_owned())
            .unwrap();
        engine.add_policy("x.rego".to_owned(), format!("package x\n{body}\n")).unwrap();
        let modules = engine.get_modules().clone();
        check(&modules.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    #[test]
    fn builtins_rules_and_imports_are_known() {
        let good = [
            "a := count([1])",
            "a if startswith(\"ab\", \"a\")",
            "a if print(1)",
            "a if time.now_ns() > 0",
            "f(x) := x\na := f(1)",
            "a := data.lib.text.same(1)",
            "a := data.lib.text.all(1)",
            "import data.lib.text\na := text.same(1)",
            "import data.lib.text as t\na := t.same(1)",
            "import data.lib.text.same as equal\na := equal(1)",
        ];
        for body in good {
            assert!(scan(body).is_ok(), "{body}: {:?}", scan(body));
        }
    }

    #[test]
    fn a_function_that_does_not_exist_is_named_with_its_place() {
        for body in ["a if startwith(\"ab\", \"a\")", "a if crypto.sha256(\"x\")", "a if { x := [y | y := f(1)]; x }"] {
            let Err(PolicyFault::Policy { file, line, text }) = scan(body) else { panic!("{body}") };
            assert_eq!((file.as_str(), line), ("x.rego", Some(2)), "{body}");
            assert!(text.starts_with("there is no function `"), "{text}");
        }
    }
}
