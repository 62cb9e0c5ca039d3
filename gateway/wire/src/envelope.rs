//! What the gateway needs to know of a call, and the only way in which it changes one.
//!
//! Owns the reading of an endpoint's body as far as identity, policy, limits and routing need it, and
//! [`Envelope::splice`], which changes a few members and leaves every other byte as the client sent it. Refuses what
//! could be read two ways: duplicate members, other spellings of the names read here (`Model`), two output caps at
//! once, and references to what lies at a provider and can't be traced to a tenant. Members that it does not read pass
//! untouched. Start at [`Envelope::parse`].

mod end_user;
mod fault;
mod fields;
mod shape;
mod splice;
mod stored;
#[cfg(test)]
mod tests;
mod text;
mod tools;

use bytes::Bytes;

use crate::endpoint::{Endpoint, ID_BYTES_MAX};
use crate::json::{self, Span};
pub use fault::EnvelopeFault;
pub use splice::Edits;

/// The longest model name, in bytes.
pub const MODEL_BYTES_MAX: usize = 256;
/// The longest `user`, in bytes.
pub const USER_BYTES_MAX: usize = 512;
/// The most choices that one call may ask for, by `n` or `best_of`.
pub const CHOICES_MAX: u32 = 128;

/// The names read inside `stream_options`.
const OPTION_NAMES: [&str; 2] = ["include_usage", "continuous_usage_stats"];

/// The name of the member that caps the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapName {
    /// `max_tokens`
    MaxTokens,
    /// `max_completion_tokens`
    MaxCompletionTokens,
    /// `max_output_tokens`
    MaxOutputTokens,
}

impl CapName {
    /// The member's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::MaxOutputTokens => "max_output_tokens",
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
    /// Where the messages (chat), the prompt (completions), the input or the documents lie in the body.
    pub prompt: Span,
    /// The number of messages; 1 or the number of prompts, inputs or documents elsewhere.
    pub prompt_items: usize,
    /// Bytes of text to estimate the prompt's tokens from: strings of the prompt and the tools without their JSON
    /// dress, data URLs excluded; four bytes for each token given as a number.
    pub prompt_bytes: usize,
    /// The number of parts that carry a data URL or an image.
    pub media_parts: usize,
    /// Names of the tools or functions that are offered to the model, in their order.
    pub tools: Vec<String>,
    /// The stored response that the call goes on from, or that it is about.
    pub stored_response: Option<String>,
    /// Whether the provider may keep the response.
    pub store: bool,
    body: Bytes,
    spots: Spots,
}

/// Where the members lie that a splice may change.
#[derive(Debug, Clone, Copy, Default)]
struct Spots {
    /// After the opening brace.
    open: usize,
    model: Span,
    caps: Caps,
    options: Option<Options>,
}

/// Where the members lie that may cap the output, also where they hold `null`.
#[derive(Debug, Clone, Copy, Default)]
struct Caps {
    max_tokens: Option<Span>,
    max_completion_tokens: Option<Span>,
    max_output_tokens: Option<Span>,
}

impl Caps {
    fn get(&self, name: CapName) -> Option<Span> {
        match name {
            CapName::MaxTokens => self.max_tokens,
            CapName::MaxCompletionTokens => self.max_completion_tokens,
            CapName::MaxOutputTokens => self.max_output_tokens,
        }
    }

    fn set(&mut self, name: CapName, span: Option<Span>) {
        match name {
            CapName::MaxTokens => self.max_tokens = span,
            CapName::MaxCompletionTokens => self.max_completion_tokens = span,
            CapName::MaxOutputTokens => self.max_output_tokens = span,
        }
    }

    /// The first that is there, in any spelling of the cap.
    fn any(&self) -> Option<Span> {
        self.max_tokens.or(self.max_completion_tokens).or(self.max_output_tokens)
    }
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
        let shape = shape::of(endpoint);
        fields::refuse_variants(&members, shape.names, "")?;
        let read = fields::Fields { body: &body, members: &members, prefix: "" };
        let (model_span, model) = read.model()?;
        let options = fields::options(&body, &members, endpoint)?;
        let cap = read.cap(shape)?;
        read.refuse_foreign(shape)?;
        let prompt = read.prompt(shape)?;
        stored::refuse_references(endpoint, prompt.of(&body))?;
        let measure = read.measure(shape, prompt)?;
        let (choices, best_of) = read.choices(endpoint)?;
        let spots =
            Spots { open: members.open, model: model_span, caps: cap.spots, options: options.map(|found| found.spots) };
        let stream = endpoint.generates() && read.boolean("stream")?.unwrap_or(false);
        let is_response = endpoint == Endpoint::Responses;
        Ok(Self {
            endpoint,
            model,
            stream,
            include_usage: options.is_some_and(|found| found.include_usage),
            continuous_usage: options.is_some_and(|found| found.continuous_usage),
            output_tokens_max: cap.tokens,
            cap_name: cap.name,
            choices,
            best_of,
            user: read.text("user", USER_BYTES_MAX)?,
            end_user: end_user::end_user(&read)?,
            prompt,
            prompt_items: fields::prompt_items(prompt.of(&body), measure.items),
            prompt_bytes: measure.bytes,
            media_parts: measure.media,
            tools: read.tools(shape, endpoint)?,
            stored_response: if is_response { read.text("previous_response_id", ID_BYTES_MAX)? } else { None },
            store: !is_response || read.boolean("store")?.unwrap_or(true),
            spots,
            body,
        })
    }

    /// A call without a body about a response that was stored under `id`, made by the model of that alias.
    pub fn about_stored(endpoint: Endpoint, model: &str, id: &str) -> Self {
        Self {
            endpoint,
            model: model.to_owned(),
            stream: false,
            include_usage: false,
            continuous_usage: false,
            output_tokens_max: None,
            cap_name: None,
            choices: 1,
            best_of: None,
            user: None,
            end_user: None,
            prompt: Span::default(),
            prompt_items: 0,
            prompt_bytes: 0,
            media_parts: 0,
            tools: Vec::new(),
            stored_response: Some(id.to_owned()),
            store: false,
            spots: Spots::default(),
            body: Bytes::new(),
        }
    }

    /// The body as the client sent it.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}
