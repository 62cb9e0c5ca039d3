//! One layout for Rego: tabs by brackets, one space around comparisons and after commas, at most one blank line.
//!
//! Only blanks between tokens change, and never whether a line ends between two of them: so the meaning stays. What
//! it isn't sure of it leaves as it is: lines that go on without a bracket, the spelling of older Rego.

use super::rego::builtins::OnError;
use super::rego::tokens::{Kind, Token, tokens};
use super::rego::{Rego, RegoFault, fault_code};

/// Signs that are one operator of two characters.
const PAIRS: [&str; 5] = [":=", "==", "!=", "<=", ">="];
/// Operators with a space on both sides.
const SPACED: [&str; 8] = [":=", "==", "!=", "<=", ">=", "=", "<", ">"];
/// Signs after which a line goes on.
const GOES_ON: [&str; 16] = [":=", "==", "!=", "<=", ">=", "=", "<", ">", "+", "-", "*", "/", "%", "|", "&", "."];

/// The module in Weir's layout. Laid out again it stays the same.
///
/// # Errors
/// It doesn't parse, or would mean another thing when laid out, which is a fault of this module.
pub fn format(file: &str, text: &str) -> Result<String, RegoFault> {
    Rego::new(OnError::Undefined).add(file, text)?;
    let laid = layout(text);
    let is_sound =
        words(text) == words(&laid) && layout(&laid) == laid && Rego::new(OnError::Undefined).add(file, &laid).is_ok();
    match is_sound {
        true => Ok(laid),
        false => Err(RegoFault {
            code: fault_code::INTERNAL,
            file: Some(file.to_owned()),
            place: None,
            text: "the layout would change the module, so it is left alone".to_owned(),
        }),
    }
}

/// What may not change: every token, and where lines end between them.
fn words(text: &str) -> Vec<(String, bool)> {
    atoms(text).into_iter().map(|atom| (atom.text.trim_end().to_owned(), atom.lines > 0)).collect()
}

/// A token with what stood before it.
struct Atom<'a> {
    kind: Kind,
    text: &'a str,
    /// Line ends before it.
    lines: usize,
    /// Blanks before it on its line.
    blank: &'a str,
}

fn atoms(text: &str) -> Vec<Atom<'_>> {
    let mut all: Vec<Atom<'_>> = Vec::new();
    let (mut lines, mut blank) = (0, "");
    for Token { kind, text: own, start } in tokens(text) {
        if kind == Kind::Space {
            lines = own.matches('\n').count();
            blank = own.rsplit('\n').next().unwrap_or_default();
            continue;
        }
        let pair = all.last().filter(|last| {
            lines == 0 && blank.is_empty() && kind == Kind::Sign && last.kind == Kind::Sign && last.text.len() == 1
        });
        let both = pair.and_then(|_| text.get(start.saturating_sub(1)..start.saturating_add(own.len())));
        match (all.last_mut(), both.filter(|both| PAIRS.contains(both))) {
            (Some(last), Some(both)) => last.text = both,
            (Some(_) | None, _) => all.push(Atom { kind, text: own, lines, blank }),
        }
        (lines, blank) = (0, "");
    }
    if let Some(first) = all.first_mut() {
        first.lines = 0;
    }
    all
}

