//! What the journal holds. These are the only types that cross a restart of the process.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::exchange::{Attempt, CallId, Outcome};
use crate::identity::{KeyId, TenantPath};

/// Written, and in the kernel's hands, before a byte leaves for an upstream: one per attempt, so a call that
/// failed over has several. At replay, every opening of a call without a closing becomes one attempt's usage row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The call.
    pub call: CallId,
    /// Position of the attempt in the call, from 0. `JournalPermit::open` is called once per attempt.
    pub attempt: u16,
    /// Unix milliseconds at the call's birth.
    pub at_ms: u64,
    /// Who calls.
    pub tenant: TenantPath,
    /// By which key.
    pub key: KeyId,
    /// Endpoint's path.
    pub endpoint: Arc<str>,
    /// Model as the client asked for it.
    pub model: Arc<str>,
    /// Deployment that the call is about to be sent to, and its model and provider.
    pub deployment: Arc<str>,
    /// The deployment's provider.
    pub provider: Arc<str>,
    /// The deployment's model.
    pub upstream_model: Arc<str>,
    /// Prompt tokens held (estimated): what is charged where nothing else is ever known.
    pub held_input_tokens: u64,
    /// Completion tokens held (the cap).
    pub held_output_tokens: u64,
    /// Nano-dollars held: what is charged where nothing else is ever known.
    pub held_nano: i64,
    /// Pseudonym of the end user.
    #[serde(default)]
    pub end_user: Option<Arc<str>>,
}

/// Written once per call, whatever happened: one audit record and `attempts.len()` usage rows come of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// The call.
    pub call: CallId,
    /// Unix milliseconds at the call's birth.
    pub at_ms: u64,
    /// Unix milliseconds at its end.
    pub ended_ms: u64,
    /// Who called; `None` where identity was refused.
    pub tenant: Option<TenantPath>,
    /// By which key (public id), also where a well-formed but unknown or revoked key was refused.
    pub key: Option<KeyId>,
    /// Endpoint's path as routed (never the raw URI).
    pub endpoint: Arc<str>,
    /// Model as the client asked for it, where it was read.
    pub model: Option<Arc<str>>,
    /// Pseudonym of the end user that the request names.
    #[serde(default)]
    pub end_user: Option<Arc<str>>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// How the call ended.
    pub outcome: Outcome,
    /// HTTP status handed to the client; 0 where none was.
    pub status: u16,
    /// Refusal's or fault's reason code.
    pub reason: Option<Arc<str>>,
    /// Name of the policy rule that decided, where one did.
    pub rule: Option<Arc<str>>,
    /// Names of the obligations that it came with.
    #[serde(default)]
    pub obligations: Vec<Arc<str>>,
    /// Revision of the World that served the call.
    pub revision: u64,
    /// Deliberate fail-open settings that applied; empty as a rule.
    pub fail_open: Vec<Arc<str>>,
    /// Upstream attempts in order.
    pub attempts: Vec<Attempt>,
}
