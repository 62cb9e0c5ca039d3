//! The endpoints of the data plane: their paths, methods and names, and the dialect that each speaks.

/// How requests, errors and streams look on an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's chat and its like: unnamed events, `[DONE]` at the end.
    OpenAi,
    /// OpenAI's responses: named events, of which one of three is the last.
    Responses,
    /// Anthropic's messages: named events, `message_stop` at the end.
    Anthropic,
}

impl Dialect {
    /// A stable name, as policies see it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Responses => "openai_responses",
            Self::Anthropic => "anthropic",
        }
    }
}

/// An endpoint of the data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// `POST /v1/chat/completions`
    ChatCompletions,
    /// `POST /v1/completions`
    Completions,
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// `POST /v1/responses`
    Responses,
    /// `POST /v1/embeddings`
    Embeddings,
    /// `POST /v1/rerank`
    Rerank,
    /// `GET /v1/models`
    Models,
}

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Self; 8] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Messages,
        Self::CountTokens,
        Self::Responses,
        Self::Embeddings,
        Self::Rerank,
        Self::Models,
    ];

    /// The path as a client writes it.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::Responses => "/v1/responses",
            Self::Embeddings => "/v1/embeddings",
            Self::Rerank => "/v1/rerank",
            Self::Models => "/v1/models",
        }
    }

    /// The path below a provider's base URL, which ends in `/v1` or its like.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/chat/completions",
            Self::Completions => "/completions",
            Self::Messages => "/messages",
            Self::CountTokens => "/messages/count_tokens",
            Self::Responses => "/responses",
            Self::Embeddings => "/embeddings",
            Self::Rerank => "/rerank",
            Self::Models => "/models",
        }
    }

    /// The one method allowed.
    pub const fn method(self) -> &'static str {
        match self {
            Self::ChatCompletions
            | Self::Completions
            | Self::Messages
            | Self::CountTokens
            | Self::Responses
            | Self::Embeddings
            | Self::Rerank => "POST",
            Self::Models => "GET",
        }
    }

    /// A stable name for records and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Completions => "completions",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
            Self::Models => "models",
        }
    }

    /// How its requests, errors and streams look.
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::ChatCompletions | Self::Completions | Self::Embeddings | Self::Rerank | Self::Models => {
                Dialect::OpenAi
            }
            Self::Responses => Dialect::Responses,
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
        }
    }

    /// Whether a call to it makes tokens, so that it has a cap for them and may be streamed.
    pub const fn generates(self) -> bool {
        match self {
            Self::ChatCompletions | Self::Completions | Self::Messages | Self::Responses => true,
            Self::CountTokens | Self::Embeddings | Self::Rerank | Self::Models => false,
        }
    }

    /// Whether providers charge for what it does: counting tokens and reading are free.
    pub const fn is_charged(self) -> bool {
        match self {
            Self::ChatCompletions
            | Self::Completions
            | Self::Messages
            | Self::Responses
            | Self::Embeddings
            | Self::Rerank => true,
            Self::CountTokens | Self::Models => false,
        }
    }

    /// The endpoint of an exact path, query excluded.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.path() == path)
    }

    /// The endpoint of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_found_by_their_exact_path_and_name() {
        for endpoint in Endpoint::ALL {
            assert_eq!(Endpoint::from_path(endpoint.path()), Some(endpoint));
            assert_eq!(Endpoint::from_name(endpoint.name()), Some(endpoint));
            assert!(endpoint.path().ends_with(endpoint.suffix()));
        }
        assert_eq!(Endpoint::from_path("/v1/chat/completions/"), None);
        assert_eq!(Endpoint::from_path("/v1/messages/"), None);
    }
}
