//! How the shared counter is reached, and how long it may take.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::config::settings::Secret;

/// Answers are given up after this, unless the settings say otherwise.
pub const TIMEOUT: Duration = Duration::from_millis(20);
/// Failures one after the other until the counter isn't asked any more.
pub const FAILURES_MAX: NonZeroU32 = NonZeroU32::new(5).unwrap();
/// The pause between two probes while it isn't asked.
pub const PROBE_EVERY: Duration = Duration::from_millis(250);
/// Time for what is still untold when the gateway ends.
pub const FLUSH_MAX: Duration = Duration::from_secs(5);
/// What every key begins with.
pub const PREFIX: &str = "weir";

/// How the shared counter is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// `redis://`, `rediss://` (TLS) or `redis+unix://` URLs, user and password in them; several are the first nodes of
    /// a cluster.
    pub urls: Vec<Secret>,
    /// Whether one URL alone is a node of a cluster too.
    pub is_cluster: bool,
    /// Certificates in PEM that the server's must be signed by; `None`: the system's.
    pub authorities_pem: Option<Arc<[u8]>>,
    /// What every key begins with, so that several installations can share a server. No braces: they mark what lies
    /// together in a cluster.
    pub prefix: Arc<str>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Failures one after the other until the counter isn't asked any more.
    pub failures_max: NonZeroU32,
    /// The pause between two probes while it isn't asked.
    pub probe_every: Duration,
    /// Gateways that share the limits: while the counter is away, each grants that part of a limit.
    pub nodes: NonZeroU32,
    /// Time for what is still untold when the gateway ends.
    pub flush_max: Duration,
}

impl RedisSettings {
    /// Everything but the place as it is by default.
    pub fn at(url: &str) -> Self {
        Self {
            urls: vec![Secret::new(url.as_bytes())],
            is_cluster: false,
            authorities_pem: None,
            prefix: PREFIX.into(),
            timeout: TIMEOUT,
            failures_max: FAILURES_MAX,
            probe_every: PROBE_EVERY,
            nodes: NonZeroU32::MIN,
            flush_max: FLUSH_MAX,
        }
    }
}
