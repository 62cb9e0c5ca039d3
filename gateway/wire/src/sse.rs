//! Server-sent events: bytes in, events out.
//!
//! Owns the reading of a stream that arrives in pieces cut anywhere, and the writing of single events. A line ends at
//! LF, CR or CRLF and at nothing else: U+0085 and U+2028 are data. Every event keeps the bytes it came in, so that it
//! can be passed on untouched. Comments outside an event are events of their own and come out at once. Refuses events
//! larger than a stated bound. Each byte is looked at once. Start at [`SseDecoder`].

mod line;
#[cfg(test)]
mod tests;

use bytes::{Buf, Bytes, BytesMut};

use line::{Ending, Field};

/// The largest event, unless the caller says otherwise: 16 MiB with some room for its dress.
pub const EVENT_BYTES_MAX: usize = (16 << 20) + (64 << 10);
/// The most `data` lines in one event.
pub const EVENT_LINES_MAX: usize = 65_536;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Why a stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseFault {
    /// An event grew past the bound.
    #[error("the event is larger than {bytes_max} bytes")]
    TooLarge {
        /// The bound.
        bytes_max: usize,
    },
    /// An event has too many lines.
    #[error("the event has more than {EVENT_LINES_MAX} data lines")]
    TooManyLines,
}

/// One event, comment or lone blank line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Exactly what was received, the ending included. The concatenation over all events is the stream, but for a
    /// byte-order mark at its start.
    pub raw: Bytes,
    /// The payload: the `data` lines joined by LF. None for comments, blank lines and events without data, which a
    /// reader ignores.
    pub data: Option<Bytes>,
    /// The value of the `event` field.
    pub name: Option<Bytes>,
}

impl Event {
    /// Whether the event says nothing to a reader, like a comment sent to keep the connection open.
    pub fn is_keepalive(&self) -> bool {
        self.data.is_none()
    }

    /// Whether the event ends an OpenAI stream.
    pub fn is_done(&self) -> bool {
        self.data.as_deref().is_some_and(|data| data.trim_ascii() == b"[DONE]")
    }
}

/// Reads a stream piece by piece.
#[derive(Debug)]
pub struct SseDecoder {
    /// What was received and not yet given out.
    buffer: BytesMut,
    /// Where the current line starts in `buffer`.
    line_start: usize,
    /// How much of `buffer` holds no line ending.
    scanned: usize,
    /// The `data` lines of the current event, as offsets in `buffer`.
    data: Vec<(usize, usize)>,
    /// The value of its `event` field.
    name: Option<(usize, usize)>,
    /// Whether the current event has any line yet.
    started: bool,
    /// Whether the last line ended in a CR alone.
    bare_cr: bool,
    /// Whether the place where a byte-order mark may stand is past.
    bom_past: bool,
    bytes_max: usize,
}

impl Default for SseDecoder {
    fn default() -> Self {
        Self::new(EVENT_BYTES_MAX)
    }
}

