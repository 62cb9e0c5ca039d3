//! The paths that a Rust file names, with `use` trees spread out: `use std::{fs, net::TcpStream}` names two.

use super::source::{Source, is_word};

/// A path such as `std::fs::read`, and the line where its last part stands.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    pub path: String,
    pub line: usize,
    pub is_test: bool,
}

impl Named {
    /// Whether the path is `prefix` or lies below it.
    pub fn is_below(&self, prefix: &str) -> bool {
        self.path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }

    /// Whether the path ends with these whole parts.
    pub fn ends_with(&self, tail: &str) -> bool {
        self.path.strip_suffix(tail).is_some_and(|rest| rest.is_empty() || rest.ends_with("::"))
    }
}

#[derive(Debug, PartialEq)]
enum Part {
    Word(String),
    Mark(char),
    Joint,
}

struct Token {
    part: Part,
    line: usize,
    is_test: bool,
}

/// Every path in the file's code.
pub fn named(source: &Source) -> Vec<Named> {
    let tokens = tokens(source);
    let mut rest = tokens.as_slice();
    let mut found = Vec::new();
    while let Some((token, after)) = rest.split_first() {
        rest = match &token.part {
            Part::Word(word) if word == "use" => spread(after, String::new(), &mut found),
            Part::Word(_) => straight(rest, &mut found),
            Part::Mark(_) | Part::Joint => after,
        };
    }
    found
}

/// A path in an expression: words with joints between them.
fn straight<'a>(mut rest: &'a [Token], found: &mut Vec<Named>) -> &'a [Token] {
    let mut path = String::new();
    while let Some((token, after)) = rest.split_first() {
        let Part::Word(word) = &token.part else { break };
        path.push_str(word);
        rest = after;
        let joined =
            matches!(after, [joint, next, ..] if joint.part == Part::Joint && matches!(next.part, Part::Word(_)));
        if !joined {
            found.push(Named { path, line: token.line, is_test: token.is_test });
            break;
        }
        path.push_str("::");
        rest = after.get(1..).unwrap_or_default();
    }
    rest
}

/// A `use` tree up to its semicolon; a stack holds what stands before each open brace.
fn spread<'a>(mut rest: &'a [Token], start: String, found: &mut Vec<Named>) -> &'a [Token] {
    let mut bases = vec![start.clone()];
    let mut path = start;
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        let base = bases.last().cloned().unwrap_or_default();
        match &token.part {
            Part::Joint if !path.is_empty() => path.push_str("::"),
            Part::Joint => {}
            Part::Mark('{') => bases.push(path.clone()),
            Part::Mark('}') => {
                bases.pop();
                path.clear();
            }
            Part::Mark(',') => path = base,
            Part::Mark(';') => break,
            Part::Mark(_) => {}
            Part::Word(word) if word == "as" => rest = after.get(1..).unwrap_or_default(),
            Part::Word(word) => {
                path = if word == "self" { path.trim_end_matches("::").into() } else { format!("{path}{word}") };
                let ends = !matches!(after, [joint, ..] if joint.part == Part::Joint);
                if ends || matches!(after, [_, star, ..] if star.part == Part::Mark('*')) {
                    found.push(Named { path: path.clone(), line: token.line, is_test: token.is_test });
                }
            }
        }
    }
    rest
}

fn tokens(source: &Source) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (number, line) in source.numbered() {
        let mut rest = line.code.as_str();
        while let Some(first) = rest.chars().next() {
            let width = match first {
                c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                _ if rest.starts_with("::") => 2,
                c => c.len_utf8(),
            };
            let (text, after) = rest.split_at(width);
            rest = after;
            let part = match first {
                c if is_word(c) => Part::Word(text.into()),
                c if c.is_whitespace() => continue,
                _ if text == "::" => Part::Joint,
                c => Part::Mark(c),
            };
            tokens.push(Token { part, line: number, is_test: line.is_test });
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        named(&Source::new("a.rs", text))
            .into_iter()
            .map(|named| named.path)
            .filter(|path| path.contains("::"))
            .collect()
    }

    #[test]
    fn use_trees_are_spread_out() {
        let cases: [(&str, &[&str]); 6] = [
            ("use std::fs;", &["std::fs"]),
            (
                "use std::{fs, net::{TcpStream, UdpSocket as U}, sync::Arc};",
                &["std::fs", "std::net::TcpStream", "std::net::UdpSocket", "std::sync::Arc"],
            ),
            ("use tokio::sync::{self, mpsc::*};", &["tokio::sync", "tokio::sync::mpsc"]),
            ("pub use a::b::C as D; fn f() {}", &["a::b::C"]),
            ("let x = std::time::Instant::now();", &["std::time::Instant::now"]),
            ("let x = Vec::<u8>::new(); a::b(c::d)", &["a::b", "c::d"]),
        ];
        for (text, want) in cases {
            assert_eq!(paths(text), want, "{text}");
        }
    }

    #[test]
    fn prefixes_and_tails_match_whole_parts() {
        let named = Named { path: "tokio::time::Instant::now".into(), line: 1, is_test: false };
        assert!(named.is_below("tokio") && named.is_below("tokio::time"));
        assert!(!named.is_below("tok"));
        assert!(named.ends_with("Instant::now"));
        assert!(!named.ends_with("stant::now"));
    }
}
