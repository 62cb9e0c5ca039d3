//! What a policy may not say: calls of functions that don't exist or that Weir refuses, and the few constructs that the
//! engine was found to answer wrongly without an error.
//!
//! The engine finds an unknown function only when it evaluates one, and then every call of a client would be refused;
//! here it is a fault of the configuration, with file and line.

use std::collections::HashSet;

use regorus::unstable::{BUILTINS, Expr, ExprRef, Module, Rule, RuleHead};

use super::compiled::PolicyFault;
use super::kinds;
use super::rego::builtins;
use super::walk::{self, Found};

/// Builtins that are refused by design, by name or by the beginning of it, and why.
const REFUSED: [(&str, &str); 13] = [
    ("http.send", "a policy may not call out: push the data with the bundle or over the admin API instead"),
    ("net.lookup_ip_addr", "a policy may not call out"),
    ("graphql.", "not offered"),
    ("providers.aws.", "not offered"),
    ("crypto.x509.", "not offered: identity proves certificates and gives policies the result"),
    ("crypto.parse_private_keys", "a policy may not hold private keys"),
    ("json.match_schema", "not offered"),
    ("json.verify_schema", "not offered"),
    ("rego.metadata.", "not offered"),
    ("rego.parse_module", "not offered"),
    ("opa.runtime", "it would show the process's environment"),
    ("rand.", "a decision must be the same for the same input"),
    ("strings.render_template", "not offered: use a text with `{...}` inside"),
];

/// Why a builtin is refused; `None` where it isn't.
pub fn refused(name: &str) -> Option<&'static str> {
    let is = |known: &str| if known.ends_with('.') { name.starts_with(known) } else { name == known };
    REFUSED.iter().find(|(known, _)| is(known)).map(|(_, why)| *why)
}

/// `Ok` where every called function is a builtin, a rule of some module, or comes through an import, and nothing is
/// said that the engine doesn't answer as OPA does.
pub(super) fn check(modules: &[&Module]) -> Result<(), PolicyFault> {
    kinds::check(modules)?;
    let rules: HashSet<&str> =
        modules.iter().flat_map(|module| &module.policy).filter_map(|rule| rule_name(rule)).collect();
    for module in modules {
        let imports: HashSet<&str> = module.imports.iter().map(import_name).collect();
        module.policy.iter().try_for_each(|rule| default_name(rule))?;
        walk::each(module, &mut |node, found| match found {
            Found::Call(arguments) => call(node, arguments.len(), &rules, &imports),
            Found::With(_)
            | Found::Reference { .. }
            | Found::List(_)
            | Found::Members
            | Found::Statement { .. }
            | Found::Membership
            | Found::Assigned(_)
            | Found::Operation => Ok(()),
        })?;
    }
    Ok(())
}

fn call(node: &ExprRef, arguments: usize, rules: &HashSet<&str>, imports: &HashSet<&str>) -> Result<(), PolicyFault> {
    let name = node.span().text();
    if let Some(why) = refused(name) {
        return Err(fault(node, format!("the builtin `{name}` is refused: {why}")));
    }
    if !is_known(name, rules, imports) {
        return Err(fault(node, format!("there is no function `{name}`")));
    }
    match name == "walk" && arguments == 1 {
        true => Err(fault(node, "write `walk(x, [path, value])`: this form is not offered here".to_owned())),
        false => Ok(()),
    }
}

/// The engine forgets the default of a rule whose name has brackets.
#[allow(clippy::wildcard_enum_match_arm, reason = "a name is one of these or nothing with brackets")]
fn default_name(rule: &Rule) -> Result<(), PolicyFault> {
    let Rule::Default { refr, .. } = rule else { return Ok(()) };
    let mut at = refr;
    loop {
        match at.as_ref() {
            Expr::RefDot { refr, .. } => at = refr,
            Expr::RefBrack { .. } => {
                return Err(fault(at, "a default for a rule whose name has brackets is not offered".to_owned()));
            }
            _ => return Ok(()),
        }
    }
}

/// By the last name only: a rule of that name in another package passes, and fails when it is evaluated.
fn is_known(call: &str, rules: &HashSet<&str>, imports: &HashSet<&str>) -> bool {
    BUILTINS.contains_key(call)
        || builtins::arity(call).is_some()
        || call == "print"
        || rules.contains(last(call))
        || imports.contains(first(call))
}

fn fault(node: &ExprRef, text: String) -> PolicyFault {
    let span = node.span();
    PolicyFault::Policy { file: span.source.get_path().to_string(), line: Some(span.line), text }
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

/// `c` of `a.b.c` and of `a.b["c"]`.
fn last(path: &str) -> &str {
    path.trim_end_matches("\"]").rsplit(['.', '"']).next().unwrap_or(path)
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
        for body in ["a if startwith(\"ab\", \"a\")", "a if crypto.sha3(\"x\")", "a if { x := [y | y := f(1)]; x }"] {
            let Err(PolicyFault::Policy { file, line, text }) = scan(body) else { panic!("{body}") };
            assert_eq!((file.as_str(), line), ("x.rego", Some(2)), "{body}");
            assert!(text.starts_with("there is no function `"), "{text}");
        }
    }
}
