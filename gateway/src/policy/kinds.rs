//! Rules of one name that can't stand together: a set beside a value, a function beside a rule, two defaults. The
//! engine finds some of them only when it evaluates one, and others never; here they are a fault of the configuration.

use std::collections::HashMap;

use regorus::unstable::{Expr, ExprRef, Module, Rule, RuleHead};

use super::compiled::PolicyFault;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One value.
    Value,
    /// A set.
    Set,
    /// A function.
    Function,
    /// Members below the name, as `p[x] := y` or `p.a := 1`.
    Members,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Value => "a value",
            Kind::Set => "a set",
            Kind::Function => "a function",
            Kind::Members => "a rule with members",
        }
    }
}

/// `Ok` where every name of every package stands for one kind, and has one default at most.
pub(super) fn check(modules: &[&Module]) -> Result<(), PolicyFault> {
    let mut kinds: HashMap<(&str, &str), (Kind, &ExprRef)> = HashMap::new();
    let mut defaults: HashMap<(&str, &str), &ExprRef> = HashMap::new();
    for module in modules {
        let package = module.package.refr.span().text();
        for rule in &module.policy {
            match rule.as_ref() {
                Rule::Default { refr, .. } => {
                    let name = refr.span().text();
                    if let Some(first) = defaults.insert((package, name), refr) {
                        return Err(fault(refr, format!("`{name}` has a default already, at {}", place(first))));
                    }
                }
                Rule::Spec { head, .. } => {
                    let Some((name, kind, refr)) = head_kind(head) else { continue };
                    match kinds.insert((package, name), (kind, refr)) {
                        Some((other, first)) if other != kind => {
                            let (is, was, at) = (kind.name(), other.name(), place(first));
                            return Err(fault(refr, format!("`{name}` is {is} here and {was} at {at}")));
                        }
                        Some(_) | None => {}
                    }
                }
            }
        }
    }
    Ok(())
}

/// The first name of a rule's head and what it makes of it.
fn head_kind(head: &RuleHead) -> Option<(&str, Kind, &ExprRef)> {
    let (refr, plain) = match head {
        RuleHead::Compr { refr, .. } => (refr, Kind::Value),
        RuleHead::Set { refr, .. } => (refr, Kind::Set),
        RuleHead::Func { refr, .. } => (refr, Kind::Function),
    };
    let (name, is_plain) = root(refr)?;
    match (plain, is_plain) {
        // Functions below a name, as `lib.f(x)`, have names of their own.
        (Kind::Function, false) => None,
        (kind, true) => Some((name, kind, refr)),
        (Kind::Value | Kind::Set | Kind::Members, false) => Some((name, Kind::Members, refr)),
    }
}

/// The name at the root of a head, and whether it is the whole of it.
#[allow(clippy::wildcard_enum_match_arm, reason = "a head is a chain of these")]
fn root(refr: &ExprRef) -> Option<(&str, bool)> {
    match refr.as_ref() {
        Expr::Var { span, .. } => Some((span.text(), true)),
        Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => root(refr).map(|(name, _)| (name, false)),
        _ => None,
    }
}

fn place(node: &ExprRef) -> String {
    let span = node.span();
    format!("{}:{}", span.source.get_path(), span.line)
}

fn fault(node: &ExprRef, text: String) -> PolicyFault {
    let span = node.span();
    PolicyFault::Policy { file: span.source.get_path().to_string(), line: Some(span.line), text }
}
