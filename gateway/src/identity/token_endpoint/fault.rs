//! Why the token endpoint issues nothing, as OAuth writes it (RFC 6749, section 5.2; RFC 8693, section 2.2.2).
//!
//! OAuth has error bodies of its own, so these are no `Refusal`: status, code and text for the client, and the exact
//! reason for the audit log. The texts are constant: nothing that a client sent comes back in them.

use std::time::Duration;

use crate::identity::keyring::IdentityFault;
use crate::identity::own_tokens::narrowing::ScopeFault;
use crate::identity::scope::OutOfScope;
use crate::identity::token::TokenFault;

/// Why nothing is issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OAuthFault {
    /// Another method than POST.
    #[error("use POST")]
    Method,
    /// Parameters in the address, where they end up in logs.
    #[error("parameters belong in the body and not in the address")]
    InUrl,
    /// No form.
    #[error("send the body as application/x-www-form-urlencoded")]
    MediaType,
    /// The form is too large.
    #[error("the form is too large")]
    TooLarge,
    /// The form did not arrive in time.
    #[error("the form did not arrive in time")]
    Timeout,
    /// The form can't be read.
    #[error("the form is malformed")]
    Form,
    /// A parameter stands twice.
    #[error("a parameter stands more than once")]
    Repeated,
    /// A parameter is missing.
    #[error("the parameter {0} is missing")]
    Missing(&'static str),
    /// Another grant.
    #[error("the grant is client_credentials or urn:ietf:params:oauth:grant-type:token-exchange")]
    GrantType,
    /// This grant needs a client that proves itself.
    #[error("the client must prove itself with its key id and key")]
    NoClient,
    /// A way of proving itself that Weir doesn't know.
    #[error("a client proves itself with its key id and key, by Basic or in the form")]
    ClientMethod,
    /// More than one way.
    #[error("the client names itself in two ways")]
    TwoMethods,
    /// It is not the client.
    #[error("the client is unknown or its key is wrong, expired or revoked")]
    Client(IdentityFault),
    /// The client's key is not for its address.
    #[error("the client may not ask for tokens from this address")]
    ClientAddress(OutOfScope),
    /// Only service accounts are clients.
    #[error("this grant is for service accounts")]
    ClientKind,
    /// The subject, its actor and its client are not of one organisation.
    #[error("subject, actor and client must be of one organisation")]
    Foreign,
    /// Another kind of token.
    #[error("the token type is not supported")]
    TokenType,
    /// An actor's token without its type, or the type alone.
    #[error("actor_token and actor_token_type belong together")]
    ActorHalf,
    /// The subject's token proves nothing.
    #[error("the subject_token is invalid, expired or revoked")]
    Subject(IdentityFault),
    /// The actor's token proves nothing.
    #[error("the actor_token is invalid, expired or revoked")]
    Actor(IdentityFault),
    /// Subject or actor are not for this address.
    #[error("a token is not for this client address")]
    Address(OutOfScope),
    /// The subject's token says who may act, and it is another one.
    #[error("the subject does not let this actor act")]
    MayAct,
    /// Too many actors behind one another, or too many keys.
    #[error("too many actors or clients behind one another")]
    Chain,
    /// The scope can't be had.
    #[error("the scope is malformed, unknown or wider than that of the subject")]
    Scope(ScopeFault),
    /// Another audience.
    #[error("no tokens are issued for this audience or resource")]
    Target,
    /// Too many requests.
    #[error("too many requests")]
    SlowDown(Duration),
    /// Nothing can be issued now.
    #[error("no tokens can be issued at the moment")]
    Unavailable(&'static str),
}

/// How it looks on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Face {
    /// HTTP status.
    pub status: u16,
    /// OAuth's code.
    pub error: &'static str,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

const REQUEST: &str = "invalid_request";
const CLIENT: &str = "invalid_client";
/// An error code of OAuth's other endpoint (RFC 6749, section 4.1.2.1): this one has none for waiting.
const LATER: &str = "temporarily_unavailable";
/// When to come back where nothing better is known.
const LATER_AFTER: Duration = Duration::from_secs(2);

impl OAuthFault {
    /// Status and code.
    pub fn face(self) -> Face {
        let face = |status, error| Face { status, error, retry_after: None };
        let later = |status, wait| Face { status, error: LATER, retry_after: Some(wait) };
        match self {
            Self::Method => face(405, REQUEST),
            Self::TooLarge => face(413, REQUEST),
            Self::Timeout => face(408, REQUEST),
            Self::GrantType => face(400, "unsupported_grant_type"),
            Self::NoClient | Self::ClientMethod => face(401, CLIENT),
            Self::ClientAddress(_) | Self::ClientKind => face(400, "unauthorized_client"),
            Self::Scope(_) => face(400, "invalid_scope"),
            Self::Target => face(400, "invalid_target"),
            Self::SlowDown(wait) => later(429, wait),
            Self::Unavailable(_) => later(503, LATER_AFTER),
            Self::Client(fault) | Self::Subject(fault) | Self::Actor(fault) if is_outage(fault) => {
                later(503, LATER_AFTER)
            }
            Self::Client(_) => face(401, CLIENT),
            Self::InUrl
            | Self::MediaType
            | Self::Form
            | Self::Repeated
            | Self::Missing(_)
            | Self::TwoMethods
            | Self::Foreign
            | Self::TokenType
            | Self::ActorHalf
            | Self::Subject(_)
            | Self::Actor(_)
            | Self::Address(_)
            | Self::MayAct
            | Self::Chain => face(400, REQUEST),
        }
    }

    /// The exact reason, for the audit log.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Method => "method_not_allowed",
            Self::InUrl => "parameters_in_url",
            Self::MediaType => "not_a_form",
            Self::TooLarge => "form_too_large",
            Self::Timeout => "form_timeout",
            Self::Form => "malformed_form",
            Self::Repeated => "repeated_parameter",
            Self::Missing(_) => "missing_parameter",
            Self::GrantType => "unsupported_grant_type",
            Self::NoClient => "missing_client",
            Self::ClientMethod => "client_method",
            Self::TwoMethods => "two_client_methods",
            Self::ClientKind => "client_is_no_service",
            Self::Foreign => "foreign_organisation",
            Self::TokenType => "token_type",
            Self::ActorHalf => "actor_without_type",
            Self::MayAct => "may_not_act",
            Self::Chain => "chain_too_long",
            Self::Target => "invalid_target",
            Self::SlowDown(_) => "token_requests_limit",
            Self::Client(fault) | Self::Subject(fault) | Self::Actor(fault) => fault.code(),
            Self::ClientAddress(scope) | Self::Address(scope) => scope.code(),
            Self::Scope(fault) => fault.code(),
            Self::Unavailable(why) => why,
        }
    }
}

