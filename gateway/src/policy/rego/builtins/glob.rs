//! `regex.globs_match`: whether two simple patterns have a text in common.
//!
//! Patterns as in the original: characters, `.`, sets `[a-z]` without negation, and after each `*` or `+`. The answer
//! comes from walking both patterns' states at once.

use std::collections::{BTreeSet, VecDeque};

use regorus::Value;

use super::{Answer, Failed, text_arg};

/// Characters of one pattern: the work is the product of both.
const PATTERN_CHARS_MAX: usize = 256;

/// One step of a pattern.
struct Step {
    /// Ranges of characters, both ends included; none: every character.
    ranges: Vec<(char, char)>,
    is_optional: bool,
    is_repeated: bool,
}

pub(super) fn globs_match(args: &[Value]) -> Answer {
    let (a, b) = (steps(text_arg(args, 0)?)?, steps(text_arg(args, 1)?)?);
    let goal = (a.len(), b.len());
    let (mut seen, mut queue) = (BTreeSet::from([(0, 0)]), VecDeque::from([(0_usize, 0_usize)]));
    while let Some((at_a, at_b)) = queue.pop_front() {
        if (at_a, at_b) == goal {
            return Ok(Value::from(true));
        }
        for next in followers(&a, &b, at_a, at_b) {
            if seen.insert(next) {
                queue.push_back(next);
            }
        }
    }
    Ok(Value::from(false))
}

/// Where both patterns may stand after one more common character, or after leaving out an optional step.
fn followers(a: &[Step], b: &[Step], at_a: usize, at_b: usize) -> Vec<(usize, usize)> {
    let (left, right) = (a.get(at_a), b.get(at_b));
    let (after_a, after_b) = (at_a.saturating_add(1), at_b.saturating_add(1));
    let mut next = Vec::new();
    if left.is_some_and(|step| step.is_optional) {
        next.push((after_a, at_b));
    }
    if right.is_some_and(|step| step.is_optional) {
        next.push((at_a, after_b));
    }
    let (Some(left), Some(right)) = (left, right) else { return next };
    if meet(left, right) {
        // A repeated step may stay where it is, as one that may be left out from then on: its twin state is `at`.
        next.push((after_a, after_b));
        if left.is_repeated {
            next.push((at_a, after_b));
        }
        if right.is_repeated {
            next.push((after_a, at_b));
        }
        if left.is_repeated && right.is_repeated {
            next.push((at_a, at_b));
        }
    }
    next
}

fn meet(a: &Step, b: &Step) -> bool {
    let overlap = |(low, high): &(char, char)| b.ranges.iter().any(|(from, to)| low <= to && from <= high);
    a.ranges.is_empty() || b.ranges.is_empty() || a.ranges.iter().any(overlap)
}

fn steps(pattern: &str) -> Result<Vec<Step>, Failed> {
    if pattern.chars().count() > PATTERN_CHARS_MAX {
        return Err(Failed::new("the pattern is too long"));
    }
    let bad = |what: &str| Failed::new(format!("input:{pattern}, {what}: the input provided is invalid"));
    let mut chars = pattern.chars().peekable();
    let mut all: Vec<Step> = Vec::new();
    while let Some(c) = chars.next() {
        let ranges = match c {
            '.' => Vec::new(),
            '[' => set(&mut chars).ok_or_else(|| bad("set without an end"))?,
            ']' => return Err(bad("set-close ']' with no preceding '['")),
            '*' | '+' => return Err(bad("flag without a token")),
            '\\' => {
                let escaped = chars.next().ok_or_else(|| bad("an escape without a character"))?;
                vec![(escaped, escaped)]
            }
            other => vec![(other, other)],
        };
        let flag = chars.next_if(|c| matches!(c, '*' | '+'));
        let step = Step { ranges, is_optional: flag == Some('*'), is_repeated: flag.is_some() };
        all.push(step);
    }
    Ok(all)
}

/// The inside of `[...]`, up to and with its end.
fn set(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Vec<(char, char)>> {
    let mut ranges = Vec::new();
    loop {
        let from = match chars.next()? {
            ']' if ranges.is_empty() => return None,
            ']' => return Some(ranges),
            '\\' => chars.next()?,
            other => other,
        };
        if chars.next_if_eq(&'-').is_none() {
            ranges.push((from, from));
            continue;
        }
        let to = match chars.next()? {
            ']' => return None,
            '\\' => chars.next()?,
            other => other,
        };
        ranges.push((from, to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_meet_where_a_text_fits_both() {
        let meets = |a: &str, b: &str| globs_match(&[Value::from(a), Value::from(b)]).ok();
        let table = [
            ("a.a.[0-9]+z", ".b.b2359825792*594823z", Some(true)),
            ("[a-z]+", "[0-9]*", Some(false)),
            ("[a-z]*", "[0-9]*", Some(true)),
            ("ab+", "abbb", Some(true)),
            ("ab+", "a", Some(false)),
            ("pqrs]", "[a-b]+", None),
            ("*", "a", None),
            ("", "", Some(true)),
        ];
        for (a, b, want) in table {
            assert_eq!(meets(a, b), want.map(Value::from), "{a} {b}");
        }
    }
}
