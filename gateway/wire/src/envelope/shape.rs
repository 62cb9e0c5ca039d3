//! What the body of each endpoint looks like, as far as it is read here: one table.

use super::CapName;
use crate::endpoint::Endpoint;

/// What the value that holds the prompt must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PromptForm {
    /// A non-empty array.
    Array,
    /// A string or a non-empty array.
    TextOrArray,
}

/// What the body of an endpoint looks like.
#[derive(Debug)]
pub(super) struct Shape {
    /// The top-level names that are read here and may therefore not be spelled otherwise.
    pub names: &'static [&'static str],
    /// The members that may cap the output.
    pub caps: &'static [CapName],
    /// Members that cap the output elsewhere: since a cap is always set here, one of these would contradict it.
    pub foreign_caps: &'static [CapName],
    /// The member that holds the prompt.
    pub prompt: &'static str,
    /// What it must be.
    pub prompt_form: PromptForm,
    /// Further members whose text the model reads.
    pub texts: &'static [&'static str],
    /// Those of them that must be there, as a string.
    pub required_text: Option<&'static str>,
    /// The members that list tools.
    pub tools: &'static [&'static str],
    /// Members that reach for things that lie at the provider, outside of this call, or that run after it: nobody
    /// here could say whose they are or what they use. Refused unless `null` or `false`.
    pub refused: &'static [&'static str],
}

const CHAT_CAPS: &[CapName] = &[CapName::MaxTokens, CapName::MaxCompletionTokens];

const CHAT: Shape = Shape {
    names: &[
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
    ],
    caps: CHAT_CAPS,
    foreign_caps: &[],
    prompt: "messages",
    prompt_form: PromptForm::Array,
    texts: &[],
    required_text: None,
    tools: &["tools", "functions"],
    refused: &[],
};

const COMPLETIONS: Shape = Shape { prompt: "prompt", prompt_form: PromptForm::TextOrArray, ..CHAT };

/// Anthropic's messages.
const MESSAGES: Shape = Shape {
    names: &[
        "model",
        "stream",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "messages",
        "system",
        "metadata",
        "tools",
        "tool_choice",
        "mcp_servers",
        "container",
        "service_tier",
    ],
    caps: &[CapName::MaxTokens],
    foreign_caps: &[CapName::MaxCompletionTokens, CapName::MaxOutputTokens],
    prompt: "messages",
    prompt_form: PromptForm::Array,
    texts: &["system"],
    required_text: None,
    tools: &["tools", "mcp_servers"],
    refused: &["container"],
};

/// OpenAI's responses.
const RESPONSES: Shape = Shape {
    names: &[
        "model",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "input",
        "instructions",
        "user",
        "safety_identifier",
        "metadata",
        "tools",
        "tool_choice",
        "store",
        "previous_response_id",
        "background",
        "conversation",
        "prompt",
        "service_tier",
    ],
    caps: &[CapName::MaxOutputTokens],
    foreign_caps: &[CapName::MaxTokens, CapName::MaxCompletionTokens],
    prompt: "input",
    prompt_form: PromptForm::TextOrArray,
    texts: &["instructions"],
    required_text: None,
    tools: &["tools"],
    refused: &["background", "conversation", "prompt"],
};

const EMBEDDINGS: Shape = Shape {
    names: &["model", "input", "user", "encoding_format", "dimensions"],
    caps: &[],
    foreign_caps: &[],
    prompt: "input",
    prompt_form: PromptForm::TextOrArray,
    texts: &[],
    required_text: None,
    tools: &[],
    refused: &[],
};

/// The shape that Cohere's and Jina's rerank have in common.
const RERANK: Shape = Shape {
    names: &["model", "query", "documents", "top_n", "return_documents"],
    prompt: "documents",
    prompt_form: PromptForm::Array,
    texts: &["query"],
    required_text: Some("query"),
    ..EMBEDDINGS
};

/// The shape of an endpoint's bodies.
pub(super) const fn of(endpoint: Endpoint) -> &'static Shape {
    match endpoint {
        Endpoint::ChatCompletions | Endpoint::Models => &CHAT,
        Endpoint::Completions => &COMPLETIONS,
        Endpoint::Messages | Endpoint::CountTokens => &MESSAGES,
        Endpoint::Responses | Endpoint::ReadResponse | Endpoint::ResponseItems | Endpoint::DeleteResponse => &RESPONSES,
        Endpoint::Embeddings => &EMBEDDINGS,
        Endpoint::Rerank => &RERANK,
    }
}
