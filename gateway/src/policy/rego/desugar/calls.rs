//! Calls in forms that the engine doesn't know, in those that it does.

use super::{KEYWORDS, query};
use crate::policy::rego::builtins;
use crate::policy::rego::tokens::{Kind, Token, tokens};

/// `walk(x, [path, value])` for `[path, value] := walk(x)`, which the engine was found to answer with nothing.
pub(super) fn walk_pattern(all: &[Token<'_>], at: usize) -> Option<(usize, String)> {
    let sign = |at: usize, text: &str| all.get(at).is_some_and(|token| token.is_sign(text));
    let skip = |from: usize| (from..all.len()).find(|at| all.get(*at).is_some_and(|t| t.kind != Kind::Space));
    let is_name = all.get(at)?.kind == Kind::Name && !KEYWORDS.contains(&all.get(at)?.text);
    let after_pattern = match (is_name, sign(at, "[")) {
        (true, _) => at.saturating_add(1),
        (_, true) => group_end(all, at)?,
        _ => return None,
    };
    let equals = skip(after_pattern)?;
    let equals = if sign(equals, ":") { equals.saturating_add(1) } else { equals };
    let walk = skip(equals.saturating_add(1)).filter(|_| sign(equals, "="))?;
    let open = walk.saturating_add(1);
    if all.get(walk)?.text != "walk" || !sign(open, "(") {
        return None;
    }
    let end = group_end(all, open)?;
    let text = |from: usize, to: usize| all.get(from..to).map(|part| part.iter().map(|t| t.text).collect::<String>());
    let pattern = query(&text(at, after_pattern)?);
    let inside = query(&text(open.saturating_add(1), end.checked_sub(1)?)?);
    let is_single = !tokens(&inside)
        .iter()
        .scan(0_usize, |depth, token| {
            *depth = token.depth_after(*depth);
            Some(*depth == 0 && token.is_sign(","))
        })
        .any(|is_comma| is_comma);
    is_single.then(|| (end, format!("walk({inside}, {pattern})")))
}

/// Behind the bracket that closes the one at `open`.
fn group_end(all: &[Token<'_>], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (place, token) in all.iter().enumerate().skip(open).filter(|(_, token)| token.kind == Kind::Sign) {
        depth = token.depth_after(depth);
        if depth == 0 {
            return Some(place.saturating_add(1));
        }
    }
    None
}

/// `x = f(a)` for `f(a, x)`, where `f` is one of Weir's builtins: the engine knows that form of its own only. The end
/// of the call comes with it.
pub(super) fn out_call(all: &[Token<'_>], at: usize) -> Option<(usize, String)> {
    let is_start = all.get(at)?.kind == Kind::Name
        && !at.checked_sub(1).and_then(|at| all.get(at)).is_some_and(|t| t.is_sign("."));
    if !is_start {
        return None;
    }
    let open = (at..all.len()).find(|at| !all.get(*at).is_some_and(|t| t.kind == Kind::Name || t.is_sign(".")))?;
    let name: String = all.get(at..open)?.iter().map(|token| token.text).collect();
    let arity = builtins::arity(&name)?;
    all.get(open).filter(|token| token.is_sign("("))?;
    let (mut depth, mut commas, mut close) = (0_usize, Vec::new(), None);
    for (place, token) in all.iter().enumerate().skip(open) {
        depth = token.depth_after(depth);
        if depth == 1 && token.is_sign(",") {
            commas.push(place);
        }
        if depth == 0 {
            close = Some(place);
            break;
        }
    }
    let close = close?;
    let text = |from: usize, to: usize| all.get(from..to).map(|part| part.iter().map(|t| t.text).collect::<String>());
    // A comma behind the last argument begins no other.
    let trailing =
        commas.last().filter(|comma| text(comma.saturating_add(1), close).is_some_and(|rest| rest.trim().is_empty()));
    let end = trailing.copied().unwrap_or(close);
    let last_comma = *commas.iter().rfind(|comma| **comma < end)?;
    if commas.iter().filter(|comma| **comma < end).count() != usize::from(arity) {
        return None;
    }
    let (args, out) = (text(open.saturating_add(1), last_comma)?, text(last_comma.saturating_add(1), end)?);
    let lines = "\n".repeat(out.matches('\n').count());
    let tail = text(end, close).unwrap_or_default().replace(',', "");
    let out = out.split_whitespace().collect::<Vec<_>>().join(" ");
    Some((close.saturating_add(1), format!("{} = {name}({}{lines}{tail})", query(&out), query(&args))))
}
