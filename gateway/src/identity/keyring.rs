//! The keyring: every key of the store in memory, swapped as a whole when the store's revision moves.
//!
//! State, not rules: it lives in `Running` and outlives every World. Refuses what it can't prove, and everything once
//! the store can't be read for [`STALE_MS`]: an old snapshot may hold keys that were revoked since.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::api_key::{KeyFault, Presented, same_hash};
use super::credential::{CredentialFault, CredentialKind, PresentedFault};
use super::pepper::Peppers;
use super::token::TokenFault;
use super::{KeyId, Subject, TenantPath};
use crate::config::settings::TenantRule;
use crate::store::{KeyRow, Store, StoreError};

/// Milliseconds without a successful look at the store after which nobody is identified.
pub const STALE_MS: u64 = 5_000;

/// Why a caller isn't identified. The code goes on the audit record; a client learns less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityFault {
    /// No usable credential in the request.
    #[error(transparent)]
    Credential(#[from] CredentialFault),
    /// No well-formed key.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// No key has this id.
    #[error("no key has this id")]
    Unknown,
    /// The id is known and the secret is another.
    #[error("the key's secret is wrong")]
    WrongSecret,
    /// The key was revoked.
    #[error("the key is revoked")]
    Revoked,
    /// The key's time is over.
    #[error("the key is expired")]
    Expired,
    /// The key was hashed with a pepper version that isn't configured.
    #[error("the key's pepper version is not configured")]
    NoPepper,
    /// No tenant of the configuration covers the key's path.
    #[error("no configured tenant covers the key's path")]
    NoTenant,
    /// A token that an issuer's rules refuse.
    #[error(transparent)]
    Token(#[from] TokenFault),
    /// The store couldn't be read for too long.
    #[error("the store of keys is unavailable")]
    StoreUnavailable,
}

impl From<PresentedFault> for IdentityFault {
    fn from(fault: PresentedFault) -> Self {
        match fault {
            PresentedFault::Credential(fault) => fault.into(),
            PresentedFault::Key(fault) => fault.into(),
        }
    }
}

impl IdentityFault {
    /// Reason code for the audit record and for metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Credential(CredentialFault::Missing) => "missing_api_key",
            Self::Credential(CredentialFault::Scheme) => "malformed_authorization",
            Self::Credential(CredentialFault::Ambiguous) => "ambiguous_credentials",
            Self::Credential(CredentialFault::InQuery) => "credential_in_query",
            Self::Key(KeyFault::Shape) => "malformed_api_key",
            Self::Key(KeyFault::Checksum) => "mistyped_api_key",
            Self::Unknown => "unknown_api_key",
            Self::WrongSecret => "wrong_api_key",
            Self::Revoked => "revoked_api_key",
            Self::Expired => "expired_api_key",
            Self::NoPepper => "pepper_not_configured",
            Self::NoTenant => "tenant_not_configured",
            Self::Token(fault) => fault.code(),
            Self::StoreUnavailable => "key_store_unavailable",
        }
    }

    /// Code that the client sees: every way in which a presented key fails looks the same.
    pub fn public_code(self) -> &'static str {
        match self {
            Self::Credential(_) | Self::StoreUnavailable => self.code(),
            Self::Key(_)
            | Self::Unknown
            | Self::WrongSecret
            | Self::Revoked
            | Self::Expired
            | Self::NoPepper
            | Self::NoTenant => "invalid_api_key",
            Self::Token(_) => "invalid_token",
        }
    }
}

/// What the configuration grants at each level, summed up from the outermost level inwards. Rules: part of a World.
#[derive(Debug, Clone, Default)]
pub struct TenantRules(HashMap<Box<str>, Grants>);

#[derive(Debug, Clone)]
pub(super) struct Grants {
    pub(super) roles: Arc<[Arc<str>]>,
    pub(super) attributes: Arc<BTreeMap<String, String>>,
}

impl TenantRules {
    /// Sums the rules up, once per configuration.
    pub fn new(rules: &[TenantRule]) -> Self {
        let by_path: HashMap<&str, &TenantRule> = rules.iter().map(|rule| (rule.path.as_str(), rule)).collect();
        let sum = |rule: &TenantRule| {
            let levels: Vec<_> = rule.path.prefixes().filter_map(|path| by_path.get(path)).collect();
            let roles = levels.iter().flat_map(|level| level.roles.iter().cloned());
            let attributes = levels.iter().flat_map(|level| level.attributes.clone());
            (rule.path.as_str().into(), Grants { roles: union(roles), attributes: Arc::new(attributes.collect()) })
        };
        Self(rules.iter().map(sum).collect())
    }

    /// The innermost rule that covers a path, with everything outside of it.
    pub(super) fn covering(&self, path: &TenantPath) -> Option<&Grants> {
        path.prefixes().filter_map(|prefix| self.0.get(prefix)).last()
    }
}

pub(super) fn union(roles: impl Iterator<Item = Arc<str>>) -> Arc<[Arc<str>]> {
    let mut all: Vec<Arc<str>> = roles.collect();
    all.sort();
    all.dedup();
    all.into()
}

