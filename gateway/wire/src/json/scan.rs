//! One walk over the text, with its own bounded stack instead of recursion.

use std::borrow::Cow;

use super::names::{Names, Seen};
use super::string::{close, unescape_bytes};
use super::{DEPTH_MAX, Fault, FaultKind, Member, Members, PATH_BYTES_MAX, Span};

/// One open array or object.
struct Frame<'a> {
    /// The names seen, in an object.
    seen: Option<Seen<'a>>,
    /// The name of the current member between its quotes, in an object.
    name: Span,
    /// The number of elements before the current one, in an array.
    index: usize,
}

/// What may come next.
enum Next {
    Value,
    Name,
    /// A comma or a closing bracket.
    After,
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    frames: Vec<Frame<'a>>,
    names: Names<'a>,
    members: Option<Members<'a>>,
}

/// Checks the whole text; gives the members where the top-level value is an object.
pub(super) fn scan(text: &[u8]) -> Result<Option<Members<'_>>, Fault> {
    let fault = |kind, offset| Fault { kind, offset, path: String::new() };
    if text.starts_with(b"\xef\xbb\xbf") {
        return Err(fault(FaultKind::ByteOrderMark, 0));
    }
    if let Err(error) = std::str::from_utf8(text) {
        return Err(fault(FaultKind::Utf8, error.valid_up_to()));
    }
    let mut scanner = Scanner { text, at: 0, frames: Vec::with_capacity(8), names: Names::new(), members: None };
    match scanner.document() {
        Ok(()) => Ok(scanner.members),
        Err((kind, offset)) => Err(Fault { kind, offset, path: scanner.path() }),
    }
}

type Step<T> = Result<T, (FaultKind, usize)>;

impl<'a> Scanner<'a> {
    fn document(&mut self) -> Step<()> {
        self.skip_space();
        if self.at >= self.text.len() {
            return Err((FaultKind::Empty, self.at));
        }
        let mut next = Next::Value;
        loop {
            next = match next {
                Next::Value => self.value()?,
                Next::Name => self.name()?,
                Next::After if self.frames.is_empty() => break,
                Next::After => self.after()?,
            };
        }
        self.skip_space();
        if self.at < self.text.len() { Err((FaultKind::Trailing, self.at)) } else { Ok(()) }
    }

