//! Why a policy answered as it did: which rule decided, which did not hold and at which expression, and what that
//! expression read. Pure: modules, data and input in, an [`Explanation`] out.
//!
//! The engine tells values, not ways. So each rule's body is asked again piece by piece: its first expressions, then
//! one more, until nothing is left that holds. Functions are not followed: the expression that calls one is shown with
//! what it was given.

mod changes;
mod probe;
mod text;

use std::collections::BTreeSet;
use std::convert::Infallible;

use regorus::Value;
use regorus::unstable::{Expr, ExprRef, Literal, LiteralStmt, Module, Rule, RuleBody, RuleHead};
use serde::Serialize;
use serde_json::Value as Json;

use super::eval;
use super::rego::RegoFault;
use super::rego::builtins::OnError;
use super::walk::{self, Found};
use probe::Probe;

/// Rules told of one decision, those that it reads included: enough for people, and a bound for generated policies.
const RULES_MAX: usize = 64;
/// Rules read by rules read by rules.
const DEPTH_MAX: usize = 8;

/// Why a policy answered as it did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The rule that was asked.
    pub entrypoint: String,
    /// Whether its answer is a clear allow: `true`, or an object whose `allow` is.
    pub allowed: bool,
    /// Its answer; `None` where it is undefined.
    pub value: Option<Json>,
    /// The definition that gave the answer, as `file:line`; a default where nothing else held.
    pub decided_by: Option<String>,
    /// The rule, and those that it reads, each once.
    pub rules: Vec<RuleStory>,
    /// What the expressions that the answer rests on read of the input: to change it, change one of these.
    pub changes: Vec<Change>,
}

/// One rule by its full name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleStory {
    /// Its full name.
    pub rule: String,
    /// Its value; `None` where it is undefined.
    pub value: Option<Json>,
    /// Every way in which it may hold.
    pub definitions: Vec<Definition>,
}

/// One body of a rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Definition {
    /// File.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Its first line.
    pub text: String,
    /// Whether it held, and where it stopped.
    pub end: End,
    /// The expressions that it rests on, where it held.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rests_on: Vec<Failed>,
}

/// What became of a definition.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Everything in it held.
    Held,
    /// An earlier branch held, so this `else` was not looked at.
    NotReached,
    /// A default, and nothing else held.
    Default,
    /// A default that was not needed.
    Unused,
    /// One of its expressions can't be asked apart from its rule, so nothing is claimed.
    NotAsked,
    /// This expression did not hold.
    Failed(Failed),
}

/// An expression of a definition: the first that did not hold, or one that did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failed {
    /// Line, from 1.
    pub line: u32,
    /// The expression.
    pub text: String,
    /// What it read of the input.
    pub reads: Vec<Read>,
    /// The rules that it read, by their full names.
    pub rules: Vec<String>,
    /// What was compared to what, where it was a comparison: text and value of both sides.
    pub compared: Vec<Read>,
}

/// An expression with its value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Read {
    /// As written.
    pub text: String,
    /// `None` where it is undefined or has more than one value.
    pub value: Option<Json>,
}

/// A member of the input on which an expression depends that the answer rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The expression that read it, as `file:line: text`.
    pub expression: String,
    /// The member and its present value.
    pub member: Read,
    /// The other side of the comparison, where it was one.
    pub compared_to: Option<Read>,
}

/// Explains the answer of `entrypoint` (`data.package.rule`).
///
/// # Errors
/// The modules or the data are wrong, or the evaluation failed.
pub fn explain(
    modules: &[(String, String)],
    data: &[Value],
    input: &Json,
    entrypoint: &str,
) -> Result<Explanation, RegoFault> {
    let mut rego = eval::prepare(modules, data, OnError::Undefined)?;
    rego.engine.set_input(Value::from(input.clone()));
    let parsed: Vec<_> = rego.engine.get_modules().to_vec();
    let probe = Probe::new(rego, input);
    let value = probe.rule(entrypoint)?;
    let mut teller = Teller { probe, modules: parsed.iter().map(AsRef::as_ref).collect(), rules: Vec::new() };
    teller.tell(entrypoint, 0);
    let rules = teller.rules;
    let decided_by = rules.first().and_then(|story| {
        let by = |end: fn(&End) -> bool| story.definitions.iter().find(|one| end(&one.end));
        let found = by(|end| *end == End::Held).or_else(|| by(|end| *end == End::Default))?;
        Some(format!("{}:{}", found.file, found.line))
    });
    let allowed = value.as_ref().is_some_and(|value| value.as_bool().or(value["allow"].as_bool()) == Some(true));
    let changes = changes::of(&rules);
    Ok(Explanation { entrypoint: entrypoint.to_owned(), allowed, value, decided_by, rules, changes })
}

