//! A chat request as the engine reads it, and the sampling members that it shares with completions.
//!
//! Unknown members are ignored; known ones are checked by [`ChatRequest::validate`], whose faults name the parameter.
//! The gateway does not use this: it reads the [`crate::envelope`] and keeps the bytes. Start at [`ChatRequest::read`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json;

/// The most stop strings.
pub const STOP_MAX: usize = 4;
/// The longest stop string, in bytes.
pub const STOP_BYTES_MAX: usize = 512;
/// The most alternatives shown per token.
pub const TOP_LOGPROBS_MAX: u32 = 20;
/// The most entries of `logit_bias`.
pub const LOGIT_BIAS_MAX: usize = 1024;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum RequestFault {
    /// The body is not the JSON that every parser reads the same.
    #[error("invalid json: {0}")]
    Json(#[from] json::Fault),
    /// A member has another type.
    #[error("malformed request: {0}")]
    Shape(#[from] serde_json::Error),
    /// A value is outside its limits.
    #[error("`{param}` must be {expected}")]
    Range {
        /// The parameter at fault.
        param: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// Two members that say the same thing.
    #[error("`max_tokens` and `max_completion_tokens` must not be sent together")]
    TwoCaps,
    /// A content part that is no text.
    #[error("content parts of type `{kind}` are not supported by this model")]
    Part {
        /// The part's type.
        kind: String,
    },
}

impl RequestFault {
    /// The parameter at fault, for the error body.
    pub fn param(&self) -> Option<&'static str> {
        match self {
            Self::Json(_) | Self::Shape(_) => None,
            Self::Range { param, .. } => Some(param),
            Self::TwoCaps => Some("max_completion_tokens"),
            Self::Part { .. } => Some("messages"),
        }
    }
}

/// One string or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    /// All of them.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// What is wanted on a stream beside the text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamOptions {
    /// A chunk with the whole call's usage at the end.
    #[serde(default, deserialize_with = "null_is_default")]
    pub include_usage: bool,
    /// Usage so far on each chunk.
    #[serde(default, deserialize_with = "null_is_default")]
    pub continuous_usage_stats: bool,
}

/// The members that steer sampling, the same for chat and completions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// 0 to 2; 0 is greedy.
    pub temperature: Option<f32>,
    /// Over 0 to 1: the smallest set of tokens of this probability.
    pub top_p: Option<f32>,
    /// The best k tokens; 0 and -1 mean all.
    pub top_k: Option<i32>,
    /// 0 to 1: tokens at least this share of the best one's probability.
    pub min_p: Option<f32>,
    /// -2 to 2: taken off once for tokens already made.
    pub presence_penalty: Option<f32>,
    /// -2 to 2: taken off for each time that a token was made.
    pub frequency_penalty: Option<f32>,
    /// Over 0 to 10: divides the logits of tokens already seen.
    pub repetition_penalty: Option<f32>,
    /// Makes sampling repeatable.
    pub seed: Option<i64>,
    /// Token id to what is added to its logit, -100 to 100.
    #[serde(deserialize_with = "token_keys")]
    pub logit_bias: Option<BTreeMap<u32, f32>>,
    /// Texts that end the output and are not part of it.
    pub stop: Option<OneOrMany>,
    /// The choices wanted, 1 to 128.
    pub n: Option<u32>,
    /// Whether to send events.
    #[serde(deserialize_with = "null_is_default")]
    pub stream: bool,
    /// What is wanted on the stream beside the text.
    pub stream_options: Option<StreamOptions>,
    /// The end user that the application names.
    pub user: Option<String>,
}

impl Sampling {
    /// The stop strings.
    pub fn stops(&self) -> &[String] {
        self.stop.as_ref().map(OneOrMany::as_slice).unwrap_or_default()
    }

    /// Whether usage is wanted at the end of the stream.
    pub fn wants_usage(&self) -> bool {
        self.stream_options.is_some_and(|options| options.include_usage)
    }

    /// Whether usage so far is wanted on each chunk.
    pub fn wants_continuous_usage(&self) -> bool {
        self.stream_options.is_some_and(|options| options.continuous_usage_stats)
    }

