//! A strict reader of RFC 8259 JSON that keeps the bytes.
//!
//! Owns the question "would every parser read this text the same way?": UTF-8, the whole grammar, no duplicate member
//! at any depth (names compared after unescaping), bounded depth, no byte-order mark, nothing after the value.
//! It builds no tree: it reports where the members of the top-level object lie, so that values can be read and
//! replaced while every other byte stays as it came. Start at [`members`].

mod names;
mod scan;
mod string;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use string::{LoneSurrogate, unescape};

/// How deep arrays and objects may nest, the top-level value included.
pub const DEPTH_MAX: usize = 128;

/// The most bytes of a JSON path that a fault quotes.
pub const PATH_BYTES_MAX: usize = 128;

/// A range of bytes, end excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte.
    pub end: usize,
}

impl Span {
    /// The bytes of `text` in this range; empty where the range lies outside.
    pub fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// The number of bytes.
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether there is no byte in the range.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The same range seen from a text that starts `offset` bytes earlier.
    pub fn shifted(self, offset: usize) -> Self {
        Self { start: self.start.saturating_add(offset), end: self.end.saturating_add(offset) }
    }
}

/// One member of the top-level object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name, unescaped. A lone surrogate is written as its three generalised UTF-8 bytes.
    pub name: Cow<'a, [u8]>,
    /// Where the value lies, without the white space around it.
    pub value: Span,
    /// From the name's opening quote to the value's end.
    pub whole: Span,
}

/// The members of the top-level object in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members<'a> {
    /// The members; names are distinct.
    pub list: Vec<Member<'a>>,
    /// Offset after the opening brace: where a new first member may be inserted.
    pub open: usize,
}

impl<'a> Members<'a> {
    /// The member of this exact name.
    pub fn get(&self, name: &str) -> Option<&Member<'a>> {
        self.list.iter().find(|member| member.name == name.as_bytes())
    }

    /// Whether the object has no member.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// Why a text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// No value at all.
    #[error("the text is empty")]
    Empty,
    /// The text starts with U+FEFF.
    #[error("a byte-order mark is not allowed")]
    ByteOrderMark,
    /// Not UTF-8.
    #[error("invalid utf-8")]
    Utf8,
    /// The text ends inside a value.
    #[error("unexpected end of the text")]
    End,
    /// A byte that cannot stand here.
    #[error("unexpected character")]
    Unexpected,
    /// A number that RFC 8259 does not know.
    #[error("malformed number")]
    Number,
    /// An unescaped control character inside a string.
    #[error("unescaped control character in a string")]
    Control,
    /// An unknown or incomplete escape.
    #[error("malformed escape in a string")]
    Escape,
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} levels")]
    Depth,
    /// The same name twice in one object.
    #[error("duplicate member")]
    Duplicate,
    /// Something follows the value.
    #[error("unexpected text after the value")]
    Trailing,
    /// The top-level value is not an object.
    #[error("the top-level value must be an object")]
    NotAnObject,
}

/// Why a text is refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {offset}{}", at_path(path))]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// Offset of the offending byte.
    pub offset: usize,
    /// Where in the value, like `messages[2].content`; empty at the top. At most [`PATH_BYTES_MAX`] bytes.
    pub path: String,
}

fn at_path(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" in `{path}`") }
}

/// Checks that `text` is one JSON value of any type.
///
/// # Errors
/// The first fault in the order of the text; invalid UTF-8 is found before anything else.
pub fn check(text: &[u8]) -> Result<(), Fault> {
    scan::scan(text).map(|_| ())
}

/// Checks `text` and gives the members of its top-level object.
///
/// # Errors
/// As [`check`], and [`FaultKind::NotAnObject`].
pub fn members(text: &[u8]) -> Result<Members<'_>, Fault> {
    scan::scan(text)?.ok_or_else(|| Fault { kind: FaultKind::NotAnObject, offset: 0, path: String::new() })
}
