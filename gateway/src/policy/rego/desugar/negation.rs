//! `not` as OPA compiles it: what a negated expression computes from is computed before the `not`.
//!
//! So `not startswith(input.model, "x")` is undefined where the call has no model, and not true. The engine was found
//! to negate the whole, operands included. Only operands that may be undefined are taken out; a negated reference, and
//! both sides of an equality that are references themselves, stay, as they do there.

use std::collections::BTreeSet;

use super::{KEYWORDS, Token, plain};
use crate::policy::rego::tokens::Kind;

/// How the names begin that hold what a negation computes from.
pub const PREFIX: &str = "__not";

/// The end of a negated statement that begins at `at`, and its plain form; `None` where nothing has to be taken out.
pub(super) fn negation(all: &[Token<'_>], at: usize, rules: &BTreeSet<&str>) -> Option<(usize, String)> {
    let is_word = all.get(at)?.kind == Kind::Name && all.get(at)?.text == "not";
    let is_member = at.checked_sub(1).and_then(|at| all.get(at)).is_some_and(|token| token.is_sign("."));
    if !is_word || is_member || !all.get(at.saturating_add(1))?.is_blank() {
        return None;
    }
    let begin = skip(all, at.saturating_add(1));
    let (end, stop) = expression_end(all, begin);
    let expression = all.get(begin..end)?;
    let mut hoisted = Vec::new();
    let rest = rewrite(expression, rules, at, &mut hoisted)?;
    if hoisted.is_empty() {
        return None;
    }
    // It stands with each statement, so it takes one line and no comment along.
    let with: Vec<Token<'_>> =
        all.get(end..stop)?.iter().filter(|token| token.kind != Kind::Comment).copied().collect();
    let suffix = plain(&with).replace('\n', " ");
    let spaces = if suffix.is_empty() { "" } else { " " };
    let before: String =
        hoisted.iter().map(|(name, text)| format!("{name} = {text}{spaces}{}; ", suffix.trim())).collect();
    let body = format!("{before}not {rest}{spaces}{}", suffix.trim());
    // Without braces the body is one statement; now it is several.
    let is_bare = (0..at)
        .rev()
        .find_map(|at| all.get(at).filter(|token| !token.is_blank()))
        .is_some_and(|token| token.text == "if");
    let body = if is_bare { format!("{{ {body} }}") } else { body };
    let lines = "\n".repeat(
        all.get(at..stop)?
            .iter()
            .map(|token| token.text.matches('\n').count())
            .sum::<usize>()
            .saturating_sub(body.matches('\n').count()),
    );
    Some((stop, format!("{body}{lines}")))
}

fn skip(all: &[Token<'_>], from: usize) -> usize {
    (from..all.len()).find(|at| all.get(*at).is_some_and(|token| token.kind != Kind::Space)).unwrap_or(all.len())
}

/// Where the expression ends, and where its `with` modifiers do. Blank tokens at either end are left out.
fn expression_end(all: &[Token<'_>], begin: usize) -> (usize, usize) {
    let (mut depth, mut end, mut last) = (0_usize, None, begin);
    for (at, token) in all.iter().enumerate().skip(begin) {
        let ends_line = token.kind == Kind::Space && token.text.contains('\n');
        let ends = match token.text {
            _ if depth > 0 => false,
            ";" | "}" | "]" | ")" | "," | "|" if token.kind == Kind::Sign => true,
            "else" if token.kind == Kind::Name => true,
            _ => ends_line || token.kind == Kind::Comment,
        };
        if ends {
            break;
        }
        if depth == 0 && token.kind == Kind::Name && token.text == "with" && end.is_none() {
            end = Some(last);
        }
        depth = token.depth_after(depth);
        if !token.is_blank() {
            last = at.saturating_add(1);
        }
    }
    (end.unwrap_or(last), last)
}

/// The expression with its operands taken out; `None` where its form isn't understood.
fn rewrite(
    expression: &[Token<'_>],
    rules: &BTreeSet<&str>,
    id: usize,
    hoisted: &mut Vec<(String, String)>,
) -> Option<String> {
    let operators = operators(expression);
    if operators.is_empty() {
        return call(expression, rules, id, hoisted);
    }
    let is_equality = operators.len() == 1 && operators.first().is_some_and(|op| op.is_equality);
    let mut out = String::new();
    let mut from = 0;
    for end in operators.iter().map(|op| op.from).chain([expression.len()]) {
        let operand = expression.get(from..end)?;
        let stays = is_equality && is_reference(trimmed(operand));
        out.push_str(&operand_text(operand, rules, id, hoisted, stays));
        if let Some(operator) = operators.iter().find(|op| op.from == end) {
            out.push_str(&plain(expression.get(operator.from..operator.to)?));
            from = operator.to;
        }
    }
    Some(out)
}

struct Operator {
    from: usize,
    to: usize,
    is_equality: bool,
}

/// Infix operators outside of all brackets.
fn operators(expression: &[Token<'_>]) -> Vec<Operator> {
    let (mut all, mut depth, mut at) = (Vec::<Operator>::new(), 0_usize, 0);
    while let Some(token) = expression.get(at) {
        let next = expression.get(at.saturating_add(1)).is_some_and(|next| next.is_sign("="));
        let mut width = 1;
        if token.kind == Kind::Sign {
            depth = token.depth_after(depth);
            match token.text {
                "=" | "!" | "<" | ">" | "+" | "-" | "*" | "/" | "%" | "&" if depth == 0 => {
                    width = if next && matches!(token.text, "=" | "!" | "<" | ">") { 2 } else { 1 };
                    let to = at.saturating_add(width);
                    all.push(Operator { from: at, to, is_equality: token.text == "=" });
                }
                _ => {}
            }
        }
        if depth == 0 && token.kind == Kind::Name && token.text == "in" {
            all.push(Operator { from: at, to: at.saturating_add(1), is_equality: false });
        }
        at = at.saturating_add(width);
    }
    all
}

/// `f(a, b)` with its arguments taken out; a reference with those in its brackets.
fn call(
    expression: &[Token<'_>],
    rules: &BTreeSet<&str>,
    id: usize,
    hoisted: &mut Vec<(String, String)>,
) -> Option<String> {
    let open = expression.iter().position(|token| token.kind == Kind::Sign && matches!(token.text, "(" | "["))?;
    let is_named = expression.get(..open)?.iter().all(|token| token.kind == Kind::Name || token.is_sign("."));
    if open == 0 || !is_named {
        return None;
    }
    let mut out = plain(expression.get(..=open)?);
    let (mut depth, mut from) = (1_usize, open.saturating_add(1));
    for (at, token) in expression.iter().enumerate().skip(from) {
        let ends_argument = match (token.kind, token.text) {
            (Kind::Sign, "(" | "[" | "{") => {
                depth = depth.saturating_add(1);
                depth == 1
            }
            (Kind::Sign, ")" | "]" | "}") => {
                depth = depth.saturating_sub(1);
                depth == 0
            }
            (Kind::Sign, ",") => depth == 1,
            _ => false,
        };
        if ends_argument {
            if depth == 0 || token.text == "," {
                out.push_str(&operand_text(expression.get(from..at)?, rules, id, hoisted, false));
            } else {
                out.push_str(&plain(expression.get(from..at)?));
            }
            out.push_str(token.text);
            from = at.saturating_add(1);
        }
    }
    out.push_str(&plain(expression.get(from..)?));
    Some(out)
}

fn operand_text(
    operand: &[Token<'_>],
    rules: &BTreeSet<&str>,
    id: usize,
    hoisted: &mut Vec<(String, String)>,
    stays: bool,
) -> String {
    let inner = trimmed(operand);
    if stays || !may_be_undefined(inner, rules) {
        return plain(operand);
    }
    let name = format!("{PREFIX}{id}_{}__", hoisted.len());
    hoisted.push((name.clone(), plain(inner)));
    let blank = |tokens: Option<&[Token<'_>]>| tokens.map(plain).unwrap_or_default();
    let before = operand.iter().position(|token| !token.is_blank()).unwrap_or_default();
    let after = before.saturating_add(inner.len());
    format!("{}{name}{}", blank(operand.get(..before)), blank(operand.get(after..)))
}

fn trimmed<'a, 'b>(tokens: &'b [Token<'a>]) -> &'b [Token<'a>] {
    let from = tokens.iter().position(|token| !token.is_blank()).unwrap_or(tokens.len());
    let to = tokens.iter().rposition(|token| !token.is_blank()).map_or(from, |at| at.saturating_add(1));
    tokens.get(from..to).unwrap_or_default()
}

/// Names, points and brackets that begin with a name, without a call or an inner reference.
fn is_reference(tokens: &[Token<'_>]) -> bool {
    let starts = tokens.first().is_some_and(|token| token.kind == Kind::Name);
    starts && !tokens.iter().any(|token| token.kind == Kind::Sign && !matches!(token.text, "." | "[" | "]"))
        || tokens.len() == 1
}

/// Whether anything in it is a reference, a call or a rule; one with a wildcard is left where it is.
fn may_be_undefined(tokens: &[Token<'_>], rules: &BTreeSet<&str>) -> bool {
    if tokens.iter().any(|token| token.kind == Kind::Name && token.text == "_") {
        return false;
    }
    tokens.iter().enumerate().any(|(at, token)| {
        let follows = |sign: &str| tokens.get(at.saturating_add(1)).is_some_and(|next| next.is_sign(sign));
        let is_name = token.kind == Kind::Name && !KEYWORDS.contains(&token.text);
        let is_root = matches!(token.text, "input" | "data") || rules.contains(token.text);
        token.kind == Kind::Template || (is_name && (is_root || follows(".") || follows("[") || follows("(")))
    })
}

#[cfg(test)]
mod tests {
    use crate::policy::rego::desugar::modules;

    fn body(text: &str) -> String {
        let module = format!("package p\nf(x) := x\ng := 1\nr if {{\n\t{text}\n}}\n");
        let plain = modules(&module).remove(0).text;
        assert_eq!(plain.lines().count(), module.lines().count(), "{plain}");
        plain.lines().nth(4).unwrap().trim().to_owned()
    }

    #[test]
    fn operands_are_taken_out_and_what_stays_stays() {
        let stays = [
            "not input.m",
            "not input.m == 1",
            "not input.a.b == input.c",
            "not f(1)",
            "not f(y)",
            "not y == 1",
            "not input.xs[_] == 1",
            "nothing(input.m)",
        ];
        for text in stays {
            assert_eq!(body(text), text);
        }
        let id = |text: &str| body(text).replace(|c: char| c.is_ascii_digit(), "");
        assert_eq!(id("not f(input.m)"), "__not___ = input.m; not f(__not___)");
        assert_eq!(id("not startswith(input.m, \"x\")"), "__not___ = input.m; not startswith(__not___, \"x\")");
        assert_eq!(id("not input.m in [y]"), "__not___ = input.m; not __not___ in [y]");
        assert_eq!(id("not f(g)"), "__not___ = g; not f(__not___)");
        assert_eq!(id("not input.a[input.m]"), "__not___ = input.m; not input.a[__not___]");
        assert_eq!(
            id("not f(input.m) with input.m as 1"),
            "__not___ = input.m with input.m as ; not f(__not___) with input.m as "
        );
        assert_eq!(id("not f(input.m); y := 2"), "__not___ = input.m; not f(__not___); y := ");
    }

    #[test]
    fn a_body_without_braces_gets_them() {
        let text = "package p\nr if not f(input.m)\nf(x) := x\n";
        let plain = modules(text).remove(0).text.replace(|c: char| c.is_ascii_digit(), "");
        assert_eq!(plain.lines().nth(1).unwrap(), "r if { __not___ = input.m; not f(__not___) }");
    }
}
