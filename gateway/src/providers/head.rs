//! The head of an upstream request. Nothing of the client's head is copied but its trace context and the edition of
//! Anthropic's API that it speaks: identity travels as data, and a client can't smuggle a header into an upstream.

use pingora::http::RequestHeader;
use weir_wire::endpoint::{Dialect, Endpoint};

use crate::config::settings::{Address, DeploymentRule, Provider, Secret};
use crate::exchange::CallId;

/// The edition of Anthropic's API where the client names none.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// Which edition of Anthropic's API a client speaks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edition {
    /// `anthropic-version`.
    pub version: Option<String>,
    /// `anthropic-beta`.
    pub betas: Option<String>,
}

/// What the head says of the call.
#[derive(Debug, Clone, Copy)]
pub struct CallHead<'a> {
    /// The call; the own engine registers it for aborts and allowances.
    pub call: CallId,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The stored response that the call is about.
    pub stored: Option<&'a str>,
    /// The query of such a call.
    pub query: Option<&'a str>,
    /// Whether a stream is wanted.
    pub stream: bool,
    /// Completion tokens that the own engine may make, over all choices.
    pub allowance: u64,
    /// Completion tokens of one choice where the body names no cap (the own engine only).
    pub output_tokens: u32,
    /// The credential that is sent.
    pub credential: Option<&'a Secret>,
    /// The client's `traceparent`, where it is well-formed.
    pub traceparent: Option<&'a str>,
    /// The edition of Anthropic's API, on its endpoints.
    pub edition: &'a Edition,
}

impl CallHead<'_> {
    /// Builds the head for `deployment` with a body of `body_len` bytes.
    pub fn build(&self, deployment: &DeploymentRule, body_len: usize) -> pingora::Result<Box<RequestHeader>> {
        let mut path = String::with_capacity(64);
        path.push_str(&deployment.base_path);
        match self.stored {
            Some(id) if self.endpoint.is_about_stored() => path.push_str(&self.endpoint.suffix().replace("{id}", id)),
            Some(_) | None => path.push_str(self.endpoint.suffix()),
        }
        if let Some(query) = self.query {
            path.push('?');
            path.push_str(query);
        }
        let mut head = RequestHeader::build_no_case(self.endpoint.method(), path.as_bytes(), Some(12))?;
        head.insert_header("host", host(&deployment.address))?;
        head.insert_header("content-type", "application/json")?;
        head.insert_header("content-length", body_len.to_string())?;
        head.insert_header("accept", if self.stream { "text/event-stream" } else { "application/json" })?;
        head.insert_header("accept-encoding", "identity")?;
        head.insert_header("user-agent", concat!("weir/", env!("CARGO_PKG_VERSION")))?;
        if let Some(key) = self.credential {
            match deployment.provider {
                Provider::Anthropic => head.insert_header("x-api-key", key.expose())?,
                Provider::Engine | Provider::OpenAi => {
                    head.insert_header("authorization", [b"Bearer ", key.expose()].concat())?;
                }
            }
        }
        if self.endpoint.dialect() == Dialect::Anthropic {
            let version = self.edition.version.as_deref().unwrap_or(ANTHROPIC_VERSION);
            head.insert_header("anthropic-version", version)?;
            if let Some(betas) = &self.edition.betas {
                head.insert_header("anthropic-beta", betas.as_str())?;
            }
        }
        if let Some(traceparent) = self.traceparent {
            head.insert_header("traceparent", traceparent)?;
        }
        if deployment.provider == Provider::Engine {
            head.insert_header("x-weir-call-id", self.call.0.to_string())?;
            head.insert_header("x-weir-token-allowance", self.allowance.to_string())?;
            head.insert_header("x-weir-output-tokens", self.output_tokens.to_string())?;
        }
        Ok(Box::new(head))
    }
}

fn host(address: &Address) -> String {
    match address {
        Address::Tcp { host, port, tls, .. } => {
            let default = if *tls { 443 } else { 80 };
            let name = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
            if *port == default { name } else { format!("{name}:{port}") }
        }
        Address::Unix(_) => "localhost".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::pick::tests::deployment;

    static EDITION: Edition = Edition { version: None, betas: None };

    fn head() -> CallHead<'static> {
        CallHead {
            edition: &EDITION,
            stored: None,
            query: None,
            call: CallId(uuid::Uuid::nil()),
            endpoint: Endpoint::ChatCompletions,
            stream: true,
            allowance: 7,
            output_tokens: 3,
            credential: None,
            traceparent: None,
        }
    }

    #[test]
    fn the_engine_gets_the_call_id_and_a_provider_does_not() {
        let mut rule = (*deployment("a", 1)).clone();
        let key = Secret::new(b"sk-1");
        let sent = CallHead { credential: Some(&key), ..head() }.build(&rule, 3).unwrap();
        assert_eq!(sent.uri.path(), "/v1/chat/completions");
        assert_eq!(sent.headers["authorization"], "Bearer sk-1");
        assert_eq!(sent.headers["host"], "127.0.0.1:1");
        assert!(!sent.headers.contains_key("x-weir-call-id"));
        rule.provider = Provider::Anthropic;
        let edition = Edition { betas: Some("one-beta".to_owned()), ..Edition::default() };
        let messages = CallHead { credential: Some(&key), endpoint: Endpoint::Messages, edition: &edition, ..head() };
        let sent = messages.build(&rule, 3).unwrap();
        assert_eq!(sent.uri.path(), "/v1/messages");
        assert_eq!(sent.headers["x-api-key"], "sk-1");
        assert!(!sent.headers.contains_key("authorization"));
        assert_eq!(sent.headers["anthropic-version"], ANTHROPIC_VERSION);
        assert_eq!(sent.headers["anthropic-beta"], "one-beta");
        rule.provider = Provider::OpenAi;
        let items =
            CallHead { endpoint: Endpoint::ResponseItems, stored: Some("r1"), query: Some("limit=2"), ..head() };
        let sent = items.build(&rule, 0).unwrap();
        assert_eq!(
            (sent.method.as_str(), sent.uri.to_string().as_str()),
            ("GET", "/v1/responses/r1/input_items?limit=2")
        );
        rule.provider = Provider::Engine;
        let sent = head().build(&rule, 3).unwrap();
        assert_eq!(sent.headers["x-weir-token-allowance"], "7");
    }
}
