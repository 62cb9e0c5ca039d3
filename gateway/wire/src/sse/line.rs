//! One line of an event stream: how it ends and what it says.

/// How a line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Lf,
    Cr,
    CrLf,
    /// A CR is the last byte received: an LF that belongs to it may follow.
    Unknown,
}

/// How the line ends whose ending starts at `at`; `alone` says that a CR is not to be joined with what follows.
pub(super) fn ending(buffer: &[u8], at: usize, alone: bool) -> Ending {
    if buffer.get(at) != Some(&b'\r') {
        return Ending::Lf;
    }
    match buffer.get(at.saturating_add(1)) {
        _ if alone => Ending::Cr,
        Some(b'\n') => Ending::CrLf,
        Some(_) => Ending::Cr,
        None => Ending::Unknown,
    }
}

/// The fields that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Data,
    Event,
    /// Comments, `id`, `retry` and what nobody knows.
    Other,
}

/// A line's field and value; one space after the colon is not part of the value.
pub(super) fn split(line: &[u8]) -> (Field, &[u8]) {
    let (name, value) = match memchr::memchr(b':', line) {
        None => (line, &[][..]),
        Some(colon) => {
            let value = line.get(colon.saturating_add(1)..).unwrap_or_default();
            (line.get(..colon).unwrap_or_default(), value.strip_prefix(b" ").unwrap_or(value))
        }
    };
    let field = match name {
        b"data" => Field::Data,
        b"event" => Field::Event,
        _ => Field::Other,
    };
    (field, value)
}
