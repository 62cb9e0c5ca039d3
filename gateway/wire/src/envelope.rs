//! What the gateway needs to know of a call, and the only way in which it changes one.
//!
//! Owns the reading of a chat or completions body as far as identity, policy, limits and routing need it, and
//! [`Envelope::splice`], which changes a few members and leaves every other byte as the client sent it. Refuses what
//! could be read two ways: duplicate members, other spellings of the names read here (`Model`), both output caps at
//! once. Members that it does not read pass untouched. Start at [`Envelope::parse`].

mod end_user;
mod fault;
mod fields;
mod splice;
#[cfg(test)]
mod tests;
mod text;
mod tools;

use bytes::Bytes;

use crate::fault::Endpoint;
use crate::json::{self, Span};
pub use fault::EnvelopeFault;
pub use splice::Edits;

/// The longest model name, in bytes.
pub const MODEL_BYTES_MAX: usize = 256;
/// The longest `user`, in bytes.
pub const USER_BYTES_MAX: usize = 512;
/// The most choices that one call may ask for, by `n` or `best_of`.
pub const CHOICES_MAX: u32 = 128;

/// The top-level names that are read here and may therefore not be spelled otherwise.
const NAMES: [&str; 16] = [
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "best_of",
    "user",
    "safety_identifier",
    "metadata",
    "messages",
    "prompt",
    "tools",
    "functions",
    "tool_choice",
    "response_format",
];
/// The names read inside `stream_options`.
const OPTION_NAMES: [&str; 2] = ["include_usage", "continuous_usage_stats"];

/// The name of the member that caps the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapName {
    /// `max_tokens`
    MaxTokens,
    /// `max_completion_tokens`
    MaxCompletionTokens,
}

impl CapName {
    /// The member's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// One call as its body tells it. The body itself stays as it came.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// The endpoint that the body was sent to.
    pub endpoint: Endpoint,
    /// The model's name as the client wrote it: 1 to [`MODEL_BYTES_MAX`] bytes without control characters.
    pub model: String,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// Whether the client asked for a usage chunk at the end of its stream.
    pub include_usage: bool,
    /// Whether the client asked for usage on each chunk.
    pub continuous_usage: bool,
    /// The output tokens allowed per choice, where the client said so.
    pub output_tokens_max: Option<u32>,
    /// The member that said so.
    pub cap_name: Option<CapName>,
    /// `n`: the choices wanted, 1 to [`CHOICES_MAX`].
    pub choices: u32,
    /// `best_of`: the choices made, of which `n` are returned.
    pub best_of: Option<u32>,
    /// The end user that the application names.
    pub user: Option<String>,
    /// The end user by `user`, `safety_identifier` or `metadata.user_id`, whichever stands first in this order.
    pub end_user: Option<String>,
    /// Where the messages (chat) or the prompt (completions) lie in the body.
    pub prompt: Span,
    /// The number of messages; 1 or the number of prompts for completions.
    pub prompt_items: usize,
    /// Bytes of text to estimate the prompt's tokens from: strings of the prompt and the tools without their JSON
    /// dress, data URLs excluded; four bytes for each token given as a number.
    pub prompt_bytes: usize,
    /// The number of parts that carry a data URL or an image.
    pub media_parts: usize,
    /// Names of the tools or functions that are offered to the model, in their order.
    pub tools: Vec<String>,
    body: Bytes,
    spots: Spots,
}

/// Where the members lie that a splice may change.
#[derive(Debug, Clone, Copy, Default)]
struct Spots {
    /// After the opening brace.
    open: usize,
    model: Span,
    max_tokens: Option<Span>,
    max_completion_tokens: Option<Span>,
    options: Option<Options>,
}

/// Where `stream_options` lies and what is in it.
#[derive(Debug, Clone, Copy, Default)]
struct Options {
    value: Span,
    is_null: bool,
    is_empty: bool,
    /// After the opening brace.
    open: usize,
    include_usage: Option<Span>,
    continuous_usage: Option<Span>,
}

impl Envelope {
    /// Reads the body of a call to `endpoint`.
    ///
    /// # Errors
    /// The first fault found; each names the parameter at fault where there is one.
    pub fn parse(body: Bytes, endpoint: Endpoint) -> Result<Self, EnvelopeFault> {
        let members = json::members(&body)?;
        fields::refuse_variants(&members, &NAMES, "")?;
        let read = fields::Fields { body: &body, members: &members, prefix: "" };
        let (model_span, model) = read.model()?;
        let options = fields::options(&body, &members)?;
        let max_tokens = read.integer("max_tokens", u32::MAX)?;
        let max_completion_tokens = read.integer("max_completion_tokens", u32::MAX)?;
        let (cap_name, output_tokens_max) = match (max_tokens, max_completion_tokens) {
            (Some(_), Some(_)) => {
                return Err(EnvelopeFault::Conflict { one: "max_tokens", other: "max_completion_tokens" });
            }
            (Some(tokens), None) => (Some(CapName::MaxTokens), Some(tokens)),
            (None, Some(tokens)) => (Some(CapName::MaxCompletionTokens), Some(tokens)),
            (None, None) => (None, None),
        };
        let prompt = read.prompt(endpoint)?;
        let mut measure = text::measure(prompt.of(&body));
        let mut tools = Vec::new();
        for name in ["tools", "functions"] {
            if let Some(span) = read.array(name)? {
                tools.extend(tools::names(name, span.of(&body))?);
                measure.bytes = measure.bytes.saturating_add(span.len());
            }
        }
        let best_of = read.integer("best_of", CHOICES_MAX)?;
        let choices = read.integer("n", CHOICES_MAX)?.unwrap_or(1);
        if best_of.is_some_and(|best_of| best_of < choices) {
            return Err(EnvelopeFault::Range { param: "best_of".into(), expected: "at least `n`" });
        }
        let spots = Spots {
            open: members.open,
            model: model_span,
            max_tokens: members.get("max_tokens").map(|member| member.value),
            max_completion_tokens: members.get("max_completion_tokens").map(|member| member.value),
            options: options.map(|found| found.spots),
        };
        Ok(Self {
            endpoint,
            model,
            stream: read.boolean("stream")?.unwrap_or(false),
            include_usage: options.is_some_and(|found| found.include_usage),
            continuous_usage: options.is_some_and(|found| found.continuous_usage),
            output_tokens_max,
            cap_name,
            choices,
            best_of,
            user: read.text("user", USER_BYTES_MAX)?,
            end_user: end_user::end_user(&read)?,
            prompt,
            prompt_items: fields::prompt_items(prompt.of(&body), measure.items),
            prompt_bytes: measure.bytes,
            media_parts: measure.media,
            tools,
            spots,
            body,
        })
    }

    /// The body as the client sent it.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}
