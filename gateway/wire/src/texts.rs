//! The texts of a JSON document: its strings, each with the name under which it stands.
//!
//! For counting tokens: a prompt's text is in its strings, an event's part of the answer in one of them. One walk over
//! JSON already found valid; of invalid JSON it gives what it comes across.

use std::borrow::Cow;

use crate::json::unescape;

/// One piece of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A string that is a value, unescaped; what isn't valid Unicode is replaced.
    Text(Cow<'a, str>),
    /// A number, `true`, `false` or `null`.
    Word,
}

/// Shows every value that is a string or a word to `see`, with the name of the member that it stands under. Elements
/// of an array stand under the array's name.
pub fn visit<'a>(json: &'a [u8], mut see: impl FnMut(&'a [u8], Piece<'a>)) {
    // Names by depth: an object's member replaces the name at its depth.
    let mut names: Vec<&'a [u8]> = vec![b""];
    let mut at = 0_usize;
    while let Some(byte) = json.get(at) {
        let name = names.last().copied().unwrap_or_default();
        match byte {
            b'"' => {
                let end = string_end(json, at);
                let whole = json.get(at..end).unwrap_or_default();
                at = end;
                if is_name(json, at) {
                    let inner = whole.get(1..whole.len().saturating_sub(1)).unwrap_or_default();
                    if let Some(last) = names.last_mut() {
                        *last = inner;
                    }
                } else {
                    see(name, Piece::Text(text(whole)));
                }
                continue;
            }
            b'{' | b'[' => names.push(name),
            b'}' | b']' => drop(names.pop()),
            byte if byte.is_ascii_alphanumeric() || *byte == b'-' => {
                see(name, Piece::Word);
                while json
                    .get(at)
                    .is_some_and(|byte| !matches!(byte, b',' | b']' | b'}') && !byte.is_ascii_whitespace())
                {
                    at = at.saturating_add(1);
                }
                continue;
            }
            _ => {}
        }
        at = at.saturating_add(1);
    }
}

fn text(whole: &[u8]) -> Cow<'_, str> {
    match unescape(whole) {
        Ok(text) => text,
        Err(_) => String::from_utf8_lossy(whole),
    }
}

/// The offset after the closing quote of the string that begins at `start`.
fn string_end(json: &[u8], start: usize) -> usize {
    let mut at = start.saturating_add(1);
    while let Some(run) = memchr::memchr2(b'"', b'\\', json.get(at..).unwrap_or_default()) {
        let found = at.saturating_add(run);
        if json.get(found) == Some(&b'"') {
            return found.saturating_add(1);
        }
        at = found.saturating_add(2);
    }
    json.len()
}

fn is_name(json: &[u8], at: usize) -> bool {
    json.get(at..).unwrap_or_default().trim_ascii_start().starts_with(b":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_string_and_word_is_seen_under_its_name() {
        let json = br#"{"a":"x","b":["y",{"c":"z\u0031 \"q\"","d":-1.5e3}, "w"],"e":null,"\u0066":true,"g":"\ud800"}"#;
        let mut seen = Vec::new();
        visit(json, |name, piece| {
            let piece = match piece {
                Piece::Text(text) => text.into_owned(),
                Piece::Word => "#".to_owned(),
            };
            seen.push(format!("{}={piece}", String::from_utf8_lossy(name)));
        });
        let expected = ["a=x", "b=y", "c=z1 \"q\"", "d=#", "b=w", "e=#", "\\u0066=#", "g=\"\\ud800\""];
        assert_eq!(seen, expected);
    }

    #[test]
    fn broken_json_ends() {
        for json in ["\"", "{\"a\":\"\\", "[[[", "]]]", "{\"a\"", "-", "x\"y"] {
            visit(json.as_bytes(), |_, _| ());
        }
    }
}
