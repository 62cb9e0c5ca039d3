//! How much text a prompt holds, without building it: one walk over JSON already found valid.

/// What a prompt holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Measure {
    /// Elements of the outermost array; 0 where the value is none.
    pub items: usize,
    /// Bytes of text.
    pub bytes: usize,
    /// Parts that carry a data URL or an image.
    pub media: usize,
    /// Numbers, `true`, `false` and `null`.
    words: usize,
}

/// The bytes that one token given as a number counts for.
const TOKEN_BYTES: usize = 4;

/// Measures the strings that are values; names are not counted. An escape counts as what it stands for, roughly: one
/// byte, or three for `\u`. A value without strings is a list of tokens.
pub(super) fn measure(value: &[u8]) -> Measure {
    let mut sum = Measure::default();
    let mut depth = 0_usize;
    let mut commas = 0_usize;
    let mut at = 0_usize;
    let mut in_word = false;
    while let Some(byte) = value.get(at) {
        at = at.saturating_add(1);
        let was_in_word = in_word;
        in_word = false;
        match byte {
            b'"' => at = string(value, at, &mut sum),
            b'[' | b'{' => depth = depth.saturating_add(1),
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 1 => commas = commas.saturating_add(1),
            b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' => {}
            _ => {
                in_word = true;
                sum.words = sum.words.saturating_add(usize::from(!was_in_word));
            }
        }
    }
    if !is_empty_array(value) && value.starts_with(b"[") {
        sum.items = commas.saturating_add(1);
    }
    if sum.bytes == 0 {
        sum.bytes = sum.words.saturating_mul(TOKEN_BYTES);
    }
    sum
}

/// Counts the string whose first byte after the opening quote is at `start`; gives the offset after its closing quote.
fn string(value: &[u8], start: usize, sum: &mut Measure) -> usize {
    let rest = value.get(start..).unwrap_or_default();
    let (len, text_bytes) = string_len(rest);
    let inner = rest.get(..len).unwrap_or_default();
    let after = len.saturating_add(1);
    if let Some(value) = rest.get(after..).unwrap_or_default().trim_ascii_start().strip_prefix(b":") {
        let is_media = match inner {
            b"image_url" | b"input_audio" | b"file" | b"file_data" | b"file_url" => true,
            // Anthropic's pictures and documents.
            b"source" => value.trim_ascii_start().starts_with(b"{"),
            _ => false,
        };
        sum.media = sum.media.saturating_add(usize::from(is_media));
    } else if !inner.starts_with(b"data:") && !is_binary(inner) {
        sum.bytes = sum.bytes.saturating_add(text_bytes);
    }
    start.saturating_add(after)
}

/// Bytes from which on a text of base64's alphabet without a space is taken for a picture, a sound or a file. Words
/// are shorter; a made-up text that long has few tokens for its bytes.
const BINARY_BYTES_MIN: usize = 8_192;

/// Whether a string holds base64, as Anthropic's `source` and OpenAI's `file_data` do.
fn is_binary(text: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_');
    text.len() >= BINARY_BYTES_MIN && text.iter().all(is_base64)
}

/// The offset of the closing quote in `rest`, and the bytes of text before it.
fn string_len(rest: &[u8]) -> (usize, usize) {
    let mut at = 0_usize;
    let mut dress = 0_usize;
    while let Some(run) = memchr::memchr2(b'"', b'\\', rest.get(at..).unwrap_or_default()) {
        let found = at.saturating_add(run);
        if rest.get(found) == Some(&b'"') {
            return (found, found.saturating_sub(dress));
        }
        let (len, says) = if rest.get(found.saturating_add(1)) == Some(&b'u') { (6, 3) } else { (2, 1) };
        at = found.saturating_add(len);
        dress = dress.saturating_add(len).saturating_sub(says);
    }
    (rest.len(), rest.len().saturating_sub(dress))
}

/// Whether the value is `[]`, white space aside.
pub(super) fn is_empty_array(value: &[u8]) -> bool {
    let inner = value.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    inner.is_some_and(|inner| inner.trim_ascii().is_empty())
}
