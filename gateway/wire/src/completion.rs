//! A completions request as the engine reads it.

use serde::{Deserialize, Serialize};

use crate::chat::{RequestFault, Sampling, null_is_default, require};
use crate::json;

/// The most alternatives shown per token of a completion.
pub const LOGPROBS_MAX: u32 = 5;
/// The most prompts in one call.
pub const PROMPTS_MAX: usize = 128;

/// What to complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Prompt {
    /// One text.
    Text(String),
    /// Several texts, each with its own choices.
    Texts(Vec<String>),
    /// One prompt of token ids.
    Tokens(Vec<u32>),
    /// Several prompts of token ids.
    TokenLists(Vec<Vec<u32>>),
}

/// `POST /v1/completions`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletionRequest {
    /// The model's name.
    pub model: String,
    /// What to complete.
    pub prompt: Prompt,
    /// How to sample and what to send.
    #[serde(flatten)]
    pub sampling: Sampling,
    /// How many alternatives to send with each token, at most 5; 0 sends the token's own.
    #[serde(default)]
    pub logprobs: Option<u32>,
    /// Whether to send the prompt before the completion.
    #[serde(default, deserialize_with = "null_is_default")]
    pub echo: bool,
    /// What follows the completion; not supported by the engine.
    #[serde(default)]
    pub suffix: Option<String>,
    /// How many choices to make, of which the best `n` are sent.
    #[serde(default)]
    pub best_of: Option<u32>,
    /// Output tokens per choice; 16 where absent, as the API says.
    #[serde(default)]
    pub max_tokens: Option<u32>,
}

impl CompletionRequest {
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

    /// Checks every member's range.
    ///
    /// # Errors
    /// The first parameter outside its limits.
    pub fn validate(&self) -> Result<(), RequestFault> {
        let prompts = match &self.prompt {
            Prompt::Text(_) => 1,
            Prompt::Tokens(tokens) => tokens.len().min(1),
            Prompt::Texts(texts) => texts.len(),
            Prompt::TokenLists(lists) => lists.len(),
        };
        require("prompt", (1..=PROMPTS_MAX).contains(&prompts), "from 1 to 128 prompts")?;
        require("logprobs", self.logprobs.is_none_or(|top| top <= LOGPROBS_MAX), "from 0 to 5")?;
        require("max_tokens", self.max_tokens != Some(0), "at least 1")?;
        require("suffix", self.suffix.as_deref().unwrap_or_default().is_empty(), "absent: this model cannot insert")?;
        let made = self.best_of.unwrap_or(128);
        require("best_of", made <= 128 && made >= self.sampling.n.unwrap_or(1), "from `n` to 128")?;
        self.sampling.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(prompt: &str, extra: &str) -> Result<CompletionRequest, RequestFault> {
        CompletionRequest::read(format!(r#"{{"model":"m","prompt":{prompt}{extra}}}"#).as_bytes())
    }

    #[test]
    fn all_four_kinds_of_prompt_are_read() {
        let cases = [
            (r#""a""#, Prompt::Text("a".into())),
            (r#"["a","b"]"#, Prompt::Texts(vec!["a".into(), "b".into()])),
            ("[1,2]", Prompt::Tokens(vec![1, 2])),
            ("[[1],[2]]", Prompt::TokenLists(vec![vec![1], vec![2]])),
        ];
        for (text, prompt) in cases {
            assert_eq!(read(text, "").unwrap().prompt, prompt);
        }
        assert!(matches!(read("7", ""), Err(RequestFault::Shape(_))));
    }

    #[test]
    fn ranges_are_refused_by_their_parameters_name() {
        let cases = [
            ("[]", "", "prompt"),
            (r#""a""#, r#","logprobs":6"#, "logprobs"),
            (r#""a""#, r#","max_tokens":0"#, "max_tokens"),
            (r#""a""#, r#","suffix":"x""#, "suffix"),
            (r#""a""#, r#","n":3,"best_of":2"#, "best_of"),
            (r#""a""#, r#","temperature":9"#, "temperature"),
        ];
        for (prompt, extra, param) in cases {
            assert_eq!(read(prompt, extra).unwrap_err().param(), Some(param), "{prompt} {extra}");
        }
    }
}