    /// Checks every member's range.
    ///
    /// # Errors
    /// The first parameter outside its limits.
    pub fn validate(&self) -> Result<(), RequestFault> {
        let above_zero = f32::MIN_POSITIVE;
        within("temperature", self.temperature, 0.0, 2.0, "from 0 to 2")?;
        within("top_p", self.top_p, above_zero, 1.0, "above 0 and at most 1")?;
        within("min_p", self.min_p, 0.0, 1.0, "from 0 to 1")?;
        within("presence_penalty", self.presence_penalty, -2.0, 2.0, "from -2 to 2")?;
        within("frequency_penalty", self.frequency_penalty, -2.0, 2.0, "from -2 to 2")?;
        within("repetition_penalty", self.repetition_penalty, above_zero, 10.0, "above 0 and at most 10")?;
        require("top_k", self.top_k.is_none_or(|k| k >= -1), "at least -1")?;
        require("n", self.n.is_none_or(|n| (1..=128).contains(&n)), "from 1 to 128")?;
        let stops = self.stops();
        require("stop", stops.len() <= STOP_MAX, "at most 4 strings")?;
        let fits = stops.iter().all(|stop| !stop.is_empty() && stop.len() <= STOP_BYTES_MAX);
        require("stop", fits, "made of strings of 1 to 512 bytes")?;
        let Some(bias) = &self.logit_bias else { return Ok(()) };
        require("logit_bias", bias.len() <= LOGIT_BIAS_MAX, "at most 1024 tokens")?;
        require("logit_bias", bias.values().all(|bias| (-100.0..=100.0).contains(bias)), "from -100 to 100")
    }
}

pub(crate) fn require(param: &'static str, holds: bool, expected: &'static str) -> Result<(), RequestFault> {
    if holds { Ok(()) } else { Err(RequestFault::Range { param, expected }) }
}

fn within(
    param: &'static str,
    value: Option<f32>,
    min: f32,
    max: f32,
    expected: &'static str,
) -> Result<(), RequestFault> {
    require(param, value.is_none_or(|value| (min..=max).contains(&value)), expected)
}

/// Reads `null` as the type's default.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reads a map whose keys are token ids in quotes; a flattened member cannot do so by itself.
fn token_keys<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<BTreeMap<u32, f32>>, D::Error> {
    let Some(map) = Option::<BTreeMap<String, f32>>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let entry = |(token, bias): (String, f32)| token.parse().map(|token| (token, bias));
    let read: Result<_, std::num::ParseIntError> = map.into_iter().map(entry).collect();
    read.map(Some).map_err(|_| serde::de::Error::custom("the keys of `logit_bias` must be token ids"))
}

/// A message's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Parts, of which only text is known here.
    Parts(Vec<Part>),
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `text`, or something that this model cannot read.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text of a text part.
    pub text: Option<String>,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What is said; an assistant's message with tool calls may have none.
    #[serde(default)]
    pub content: Option<Content>,
    /// The speaker's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The call that a tool's message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

impl Message {
    /// The content as one text; parts are joined without anything between.
    pub fn text(&self) -> String {
        match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => parts.iter().filter_map(|part| part.text.as_deref()).collect(),
        }
    }
}

/// `POST /v1/chat/completions`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// The model's name.
    pub model: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// How to sample and what to send.
    #[serde(flatten)]
    pub sampling: Sampling,
    /// Whether to send the log probability of each token.
    #[serde(default, deserialize_with = "null_is_default")]
    pub logprobs: bool,
    /// How many alternatives to send with each token, at most 20.
    #[serde(default)]
    pub top_logprobs: Option<u32>,
    /// Output tokens per choice.
    #[serde(default)]
    pub max_tokens: Option<u32>,
    /// Output tokens per choice, the newer name.
    #[serde(default)]
    pub max_completion_tokens: Option<u32>,
}

impl ChatRequest {
    /// Reads and checks a body.
    ///
    /// # Errors
    /// The first fault found.
    pub fn read(body: &[u8]) -> Result<Self, RequestFault> {
        json::check(body)?;
        let request: Self = serde_json::from_slice(body)?;
        request.validate()?;
        Ok(request)
    }

    /// Output tokens per choice under either name.
    pub fn output_tokens_max(&self) -> Option<u32> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    /// Checks every member's range.
    ///
    /// # Errors
    /// The first parameter outside its limits.
    pub fn validate(&self) -> Result<(), RequestFault> {
        require("messages", !self.messages.is_empty(), "a non-empty array")?;
        for part in self
            .messages
            .iter()
            .filter_map(|message| match &message.content {
                Some(Content::Parts(parts)) => Some(parts),
                Some(Content::Text(_)) | None => None,
            })
            .flatten()
        {
            if part.kind != "text" || part.text.is_none() {
                return Err(RequestFault::Part { kind: part.kind.clone() });
            }
        }
        if self.max_tokens.is_some() && self.max_completion_tokens.is_some() {
            return Err(RequestFault::TwoCaps);
        }
        require("max_tokens", self.max_tokens != Some(0), "at least 1")?;
        require("max_completion_tokens", self.max_completion_tokens != Some(0), "at least 1")?;
        require("top_logprobs", self.top_logprobs.is_none_or(|top| top <= TOP_LOGPROBS_MAX), "from 0 to 20")?;
        require("top_logprobs", self.logprobs || self.top_logprobs.is_none(), "sent only with `logprobs`: true")?;
        self.sampling.validate()
    }
}

#[cfg(test)]
mod tests;
