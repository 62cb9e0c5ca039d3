//! All keys and stored tenants, as of one look at the store; swapped as a whole.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::proof::Proof;
use crate::config::settings::LimitRule;
use crate::identity::TenantPath;
use crate::identity::scope::{Gate, KeyKind};
use crate::identity::stored::{Narrowed, StoredTenants, narrower};
use crate::store::tenant_secret::SecretRow;
use crate::store::{KeyRow, TenantRow};

/// Tenant of an administrator of everything.
pub const EVERYWHERE: &str = "*";

/// A key for calls.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) proof: Proof,
    pub(super) kind: KeyKind,
    pub(super) tenant: TenantPath,
    pub(super) roles: Vec<Arc<str>>,
    /// The key's own list, already narrowed by the stored levels.
    pub(super) models: Option<Arc<[String]>>,
    pub(super) gate: Option<Arc<Gate>>,
    /// What the stored levels say; `None` where there are none.
    pub(super) narrowed: Option<Arc<Narrowed>>,
}

/// An administrator's key.
#[derive(Debug)]
pub(super) struct AdminEntry {
    pub(super) proof: Proof,
    /// `None`: everywhere.
    pub(super) tenant: Option<TenantPath>,
    pub(super) role: Arc<str>,
}

/// All rows of one look at the store.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) keys: Vec<KeyRow>,
    pub(super) tenants: Vec<TenantRow>,
    pub(super) secrets: Vec<SecretRow>,
}

/// One look at the store.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) revision: Option<u64>,
    pub(super) keys: HashMap<Arc<str>, Entry>,
    pub(super) admins: HashMap<Arc<str>, AdminEntry>,
    pub(super) tenants: StoredTenants,
    /// Secrets by tenant and name, sealed.
    pub(super) secrets: HashMap<Box<str>, Vec<SecretRow>>,
    /// Limits of the stored tenants, by level.
    pub(super) limits: Arc<HashMap<Box<str>, (LimitRule, LimitRule)>>,
}

impl Snapshot {
    /// Reads the rows; a row that proves nobody is left out and logged by its id.
    pub(super) fn read(revision: u64, rows: Rows, old: &Self) -> Self {
        let Rows { keys, tenants, secrets } = rows;
        let tenants = StoredTenants::new(tenants);
        let limits = Arc::new(tenants.limits());
        let mut new = Self { revision: Some(revision), limits, ..Self::default() };
        new.keys.reserve(keys.len());
        for row in keys {
            let used = old.used(&row.id);
            let read = match row.kind {
                KeyKind::Admin => admin(&row, used).map(|entry| {
                    new.admins.insert(Arc::clone(&entry.proof.id.0), entry);
                }),
                KeyKind::User | KeyKind::Service => entry(&row, used, &tenants).map(|entry| {
                    new.keys.insert(Arc::clone(&entry.proof.id.0), entry);
                }),
            };
            if read.is_none() {
                tracing::warn!(key = row.id, "stored key has no valid tenant path and is ignored");
            }
        }
        new.tenants = tenants;
        for row in secrets {
            new.secrets.entry(row.tenant.as_str().into()).or_default().push(row);
        }
        new
    }

    fn used(&self, id: &str) -> Option<Arc<AtomicU64>> {
        let proof = self.keys.get(id).map(|entry| &entry.proof);
        let proof = proof.or_else(|| self.admins.get(id).map(|entry| &entry.proof))?;
        Some(Arc::clone(&proof.used_ms))
    }

    /// The proofs of all keys.
    pub(super) fn proofs(&self) -> impl Iterator<Item = &Proof> {
        let keys = self.keys.values().map(|entry| &entry.proof);
        keys.chain(self.admins.values().map(|entry| &entry.proof))
    }
}

fn entry(row: &KeyRow, used: Option<Arc<AtomicU64>>, tenants: &StoredTenants) -> Option<Entry> {
    let tenant = TenantPath::parse(&row.tenant).ok()?;
    let narrowed = tenants.narrowed(&tenant).map(Arc::new);
    let outer = narrowed.as_ref().and_then(|narrowed| narrowed.models.clone());
    Some(Entry {
        proof: Proof::read(row, used),
        kind: row.kind,
        tenant,
        roles: row.roles.iter().map(|role| Arc::from(role.as_str())).collect(),
        models: narrower(outer, row.models.as_deref()).map(Arc::from),
        gate: (!row.scopes.is_empty()).then(|| Arc::new(row.scopes.compile())),
        narrowed,
    })
}

fn admin(row: &KeyRow, used: Option<Arc<AtomicU64>>) -> Option<AdminEntry> {
    let tenant = match row.tenant.as_str() {
        EVERYWHERE => None,
        path => Some(TenantPath::parse(path).ok()?),
    };
    let [role] = row.roles.as_slice() else { return None };
    Some(AdminEntry { proof: Proof::read(row, used), tenant, role: role.as_str().into() })
}
