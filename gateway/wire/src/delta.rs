//! What a model answers: whole responses, the chunks of a stream, and the list of models.
//!
//! In chunks `usage` is the last member, so that it can be cut off without a parse. Reading is lenient: members that
//! are missing or `null` become their defaults, because providers leave out whatever they like.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::chat::null_is_default;

/// Finish reason of an answer that ends because its caller's budget does. It is Weir's own: no provider sends it.
pub const BUDGET_EXHAUSTED: &str = "budget_exhausted";

/// Tokens read and made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    #[serde(default, deserialize_with = "null_is_default")]
    pub prompt_tokens: u64,
    /// Tokens made, over all choices.
    #[serde(default, deserialize_with = "null_is_default")]
    pub completion_tokens: u64,
    /// Their sum.
    #[serde(default, deserialize_with = "null_is_default")]
    pub total_tokens: u64,
    /// What the prompt's tokens are made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_details: Option<PromptDetails>,
    /// What the made tokens are made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_tokens_details: Option<CompletionDetails>,
    /// The own engine's time for the call, once it has ended; for the gateway, which keeps it from clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_time_us: Option<GpuTimeUs>,
}

/// Microseconds of the own engine's machine that a call took. The shares of all calls in one step add up to its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuTimeUs {
    /// Reading the prompt.
    #[serde(default)]
    pub prefill: u64,
    /// Making tokens.
    #[serde(default)]
    pub decode: u64,
    /// Holding pages of the cache: time by the part of all pages held. It runs beside the other two.
    #[serde(default)]
    pub kv: u64,
}

/// What the prompt's tokens are made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptDetails {
    /// Tokens found in a cache.
    #[serde(default, deserialize_with = "null_is_default")]
    pub cached_tokens: u64,
}

/// What the made tokens are made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletionDetails {
    /// Tokens of reasoning that are not part of the answer.
    #[serde(default, deserialize_with = "null_is_default")]
    pub reasoning_tokens: u64,
}

impl Usage {
    /// Usage of a prompt and what was made from it.
    pub fn new(prompt_tokens: u64, completion_tokens: u64) -> Self {
        let total_tokens = prompt_tokens.saturating_add(completion_tokens);
        Self { prompt_tokens, completion_tokens, total_tokens, ..Self::default() }
    }

    /// The prompt's tokens that were found in a cache.
    pub fn cached_tokens(&self) -> u64 {
        self.prompt_tokens_details.map_or(0, |details| details.cached_tokens)
    }
}

/// One token with its log probability and alternatives.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token's text; bytes that are no UTF-8 are replaced.
    pub token: String,
    /// The natural logarithm of its probability.
    pub logprob: f32,
    /// The token's bytes.
    pub bytes: Option<Vec<u8>>,
    /// The most likely tokens in its place.
    #[serde(default, deserialize_with = "null_is_default")]
    pub top_logprobs: Vec<TopLogprob>,
}

/// One alternative.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TopLogprob {
    /// The token's text.
    pub token: String,
    /// The natural logarithm of its probability.
    pub logprob: f32,
    /// The token's bytes.
    pub bytes: Option<Vec<u8>>,
}

/// The log probabilities of a choice in chat.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Logprobs {
    /// One entry per token.
    pub content: Option<Vec<TokenLogprob>>,
}

/// The log probabilities of a choice in completions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionLogprobs {
    /// The tokens' texts.
    pub tokens: Vec<String>,
    /// Their log probabilities; none for the first token of an echoed prompt.
    pub token_logprobs: Vec<Option<f32>>,
    /// The alternatives in each place.
    pub top_logprobs: Option<Vec<Option<BTreeMap<String, f32>>>>,
    /// Where each token starts in the text, in characters.
    pub text_offset: Vec<u64>,
}

/// An assistant's message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssistantMessage {
    /// `assistant`.
    pub role: String,
    /// What is said.
    pub content: Option<String>,
}

