//! Which policies the machine may run. Conservative: whatever was seen to be answered wrongly, and whatever looks like
//! it, is left to the interpreter, with the line that says why.

use std::collections::HashSet;

use regorus::unstable::{BUILTINS, Expr, ExprRef, Import, Module, Rule, RuleHead};

use super::{guard, single};
use crate::policy::rego::builtins;
use crate::policy::walk::{self, Found};

/// Builtins that may answer differently the next time, or do something beside answering: two engines can't be compared
/// on them.
const UNSTEADY: [&str; 4] = ["time.now_ns", "uuid.rfc4122", "trace", "print"];
/// Builtins that the machine treats otherwise.
const UNLIKE: [&str; 1] = ["walk"];

/// Why the machine may not run a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of `{file}`: {what}")]
pub struct Unfit {
    /// The policy's file name.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// The construct.
    pub what: String,
}

/// `Ok` where no module has a construct that the machine is not trusted with.
pub(in crate::policy) fn check(modules: &[&Module]) -> Result<(), Unfit> {
    let rules = modules.iter().flat_map(|module| &module.policy).filter_map(|rule| root(name(rule)));
    let imports = modules.iter().flat_map(|module| &module.imports).map(imported);
    let known: HashSet<&str> = rules.chain(imports).collect();
    let arities: HashSet<(&str, usize)> =
        modules.iter().flat_map(|module| &module.policy).filter_map(|rule| arity(rule)).collect();
    single::check(modules, &known)?;
    for module in modules {
        if module.policy.is_empty() {
            return Err(unfit(&module.package.refr, "a package without rules"));
        }
        module.policy.iter().try_for_each(|rule| head(rule))?;
        let sure = defaulted(module);
        let known: HashSet<&str> = known.difference(&sure).copied().collect();
        let mut statements = HashSet::new();
        walk::each(module, &mut |node, found| match found {
            Found::Statement { .. } => {
                statements.insert(node.span().start);
                Ok(())
            }
            // As a statement it holds or not; as a value the machine takes what is undefined for false.
            Found::Membership if statements.contains(&node.span().start) => Ok(()),
            Found::Membership => Err(unfit(node, "`in` as a value")),
            // An error in it ends the whole body, where OPA passes over one member or takes `not` of it.
            Found::Operation => Err(unfit(node, "arithmetic")),
            Found::Call(arguments) => {
                call(node, arguments.len(), &arities)?;
                // A builtin of something undefined is undefined; a function of the policy was not seen to be.
                let is_builtin = BUILTINS.contains_key(node.span().text());
                let given = if is_builtin { &[] } else { arguments };
                given.iter().try_for_each(|argument| defined(argument, &known))
            }
            // The machine binds a name to what is undefined and goes on, where OPA's body ends: a guard sees to it.
            Found::Assigned(_) if guard::can_guard(node) => Ok(()),
            Found::Assigned(value) => defined(value, &known),
            Found::With(_) => Err(unfit(node, "`with`")),
            Found::List(items) => items.iter().try_for_each(|item| defined(item, &known)),
            Found::Members => Err(unfit(node, "an object comprehension")),
            Found::Reference { .. } => numbered(node),
        })?;
    }
    Ok(())
}

/// Rules of a module that always have a value, since they have a default; an import of the same name takes them out.
fn defaulted(module: &Module) -> HashSet<&str> {
    let defaults =
        module.policy.iter().filter(|rule| matches!(rule.as_ref(), Rule::Default { args, .. } if args.is_empty()));
    let names = defaults.filter_map(|rule| root(name(rule)));
    names.filter(|name| !module.imports.iter().any(|import| imported(import) == *name)).collect()
}

/// The name that an import gives.
fn imported(import: &Import) -> &str {
    let last = import.refr.span().text().rsplit(['.', '"', '[']).find(|part| !matches!(*part, "" | "]"));
    import.r#as.as_ref().map_or(last.unwrap_or_default(), |name| name.text())
}