/// Whether it says nothing about the credential: somebody could not be asked.
fn is_outage(fault: IdentityFault) -> bool {
    matches!(fault, IdentityFault::StoreUnavailable | IdentityFault::Token(TokenFault::NoKeys | TokenFault::NoAnswer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_no_wrong_token_and_a_wrong_client_is_401() {
        let of = |fault: OAuthFault| (fault.face().status, fault.face().error);
        assert_eq!(of(OAuthFault::Client(IdentityFault::WrongSecret)), (401, "invalid_client"));
        assert_eq!(of(OAuthFault::Subject(IdentityFault::Revoked)), (400, "invalid_request"));
        assert_eq!(of(OAuthFault::Subject(TokenFault::NoKeys.into())), (503, "temporarily_unavailable"));
        assert_eq!(of(OAuthFault::Client(IdentityFault::StoreUnavailable)), (503, "temporarily_unavailable"));
        assert_eq!(OAuthFault::Subject(TokenFault::Expired.into()).reason(), "token_expired");
    }

    #[test]
    fn what_the_client_reads_fits_an_error_description() {
        let all = [OAuthFault::Missing("subject_token"), OAuthFault::GrantType, OAuthFault::ClientMethod];
        for fault in all {
            let text = fault.to_string();
            assert!(text.bytes().all(|b| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)), "{text}");
        }
    }
}
