//! Every reason for which a call may end early: status, code, whether to retry, what the caller reads and what the
//! operator reads. The only place that knows HTTP status codes.

mod from;
mod render;

use std::sync::Arc;
use std::time::Duration;

use weir_wire::endpoint::Endpoint;

use crate::exchange::Outcome;
use crate::identity::dpop::DpopFault;
use crate::identity::scope::OutOfScope;
use crate::limits::{LimitExceeded, LimitKind};

/// Why Weir ends a call without (the rest of) a reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    // ── the request's head ──
    /// No such path.
    #[error("no such endpoint")]
    UnknownEndpoint,
    /// The path is known, the method is not.
    #[error("method not allowed, use {allow}")]
    MethodNotAllowed {
        /// The methods that are.
        allow: &'static str,
    },
    /// Only `application/json` is read.
    #[error("unsupported content type")]
    UnsupportedContentType,
    /// Only identity encoding is read.
    #[error("unsupported content encoding")]
    UnsupportedEncoding,
    /// Weir is about to stop.
    #[error("shutting down")]
    Draining,
    /// The journal takes no more: usage could not be recorded.
    #[error("the journal takes no more calls")]
    JournalUnavailable,
    /// The decision log takes no more, and its setting says that calls are refused then.
    #[error("the decision log takes no more decisions")]
    DecisionLogFull,

    // ── identity ──
    /// No credential at all.
    #[error("no credential")]
    MissingKey,
    /// A credential that proves nothing; `why` is for the audit log, the caller only learns that it is invalid.
    #[error("credential refused: {why}")]
    InvalidKey {
        /// `unknown`, `revoked`, `expired`, `checksum`, `shape`, `tenant_gone` …
        why: &'static str,
    },
    /// A token that its issuer's rules refuse.
    #[error("token refused: {why}")]
    InvalidToken {
        /// `token_expired`, `token_audience`, `token_signature` …
        why: &'static str,
    },
    /// A client certificate that stands for nobody here.
    #[error("certificate refused: {why}")]
    InvalidCertificate {
        /// `certificate_expired`, `certificate_denied`, `certificate_unknown` …
        why: &'static str,
    },
    /// A token without the proof of possession that it needs.
    #[error("proof refused: {0}")]
    InvalidProof(DpopFault),
    /// The issuer of a token could not be asked.
    #[error("the token's issuer is unavailable: {why}")]
    IssuerUnavailable {
        /// `issuer_keys_unavailable`, `introspection_unavailable`.
        why: &'static str,
    },
    /// Too many requests of this address had no valid credential.
    #[error("too many requests without a valid credential from this address")]
    TooManyStrangers {
        /// Until the next one is looked at.
        wait: Duration,
    },
    /// Two different credentials in one request.
    #[error("two different credentials")]
    AmbiguousCredentials,
    /// A key in the query string would end up in logs.
    #[error("credential in the query string")]
    KeyInQuery,
    /// The key is not for this endpoint, address or environment.
    #[error("{0}")]
    OutOfScope(OutOfScope),
    /// A directory that roles may come of could not be asked.
    #[error("the directory of users is unavailable")]
    DirectoryUnavailable,
    /// The key store could not be read for too long.
    #[error("the key store is unavailable")]
    KeyStoreUnavailable,
    /// The key was revoked (or expired) while its reply was running.
    #[error("the key was revoked during the call")]
    KeyRevoked,

    // ── the request's body ──
    /// Larger than `request.body_bytes_max`.
    #[error("body over {max} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// The body did not arrive in time.
    #[error("body not complete in time")]
    BodyTimeout,
    /// The body is not what the endpoint takes.
    #[error("malformed request: {message}")]
    Malformed {
        /// What is wrong, for the caller.
        message: String,
        /// The parameter, where one is to blame.
        param: Option<String>,
        /// A code of its own where clients act on it.
        code: &'static str,
    },
    /// No model of that name.
    #[error("unknown model")]
    ModelUnknown {
        /// As the caller wrote it.
        model: Arc<str>,
    },

    /// No deployment of the model speaks the endpoint.
    #[error("the model is not served at this endpoint")]
    EndpointUnserved {
        /// As the caller wrote it.
        model: Arc<str>,
        /// Where it was asked for.
        endpoint: Endpoint,
    },

    /// No stored response of that id was made through the caller's tenant, as far as this gateway knows.
    #[error("no such stored response")]
    ResponseUnknown {
        /// The member of the body that names it; `None` where the path does.
        param: Option<&'static str>,
    },

    // ── policy, limits, ledger ──
    /// A policy rule says no, or did not say yes.
    #[error("policy rule `{rule}` refused: {reason}")]
    PolicyDenied {
        /// The rule's name.
        rule: Arc<str>,
        /// The rule's reason code.
        reason: Arc<str>,
        /// Status that the rule asks for; 403 without one.
        status: Option<u16>,
    },
    /// The policy's route leaves no deployment.
    #[error("policy rule `{rule}` leaves no deployment to serve the model")]
    NoPermittedDeployment {
        /// The rule's name.
        rule: Arc<str>,
    },
    /// The policy demands redaction, which this build can't do yet.
    #[error("policy rule `{rule}` demands redaction, which is not available")]
    RedactionUnavailable {
        /// The rule's name.
        rule: Arc<str>,
    },
    /// A limit of some level is used up for now, or the request alone is larger than it.
    #[error("{0}")]
    Limit(LimitExceeded),
    /// A limit can't be counted at the moment, and its rule is to refuse then.
    #[error("limits can't be counted: {why}")]
    LimitsUnavailable {
        /// A short code.
        why: &'static str,
    },
    /// No price is known: a call that can't be priced is not served.
    #[error("no price for any deployment of the model")]
    Unpriced,

    // ── upstream ──
    /// Every deployment is out.
    #[error("no deployment can serve the model now")]
    NoDeployment {
        /// When the first may be back.
        retry_after: Option<Duration>,
    },
    /// No connection, or it broke before a reply.
    #[error("upstream unreachable: {why}")]
    UpstreamUnreachable {
        /// A short reason code.
        why: &'static str,
    },
    /// No reply in time.
    #[error("upstream timed out: {why}")]
    UpstreamTimeout {
        /// A short reason code.
        why: &'static str,
    },
    /// The deployment takes no more calls at once, and the line in front of it is full or too slow.
    #[error("the deployment is busy")]
    Saturated {
        /// When a place is likely.
        retry_after: Duration,
    },
    /// The upstream's capacity is used up, or it failed.
    #[error("upstream answered {status}")]
    UpstreamFailed {
        /// Its status.
        status: u16,
        /// Its own hint.
        retry_after: Option<Duration>,
    },
    /// Weir's own credential (or credit, or model name) was refused upstream.
    #[error("upstream refused weir's own credential or model: {status}")]
    UpstreamAccount {
        /// Its status.
        status: u16,
    },
    /// A reply that is not what was asked for.
    #[error("upstream reply unusable: {why}")]
    UpstreamInvalid {
        /// A short reason code.
        why: &'static str,
    },
    /// The reply broke off after its first event.
    #[error("upstream broke off: {why}")]
    UpstreamDisconnected {
        /// A short reason code.
        why: &'static str,
    },
    /// A fault of Weir's own.
    #[error("internal fault: {what}")]
    Internal {
        /// For the operator.
        what: String,
    },
}