/// The last name of a function and how many arguments it takes.
fn arity(rule: &Rule) -> Option<(&str, usize)> {
    match rule {
        Rule::Spec { head: RuleHead::Func { refr, args, .. }, .. } => Some((root(refr)?, args.len())),
        Rule::Spec { head: RuleHead::Compr { .. } | RuleHead::Set { .. }, .. } | Rule::Default { .. } => None,
    }
}

/// A number in a bracket: documents have texts for names, which the machine doesn't try.
#[allow(clippy::wildcard_enum_match_arm, reason = "a reference is one of two kinds with something before it")]
fn numbered(refr: &ExprRef) -> Result<(), Unfit> {
    let mut at = refr;
    loop {
        at = match at.as_ref() {
            Expr::RefBrack { index, .. } if matches!(index.as_ref(), Expr::Number { .. }) => {
                return Err(unfit(refr, "a number in brackets"));
            }
            Expr::RefBrack { refr, .. } | Expr::RefDot { refr, .. } => refr,
            _ => return Ok(()),
        };
    }
}

fn name(rule: &Rule) -> &ExprRef {
    match rule {
        Rule::Default { refr, .. }
        | Rule::Spec {
            head: RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. },
            ..
        } => refr,
    }
}

/// The first name of a reference.
#[allow(clippy::wildcard_enum_match_arm, reason = "a reference is one of three kinds")]
pub(super) fn root(refr: &ExprRef) -> Option<&str> {
    match refr.as_ref() {
        Expr::Var { span, .. } => Some(span.text()),
        Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => root(refr),
        _ => None,
    }
}

/// Only rules with a plain name; defaults only of those without arguments, and only constants.
fn head(rule: &Rule) -> Result<(), Unfit> {
    let refr = name(rule);
    if !matches!(refr.as_ref(), Expr::Var { .. }) {
        return Err(unfit(refr, "a rule whose name has several parts"));
    }
    match rule {
        Rule::Default { args, .. } if !args.is_empty() => Err(unfit(refr, "a default of a function")),
        Rule::Default { value, .. } if !is_constant(value) => Err(unfit(value, "a default that is no constant")),
        Rule::Default { .. } | Rule::Spec { .. } => Ok(()),
    }
}

fn call(function: &ExprRef, arguments: usize, arities: &HashSet<(&str, usize)>) -> Result<(), Unfit> {
    let name = function.span().text();
    if UNSTEADY.contains(&name) {
        return Err(unfit(function, "a builtin that may answer otherwise the next time"));
    }
    if UNLIKE.contains(&name) || builtins::arity(name).is_some() {
        return Err(unfit(function, "a builtin that the machine doesn't have"));
    }
    // One argument more takes the result: another way to say `=`, which the machine was seen to lose.
    let last = name.trim_end_matches("\"]").rsplit(['.', '"']).next().unwrap_or(name);
    let is_usual = match BUILTINS.get(name) {
        Some((_, arity)) => usize::from(*arity) == arguments || arities.contains(&(last, arguments)),
        None => arities.contains(&(last, arguments)),
    };
    match is_usual {
        true => Ok(()),
        false => Err(unfit(function, "a call with an unusual number of arguments")),
    }
}

/// A member of an array or a set, and what is bound to a name, must have a value whenever its body is reached: a
/// constant, or a variable of the body. A rule, a reference or a call may be undefined, which the machine was seen to
/// take for a value.
#[allow(clippy::wildcard_enum_match_arm, reason = "whatever is not named is refused")]
fn defined(item: &ExprRef, rules: &HashSet<&str>) -> Result<(), Unfit> {
    match item.as_ref() {
        Expr::Var { span, .. } if !rules.contains(span.text()) && !matches!(span.text(), "input" | "data") => Ok(()),
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().try_for_each(|item| defined(item, rules)),
        Expr::Object { fields, .. } => fields.iter().try_for_each(|(_, _, value)| defined(value, rules)),
        _ if is_constant(item) => Ok(()),
        _ => Err(unfit(item, "a value that may be undefined")),
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "whatever is not named is no constant")]
pub(super) fn is_constant(value: &ExprRef) -> bool {
    match value.as_ref() {
        Expr::String { .. } | Expr::RawString { .. } | Expr::Number { .. } | Expr::Bool { .. } | Expr::Null { .. } => {
            true
        }
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().all(is_constant),
        Expr::Object { fields, .. } => fields.iter().all(|(_, key, value)| is_constant(key) && is_constant(value)),
        _ => false,
    }
}

