//! Walks every expression of a policy's modules, reachable or not, and shows the visitor what may matter: references,
//! calls and `with`. Complete by construction: every kind of node is matched, without a wildcard where one could hide.

use regorus::Value;
use regorus::unstable::{Expr, ExprRef, Literal, LiteralStmt, Module, Query, Rule, RuleAssign, RuleHead};

/// What the walk meets.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found<'a> {
    /// A chain such as `input.request["model"][i]`, of which `root` and `path` are the fixed names; a `None` is
    /// computed.
    Reference { root: Option<&'a str>, path: Vec<Option<&'a str>> },
    /// The name of a called function, and how many arguments it is given; the reference is shown as well.
    Call(&'a [ExprRef]),
    /// The target of a `with`, and what it is replaced by.
    With(&'a ExprRef),
    /// A comprehension that makes an object.
    Members,
    /// An expression that stands as a statement of its own; its node is shown again.
    Statement {
        /// Whether it stands under `not`.
        is_negated: bool,
    },
    /// `x in y`.
    Membership,
    /// One side of an assignment or a unification.
    Assigned(&'a ExprRef),
    /// Arithmetic, or an operation on sets.
    Operation,
    /// The members of an array or a set that is written out.
    List(&'a [ExprRef]),
}

/// Shows `visit` each node of the module until it refuses one.
pub(super) fn each<E>(module: &Module, visit: &mut Visit<'_, E>) -> Result<(), E> {
    module.imports.iter().try_for_each(|import| expr(&import.refr, visit))?;
    module.policy.iter().try_for_each(|each| rule(each, visit))
}

/// Shows `visit` each node of one expression.
pub(super) fn each_expr<E>(node: &ExprRef, visit: &mut Visit<'_, E>) -> Result<(), E> {
    expr(node, visit)
}

/// Shows `visit` each node of one statement.
pub(super) fn each_statement<E>(one: &LiteralStmt, visit: &mut Visit<'_, E>) -> Result<(), E> {
    statement(one, visit)
}

/// Judges one node.
pub(super) type Visit<'v, E> = dyn FnMut(&ExprRef, Found<'_>) -> Result<(), E> + 'v;

fn rule<E>(rule: &Rule, visit: &mut Visit<'_, E>) -> Result<(), E> {
    match rule {
        Rule::Default { refr, args, value, .. } => {
            rule_name(refr, visit)?;
            all(args, visit)?;
            expr(value, visit)
        }
        Rule::Spec { head, bodies, .. } => {
            rule_head(head, visit)?;
            bodies.iter().try_for_each(|body| {
                assigned(body.assign.as_ref(), visit)?;
                query(&body.query, visit)
            })
        }
    }
}

fn rule_head<E>(head: &RuleHead, visit: &mut Visit<'_, E>) -> Result<(), E> {
    match head {
        RuleHead::Compr { refr, assign, .. } => {
            rule_name(refr, visit)?;
            assigned(assign.as_ref(), visit)
        }
        RuleHead::Set { refr, key, .. } => {
            rule_name(refr, visit)?;
            all(key, visit)
        }
        RuleHead::Func { refr, args, assign, .. } => {
            rule_name(refr, visit)?;
            all(args, visit)?;
            assigned(assign.as_ref(), visit)
        }
    }
}

/// A rule's own name reads nothing, but its brackets may hold expressions.
fn rule_name<E>(refr: &ExprRef, visit: &mut Visit<'_, E>) -> Result<(), E> {
    if let Expr::RefDot { refr, .. } = refr.as_ref() {
        rule_name(refr, visit)
    } else if let Expr::RefBrack { refr, index, .. } = refr.as_ref() {
        rule_name(refr, visit)?;
        expr(index, visit)
    } else if matches!(refr.as_ref(), Expr::Var { .. }) {
        Ok(())
    } else {
        expr(refr, visit)
    }
}

fn assigned<E>(assign: Option<&RuleAssign>, visit: &mut Visit<'_, E>) -> Result<(), E> {
    assign.map_or(Ok(()), |assign| expr(&assign.value, visit))
}

fn query<E>(query: &Query, visit: &mut Visit<'_, E>) -> Result<(), E> {
    query.stmts.iter().try_for_each(|each| statement(each, visit))
}

fn statement<E>(statement: &LiteralStmt, visit: &mut Visit<'_, E>) -> Result<(), E> {
    for with in &statement.with_mods {
        visit(&with.refr, Found::With(&with.r#as))?;
        expr(&with.r#as, visit)?;
    }
    match &statement.literal {
        Literal::SomeVars { .. } => Ok(()),
        Literal::SomeIn { key, value, collection, .. } => {
            all(key, visit)?;
            all([value, collection], visit)
        }
        Literal::Expr { expr: inner, .. } | Literal::NotExpr { expr: inner, .. } => {
            let is_negated = matches!(statement.literal, Literal::NotExpr { .. });
            visit(inner, Found::Statement { is_negated })?;
            expr(inner, visit)
        }
        Literal::Every { domain, query: inner, .. } => {
            expr(domain, visit)?;
            query(inner, visit)
        }
    }
}

fn all<'a, E>(nodes: impl IntoIterator<Item = &'a ExprRef>, visit: &mut Visit<'_, E>) -> Result<(), E> {
    nodes.into_iter().try_for_each(|node| expr(node, visit))
}

fn expr<E>(node: &ExprRef, visit: &mut Visit<'_, E>) -> Result<(), E> {
    match node.as_ref() {
        Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => reference(node, visit),
        Expr::String { .. } | Expr::RawString { .. } | Expr::Number { .. } | Expr::Bool { .. } | Expr::Null { .. } => {
            Ok(())
        }
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            visit(node, Found::List(items))?;
            all(items, visit)
        }
        Expr::Object { fields, .. } => fields.iter().try_for_each(|(_, key, value)| all([key, value], visit)),
        Expr::ArrayCompr { term, query: inner, .. } | Expr::SetCompr { term, query: inner, .. } => {
            expr(term, visit)?;
            query(inner, visit)
        }
        Expr::ObjectCompr { key, value, query: inner, .. } => {
            visit(node, Found::Members)?;
            all([key, value], visit)?;
            query(inner, visit)
        }
        Expr::Call { fcn, params, .. } => {
            visit(fcn, Found::Call(params))?;
            expr(fcn, visit)?;
            all(params, visit)
        }
        Expr::UnaryExpr { expr: inner, .. } => expr(inner, visit),
        Expr::BinExpr { lhs, rhs, .. } | Expr::ArithExpr { lhs, rhs, .. } => {
            visit(node, Found::Operation)?;
            all([lhs, rhs], visit)
        }
        Expr::AssignExpr { lhs, rhs, .. } => {
            visit(node, Found::Assigned(rhs))?;
            visit(node, Found::Assigned(lhs))?;
            all([lhs, rhs], visit)
        }
        Expr::BoolExpr { lhs, rhs, .. } => all([lhs, rhs], visit),
        Expr::Membership { key, value, collection, .. } => {
            visit(node, Found::Membership)?;
            all(key, visit)?;
            all([value, collection], visit)
        }
    }
}

/// Follows a chain to its root; what stands in its brackets is walked too.
fn reference<E>(node: &ExprRef, visit: &mut Visit<'_, E>) -> Result<(), E> {
    let mut path = Vec::new();
    let mut at = node;
    let root = loop {
        if let Expr::RefDot { refr, field, .. } = at.as_ref() {
            path.push(name(&field.1));
            at = refr;
        } else if let Expr::RefBrack { refr, index, .. } = at.as_ref() {
            expr(index, visit)?;
            path.push(text(index));
            at = refr;
        } else if let Expr::Var { value, .. } = at.as_ref() {
            break name(value);
        } else {
            return expr(at, visit);
        }
    };
    path.reverse();
    visit(node, Found::Reference { root, path })
}

fn text(node: &ExprRef) -> Option<&str> {
    if let Expr::String { value, .. } | Expr::RawString { value, .. } = node.as_ref() { name(value) } else { None }
}

fn name(value: &Value) -> Option<&str> {
    if let Value::String(text) = value { Some(text) } else { None }
}