/// How a refusal looks on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Face {
    /// HTTP status, 4xx or 5xx.
    pub status: u16,
    /// OpenAI's error `type`.
    pub kind: &'static str,
    /// Stable reason code: the error's `code`, the audit record's `reason`, a metric label.
    pub code: &'static str,
    /// OpenAI's `param`.
    pub param: Option<String>,
    /// For the caller.
    pub message: String,
    /// When to come back; `None` where waiting does not help.
    pub retry_after: Option<Duration>,
}

const INVALID: &str = "invalid_request_error";
const AUTH: &str = "authentication_error";
const PERMISSION: &str = "permission_error";
const LIMIT: &str = "rate_limit_error";
const SERVER: &str = "server_error";
const UPSTREAM: &str = "upstream_error";

/// Longest `retry-after` that is passed on: beyond it a hint is not credible.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

impl Refusal {
    /// The refusal's face on the wire.
    pub fn face(&self) -> Face {
        match self {
            Refusal::UnknownEndpoint
            | Refusal::MethodNotAllowed { .. }
            | Refusal::UnsupportedContentType
            | Refusal::UnsupportedEncoding
            | Refusal::Draining
            | Refusal::JournalUnavailable
            | Refusal::DecisionLogFull
            | Refusal::BodyTooLarge { .. }
            | Refusal::BodyTimeout
            | Refusal::Malformed { .. }
            | Refusal::ModelUnknown { .. }
            | Refusal::EndpointUnserved { .. }
            | Refusal::ResponseUnknown { .. } => self.request_face(),
            Refusal::MissingKey
            | Refusal::InvalidKey { .. }
            | Refusal::InvalidToken { .. }
            | Refusal::InvalidCertificate { .. }
            | Refusal::InvalidProof(_)
            | Refusal::IssuerUnavailable { .. }
            | Refusal::TooManyStrangers { .. }
            | Refusal::AmbiguousCredentials
            | Refusal::KeyInQuery
            | Refusal::OutOfScope(_)
            | Refusal::DirectoryUnavailable
            | Refusal::KeyStoreUnavailable
            | Refusal::KeyRevoked => self.identity_face(),
            Refusal::PolicyDenied { .. }
            | Refusal::NoPermittedDeployment { .. }
            | Refusal::RedactionUnavailable { .. }
            | Refusal::Limit(_)
            | Refusal::LimitsUnavailable { .. }
            | Refusal::Unpriced => self.governance_face(),
            Refusal::NoDeployment { .. }
            | Refusal::UpstreamUnreachable { .. }
            | Refusal::UpstreamTimeout { .. }
            | Refusal::Saturated { .. }
            | Refusal::UpstreamFailed { .. }
            | Refusal::UpstreamAccount { .. }
            | Refusal::UpstreamInvalid { .. }
            | Refusal::UpstreamDisconnected { .. }
            | Refusal::Internal { .. } => self.upstream_face(),
        }
    }

