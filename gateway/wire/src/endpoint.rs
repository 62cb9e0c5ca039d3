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

/// The longest id of a stored response, in bytes.
pub const ID_BYTES_MAX: usize = 256;

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
    /// `GET /v1/responses/{id}`
    ReadResponse,
    /// `GET /v1/responses/{id}/input_items`
    ResponseItems,
    /// `DELETE /v1/responses/{id}`
    DeleteResponse,
    /// `POST /v1/embeddings`
    Embeddings,
    /// `POST /v1/rerank`
    Rerank,
    /// `GET /v1/models`
    Models,
}

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Self; 11] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Messages,
        Self::CountTokens,
        Self::Responses,
        Self::ReadResponse,
        Self::ResponseItems,
        Self::DeleteResponse,
        Self::Embeddings,
        Self::Rerank,
        Self::Models,
    ];

    /// The path as a client writes it; `{id}` stands for a stored response's id.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::Responses => "/v1/responses",
            Self::ReadResponse | Self::DeleteResponse => "/v1/responses/{id}",
            Self::ResponseItems => "/v1/responses/{id}/input_items",
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
            Self::ReadResponse | Self::DeleteResponse => "/responses/{id}",
            Self::ResponseItems => "/responses/{id}/input_items",
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
            Self::Models | Self::ReadResponse | Self::ResponseItems => "GET",
            Self::DeleteResponse => "DELETE",
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
            Self::ReadResponse => "response_read",
            Self::ResponseItems => "response_items",
            Self::DeleteResponse => "response_delete",
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
            Self::Responses | Self::ReadResponse | Self::ResponseItems | Self::DeleteResponse => Dialect::Responses,
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
        }
    }

    /// Whether a call to it makes tokens, so that it has a cap for them and may be streamed.
    pub const fn generates(self) -> bool {
        match self {
            Self::ChatCompletions | Self::Completions | Self::Messages | Self::Responses => true,
            Self::CountTokens
            | Self::ReadResponse
            | Self::ResponseItems
            | Self::DeleteResponse
            | Self::Embeddings
            | Self::Rerank
            | Self::Models => false,
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
            Self::CountTokens | Self::ReadResponse | Self::ResponseItems | Self::DeleteResponse | Self::Models => false,
        }
    }

    /// Whether it is about a response that was stored before.
    pub const fn is_about_stored(self) -> bool {
        match self {
            Self::ReadResponse | Self::ResponseItems | Self::DeleteResponse => true,
            Self::ChatCompletions
            | Self::Completions
            | Self::Messages
            | Self::CountTokens
            | Self::Responses
            | Self::Embeddings
            | Self::Rerank
            | Self::Models => false,
        }
    }

    /// The endpoint that a deployment must speak to serve this one.
    #[must_use]
    pub const fn spoken(self) -> Self {
        if self.is_about_stored() { Self::Responses } else { self }
    }

    /// The endpoints of a path, query excluded, one for each of its methods.
    pub fn of_path(path: &str) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |endpoint| endpoint.has_path(path))
    }

    /// Whether the path is this endpoint's, with a well-formed id where there is one.
    fn has_path(self, path: &str) -> bool {
        match self.path().split_once("{id}") {
            None => self.path() == path,
            Some(_) => self.stored_id(path).is_some(),
        }
    }

    /// The stored response's id in a path of this endpoint.
    pub fn stored_id(self, path: &str) -> Option<&str> {
        let (before, after) = self.path().split_once("{id}")?;
        let id = path.strip_prefix(before)?.strip_suffix(after)?;
        is_plain_id(id).then_some(id)
    }

    /// The endpoint of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.name() == name)
    }
}

/// Whether it looks like the id of something that a provider stores: nothing else is asked for by it, or kept.
pub fn is_plain_id(id: &str) -> bool {
    let is_plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    is_plain && (1..=ID_BYTES_MAX).contains(&id.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_found_by_their_exact_path_and_name() {
        for endpoint in Endpoint::ALL {
            let path = endpoint.path().replace("{id}", "resp_1-x");
            let methods: Vec<_> = Endpoint::of_path(&path).map(Endpoint::method).collect();
            assert!(methods.contains(&endpoint.method()), "{path}: {methods:?}");
            assert_eq!(Endpoint::from_name(endpoint.name()), Some(endpoint));
            assert!(endpoint.path().ends_with(endpoint.suffix()));
        }
        let none =
            ["/v1/chat/completions/", "/v1/messages/", "/v1/responses/", "/v1/responses/a%2fb", "/v1/responses/a/b"];
        for path in none {
            assert_eq!(Endpoint::of_path(path).next(), None, "{path}");
        }
        assert_eq!(Endpoint::ResponseItems.stored_id("/v1/responses/r/input_items"), Some("r"));
    }
}
