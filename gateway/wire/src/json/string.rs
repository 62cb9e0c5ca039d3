//! JSON strings: where one ends, whether it is well formed, what it says.

use std::borrow::Cow;

use super::FaultKind;

/// A string that holds half of a surrogate pair, which no UTF-8 text can express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the string holds half of a surrogate pair")]
pub struct LoneSurrogate;

/// Finds the end of the string whose first byte after the opening quote is at `start`.
/// Gives the offset of the closing quote and whether there is an escape in between.
pub(super) fn close(text: &[u8], start: usize) -> Result<(usize, bool), (FaultKind, usize)> {
    let mut at = start;
    let mut escaped = false;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let Some(run) = memchr::memchr2(b'"', b'\\', rest) else {
            let bad = rest.iter().position(|byte| *byte < 0x20);
            return Err(bad.map_or((FaultKind::End, text.len()), |skip| (FaultKind::Control, at.saturating_add(skip))));
        };
        let plain = rest.get(..run).unwrap_or_default();
        // A fold without an early exit is turned into vector code.
        if plain.iter().fold(false, |found, byte| found | (*byte < 0x20)) {
            let skip = plain.iter().position(|byte| *byte < 0x20).unwrap_or_default();
            return Err((FaultKind::Control, at.saturating_add(skip)));
        }
        let found = at.saturating_add(run);
        if rest.get(run) == Some(&b'"') {
            return Ok((found, escaped));
        }
        escaped = true;
        at = found.saturating_add(escape_len(text, found)?);
    }
}

/// The length of the escape that starts at the backslash at `at`.
fn escape_len(text: &[u8], at: usize) -> Result<usize, (FaultKind, usize)> {
    let rest = text.get(at.saturating_add(1)..).unwrap_or_default();
    match rest.first() {
        None => Err((FaultKind::End, text.len())),
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
        Some(b'u') => match rest.get(1..5) {
            None => Err((FaultKind::End, text.len())),
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(6),
            Some(_) => Err((FaultKind::Escape, at)),
        },
        Some(_) => Err((FaultKind::Escape, at)),
    }
}

/// The text that a string says; `quoted` is the string with its quotes, already found well formed.
///
/// # Errors
/// [`LoneSurrogate`] where the string has no UTF-8 form.
pub fn unescape(quoted: &[u8]) -> Result<Cow<'_, str>, LoneSurrogate> {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    match unescape_bytes(inner) {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| LoneSurrogate),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| LoneSurrogate),
    }
}

/// Like [`unescape`] without the quotes, for names: lone surrogates become generalised UTF-8, so that two names are
/// equal exactly when their code units are.
pub(super) fn unescape_bytes(inner: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(run) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(rest.get(..run).unwrap_or_default());
        rest = rest.get(run.saturating_add(1)..).unwrap_or_default();
        rest = push_escape(&mut out, rest);
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// Appends what the escape says; `rest` starts after the backslash. Gives what follows the escape.
fn push_escape<'a>(out: &mut Vec<u8>, rest: &'a [u8]) -> &'a [u8] {
    let byte = match rest.first() {
        Some(b'b') => 0x08,
        Some(b'f') => 0x0c,
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'u') => return push_unicode(out, rest.get(1..).unwrap_or_default()),
        Some(byte) => *byte,
        None => return rest,
    };
    out.push(byte);
    rest.get(1..).unwrap_or_default()
}

/// Appends the code point of `XXXX`, joined with a following `\uXXXX` where the two are a pair.
fn push_unicode<'a>(out: &mut Vec<u8>, rest: &'a [u8]) -> &'a [u8] {
    let unit = hex(rest);
    let after = rest.get(4..).unwrap_or_default();
    if (0xd800..0xdc00).contains(&unit) && after.starts_with(b"\\u") {
        let low = hex(after.get(2..).unwrap_or_default());
        if (0xdc00..0xe000).contains(&low) {
            let offset = ((unit & 0x3ff) << 10) | (low & 0x3ff);
            push_code(out, offset.saturating_add(0x1_0000));
            return after.get(6..).unwrap_or_default();
        }
    }
    push_code(out, unit);
    after
}

/// Appends a code point, a surrogate as its three generalised bytes.
fn push_code(out: &mut Vec<u8>, code: u32) {
    if let Some(letter) = char::from_u32(code) {
        out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        return;
    }
    let low = |shift: u32| u8::try_from((code >> shift) & 0x3f).unwrap_or_default();
    out.extend_from_slice(&[0xe0 | low(12), 0x80 | low(6), 0x80 | low(0)]);
}

fn hex(digits: &[u8]) -> u32 {
    let value = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or_default();
    digits.iter().take(4).fold(0, |sum, byte| (sum << 4) | value(byte))
}
