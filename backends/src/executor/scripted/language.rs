//! The scripted executor's alphabet: a token is a byte; four more mark the structure of a conversation.

use crate::core::{Message, TokenId};
use crate::language::{Language, LanguageError};

/// Ends an answer.
pub const END: TokenId = 256;
/// Begins a message.
pub const ROLE: TokenId = 257;
/// Begins a message's content.
pub const CONTENT: TokenId = 258;
/// Begins the answer.
pub const ANSWER: TokenId = 259;
/// Bytes and marks.
pub const VOCAB_SIZE: usize = 260;

/// Bytes as tokens. A conversation is `ROLE role CONTENT content` for each message and `ANSWER` at the end.
#[derive(Debug)]
pub struct ScriptedLanguage {
    bytes: [u8; 256],
}

impl Default for ScriptedLanguage {
    fn default() -> Self {
        let mut bytes = [0; 256];
        for (slot, byte) in bytes.iter_mut().zip(0..=u8::MAX) {
            *slot = byte;
        }
        Self { bytes }
    }
}

impl Language for ScriptedLanguage {
    fn encode(&self, text: &str) -> Vec<TokenId> {
        text.bytes().map(TokenId::from).collect()
    }

    fn encode_chat(&self, messages: &[Message]) -> Result<Vec<TokenId>, LanguageError> {
        let mut tokens = Vec::new();
        for message in messages {
            tokens.push(ROLE);
            tokens.extend(message.role.bytes().map(TokenId::from));
            tokens.push(CONTENT);
            tokens.extend(message.content.bytes().map(TokenId::from));
        }
        tokens.push(ANSWER);
        Ok(tokens)
    }

    fn token_bytes(&self, token: TokenId) -> &[u8] {
        usize::try_from(token).ok().and_then(|at| self.bytes.get(at..=at)).unwrap_or_default()
    }

    fn is_end(&self, token: TokenId) -> bool {
        token == END
    }
}
