//! What the configuration says of one bundle.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use url::Url;

use super::roots::Root;
use crate::config::settings::{PolicyEngine, Secret};
use crate::identity::TenantPath;

/// One bundle: where it comes from, whom it decides about, and what must hold before it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleRule {
    /// Unique name.
    pub name: Arc<str>,
    /// Where it comes from.
    pub source: Source,
    /// Bearer credential for its server.
    pub token: Option<Secret>,
    /// The level that it decides about, with everything below; `None`: all calls.
    pub tenant: Option<TenantPath>,
    /// The rule that decides.
    pub entrypoint: String,
    /// Parts of `data` that it may own; its manifest names some of them or parts of them.
    pub roots: Vec<Root>,
    /// Who must have signed it; `None`: anybody may have made it.
    pub signer: Option<Signer>,
    /// Shortest and longest pause between two polls.
    pub poll: (Duration, Duration),
    /// How long a server may hold a poll; zero: it answers at once.
    pub long_poll: Duration,
    /// How old it may be, counted from the last time that its source confirmed it; `None`: of any age.
    pub staleness_max: Option<Duration>,
    /// What happens then.
    pub on_stale: OnStale,
    /// Whether its decisions count.
    pub mode: Mode,
    /// Callers of a hundred whom the newest revision decides about.
    pub percent: u8,
    /// Revisions kept to go back to, the active ones included.
    pub keep: usize,
    /// Longest evaluation.
    pub timeout: Duration,
    /// Which engine may answer.
    pub engine: PolicyEngine,
}

/// Where a bundle comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A server that speaks OPA's bundle protocol, or any web server.
    Http(Url),
    /// A folder or a `.tar.gz` file.
    Path(PathBuf),
}

/// Who signs a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Key in PEM or as a JWK; the shared secret itself for the `HS` algorithms.
    pub key: Secret,
    /// The only algorithm that is taken.
    pub algorithm: Algorithm,
    /// The key's id; a signature that names another is refused.
    pub key_id: Option<String>,
    /// The scope that the signature must be for.
    pub scope: Option<String>,
}

/// What becomes of a bundle that is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStale {
    /// It refuses every call that it decides about.
    Deny,
    /// It decides on.
    Keep,
}

/// Whether a bundle's decisions count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// They do.
    Enforce,
    /// They are compared with what happened, and counted where they differ.
    Shadow,
}

impl Mode {
    /// Name in configuration and reports.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Shadow => "shadow",
        }
    }
}
