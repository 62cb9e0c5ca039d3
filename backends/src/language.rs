//! Text to tokens and back: what the server and the scheduler need to know of a model's tokenizer and chat template.
//!
//! Two implementations: the model's own tokenizer with its template, and the byte alphabet of the scripted executor.

use crate::core::{Message, TokenId};

/// Text could not be turned into tokens; the caller's fault unless the template itself is broken.
#[derive(Debug, thiserror::Error)]
pub enum LanguageError {
    /// The model has no chat template.
    #[error("the model `{0}` has no chat template: use /v1/completions")]
    NoTemplate(String),
    /// The template refused the messages.
    #[error("the chat template refused the messages: {0}")]
    Template(String),
}

/// A model's alphabet.
pub trait Language: Send + Sync {
    /// Tokens of a plain text; special tokens in it are text.
    fn encode(&self, text: &str) -> Vec<TokenId>;

    /// Tokens of a conversation, ending where the assistant's answer begins.
    ///
    /// # Errors
    /// [`LanguageError`] when there is no template or it refuses the messages.
    fn encode_chat(&self, messages: &[Message]) -> Result<Vec<TokenId>, LanguageError>;

    /// The bytes that a token adds to the output; empty for special tokens and unknown ids.
    fn token_bytes(&self, token: TokenId) -> &[u8];

    /// Whether the token ends an answer.
    fn is_end(&self, token: TokenId) -> bool;
}
