//! Rules that may have one value only. Where two bodies, or one body in two ways, give two values, the interpreter ends
//! with a conflict; the machine was seen to answer "undefined" or with one of them, which `not` turns into a yes. So it
//! runs only rules of which it is plain that they can't.

use std::collections::{BTreeMap, HashSet};

use regorus::unstable::{AssignOp, Expr, ExprRef, Literal, Module, Query, Rule, RuleBody, RuleHead};

use super::fit::{Unfit, is_constant, root, unfit};

/// `Ok` where no rule can have two values. `known` are the names of all rules and imports.
pub(super) fn check(modules: &[&Module], known: &HashSet<&str>) -> Result<(), Unfit> {
    let mut several: BTreeMap<(&str, &str), Vec<Definition<'_>>> = BTreeMap::new();
    for module in modules {
        let package = module.package.refr.span().text();
        for definition in module.policy.iter().filter_map(|rule| definition(rule)) {
            several.entry((package, definition.name)).or_default().push(definition);
        }
    }
    several.values().try_for_each(|definitions| match definitions.as_slice() {
        [one] => one.check(known),
        all => same(all),
    })
}

/// One definition of a complete rule or a function.
struct Definition<'m> {
    name: &'m str,
    refr: &'m ExprRef,
    arguments: &'m [ExprRef],
    head: Option<&'m ExprRef>,
    bodies: &'m [RuleBody],
}

fn definition(rule: &Rule) -> Option<Definition<'_>> {
    let Rule::Spec { head, bodies, .. } = rule else { return None };
    match head {
        RuleHead::Compr { refr, assign, .. } => {
            let head = assign.as_ref().map(|assign| &assign.value);
            Some(Definition { name: root(refr)?, refr, arguments: &[], head, bodies })
        }
        RuleHead::Func { refr, args, assign, .. } => {
            let head = assign.as_ref().map(|assign| &assign.value);
            Some(Definition { name: root(refr)?, refr, arguments: args, head, bodies })
        }
        RuleHead::Set { .. } => None,
    }
}

/// Several definitions may hold at once: then all give the same constant.
fn same(all: &[Definition<'_>]) -> Result<(), Unfit> {
    let mut values = HashSet::new();
    for definition in all {
        for value in definition.values() {
            match value {
                None => values.insert("true".to_owned()),
                Some(value) if is_constant(value) => values.insert(value.span().text().to_owned()),
                Some(value) => return Err(unfit(value, "one of several definitions that may give several values")),
            };
        }
        if values.len() > 1 {
            return Err(unfit(definition.refr, "one of several definitions that give several values"));
        }
    }
    Ok(())
}

impl<'m> Definition<'m> {
    /// The value of each body; `None` is `true`.
    fn values(&self) -> impl Iterator<Item = Option<&'m ExprRef>> {
        let own = |body: &'m RuleBody| body.assign.as_ref().map(|assign| &assign.value);
        let first = std::iter::once(self.head);
        first.chain(self.bodies.iter().skip(1).map(own))
    }

    fn check(&self, known: &HashSet<&str>) -> Result<(), Unfit> {
        let values: Vec<_> = self.values().collect();
        let mut arguments = HashSet::new();
        self.arguments.iter().for_each(|argument| names(argument, &mut arguments));
        // A rule's name in a bracket is its value, and walks nothing.
        let steady: HashSet<&str> = arguments.union(known).copied().collect();
        let bodies = self.bodies.iter().map(|body| Some(body.query.as_ref())).chain([None]);
        for (value, query) in values.iter().zip(bodies) {
            let Some(value) = value.filter(|value| !is_constant(value)) else { continue };
            let mut bound = steady.clone();
            let walks = query.is_some_and(|query| walks(query, &mut bound));
            let mut used = HashSet::new();
            names(value, &mut used);
            let uses_own = used.iter().any(|name| !known.contains(name) && !arguments.contains(name));
            if has_step(value, &bound) || (walks && (uses_own || has_comprehension(value))) {
                return Err(unfit(value, "a value that a rule may have several of"));
            }
        }
        let is_plain_else = self.bodies.iter().skip(1).all(|body| body.is_else);
        match is_plain_else {
            true => Ok(()),
            false => Err(unfit(self.refr, "a rule with several bodies")),
        }
    }
}

