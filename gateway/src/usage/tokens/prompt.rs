//! The text of a prompt, as far as its model reads it. Pure.

use weir_wire::envelope::Envelope;
use weir_wire::json;
use weir_wire::texts::{self, Piece};

use super::Vocabulary;

/// Members of a request that no model reads.
const UNREAD: [&str; 16] = [
    "model",
    "user",
    "safety_identifier",
    "metadata",
    "service_tier",
    "stop",
    "stop_sequences",
    "previous_response_id",
    "prompt_cache_key",
    "encoding_format",
    "include",
    "store",
    "truncation",
    "modalities",
    "reasoning_effort",
    "speed",
];
/// Members that a model reads as a whole, names and brackets too.
const WHOLE: [&str; 6] = ["tools", "functions", "response_format", "text", "output_config", "mcp_servers"];
/// Members in which a number is a token.
const TOKENS: [&str; 2] = ["prompt", "input"];
/// Names under which pictures, sounds and files stand, not texts.
const MEDIA: [&[u8]; 3] = [b"data", b"file_data", b"image_url"];

/// What there is to count of a prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    /// All texts, a line each.
    pub text: String,
    /// Tokens that the client gave as numbers.
    pub numbers: u64,
}

impl Text {
    /// The text of a call.
    pub fn of(envelope: &Envelope) -> Self {
        let body = envelope.body();
        let mut all = Self { text: String::with_capacity(envelope.prompt_bytes.saturating_add(64)), numbers: 0 };
        let Ok(members) = json::members(body) else { return all };
        for member in &members.list {
            let name = std::str::from_utf8(&member.name).unwrap_or_default();
            let value = member.value.of(body);
            if UNREAD.contains(&name) {
                continue;
            }
            if WHOLE.contains(&name) {
                all.add(&String::from_utf8_lossy(value));
                continue;
            }
            let counts_numbers = TOKENS.contains(&name);
            texts::visit(value, |name, piece| match piece {
                Piece::Text(text) if !is_media(name, &text) => all.add(&text),
                Piece::Text(_) => {}
                Piece::Word => all.numbers = all.numbers.saturating_add(u64::from(counts_numbers)),
            });
        }
        all
    }

    fn add(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(text);
    }

    /// Its tokens, counted one by one.
    pub fn count(&self, vocabulary: Vocabulary) -> u64 {
        vocabulary.count(&self.text).saturating_add(self.numbers)
    }

    /// No token is shorter than a byte.
    pub fn most(&self) -> u64 {
        u64::try_from(self.text.len()).unwrap_or(u64::MAX).saturating_add(self.numbers)
    }
}

/// Whether a string is a picture, a sound or a file: by where it stands, since a text may look like anything.
fn is_media(name: &[u8], text: &str) -> bool {
    MEDIA.contains(&name) || (name == b"url" && text.starts_with("data:"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use weir_wire::fault::Endpoint;

    use super::*;

    fn text(endpoint: Endpoint, body: &str) -> Text {
        Text::of(&Envelope::parse(Bytes::from(body.to_owned()), endpoint).unwrap())
    }

    #[test]
    fn all_that_a_model_reads_is_counted_and_nothing_else() {
        let found = text(
            Endpoint::ChatCompletions,
            r#"{"model":"m","user":"ada","temperature":0.5,"messages":[{"role":"user","content":[
            {"type":"text","text":"data:what\u0021"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}],
            "tools":[{"type":"function","function":{"name":"f"}}],"later":"read"}"#,
        );
        assert!(found.text.contains("data:what!\n") && !found.text.contains("later"), "{found:?}");
        assert!(found.text.contains("\nread") && found.text.contains(r#""function":{"name":"f"}"#), "{found:?}");
        assert!(!found.text.contains("AAAA") && !found.text.contains("ada"), "{found:?}");
        assert_eq!(found.numbers, 0);
    }

    #[test]
    fn tokens_given_as_numbers_are_tokens() {
        let found = text(Endpoint::Completions, r#"{"model":"m","prompt":[[1,2,3],[4]],"max_tokens":9}"#);
        assert_eq!((found.numbers, found.count(Vocabulary::O200k)), (4, 4));
    }
}
