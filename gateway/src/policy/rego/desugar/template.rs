//! Texts with expressions inside, as calls.

use super::is_keyword;
use crate::policy::rego::tokens::{Kind, tokens};

/// The extension that prints a template's expressions.
pub const TEMPLATE_TEXT: &str = "weir.template_text";
/// Templates within templates; a deeper one is left for the parser to refuse.
const NESTING_MAX: usize = 32;

/// `concat("", ["a ", weir.template_text({t | t := (x)}), ...])` for `$"a {x}..."`; `None` where it isn't well-formed.
pub(super) fn template(text: &str, depth: usize) -> Option<String> {
    let quote = text.chars().nth(1)?;
    let inside = text.get(2..)?.strip_suffix(quote)?;
    if depth > NESTING_MAX {
        return None;
    }
    let mut parts: Vec<String> = Vec::new();
    let mut rest = inside;
    loop {
        let open = expression_at(rest)?;
        let (fixed, tail) = rest.split_at_checked(open.unwrap_or(rest.len()))?;
        if !fixed.is_empty() {
            parts.push(literal(fixed, quote)?);
        }
        let Some(tail) = tail.strip_prefix('{') else { break };
        let end = closing(tail)?;
        let (expression, tail) = tail.split_at_checked(end)?;
        parts.push(printed(expression, depth)?);
        rest = tail.strip_prefix('}')?;
    }
    match parts.len() {
        0 => Some("\"\"".to_owned()),
        _ => Some(format!("concat(\"\", [{}])", parts.join(", "))),
    }
}

/// Offset of the next `{` that no `\` stands before; outer `None` after a lone `\`.
fn expression_at(rest: &str) -> Option<Option<usize>> {
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()?),
            '{' => return Some(Some(at)),
            _ => {}
        }
    }
    Some(None)
}

/// Offset of the `}` that ends an expression.
fn closing(tail: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for token in tokens(tail) {
        if token.is_sign("{") {
            depth = depth.saturating_add(1);
        } else if token.is_sign("}") {
            match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return Some(token.start),
            }
        }
    }
    None
}

/// Fixed text as a text in double quotes; the lines that it spans follow it.
fn literal(fixed: &str, quote: char) -> Option<String> {
    let text = match quote {
        '"' => format!("\"{}\"", fixed.replace("\\{", "{")),
        _ => serde_json::to_string(&fixed.replace("\\{", "{")).ok()?,
    };
    let lines = "\n".repeat(fixed.matches('\n').count());
    Some(format!("{text}{lines}"))
}

/// An expression's text, `<undefined>` where it has no value: a comprehension's set is empty then.
fn printed(expression: &str, depth: usize) -> Option<String> {
    let mut plain = String::new();
    let all = tokens(expression);
    for (at, token) in all.iter().enumerate() {
        match token.kind {
            Kind::Template => plain.push_str(&template(token.text, depth.saturating_add(1))?),
            _ if token.is_sign(".") && all.get(at.saturating_add(1)).is_some_and(is_keyword) => {}
            Kind::Name
                if is_keyword(token)
                    && at.checked_sub(1).and_then(|at| all.get(at)).is_some_and(|t| t.is_sign(".")) =>
            {
                plain.push_str(&format!("[\"{}\"]", token.text));
            }
            Kind::Space | Kind::Comment | Kind::Name | Kind::Number | Kind::Text | Kind::Raw | Kind::Sign => {
                plain.push_str(token.text);
            }
        }
    }
    let has_with = all.iter().any(|token| token.kind == Kind::Name && token.text == "with");
    let name = format!("__text{depth}__");
    match has_with {
        true => Some(format!("{TEMPLATE_TEXT}({{{name} | {name} := {plain}}})")),
        false => Some(format!("{TEMPLATE_TEXT}({{{name} | {name} := ({plain})}})")),
    }
}