    fn value(&mut self) -> Step<Next> {
        match self.peek() {
            Some(b'{') => self.open_object(),
            Some(b'[') => self.open_array(),
            Some(b'"') => {
                let (end, _) = close(self.text, self.at.saturating_add(1))?;
                self.at = end.saturating_add(1);
                Ok(Next::After)
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(_) => Err((FaultKind::Unexpected, self.at)),
            None => Err((FaultKind::End, self.at)),
        }
    }

    fn open_object(&mut self) -> Step<Next> {
        let seen = self.names.open();
        self.push(Some(seen))?;
        if self.frames.len() == 1 {
            self.members = Some(Members { list: Vec::with_capacity(16), open: self.at });
        }
        self.skip_space();
        if self.peek() == Some(b'}') { self.close_frame() } else { Ok(Next::Name) }
    }

    fn open_array(&mut self) -> Step<Next> {
        self.push(None)?;
        self.skip_space();
        if self.peek() == Some(b']') { self.close_frame() } else { Ok(Next::Value) }
    }

    fn push(&mut self, seen: Option<Seen<'a>>) -> Step<()> {
        if self.frames.len() >= DEPTH_MAX {
            return Err((FaultKind::Depth, self.at));
        }
        self.frames.push(Frame { seen, name: Span::default(), index: 0 });
        self.at = self.at.saturating_add(1);
        Ok(())
    }

    fn close_frame(&mut self) -> Step<Next> {
        if let Some(Frame { seen: Some(seen), .. }) = self.frames.pop() {
            self.names.close(&seen);
        }
        self.at = self.at.saturating_add(1);
        Ok(Next::After)
    }

    fn name(&mut self) -> Step<Next> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => {}
            Some(_) => return Err((FaultKind::Unexpected, start)),
            None => return Err((FaultKind::End, start)),
        }
        let inner = start.saturating_add(1);
        let (end, escaped) = close(self.text, inner)?;
        let span = Span { start: inner, end };
        let name = if escaped { unescape_bytes(span.of(self.text)) } else { Cow::Borrowed(span.of(self.text)) };
        self.at = end.saturating_add(1);
        self.add_name(name, span)?;
        self.skip_space();
        self.expect(b':')?;
        self.skip_space();
        if self.frames.len() == 1 {
            self.note_value_start();
        }
        Ok(Next::Value)
    }

    fn add_name(&mut self, name: Cow<'a, [u8]>, span: Span) -> Step<()> {
        let start = span.start.saturating_sub(1);
        let top = self.frames.len() == 1;
        let Some(frame) = self.frames.last_mut() else {
            return Ok(());
        };
        frame.name = span;
        if top && let Some(members) = &mut self.members {
            let whole = Span { start, end: start };
            members.list.push(Member { name: name.clone(), value: Span::default(), whole });
        }
        let is_new = frame.seen.as_mut().is_none_or(|seen| self.names.add(seen, name));
        if is_new { Ok(()) } else { Err((FaultKind::Duplicate, start)) }
    }

    fn note_value_start(&mut self) {
        if let Some(member) = self.members.as_mut().and_then(|members| members.list.last_mut()) {
            member.value.start = self.at;
        }
    }

    fn note_value_end(&mut self) {
        if let Some(member) = self.members.as_mut().and_then(|members| members.list.last_mut()) {
            member.value.end = self.at;
            member.whole.end = self.at;
        }
    }

    fn after(&mut self) -> Step<Next> {
        if self.frames.len() == 1 {
            self.note_value_end();
        }
        self.skip_space();
        let in_object = self.frames.last().is_some_and(|frame| frame.seen.is_some());
        match (self.peek(), in_object) {
            (Some(b','), true) => {
                self.at = self.at.saturating_add(1);
                self.skip_space();
                Ok(Next::Name)
            }
            (Some(b','), false) => {
                if let Some(frame) = self.frames.last_mut() {
                    frame.index = frame.index.saturating_add(1);
                }
                self.at = self.at.saturating_add(1);
                self.skip_space();
                Ok(Next::Value)
            }
            (Some(b'}'), true) | (Some(b']'), false) => self.close_frame(),
            (Some(_), _) => Err((FaultKind::Unexpected, self.at)),
            (None, _) => Err((FaultKind::End, self.at)),
        }
    }

    fn number(&mut self) -> Step<Next> {
        if self.peek() == Some(b'-') {
            self.at = self.at.saturating_add(1);
        }
        if self.peek() == Some(b'0') {
            self.at = self.at.saturating_add(1);
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at = self.at.saturating_add(1);
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at = self.at.saturating_add(1);
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at = self.at.saturating_add(1);
            }
            self.digits()?;
        }
        match self.peek() {
            Some(b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-') => Err((FaultKind::Number, self.at)),
            _ => Ok(Next::After),
        }
    }

    /// At least one digit.
    fn digits(&mut self) -> Step<()> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err((if rest.is_empty() { FaultKind::End } else { FaultKind::Number }, self.at));
        }
        self.at = self.at.saturating_add(count);
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Step<Next> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            let cut = word.starts_with(rest);
            return Err(if cut { (FaultKind::End, self.text.len()) } else { (FaultKind::Unexpected, self.at) });
        }
        self.at = self.at.saturating_add(word.len());
        Ok(Next::After)
    }

    fn expect(&mut self, byte: u8) -> Step<()> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at = self.at.saturating_add(1);
                Ok(())
            }
            Some(_) => Err((FaultKind::Unexpected, self.at)),
            None => Err((FaultKind::End, self.at)),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at = self.at.saturating_add(1);
        }
    }

    /// Where the scanner stands, for a fault; built only then.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.frames {
            if frame.seen.is_some() {
                if !frame.name.is_empty() {
                    let dot = if path.is_empty() { "" } else { "." };
                    path.push_str(dot);
                    path.push_str(&String::from_utf8_lossy(frame.name.of(self.text)));
                }
            } else {
                path.push_str(&format!("[{}]", frame.index));
            }
            if path.len() > PATH_BYTES_MAX {
                break;
            }
        }
        path.truncate(path.floor_char_boundary(PATH_BYTES_MAX));
        path
    }
}