/// A proven caller, and what its key alone says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified {
    /// Who calls.
    pub subject: Subject,
    /// The key's own list of models, where it has one: it narrows what the tenant may use.
    pub key_models: Option<Arc<[String]>>,
}

#[derive(Debug)]
struct Entry {
    id: KeyId,
    hash: [u8; 32],
    pepper_version: u32,
    tenant: TenantPath,
    roles: Vec<Arc<str>>,
    models: Option<Arc<[String]>>,
    expires_ms: Option<u64>,
    revoked: bool,
    epoch: u64,
}

impl Entry {
    fn read(row: KeyRow) -> Option<Self> {
        Some(Self {
            tenant: TenantPath::parse(&row.tenant).ok()?,
            id: KeyId(row.id.into()),
            hash: row.hash,
            pepper_version: row.pepper_version,
            roles: row.roles.into_iter().map(Arc::from).collect(),
            models: row.models.map(Arc::from),
            expires_ms: row.expires_ms,
            revoked: row.revoked_ms.is_some(),
            epoch: row.epoch,
        })
    }

    fn expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms)
    }
}

#[derive(Debug, Default)]
struct Snapshot {
    revision: Option<u64>,
    keys: HashMap<Arc<str>, Entry>,
}

/// Every key, as of the last look at the store.
#[derive(Debug, Default)]
pub struct Keyring {
    snapshot: ArcSwap<Snapshot>,
    /// Unix milliseconds of the last look that worked.
    read_ms: AtomicU64,
}

impl Keyring {
    /// An empty one: it refuses everybody until its first [`refresh`](Self::refresh).
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the store's revision, and all keys where it moved. True where the snapshot was swapped.
    ///
    /// One caller at a time; a failure leaves the snapshot, which grows stale.
    pub async fn refresh(&self, store: &Store, now_ms: u64) -> Result<bool, StoreError> {
        // The revision is read before the keys: a change between the two is read again at the next look.
        let revision = store.revision().await?;
        let moved = self.snapshot.load().revision != Some(revision);
        if moved {
            self.replace(revision, store.keys_all().await?);
        }
        self.read_ms.store(now_ms, Ordering::Release);
        Ok(moved)
    }

    fn replace(&self, revision: u64, rows: Vec<KeyRow>) {
        let mut keys = HashMap::with_capacity(rows.len());
        for row in rows {
            let id = row.id.clone();
            match Entry::read(row) {
                Some(entry) => drop(keys.insert(Arc::clone(&entry.id.0), entry)),
                None => tracing::warn!(key = id, "stored key has no valid tenant path and is ignored"),
            }
        }
        self.snapshot.store(Arc::new(Snapshot { revision: Some(revision), keys }));
    }

    /// Whether the store couldn't be read for too long: then nobody is identified.
    pub fn is_stale(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.read_ms.load(Ordering::Acquire)) > STALE_MS
    }

    /// The store's revision that is known here; `None` before the first look.
    pub fn revision(&self) -> Option<u64> {
        self.snapshot.load().revision
    }

    /// How many keys there are, revoked ones included.
    pub fn len(&self) -> usize {
        self.snapshot.load().keys.len()
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Proves a caller. The order keeps a guess at a secret from learning whether its key is revoked.
    pub fn identify(
        &self,
        key: &Presented<'_>,
        peppers: &Peppers,
        rules: &TenantRules,
        now_ms: u64,
    ) -> Result<Identified, IdentityFault> {
        if self.is_stale(now_ms) {
            return Err(IdentityFault::StoreUnavailable);
        }
        let snapshot = self.snapshot.load();
        let entry = snapshot.keys.get(key.id()).ok_or(IdentityFault::Unknown)?;
        let hash = peppers.hash(entry.pepper_version, key).ok_or(IdentityFault::NoPepper)?;
        if !same_hash(&hash, &entry.hash) {
            return Err(IdentityFault::WrongSecret);
        }
        if entry.revoked {
            return Err(IdentityFault::Revoked);
        }
        if entry.expired(now_ms) {
            return Err(IdentityFault::Expired);
        }
        let grants = rules.covering(&entry.tenant).ok_or(IdentityFault::NoTenant)?;
        let roles = match entry.roles.is_empty() {
            true => Arc::clone(&grants.roles),
            false => union(grants.roles.iter().chain(&entry.roles).cloned()),
        };
        let subject = Subject {
            tenant: entry.tenant.clone(),
            key: entry.id.clone(),
            key_epoch: entry.epoch,
            credential: CredentialKind::ApiKey,
            roles,
            attributes: Arc::clone(&grants.attributes),
        };
        Ok(Identified { subject, key_models: entry.models.clone() })
    }

    /// Whether a key that was proven at `epoch` still holds. Cheap: for streams that are running.
    pub fn is_live(&self, key: &KeyId, epoch: u64, now_ms: u64) -> bool {
        let snapshot = self.snapshot.load();
        let live = |entry: &Entry| !entry.revoked && entry.epoch == epoch && !entry.expired(now_ms);
        !self.is_stale(now_ms) && snapshot.keys.get(&key.0).is_some_and(live)
    }
}

#[cfg(test)]
mod tests;
