//! Guards for the machine: it binds a name to what is undefined and goes on, where OPA's body ends.
//!
//! The machine therefore runs the policy in another wording: behind every `x := ...` that stands as a statement comes
//! `x == x`, which is undefined where `x` is. The interpreter keeps the wording as it is.

use std::collections::BTreeMap;

use regorus::unstable::{AssignOp, Expr, ExprRef, Module};

use crate::policy::rego::desugar::NEGATION_PREFIX;
use crate::policy::walk::{self, Found};

/// Whether a guard can stand behind this assignment: `name := value`.
pub(super) fn can_guard(node: &ExprRef) -> bool {
    bound(node).is_some()
}

/// The name that an assignment binds, where it binds just one.
fn bound(node: &ExprRef) -> Option<&str> {
    let Expr::AssignExpr { op, lhs, .. } = node.as_ref() else { return None };
    let Expr::Var { span, .. } = lhs.as_ref() else { return None };
    let name = span.text();
    // Of unifications only those that the desugaring made are known to bind.
    let binds = *op == AssignOp::ColEq || name.starts_with(NEGATION_PREFIX);
    (binds && name != "_").then_some(name)
}

/// What is put into a text.
enum Put {
    /// A body of one statement becomes one of two.
    Open,
    Guard {
        name: String,
        closes: bool,
    },
}

/// The module's text with its guards. Lines stay as they are.
pub(super) fn guarded(module: &Module) -> String {
    let text = module.package.span.source.get_contents();
    let mut puts: BTreeMap<usize, Put> = BTreeMap::new();
    let walked: Result<(), std::convert::Infallible> = walk::each(module, &mut |node, found| {
        if let (Found::Statement { is_negated: false }, Some(name)) = (found, bound(node)) {
            let span = node.span();
            let (from, to) = (place(span.start), end(text, place(span.end)));
            let closes = text.get(..from).is_some_and(stands_alone);
            if closes {
                puts.insert(from, Put::Open);
            }
            puts.insert(to, Put::Guard { name: name.to_owned(), closes });
        }
        Ok(())
    });
    let Ok(()) = walked;
    let mut out = String::with_capacity(text.len().saturating_mul(2));
    let mut written = 0;
    for (at, put) in puts {
        out.push_str(text.get(written..at).unwrap_or_default());
        written = at;
        match put {
            Put::Open => out.push_str("{ "),
            Put::Guard { name, closes } => {
                let end = if closes { " }" } else { "" };
                out.push_str(&format!("; {name} == {name}{end}"));
            }
        }
    }
    out.push_str(text.get(written..).unwrap_or_default());
    out
}

/// Whether what stands before a statement is the `if` of a body without braces.
fn stands_alone(before: &str) -> bool {
    let Some(rest) = before.trim_end().strip_suffix("if") else { return false };
    !rest.ends_with(|last: char| last.is_alphanumeric() || last == '_' || last == '.')
}

/// Where an expression ends: the engine leaves a text's closing quote out.
fn end(text: &str, to: usize) -> usize {
    let is_quoted = text.get(to..).is_some_and(|rest| rest.starts_with(['"', '`']));
    to.saturating_add(usize::from(is_quoted))
}

fn place(offset: u32) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rego::{Rego, builtins::OnError};

    #[test]
    fn every_bound_name_is_guarded_in_its_own_body() {
        let cases = [
            ("a if { x := input.x; not x }", "a if { x := input.x; x == x; not x }"),
            ("a := x if x := input.x", "a := x if { x := input.x; x == x }"),
            ("a if {\n\tx := input.x # why\n\tx > 1\n}", "a if {\n\tx := input.x; x == x # why\n\tx > 1\n}"),
            ("a := [y | y := input.z]", "a := [y | y := input.z; y == y]"),
            (
                "a := 1 if input.b else := y if { y := input.c[0] }",
                "a := 1 if input.b else := y if { y := input.c[0]; y == y }",
            ),
            (
                "a if { some x in [1]; every z in [1] { q := z; q > x } }",
                "a if { some x in [1]; every z in [1] { q := z; q == q; q > x } }",
            ),
            ("a if { x := \"\u{e9}\"; x == input.\u{e9} }", "a if { x := \"\u{e9}\"; x == x; x == input.\u{e9} }"),
            ("a if { x = 1; _ := 2; [y] := [1] }", "a if { x = 1; _ := 2; [y] := [1] }"),
            ("notif := 1 if input.x", "notif := 1 if input.x"),
        ];
        for (plain, want) in cases {
            let mut rego = Rego::new(OnError::Undefined);
            let plain = plain.replace("input.\u{e9}", "input[\"\u{e9}\"]");
            rego.add("x.rego", &format!("package x\n{plain}\n")).unwrap();
            let modules = rego.engine.get_modules().clone();
            let guarded = guarded(modules.first().unwrap());
            let want = want.replace("input.\u{e9}", "input[\"\u{e9}\"]");
            assert_eq!(guarded, format!("package x\n{want}\n"));
            Rego::new(OnError::Undefined).add("x.rego", &guarded).unwrap();
        }
    }
}