pub(super) fn unfit(node: &ExprRef, what: &str) -> Unfit {
    let span = node.span();
    Unfit { file: span.source.get_path().to_string(), line: span.line, what: format!("{what}: `{}`", span.text()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rego::{Rego, builtins::OnError};

    fn scan(body: &str) -> Result<(), Unfit> {
        let mut rego = Rego::new(OnError::Undefined);
        rego.add("x.rego", &format!("package x\n{body}\n")).unwrap();
        let modules = rego.engine.get_modules().clone();
        check(&modules.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    #[test]
    fn plain_policies_fit() {
        let good = [
            "default a := false\na if input.x == 1",
            "default a := {\"b\": [1, {2}]}",
            "f(x) := [x]\na := f(1)",
            "a if { y := \"z\"; y == input.y }",
            "a contains x if some x in input.list",
            "a if every x in input.list { x > 1 }",
            "a if input.x in {\"y\", \"z\"}",
            "a if input.x\na if { some y in input.z; y > 1 }",
            "a := \"b\" if input.list[_] == 1\na := \"b\" if input.x",
            "a := \"b\" if input.x else := \"c\" if input.list[_] == 2",
            // A rule with a default always has a value.
            "default b := {}\nb := {\"c\": 1} if input.x\na := [b]",
            // What is bound to a name is guarded.
            "a if { y := input.y; not y == 1 }",
            "a if not \"b\" in input.list",
            "a if { some level in input.levels; p := data.g[level]; not f(p) }\nf(p) if p == 1",
            "b := \"c\" if input.x\na := {\"d\": data.list[b]} if b",
            "f(x) := data.limits[x]\na := f(\"b\") if input.list[_] == 1",
        ];
        for body in good {
            assert_eq!(scan(body), Ok(()), "{body}");
        }
    }

    #[test]
    fn what_was_answered_wrongly_does_not_fit() {
        let bad = [
            "a if { input.y = y; not y == 1 }",
            "a if { [y] := input.y; not y == 1 }",
            "f(x) := 1\na if f(input.x)",
            "default f(_) := 1",
            "a if not input.x + 1 > 2",
            "a contains x if { some x in input.list; x - 1 > 2 }",
            "a := \"b\" in input.list",
            "a := {\"b\": 1 in input.list}",
            "default a := [x | x := 1]",
            "default a := input.x",
            "a := [input.x]",
            "b := 1 if input.x\na := [b]",
            "a := {count(input.x)}",
            "a := [{\"k\": input.x}]",
            "import data.y\na := [y]",
            "a if b with input as {}\nb := 1",
            "a.b := 1",
            "a[\"b\"] := 1",
            "a[x] := 1 if some x in [1]",
            "a if walk(input, [_, _])",
            "a if time.now_ns() > 1",
            "a if strings.count(\"a\", \"b\") > 1",
            "a if io.jwt.decode(\"a\")",
            "a if count([1], 1)",
            "f(x) := 1\na if f(1, 1)",
            "a := input.list[2]",
            "a := {k: v | some k, v in input.x}",
            "a := true if input.x\na := false if input.y",
            "f(x) := 1 if input.x\nf(x) := 2",
            "a := x if { some x in input.list }",
            "a := input.list[x]",
            "a := {\"b\": y} if y = input.list[_]",
            "a if input.x else := 2\na := 2",
        ];
        for body in bad {
            assert!(scan(body).is_err(), "{body}");
        }
        let fault = scan("a := [input.x]").unwrap_err();
        assert_eq!(fault.to_string(), "line 2 of `x.rego`: a value that may be undefined: `input.x`");
    }
}