struct Teller<'m> {
    probe: Probe,
    modules: Vec<&'m Module>,
    rules: Vec<RuleStory>,
}

impl Teller<'_> {
    /// Tells of a rule and of those that it reads, unless it was told already.
    fn tell(&mut self, rule: &str, depth: usize) {
        let is_known = self.rules.iter().any(|story| story.rule == rule);
        if is_known || depth > DEPTH_MAX || self.rules.len() >= RULES_MAX {
            return;
        }
        let mut reads = BTreeSet::new();
        let mut definitions = Vec::new();
        for module in &self.modules {
            for spec in module.policy.iter().filter(|spec| name_of(module, spec).as_deref() == Some(rule)) {
                definitions.extend(self.definitions(module, spec, &mut reads));
            }
        }
        if definitions.is_empty() {
            return;
        }
        let held = definitions.iter().any(|one| one.end == End::Held);
        for one in &mut definitions {
            if one.end == End::Default && held {
                one.end = End::Unused;
            }
        }
        let value = self.probe.rule(rule).unwrap_or_default();
        self.rules.push(RuleStory { rule: rule.to_owned(), value, definitions });
        for read in reads {
            self.tell(&read, depth.saturating_add(1));
        }
    }

    fn definitions(&self, module: &Module, rule: &Rule, reads: &mut BTreeSet<String>) -> Vec<Definition> {
        let place = |span: &regorus::unstable::Span, end| Definition {
            file: span.source.get_path().clone(),
            line: span.line,
            text: text::first_line(&text::written(span)),
            end,
            rests_on: Vec::new(),
        };
        let (head, bodies) = match rule {
            Rule::Default { span, .. } => return vec![place(span, End::Default)],
            Rule::Spec { head, bodies, .. } => (head, bodies),
        };
        let value = match head {
            RuleHead::Compr { assign, .. } => assign.as_ref().map(|assign| &assign.value),
            RuleHead::Set { key, .. } => key.as_ref(),
            RuleHead::Func { .. } => return Vec::new(),
        };
        if bodies.is_empty() {
            reads.extend(value.into_iter().flat_map(|value| self.read_by(module, value).1));
            return vec![place(rule.span(), End::Held)];
        }
        let mut held = false;
        let mut all = Vec::new();
        for (number, body) in bodies.iter().enumerate() {
            let span = if number == 0 { rule.span() } else { &body.span };
            if held && body.is_else {
                all.push(place(span, End::NotReached));
                continue;
            }
            let end = self.body(module, body, reads);
            if end == End::Held {
                held = true;
                let assigned = body.assign.as_ref().map(|assign| &assign.value).or(value);
                reads.extend(assigned.into_iter().flat_map(|value| self.read_by(module, value).1));
            }
            let rests_on = if end == End::Held { self.rests_on(module, body) } else { Vec::new() };
            all.push(Definition { rests_on, ..place(span, end) });
        }
        all
    }

    /// Asks the body piece by piece.
    fn body(&self, module: &Module, body: &RuleBody, reads: &mut BTreeSet<String>) -> End {
        let all: Vec<String> = body.query.stmts.iter().map(|one| text::written(&one.span)).collect();
        for (number, statement) in body.query.stmts.iter().enumerate() {
            let before = all.get(..number).unwrap_or_default();
            let upto = all.get(..=number).unwrap_or_default();
            let rules = self.statement_reads(module, statement).1;
            reads.extend(rules);
            match self.probe.values(module, upto, "true") {
                None => return End::NotAsked,
                Some(found) if found.is_empty() => return End::Failed(self.failed(module, statement, before)),
                Some(_) => {}
            }
        }
        End::Held
    }

    fn rests_on(&self, module: &Module, body: &RuleBody) -> Vec<Failed> {
        let all: Vec<String> = body.query.stmts.iter().map(|one| text::written(&one.span)).collect();
        let told = body.query.stmts.iter().enumerate();
        told.map(|(at, one)| self.failed(module, one, all.get(..at).unwrap_or_default())).collect()
    }

    fn failed(&self, module: &Module, statement: &LiteralStmt, before: &[String]) -> Failed {
        let (members, rules) = self.statement_reads(module, statement);
        let reads = members.into_iter().map(|path| Read { value: self.probe.member(&path), text: path.join(".") });
        let sides = sides(statement).into_iter().map(|side| {
            let text = text::written(side.span());
            let value = self.probe.values(module, before, &text).and_then(|found| match found.as_slice() {
                [one] => Some(one.clone()),
                [] | [_, ..] => None,
            });
            Read { text, value }
        });
        Failed {
            line: statement.span.line,
            text: text::one_line(&text::written(&statement.span)),
            reads: reads.collect(),
            compared: sides.collect(),
            rules: rules.into_iter().collect(),
        }
    }

    /// Members of the input and rules that an expression reads.
    fn read_by(&self, module: &Module, node: &ExprRef) -> Reads {
        let mut reads = Reads::default();
        let all = walk::each_expr::<Infallible>(node, &mut |_, found| {
            self.note(module, &found, &mut reads);
            Ok(())
        });
        all.map_or_else(|never: Infallible| match never {}, |()| reads)
    }

    fn statement_reads(&self, module: &Module, statement: &LiteralStmt) -> Reads {
        let mut reads = Reads::default();
        let all = walk::each_statement::<Infallible>(statement, &mut |_, found| {
            self.note(module, &found, &mut reads);
            Ok(())
        });
        all.map_or_else(|never: Infallible| match never {}, |()| reads)
    }

    fn note(&self, module: &Module, found: &Found<'_>, (members, rules): &mut Reads) {
        let Found::Reference { root: Some(root), path } = found else { return };
        let known: Vec<&str> = path.iter().map_while(|part| *part).collect();
        if *root == "input" {
            members.insert(["input"].into_iter().chain(known).map(str::to_owned).collect());
            return;
        }
        let package = format!("data.{}", module.package.refr.span().text());
        let full = match imported(module, root) {
            _ if *root == "data" => "data".to_owned(),
            Some(path) => path,
            None => format!("{package}.{root}"),
        };
        // The longest prefix that is a rule: what follows is a member of its value.
        let mut name = full;
        let is_rule = |name: &str| {
            self.modules.iter().any(|one| one.policy.iter().any(|rule| name_of(one, rule).as_deref() == Some(name)))
        };
        let mut rest = known.into_iter();
        loop {
            if is_rule(&name) {
                rules.insert(name);
                return;
            }
            let Some(part) = rest.next() else { return };
            name = format!("{name}.{part}");
        }
    }
}

