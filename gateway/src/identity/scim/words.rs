//! The words of a filter.

/// Bytes of a filter.
pub(super) const FILTER_BYTES_MAX: usize = 4_096;

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    Open,
    Close,
    OpenValue,
    CloseValue,
    /// A name, an operator, or a literal without quotes.
    Plain(String),
    /// A literal in quotes, as JSON writes it.
    Quoted(String),
}

/// Splits a filter into words; `None` where a character or a quote is wrong.
pub(super) fn split(text: &str) -> Option<Vec<Word>> {
    if text.len() > FILTER_BYTES_MAX {
        return None;
    }
    let mut words = Vec::new();
    let mut rest = text.trim_start_matches(' ');
    while let Some(first) = rest.chars().next() {
        let (word, length) = match first {
            '(' => (Word::Open, 1),
            ')' => (Word::Close, 1),
            '[' => (Word::OpenValue, 1),
            ']' => (Word::CloseValue, 1),
            '"' => {
                let length = quoted(rest)?;
                (Word::Quoted(serde_json::from_str(rest.get(..length)?).ok()?), length)
            }
            _ => {
                let plain = |c: char| c.is_ascii_alphanumeric() || ":.-_$+".contains(c);
                let length = rest.find(|c| !plain(c)).unwrap_or(rest.len());
                (Word::Plain(rest.get(..length).filter(|word| !word.is_empty())?.to_owned()), length)
            }
        };
        words.push(word);
        rest = rest.get(length..)?.trim_start_matches(' ');
    }
    Some(words)
}

/// Bytes of the text in quotes that stands at the beginning.
fn quoted(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at.checked_add(1),
            _ => {}
        }
    }
    None
}