fn layout(text: &str) -> String {
    let all = atoms(text);
    let mut out = String::with_capacity(text.len());
    // For each bracket that is open, the line where it opened: brackets of one line indent once.
    let mut open: Vec<usize> = Vec::new();
    let (mut line, mut before): (usize, Option<&Atom<'_>>) = (0, None);
    for (at, atom) in all.iter().enumerate() {
        match before {
            Some(last) if atom.lines > 0 => {
                let is_tight = opens(last) || closes(atom) || atom.lines == 1;
                out.push_str(if is_tight { "\n" } else { "\n\n" });
                line = line.saturating_add(1);
                let closing = all.get(at..).unwrap_or_default();
                let closing = closing.iter().enumerate().take_while(|(n, a)| closes(a) && (*n == 0 || a.lines == 0));
                out.push_str(&indent(&open, closing.count(), last, atom));
            }
            Some(last) => out.push_str(if spaced(last, atom) { " " } else { "" }),
            None => {}
        }
        if opens(atom) {
            open.push(line);
        } else if closes(atom) {
            open.pop();
        }
        out.push_str(if atom.kind == Kind::Comment { atom.text.trim_end() } else { atom.text });
        before = Some(atom);
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

fn indent(open: &[usize], closing: usize, last: &Atom<'_>, atom: &Atom<'_>) -> String {
    if open.is_empty() {
        // It may go on from the line before: its author's indent stays.
        return if atom.kind == Kind::Comment { String::new() } else { atom.blank.to_owned() };
    }
    let mut lines = open.get(..open.len().saturating_sub(closing)).unwrap_or_default().to_vec();
    lines.dedup();
    let goes_on = last.kind == Kind::Sign && GOES_ON.contains(&last.text) && atom.kind != Kind::Comment;
    "\t".repeat(lines.len().saturating_add(usize::from(goes_on)))
}

fn spaced(last: &Atom<'_>, atom: &Atom<'_>) -> bool {
    let is = |atom: &Atom<'_>, signs: &[&str]| atom.kind == Kind::Sign && signs.contains(&atom.text);
    if atom.kind == Kind::Comment || is(last, &[","]) {
        return !is(atom, &[")", "]"]);
    }
    if is(atom, &[",", ":", ")", "]"]) || is(last, &["(", "["]) {
        return false;
    }
    is(last, &SPACED) || is(atom, &SPACED) || is(last, &[":"]) || !atom.blank.is_empty()
}

fn opens(atom: &Atom<'_>) -> bool {
    atom.kind == Kind::Sign && matches!(atom.text, "(" | "[" | "{")
}

fn closes(atom: &Atom<'_>) -> bool {
    atom.kind == Kind::Sign && matches!(atom.text, ")" | "]" | "}")
}

/// The lines that differ between a text and its layout: `-12: as it is`, `+ as it would be`.
pub fn difference(text: &str, laid: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut new = laid.lines().peekable();
    for (number, old) in (1_usize..).zip(text.lines()) {
        let is_dropped = old.trim().is_empty() && new.peek().is_none_or(|next| !next.is_empty());
        match new.peek() {
            _ if is_dropped => all.push(format!("-{number}: {old}")),
            Some(next) if *next == old => drop(new.next()),
            Some(_) => {
                all.push(format!("-{number}: {old}"));
                all.extend(new.next().map(|next| format!("+{number}: {next}")));
            }
            None => all.push(format!("-{number}: {old}")),
        }
    }
    all.extend(new.map(|next| format!("+ {next}")));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_become_the_layouts_and_nothing_else_changes() {
        let text = "\n\npackage p   # of p  \n\n\n\nallow   if{\n  input.x==1;  input.y>=2\n\n      f( 1 ,2)\n    x:= {\"a\":1 ,\n \"b\" : [ 1,2 ]}\n  # why\n  y := `a\n   b`\n}\n\n\n";
        let want = "package p # of p\n\nallow if{\n\tinput.x == 1; input.y >= 2\n\n\tf(1, 2)\n\tx := {\"a\": 1,\n\t\t\"b\": [1, 2]}\n\t# why\n\ty := `a\n   b`\n}\n";
        assert_eq!(format("p.rego", text).unwrap(), want);
        assert_eq!(format("p.rego", want).unwrap(), want);
        let told = difference("a  b\n\n\nc\n", "a b\n\nc\n");
        assert_eq!(told, ["-1: a  b", "+1: a b", "-3: "]);
    }

    #[test]
    fn brackets_of_one_line_indent_once_and_lines_that_go_on_are_left() {
        let text = "package p\n\np := f([{\n\"a\": 1,\n}])\n\nf(x) := x\n\nq := 1 +\n   2\n\nr := (1 +\n2)\n";
        let want = "package p\n\np := f([{\n\t\"a\": 1,\n}])\n\nf(x) := x\n\nq := 1 +\n   2\n\nr := (1 +\n\t\t2)\n";
        assert_eq!(format("p.rego", text).unwrap(), want);
    }

    #[test]
    fn what_does_not_parse_is_a_fault() {
        assert_eq!(format("p.rego", "package p\np := {").unwrap_err().code, fault_code::PARSE);
    }

    #[test]
    fn the_shipped_policies_are_laid_out() {
        for (file, text) in crate::policy::source::shipped("data.weir.abac.decision") {
            let laid = format(file, text).unwrap();
            assert_eq!(difference(text, &laid), [""; 0], "{file}");
        }
    }
}