/// Members of the input, as paths, and full names of rules.
type Reads = (BTreeSet<Vec<String>>, BTreeSet<String>);

/// The path that an import gives a short name to.
fn imported(module: &Module, name: &str) -> Option<String> {
    module.imports.iter().find_map(|import| {
        let path = import.refr.span().text();
        let short = import.r#as.as_ref().map_or_else(|| path.rsplit('.').next().unwrap_or(path), |span| span.text());
        (short == name && path.starts_with("data.")).then(|| path.to_owned())
    })
}

/// The full name of a rule; `None` for functions.
fn name_of(module: &Module, rule: &Rule) -> Option<String> {
    let refr = match rule {
        Rule::Default { refr, args, .. } if args.is_empty() => refr,
        Rule::Spec { head: RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. }, .. } => refr,
        Rule::Default { .. } | Rule::Spec { head: RuleHead::Func { .. }, .. } => return None,
    };
    let name = refr.span().text().split('[').next().unwrap_or_default().trim_end();
    Some(format!("data.{}.{name}", module.package.refr.span().text()))
}

/// Both sides of a comparison.
fn sides(statement: &LiteralStmt) -> Vec<&ExprRef> {
    let node = match &statement.literal {
        Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => expr,
        Literal::SomeIn { collection, .. } => return vec![collection],
        Literal::SomeVars { .. } | Literal::Every { .. } => return Vec::new(),
    };
    if let Expr::BoolExpr { lhs, rhs, .. } | Expr::AssignExpr { lhs, rhs, .. } = node.as_ref() {
        vec![lhs, rhs]
    } else if let Expr::Membership { value, collection, .. } = node.as_ref() {
        vec![value, collection]
    } else if let Expr::Call { params, .. } = node.as_ref() {
        params.iter().collect()
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests;