    /// The outcome of a call that ends with this refusal.
    #[allow(clippy::wildcard_enum_match_arm, reason = "a new reason is a refusal unless it says otherwise")]
    pub fn outcome(&self) -> Outcome {
        match self {
            Refusal::KeyRevoked => Outcome::Revoked,
            Refusal::Internal { .. } => Outcome::Failed,
            Refusal::NoDeployment { .. }
            | Refusal::UpstreamUnreachable { .. }
            | Refusal::UpstreamTimeout { .. }
            | Refusal::UpstreamFailed { .. }
            | Refusal::UpstreamAccount { .. }
            | Refusal::UpstreamInvalid { .. }
            | Refusal::UpstreamDisconnected { .. } => Outcome::UpstreamError,
            _ => Outcome::Refused,
        }
    }

    /// Whether it is told to somebody who has not proved who he is. Whoever's proof of possession does not fit has a
    /// valid token, and may only have asked for the nonce; what is Weir's own fault is nobody's.
    pub fn is_of_stranger(&self) -> bool {
        !matches!(self, Refusal::InvalidProof(_)) && self.face().status < 500
    }

    /// The code of a refusal that isn't on the audit record: that can't be, or must not fill it.
    #[allow(clippy::wildcard_enum_match_arm, reason = "a new reason is recorded unless it says otherwise")]
    pub fn unrecorded(&self) -> Option<&'static str> {
        match self {
            Refusal::JournalUnavailable | Refusal::TooManyStrangers { .. } => Some(self.code()),
            _ => None,
        }
    }

    /// Stable reason code.
    pub fn code(&self) -> &'static str {
        self.face().code
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "face() lists every reason and sends this group here")]
    fn request_face(&self) -> Face {
        match self {
            Refusal::MethodNotAllowed { allow } => {
                face(405, INVALID, "method_not_allowed", format!("this endpoint takes {allow} only"))
            }
            Refusal::UnsupportedContentType => {
                face(415, INVALID, "unsupported_content_type", "send the body as `content-type: application/json`")
            }
            Refusal::UnsupportedEncoding => {
                face(415, INVALID, "unsupported_content_encoding", "send the body without `content-encoding`")
            }
            Refusal::Draining => Face {
                retry_after: Some(Duration::from_secs(1)),
                ..face(503, SERVER, "shutting_down", "this gateway is shutting down, try again")
            },
            Refusal::DecisionLogFull => Face {
                retry_after: Some(Duration::from_secs(1)),
                ..face(503, SERVER, "decision_log_full", "decisions can't be recorded at present, try again")
            },
            Refusal::JournalUnavailable => Face {
                retry_after: Some(Duration::from_secs(5)),
                ..face(
                    503,
                    SERVER,
                    "ledger_unavailable",
                    "usage cannot be recorded at the moment, so no call is served",
                )
            },
            Refusal::BodyTooLarge { max } => {
                face(413, INVALID, "body_too_large", format!("the body is larger than {max} bytes"))
            }
            Refusal::BodyTimeout => face(408, INVALID, "body_timeout", "the body did not arrive in time"),
            Refusal::Malformed { message, param, code } => {
                Face { param: param.clone(), ..face(400, INVALID, code, message.clone()) }
            }
            Refusal::ModelUnknown { model } => Face {
                param: Some("model".to_owned()),
                ..face(404, INVALID, "model_not_found", format!("the model `{model}` does not exist"))
            },
            Refusal::EndpointUnserved { model, endpoint } => Face {
                param: Some("model".to_owned()),
                ..face(
                    404,
                    INVALID,
                    "endpoint_not_served",
                    format!("the model `{model}` is not served at {}", endpoint.path()),
                )
            },
            Refusal::ResponseUnknown { param: None } => {
                face(404, INVALID, "response_not_found", "no response of this id was made by this tenant here")
            }
            Refusal::ResponseUnknown { param: Some(param) } => Face {
                param: Some((*param).to_owned()),
                ..face(
                    400,
                    INVALID,
                    "previous_response_not_found",
                    "no response of this id was made by this tenant here",
                )
            },
            _ => face(404, INVALID, "unknown_endpoint", render::no_such_endpoint()),
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "face() lists every reason and sends this group here")]
    fn identity_face(&self) -> Face {
        match self {
            Refusal::MissingKey => {
                face(401, AUTH, "missing_api_key", "no API key; send it as `authorization: Bearer wr_...`")
            }
            Refusal::AmbiguousCredentials => {
                face(400, INVALID, "ambiguous_credentials", "two different credentials in one request")
            }
            Refusal::TooManyStrangers { wait } => Face {
                retry_after: Some(*wait),
                ..face(
                    429,
                    LIMIT,
                    "too_many_strangers",
                    "too many requests without a valid credential came from this address; try again later",
                )
            },
            Refusal::KeyInQuery => {
                face(400, INVALID, "key_in_query", "send the API key in a header; query strings end up in logs")
            }
            Refusal::OutOfScope(scope) => face(403, PERMISSION, scope.code(), scope.to_string()),
            Refusal::KeyStoreUnavailable => Face {
                retry_after: Some(Duration::from_secs(2)),
                ..face(503, SERVER, "key_store_unavailable", "API keys cannot be checked at the moment")
            },
            Refusal::DirectoryUnavailable => Face {
                retry_after: Some(Duration::from_secs(2)),
                ..face(503, SERVER, "directory_unavailable", "the directory of users cannot be asked at the moment")
            },
            Refusal::InvalidToken { .. } => {
                face(401, AUTH, "invalid_token", "the access token is invalid, expired or not for this gateway")
            }
            Refusal::InvalidCertificate { .. } => {
                face(401, AUTH, "invalid_certificate", "the client certificate stands for no caller of this gateway")
            }
            Refusal::InvalidProof(fault) => {
                face(401, AUTH, fault.error(), "the proof of possession (DPoP) does not fit this request and token")
            }
            Refusal::IssuerUnavailable { .. } => Face {
                retry_after: Some(Duration::from_secs(2)),
                ..face(
                    503,
                    SERVER,
                    "issuer_unavailable",
                    "access tokens of this issuer cannot be checked at the moment",
                )
            },
            Refusal::KeyRevoked => face(401, AUTH, "key_revoked", "the API key was revoked during the call"),
            _ => face(401, AUTH, "invalid_api_key", "the API key is invalid, expired or revoked"),
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "face() lists every reason and sends this group here")]
    fn governance_face(&self) -> Face {
        match self {
            Refusal::PolicyDenied { rule, reason, status } => {
                let text = format!("refused by policy rule `{rule}`: {reason}");
                face(status.unwrap_or(403), PERMISSION, "policy_denied", text)
            }
            Refusal::NoPermittedDeployment { rule } => {
                let text = format!("policy rule `{rule}` leaves no deployment that may serve this model");
                face(403, PERMISSION, "no_permitted_deployment", text)
            }
            Refusal::RedactionUnavailable { rule } => face(
                403,
                PERMISSION,
                "redaction_unavailable",
                format!("policy rule `{rule}` demands redaction of personal data, which this gateway cannot do"),
            ),
            // Waiting does not help here, so it is no 429: SDKs would repeat it.
            Refusal::LimitsUnavailable { .. } => Face {
                retry_after: Some(Duration::from_secs(1)),
                ..face(503, SERVER, "limits_unavailable", "limits can't be counted at the moment, try again")
            },
            Refusal::Limit(exceeded) if exceeded.too_large => {
                face(400, INVALID, "request_over_limit", format!("this request alone is larger than the {exceeded}"))
            }
            Refusal::Limit(exceeded) => Face {
                retry_after: exceeded.retry_after,
                ..face(429, LIMIT, limit_code(exceeded), exceeded.to_string())
            },
            _ => face(503, SERVER, "unpriced_model", "no price is configured for this model, so it is not served"),
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "face() lists every reason and sends this group here")]
    fn upstream_face(&self) -> Face {
        let again = |after: &Option<Duration>| after.map(|wait| wait.min(RETRY_AFTER_MAX));
        match self {
            Refusal::NoDeployment { retry_after } => Face {
                retry_after: again(retry_after),
                ..face(503, UPSTREAM, "no_deployment", "no deployment can serve this model at the moment")
            },
            Refusal::UpstreamUnreachable { .. } => {
                face(502, UPSTREAM, "upstream_unreachable", "the model's server could not be reached")
            }
            Refusal::UpstreamTimeout { .. } => {
                face(504, UPSTREAM, "upstream_timeout", "the model's server did not answer in time")
            }
            Refusal::Saturated { retry_after } => Face {
                retry_after: Some(*retry_after),
                ..face(503, SERVER, "deployment_saturated", "the model's server is busy and too many calls wait for it")
            },
            Refusal::UpstreamFailed { status: 429, retry_after } => Face {
                retry_after: again(retry_after).or(Some(Duration::from_secs(1))),
                ..face(429, LIMIT, "upstream_rate_limited", "the model's server is at its own rate limit")
            },
            Refusal::UpstreamFailed { status, retry_after } => Face {
                retry_after: again(retry_after),
                ..face(
                    if matches!(status, 503 | 504) { *status } else { 502 },
                    UPSTREAM,
                    "upstream_failed",
                    format!("the model's server failed with status {status}"),
                )
            },
            Refusal::UpstreamAccount { .. } => face(
                502,
                UPSTREAM,
                "upstream_account",
                "the model's server refused this gateway's own credential or model name; tell its operator",
            ),
            Refusal::UpstreamInvalid { .. } => {
                face(502, UPSTREAM, "upstream_invalid_reply", "the model's server sent an unusable reply")
            }
            Refusal::UpstreamDisconnected { .. } => {
                face(502, UPSTREAM, "upstream_disconnected", "the model's server broke off in the middle of its reply")
            }
            _ => face(500, SERVER, "internal_error", "a fault of the gateway itself"),
        }
    }
}

fn face(status: u16, kind: &'static str, code: &'static str, message: impl Into<String>) -> Face {
    Face { status, kind, code, param: None, message: message.into(), retry_after: None }
}

fn limit_code(exceeded: &LimitExceeded) -> &'static str {
    if exceeded.is_budget() {
        return "budget_exceeded";
    }
    match exceeded.kind {
        LimitKind::Requests => "request_limit_reached",
        LimitKind::Tokens => "token_limit_reached",
        LimitKind::Money => "budget_reached",
        LimitKind::Concurrency => "concurrency_limit_reached",
        LimitKind::Levels => "too_many_callers",
    }
}
