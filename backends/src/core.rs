//! The nouns of the engine: tokens, pages, messages, and what one call asks for.
//!
//! Owns plain data only; it reads no clock, no socket and no tensor. Start at [`Ask`]: what a client wants;
//! [`Event`] is what it gets back, and `scheduler.rs` is the road from one to the other.

use serde::Serialize;
use std::sync::Arc;

/// A token of the model's vocabulary.
pub type TokenId = u32;
/// A page of the KV cache: `page_tokens` positions of every layer.
pub type PageId = u32;

/// One chat message as the template sees it. Its content is text and never parsed for special tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool` or `developer`; the template decides which it knows.
    pub role: String,
    /// The text; parts of a multi-part content are joined before.
    pub content: String,
}

/// How the next token is chosen. Defaults are those of the OpenAI interface.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 means greedy.
    pub temperature: f32,
    /// Nucleus mass in (0, 1]; 1 switches it off.
    pub top_p: f32,
    /// Keep the k likeliest tokens; 0 switches it off.
    pub top_k: usize,
    /// Keep tokens at least this fraction as likely as the likeliest; 0 switches it off.
    pub min_p: f32,
    /// Subtracted once from tokens already made.
    pub presence_penalty: f32,
    /// Subtracted per time that a token was made.
    pub frequency_penalty: f32,
    /// Divides (or multiplies, below zero) the logits of tokens in prompt and output; 1 switches it off.
    pub repetition_penalty: f32,
    /// Added to single logits, sorted by token.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// The same seed gives the same tokens whatever else runs; the server draws one where the client gives none.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

/// What one call asks for: one or more prompts, `choices` answers to each.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The prompts as tokens; none is empty.
    pub prompts: Vec<Arc<[TokenId]>>,
    /// Answers per prompt, at least 1.
    pub choices: usize,
    /// Completion tokens per choice, at least 1; `None` means what the context leaves.
    pub tokens_max: Option<usize>,
    /// Completion tokens per choice where `tokens_max` is `None`; never more than the context leaves.
    pub tokens_usual: Option<usize>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Texts that end a choice; none is empty.
    pub stops: Vec<String>,
    /// `Some(k)`: report log-probabilities of each token and of the k likeliest.
    pub logprobs: Option<usize>,
    /// Completion tokens that the call may make over all choices before it must be renewed.
    pub allowance: Option<u64>,
}

/// Why a choice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// An end token or a stop text.
    Stop,
    /// `tokens_max` or the context was reached.
    Length,
    /// The token allowance ran out and was not renewed in time.
    Allowance,
    /// Aborted by id.
    Abort,
}

/// Token counts of a call so far; the prompt counts once however many choices answer it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tokens of all prompts.
    pub prompt: u64,
    /// Tokens made over all choices, end tokens included.
    pub completion: u64,
}

/// Time of the machine that a call took, in whole microseconds. The shares of one step add up to the step's time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GpuTime {
    /// Reading prompts, and what was computed again after pages were taken: a step's time by tokens.
    pub prefill_us: u64,
    /// Making tokens: a step's time by choices.
    pub decode_us: u64,
    /// Holding pages: time by the part of all pages that was held. It runs beside the other two.
    pub kv_us: u64,
}

/// A token with its log-probability, from the raw logits (before temperature, bias and penalties).
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// The token.
    pub token: TokenId,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// The log-probabilities of one made token.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenScores {
    /// The token that was made.
    pub chosen: Scored,
    /// The likeliest tokens, likeliest first.
    pub top: Vec<Scored>,
}

/// What the scheduler tells a call's reader.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A choice made a token. `text` may be empty while a code point or a possible stop text is held back.
    Delta {
        /// Index of the choice: prompt index × choices + choice.
        choice: usize,
        /// Text that is safe to show.
        text: String,
        /// Scores of the tokens whose text is released with this event.
        scores: Vec<TokenScores>,
        /// The call's counts, this token included.
        counts: Counts,
    },
    /// A choice ended; nothing more comes for it.
    Finish {
        /// Index of the choice.
        choice: usize,
        /// Why it ended.
        reason: FinishReason,
        /// The call's counts at this moment.
        counts: Counts,
        /// The call's time of the machine up to this moment.
        gpu: GpuTime,
    },
    /// The call failed in mid-stream; nothing more comes.
    Failed {
        /// Public text.
        message: String,
        /// The call's counts at this moment.
        counts: Counts,
    },
}
