//! Bytes of tokens to text, safe for streaming: an incomplete code point is held back until its bytes arrived.
//!
//! The text of the stream equals the text of the whole, however the bytes are split: invalid bytes become U+FFFD
//! exactly as `String::from_utf8_lossy` would place them.

/// The state of one choice's text.
#[derive(Debug, Default)]
pub struct Detok {
    /// At most 3 bytes: the beginning of a code point.
    held: Vec<u8>,
}

impl Detok {
    /// Takes a token's bytes; returns the text that is complete now.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut text = String::new();
        let mut rest: &[u8] = &self.held;
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, tail) = rest.split_at(error.valid_up_to());
                    text.push_str(std::str::from_utf8(valid).unwrap_or_default());
                    rest = tail;
                    let Some(bad) = error.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = tail.get(bad..).unwrap_or_default();
                }
            }
        }
        self.held = rest.to_vec();
        text
    }

    /// The end of the choice: what is held back can't be completed any more.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.held).into_owned();
        self.held.clear();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn streamed(parts: &[&[u8]]) -> String {
        let mut detok = Detok::default();
        let mut text: String = parts.iter().map(|part| detok.push(part)).collect();
        text.push_str(&detok.finish());
        text
    }

    #[test]
    fn a_code_point_is_held_back_until_it_is_whole() {
        let mut detok = Detok::default();
        let bytes = "é🦀".as_bytes();
        let shown: Vec<String> = bytes.iter().map(|byte| detok.push(&[*byte])).collect();
        assert_eq!(shown, ["", "é", "", "", "", "🦀"]);
    }

    #[test]
    fn bytes_that_are_not_text_become_replacement_characters() {
        for bytes in [&b"a\xffb"[..], b"\xe2\x82", b"\xe2\x28\xa1", b"\xf0\x9f\x92", b"\xf0\x9f\x92x", b"\xc0\xaf", b""]
        {
            let singles: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(streamed(&singles), String::from_utf8_lossy(bytes), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn the_text_of_the_stream_is_the_text_of_the_whole(
            bytes in prop_oneof![proptest::collection::vec(any::<u8>(), 0..40), ".{0,12}".prop_map(String::into_bytes)],
            splits in proptest::collection::vec(0usize..6, 1..30),
        ) {
            let mut rest: &[u8] = &bytes;
            let mut parts = Vec::new();
            for size in splits {
                let (part, tail) = rest.split_at(size.min(rest.len()));
                parts.push(part);
                rest = tail;
            }
            parts.push(rest);
            prop_assert_eq!(streamed(&parts), String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
