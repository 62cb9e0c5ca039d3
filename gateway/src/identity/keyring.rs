//! The keyring: every key of the store in memory, swapped as a whole when the store's revision moves.
//!
//! State, not rules: it lives in `Running` and outlives every World. Refuses what it can't prove, and everything once
//! the store can't be read for [`STALE_MS`]: an old snapshot may hold keys that were revoked since.

mod proof;
mod snapshot;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

pub use snapshot::EVERYWHERE;
use snapshot::{AdminEntry, Entry, Rows, Snapshot};

use super::api_key::{KeyFault, Presented};
use super::certificate::CertificateFault;
use super::credential::{CredentialFault, CredentialKind, PresentedFault};
use super::directory::DirectoryFault;
use super::dpop::DpopFault;
use super::pepper::Peppers;
use super::scope::{Gate, KeyKind};
use super::sealed::{MasterKeys, SealFault};
use super::stored::{StoredTenants, joined};
use super::token::TokenFault;
use super::{KeyId, Subject, TenantPath};
use crate::config::settings::{LimitRule, Secret, TenantRule};
use crate::store::{Store, StoreError};

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
    /// A client certificate that is refused.
    #[error(transparent)]
    Certificate(#[from] CertificateFault),
    /// A token without the proof that it needs.
    #[error(transparent)]
    Proof(#[from] DpopFault),
    /// Some level of the key's path is disabled.
    #[error("the key's tenant is disabled")]
    TenantDisabled,
    /// A directory refuses the user.
    #[error(transparent)]
    Directory(#[from] DirectoryFault),
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
            Self::Certificate(fault) => fault.code(),
            Self::Proof(fault) => fault.code(),
            Self::TenantDisabled => "tenant_disabled",
            Self::Directory(fault) => fault.code(),
            Self::StoreUnavailable => "key_store_unavailable",
        }
    }

    /// Code that the client sees: every way in which a presented key fails looks the same.
    pub fn public_code(self) -> &'static str {
        match self {
            Self::Credential(_) | Self::Directory(DirectoryFault::Unavailable) | Self::StoreUnavailable => self.code(),
            Self::Key(_)
            | Self::Unknown
            | Self::WrongSecret
            | Self::Revoked
            | Self::Expired
            | Self::NoPepper
            | Self::NoTenant
            | Self::Directory(DirectoryFault::Inactive | DirectoryFault::Ambiguous | DirectoryFault::Unknown)
            | Self::TenantDisabled => "invalid_api_key",
            Self::Token(_) => "invalid_token",
            Self::Certificate(_) => "invalid_certificate",
            Self::Proof(fault) => fault.error(),
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
    /// Where the key may be used; `None`: everywhere.
    pub gate: Option<Arc<Gate>>,
}

/// A proven administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Administrator {
    /// The key's public id, or `owner` for the token of the configuration.
    pub id: KeyId,
    /// Whose things it may see; `None`: everybody's.
    pub tenant: Option<TenantPath>,
    /// What it may do there, as the admin policy names it.
    pub role: Arc<str>,
    /// The key's count of changes when it was proven; 0 for the owner's token.
    pub epoch: u64,
}