impl SseDecoder {
    /// A decoder that refuses events of more than `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            line_start: 0,
            scanned: 0,
            data: Vec::new(),
            name: None,
            started: false,
            bare_cr: false,
            bom_past: false,
            bytes_max,
        }
    }

    /// Adds bytes. Call [`SseDecoder::next_event`] until it gives None before adding more: only then is the memory
    /// held bounded by the event's limit and one piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
        if !self.bom_past {
            self.skip_bom();
        }
    }

    /// The bytes held of an event that is not complete.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Whether the stream stands between two events, where a comment may be put in.
    pub fn is_between_events(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next complete event.
    ///
    /// # Errors
    /// The event is over a bound. The stream cannot be read on: every later call gives the fault again.
    pub fn next_event(&mut self) -> Result<Option<Event>, SseFault> {
        if !self.bom_past {
            return Ok(None);
        }
        while let Some((content, after)) = self.next_line() {
            if after > self.bytes_max {
                return Err(SseFault::TooLarge { bytes_max: self.bytes_max });
            }
            if self.data.len() > EVENT_LINES_MAX {
                return Err(SseFault::TooManyLines);
            }
            let start = self.line_start;
            self.line_start = after;
            self.scanned = after;
            let line = self.buffer.get(start..content).unwrap_or_default();
            let ends_event = line.is_empty() || (!self.started && line.starts_with(b":"));
            if ends_event {
                return Ok(Some(self.take(after)));
            }
            self.started = true;
            self.note_field(start, content);
        }
        if self.buffer.len() > self.bytes_max {
            return Err(SseFault::TooLarge { bytes_max: self.bytes_max });
        }
        Ok(None)
    }

    /// What is left when the stream has ended: an event without its closing blank line, which may be cut anywhere.
    /// Pass it on only where its data is whole, and with a blank line after it.
    pub fn finish(mut self) -> Option<Event> {
        if self.buffer.is_empty() {
            return None;
        }
        let end = self.buffer.len();
        if self.line_start < end {
            let rest = self.buffer.get(self.line_start..).unwrap_or_default();
            let content = rest.strip_suffix(b"\r").map_or(end, |cut| self.line_start.saturating_add(cut.len()));
            self.note_field(self.line_start, content);
        }
        Some(self.take(end))
    }

    /// The current line's end without and with its ending; None where the line is not complete.
    fn next_line(&mut self) -> Option<(usize, usize)> {
        let rest = self.buffer.get(self.scanned..).unwrap_or_default();
        let Some(found) = memchr::memchr2(b'\n', b'\r', rest) else {
            self.scanned = self.buffer.len();
            return None;
        };
        let at = self.scanned.saturating_add(found);
        let line = self.buffer.get(self.line_start..at).unwrap_or_default();
        // INVARIANT: what comes out does not depend on where the stream was cut. A line that lets an event out does
        // not wait for the byte after its CR where lines end in CR alone; it then never takes an LF along either.
        let lets_out = line.is_empty() || (!self.started && line.starts_with(b":"));
        let ending = line::ending(&self.buffer, at, lets_out && self.bare_cr);
        let len = match ending {
            Ending::Unknown => {
                self.scanned = at;
                return None;
            }
            Ending::Lf => 1,
            Ending::Cr => 1,
            Ending::CrLf => 2,
        };
        self.bare_cr = ending == Ending::Cr;
        Some((at, at.saturating_add(len)))
    }

    fn note_field(&mut self, start: usize, end: usize) {
        let line = self.buffer.get(start..end).unwrap_or_default();
        let (field, value) = line::split(line);
        let place = (end.saturating_sub(value.len()), end);
        match field {
            Field::Data => self.data.push(place),
            Field::Event => self.name = Some(place),
            Field::Other => {}
        }
    }

    /// Gives out the first `len` bytes as one event and starts anew.
    fn take(&mut self, len: usize) -> Event {
        let raw = self.buffer.split_to(len).freeze();
        let part =
            |(start, end): (usize, usize)| raw.get(start..end).map(|part| raw.slice_ref(part)).unwrap_or_default();
        let data = match self.data.as_slice() {
            [] => None,
            [one] => Some(part(*one)),
            many => {
                let lines: Vec<&[u8]> =
                    many.iter().map(|(start, end)| raw.get(*start..*end).unwrap_or_default()).collect();
                Some(Bytes::from(lines.join(&b'\n')))
            }
        };
        let name = self.name.take().map(part);
        self.data.clear();
        self.started = false;
        self.line_start = 0;
        self.scanned = 0;
        Event { raw, data, name }
    }

    fn skip_bom(&mut self) {
        if self.buffer.starts_with(BOM) {
            self.buffer.advance(BOM.len());
        } else if BOM.starts_with(&self.buffer) {
            return;
        }
        self.bom_past = true;
    }
}

/// One event as bytes: its name where it has one, a `data` line for each line of `data`, and a blank line.
pub fn encode_event(name: Option<&str>, data: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(data.len().saturating_add(64));
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        out.extend(name.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')));
        out.push(b'\n');
    }
    let mut rest = data;
    loop {
        out.extend_from_slice(b"data: ");
        let Some(end) = memchr::memchr2(b'\n', b'\r', rest) else {
            out.extend_from_slice(rest);
            out.extend_from_slice(b"\n\n");
            return Bytes::from(out);
        };
        out.extend_from_slice(rest.get(..end).unwrap_or_default());
        out.push(b'\n');
        let ending = if rest.get(end..).unwrap_or_default().starts_with(b"\r\n") { 2 } else { 1 };
        rest = rest.get(end.saturating_add(ending)..).unwrap_or_default();
    }
}

/// A comment as bytes, which readers ignore and intermediaries take for a sign of life.
pub fn encode_comment(text: &str) -> Bytes {
    let line: String = text.chars().filter(|letter| !matches!(letter, '\n' | '\r')).collect();
    Bytes::from(format!(": {line}\n\n"))
}