/// One choice of a chat completion.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The choice's number.
    pub index: u32,
    /// The message.
    pub message: AssistantMessage,
    /// The tokens' log probabilities, where asked for.
    pub logprobs: Option<Logprobs>,
    /// `stop` or `length`.
    pub finish_reason: Option<String>,
}

/// The answer to a chat request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatCompletion {
    /// The answer's id.
    pub id: String,
    /// `chat.completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's name.
    pub model: String,
    /// The choices.
    #[serde(default, deserialize_with = "null_is_default")]
    pub choices: Vec<Choice>,
    /// Tokens read and made.
    #[serde(default)]
    pub usage: Option<Usage>,
}

/// What a chunk adds to a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// `assistant`, on a choice's first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// More text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// What a chunk adds to a choice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChunkChoice {
    /// The choice's number.
    #[serde(default, deserialize_with = "null_is_default")]
    pub index: u32,
    /// What is added.
    #[serde(default, deserialize_with = "null_is_default")]
    pub delta: Delta,
    /// The log probabilities of the tokens added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Logprobs>,
    /// `stop` or `length` on a choice's last chunk.
    #[serde(default)]
    pub finish_reason: Option<String>,
}

/// One chunk of a streamed chat completion.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatCompletionChunk {
    /// The answer's id, the same on all chunks.
    #[serde(default, deserialize_with = "null_is_default")]
    pub id: String,
    /// `chat.completion.chunk`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub object: String,
    /// Seconds since 1970.
    #[serde(default, deserialize_with = "null_is_default")]
    pub created: u64,
    /// The model's name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub model: String,
    /// What is added to each choice; empty on the usage chunk.
    #[serde(default, deserialize_with = "null_is_default")]
    pub choices: Vec<ChunkChoice>,
    /// Tokens read and made so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// One choice of a completion, whole or in chunks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionChoice {
    /// The choice's number.
    #[serde(default, deserialize_with = "null_is_default")]
    pub index: u32,
    /// The text, or what is added to it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub text: String,
    /// The tokens' log probabilities, where asked for.
    #[serde(default)]
    pub logprobs: Option<CompletionLogprobs>,
    /// `stop` or `length`.
    #[serde(default)]
    pub finish_reason: Option<String>,
}

/// The answer to a completions request, and each chunk of its stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The answer's id.
    #[serde(default, deserialize_with = "null_is_default")]
    pub id: String,
    /// `text_completion`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub object: String,
    /// Seconds since 1970.
    #[serde(default, deserialize_with = "null_is_default")]
    pub created: u64,
    /// The model's name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub model: String,
    /// The choices.
    #[serde(default, deserialize_with = "null_is_default")]
    pub choices: Vec<CompletionChoice>,
    /// Tokens read and made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// One chunk of a streamed completion: the same shape as the whole answer.
pub type CompletionChunk = Completion;

/// One model that the caller may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// The name to call it by.
    pub id: String,
    /// `model`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Whose it is.
    pub owned_by: String,
}

/// The answer to `GET /v1/models`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelList {
    /// `list`.
    pub object: String,
    /// The models.
    pub data: Vec<Model>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_the_last_member_of_a_chunk() {
        let chunk = ChatCompletionChunk { usage: Some(Usage::new(3, 1)), ..ChatCompletionChunk::default() };
        let text = serde_json::to_string(&chunk).unwrap();
        let end = r#""usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#;
        assert!(text.ends_with(end), "{text}");
        let completion = Completion { usage: chunk.usage, ..Completion::default() };
        assert!(serde_json::to_string(&completion).unwrap().ends_with(end));
    }

    #[test]
    fn chunks_with_missing_or_null_members_are_read() {
        for text in ["{}", r#"{"choices":null}"#, r#"{"id":null,"choices":[{"delta":null,"finish_reason":"stop"}]}"#] {
            serde_json::from_str::<ChatCompletionChunk>(text).unwrap();
        }
        let usage: Usage = serde_json::from_str(r#"{"prompt_tokens":3,"completion_tokens":null}"#).unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens()), (3, 0, 0));
    }
}