impl AdminEntry {
    /// Whom a key stands for that was proven just now.
    fn administrator(&self, tenants: &StoredTenants, now_ms: u64) -> Result<Administrator, IdentityFault> {
        if self.tenant.as_ref().is_some_and(|tenant| tenants.is_disabled(tenant)) {
            return Err(IdentityFault::TenantDisabled);
        }
        self.proof.used(now_ms);
        let (tenant, role) = (self.tenant.clone(), Arc::clone(&self.role));
        Ok(Administrator { id: self.proof.id.clone(), tenant, role, epoch: self.proof.epoch })
    }
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
            let (keys, tenants) = (store.keys_all().await?, store.tenants_all().await?);
            self.replace(revision, Rows { keys, tenants, secrets: store.secrets_all().await? });
        }
        self.read_ms.store(now_ms, Ordering::Release);
        Ok(moved)
    }

    fn replace(&self, revision: u64, rows: Rows) {
        let old = self.snapshot.load();
        self.snapshot.store(Arc::new(Snapshot::read(revision, rows, &old)));
    }

    /// The secret of that name of the innermost level that has one; `None` where none has.
    ///
    /// # Errors
    /// It can't be opened: a key that is not configured, or a row that was changed.
    pub fn secret(&self, keys: &MasterKeys, tenant: &TenantPath, name: &str) -> Result<Option<Secret>, SealFault> {
        let snapshot = self.snapshot.load();
        let of = |level| snapshot.secrets.get(level)?.iter().find(|row| row.name == name);
        let Some(row) = tenant.prefixes().filter_map(of).last() else { return Ok(None) };
        let level = TenantPath::parse(&row.tenant).map_err(|_| SealFault::Forged)?;
        keys.open(&level, name, row.version, &row.sealed).map(Some)
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

    /// Proves a caller.
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
        entry.proof.prove(key, peppers, now_ms)?;
        Self::identified(entry, rules, now_ms)
    }

    /// The caller that a proven token stands for: its key's, as long as that key is as it was at `epoch`.
    ///
    /// # Errors
    /// The key is gone, changed, revoked or expired, or may not call.
    pub fn stand_in(
        &self,
        key: &KeyId,
        epoch: u64,
        rules: &TenantRules,
        now_ms: u64,
    ) -> Result<Identified, IdentityFault> {
        if self.is_stale(now_ms) {
            return Err(IdentityFault::StoreUnavailable);
        }
        let snapshot = self.snapshot.load();
        let entry = snapshot.keys.get(&key.0).ok_or(IdentityFault::Unknown)?;
        match entry.proof.is_live(epoch, now_ms) {
            true => Self::identified(entry, rules, now_ms),
            false => Err(IdentityFault::Revoked),
        }
    }

    /// Whose key it is, and the Unix milliseconds of its end, where it has one.
    pub fn term(&self, key: &KeyId) -> Option<(KeyKind, Option<u64>)> {
        let snapshot = self.snapshot.load();
        let entry = snapshot.keys.get(&key.0)?;
        Some((entry.kind, entry.proof.expires_ms()))
    }

    fn identified(entry: &Entry, rules: &TenantRules, now_ms: u64) -> Result<Identified, IdentityFault> {
        let grants = rules.covering(&entry.tenant).ok_or(IdentityFault::NoTenant)?;
        let mut roles = match entry.roles.is_empty() {
            true => Arc::clone(&grants.roles),
            false => union(grants.roles.iter().chain(&entry.roles).cloned()),
        };
        let mut attributes = Arc::clone(&grants.attributes);
        if let Some(narrowed) = &entry.narrowed {
            if narrowed.disabled {
                return Err(IdentityFault::TenantDisabled);
            }
            roles = narrowed.left_of(roles);
            attributes = joined(&attributes, &narrowed.attributes);
        }
        entry.proof.used(now_ms);
        let subject = Subject {
            tenant: entry.tenant.clone(),
            key: entry.proof.id.clone(),
            key_epoch: entry.proof.epoch,
            credential: CredentialKind::ApiKey,
            vouchers: Arc::default(),
            roles,
            attributes,
            user: None,
        };
        Ok(Identified { subject, key_models: entry.models.clone(), gate: entry.gate.clone() })
    }

    /// Proves an administrator. A key for calls is none, and an administrator's key makes no calls.
    pub fn administrator(
        &self,
        key: &Presented<'_>,
        peppers: &Peppers,
        now_ms: u64,
    ) -> Result<Administrator, IdentityFault> {
        if self.is_stale(now_ms) {
            return Err(IdentityFault::StoreUnavailable);
        }
        let snapshot = self.snapshot.load();
        let entry = snapshot.admins.get(key.id()).ok_or(IdentityFault::Unknown)?;
        entry.proof.prove(key, peppers, now_ms)?;
        entry.administrator(&snapshot.tenants, now_ms)
    }

    /// The administrator whose key was proven at `epoch`, as long as that key is as it was: for signed-in people, who
    /// present no key any more.
    ///
    /// # Errors
    /// The key is gone, changed, revoked or expired, or its tenant is disabled.
    pub fn administrator_still(&self, key: &KeyId, epoch: u64, now_ms: u64) -> Result<Administrator, IdentityFault> {
        if self.is_stale(now_ms) {
            return Err(IdentityFault::StoreUnavailable);
        }
        let snapshot = self.snapshot.load();
        let entry = snapshot.admins.get(&key.0).ok_or(IdentityFault::Unknown)?;
        match entry.proof.is_live(epoch, now_ms) {
            true => entry.administrator(&snapshot.tenants, now_ms),
            false => Err(IdentityFault::Revoked),
        }
    }

    /// Whether a key that was proven at `epoch` still holds, and no level of its path is disabled. Cheap: for streams
    /// that are running.
    pub fn is_live(&self, key: &KeyId, epoch: u64, now_ms: u64) -> bool {
        let snapshot = self.snapshot.load();
        let enabled = |entry: &Entry| !entry.narrowed.as_ref().is_some_and(|narrowed| narrowed.disabled);
        !self.is_stale(now_ms)
            && snapshot.keys.get(&key.0).is_some_and(|entry| entry.proof.is_live(epoch, now_ms) && enabled(entry))
    }

    /// Whether no level of a path is disabled, for callers that another credential than a key proved.
    pub fn is_enabled(&self, tenant: &TenantPath) -> bool {
        !self.snapshot.load().tenants.is_disabled(tenant)
    }

    /// What the stored levels of a path say, for callers that another credential than a key proved.
    pub fn narrowed(&self, tenant: &TenantPath) -> Option<super::stored::Narrowed> {
        self.snapshot.load().tenants.narrowed(tenant)
    }

    /// Limits of the stored tenants, by level: those that everybody shares, and those of each key.
    pub fn limits(&self) -> Arc<HashMap<Box<str>, (LimitRule, LimitRule)>> {
        Arc::clone(&self.snapshot.load().limits)
    }

    /// The keys that were used after `since_ms`, with the time: what the store is to hear of.
    pub fn used_since(&self, since_ms: u64) -> Vec<(String, u64)> {
        let snapshot = self.snapshot.load();
        let used = snapshot.proofs().map(|proof| (proof.id.to_string(), proof.used_ms.load(Ordering::Relaxed)));
        used.filter(|(_, used_ms)| *used_ms > since_ms).collect()
    }
}

#[cfg(test)]
mod tests;