/// Whether a body may hold in more than one way. Gathers what it binds for certain.
fn walks<'q>(query: &'q Query, bound: &mut HashSet<&'q str>) -> bool {
    let mut found = false;
    for statement in &query.stmts {
        match &statement.literal {
            Literal::SomeVars { .. } | Literal::SomeIn { .. } => found = true,
            Literal::Expr { expr, .. } => {
                found |= has_step(expr, bound);
                if let Expr::AssignExpr { op: AssignOp::ColEq, lhs, .. } = expr.as_ref()
                    && let Expr::Var { span, .. } = lhs.as_ref()
                {
                    bound.insert(span.text());
                }
            }
            // What is below `not` and `every` binds nothing outside of it.
            Literal::NotExpr { .. } | Literal::Every { .. } => {}
        }
    }
    found
}

/// Whether an expression steps through a collection: a bracket with a variable that nothing bound before.
#[allow(clippy::wildcard_enum_match_arm, reason = "an index of any other kind is walked like the rest")]
fn has_step(node: &ExprRef, bound: &HashSet<&str>) -> bool {
    let any = |nodes: &[ExprRef]| nodes.iter().any(|node| has_step(node, bound));
    match node.as_ref() {
        Expr::RefBrack { refr, index, .. } => {
            let is_free = match index.as_ref() {
                Expr::Var { span, .. } => !bound.contains(span.text()),
                // A pattern, as in `p[[x, y]]`, binds too.
                Expr::Array { .. } | Expr::Object { .. } | Expr::Set { .. } => !is_constant(index),
                _ => has_step(index, bound),
            };
            is_free || has_step(refr, bound)
        }
        Expr::RefDot { refr, .. } => has_step(refr, bound),
        Expr::Var { .. }
        | Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::ArrayCompr { .. }
        | Expr::SetCompr { .. }
        | Expr::ObjectCompr { .. } => false,
        Expr::Array { items, .. } | Expr::Set { items, .. } => any(items),
        Expr::Object { fields, .. } => {
            fields.iter().any(|(_, key, value)| has_step(key, bound) || has_step(value, bound))
        }
        Expr::Call { params, .. } => any(params),
        Expr::UnaryExpr { expr, .. } => has_step(expr, bound),
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => has_step(lhs, bound) || has_step(rhs, bound),
        Expr::Membership { key, value, collection, .. } => {
            key.iter().any(|key| has_step(key, bound)) || has_step(value, bound) || has_step(collection, bound)
        }
    }
}

/// Whether a comprehension, whose inside is not looked at, stands anywhere in the text.
fn has_comprehension(node: &ExprRef) -> bool {
    node.span().text().contains('|')
}

/// The variables that an expression names.
fn names<'n>(node: &'n ExprRef, found: &mut HashSet<&'n str>) {
    match node.as_ref() {
        Expr::Var { span, .. } => {
            if !matches!(span.text(), "input" | "data") {
                found.insert(span.text());
            }
        }
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::ArrayCompr { .. }
        | Expr::SetCompr { .. }
        | Expr::ObjectCompr { .. } => {}
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().for_each(|item| names(item, found)),
        Expr::Object { fields, .. } => {
            for (_, key, value) in fields {
                names(key, found);
                names(value, found);
            }
        }
        Expr::Call { fcn, params, .. } => {
            // A builtin's name is none of the rule's variables.
            if !matches!(fcn.as_ref(), Expr::Var { .. } | Expr::RefDot { .. }) {
                names(fcn, found);
            }
            params.iter().for_each(|param| names(param, found));
        }
        Expr::UnaryExpr { expr, .. } => names(expr, found),
        Expr::RefDot { refr, .. } => names(refr, found),
        Expr::RefBrack { refr: lhs, index: rhs, .. }
        | Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => {
            names(lhs, found);
            names(rhs, found);
        }
        Expr::Membership { key, value, collection, .. } => {
            key.iter().chain([value, collection]).for_each(|node| names(node, found));
        }
    }
}
