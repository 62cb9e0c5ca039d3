//! An explanation for people.

use std::fmt;

use regorus::unstable::Span;

use super::{Definition, End, Explanation, Read};
use crate::policy::rego::tokens::{Kind, tokens};

/// Characters of a value or an expression on one line.
const TEXT_MAX: usize = 160;

/// The first line of a text.
pub(super) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_end().to_owned()
}

/// The text of a span as written: the engine's spans of texts leave out the quotes at either end.
pub(super) fn written(span: &Span) -> String {
    let source = span.source.get_contents();
    let at = |offset: u32| usize::try_from(offset).unwrap_or(usize::MAX);
    let (start, end) = (at(span.start), at(span.end));
    let before = start.saturating_sub(1);
    let is_quote = |text: Option<&str>| matches!(text, Some("\"" | "`"));
    let start = if is_quote(source.get(before..start)) { before } else { start };
    let text = source.get(start..end).unwrap_or_default().trim_end();
    // A blank behind a text that has no end would belong to it.
    let behind = format!("{text} ");
    let is_open = tokens(&behind).last().is_some_and(|last| last.kind != Kind::Space);
    let longer = source.get(start..end.saturating_add(1)).filter(|_| is_open);
    longer.unwrap_or(text).to_owned()
}

/// The text without line ends.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a text is how the value is written.
fn is_literal(value: &serde_json::Value, text: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text).is_ok_and(|written| written == *value)
}

fn short(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) if is_literal(value, &self.text) => f.write_str(&short(&self.text)),
            Some(value) => write!(f, "{} = {}", self.text, short(&value.to_string())),
            None => write!(f, "{} (no single value)", self.text),
        }
    }
}

impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match &self.end {
            End::Held => "held",
            End::NotReached => "not reached",
            End::Default => "by default",
            End::Unused => "default, not needed",
            End::Failed(_) => "failed",
            End::NotAsked => "could not be asked apart from its rule",
        };
        write!(f, "  {}:{}: {word}: {}", self.file, self.line, short(&self.text))?;
        if let End::Failed(failed) = &self.end {
            write!(f, "\n    at line {}: {}", failed.line, short(&failed.text))?;
        }
        Ok(())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.allowed { "allowed" } else { "refused" };
        let by = self.decided_by.as_deref().unwrap_or("nothing: the answer is undefined");
        writeln!(f, "{word} by {}, decided at {by}", self.entrypoint)?;
        if let Some(value) = &self.value {
            writeln!(f, "answer: {value}")?;
        }
        for story in &self.rules {
            let value = story.value.as_ref().map_or_else(|| "undefined".to_owned(), ToString::to_string);
            writeln!(f, "\n{} is {}", story.rule, short(&value))?;
            for definition in &story.definitions {
                writeln!(f, "{definition}")?;
            }
        }
        if !self.changes.is_empty() {
            writeln!(f, "\nTo change the answer, change what it rests on:")?;
        }
        for change in &self.changes {
            let value = match &change.member.value {
                Some(value) => format!("is {}", short(&value.to_string())),
                None => "is not there".to_owned(),
            };
            let to = change.compared_to.as_ref().map(|side| format!(", compared to {side}")).unwrap_or_default();
            writeln!(f, "  {} {value}{to}\n    {}", change.member.text, short(&change.expression))?;
        }
        Ok(())
    }
}
