//! Directories: what identity providers and LDAP servers know of a user adds roles and attributes to a proven caller.
//!
//! Owns the seam [`Directories::lookup`]: from a tenant path and the names of a user to what is added, or a refusal. A
//! user that is switched off, was deleted, or is one of several under a name is refused; a directory that can't be
//! asked refuses too, where roles could come of it. [`people`] holds what SCIM told, [`entry`] makes it of documents.

pub mod entry;
pub mod people;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::TenantPath;
use super::keyring::STALE_MS;
use super::ldap::{Ldap, LdapRule};
use crate::config::settings::Secret;
use crate::store::{Store, StoreError};
use crate::telemetry::metric;
use people::{Found, People};

/// Levels of a tenant path that names a user.
const USER_LEVELS: usize = 4;

/// One name of a user, by where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserName {
    /// The innermost level of a whole tenant path.
    Level(Arc<str>),
    /// A token's claim, such as its subject.
    Claim(Arc<str>),
    /// An e-mail address that the token's issuer says is the user's.
    Mail(Arc<str>),
}

impl UserName {
    /// The name itself.
    pub fn text(&self) -> &str {
        match self {
            Self::Level(text) | Self::Claim(text) | Self::Mail(text) => text,
        }
    }
}

/// What is done with a user that a directory doesn't know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strangers {
    /// Nothing is added.
    Allow,
    /// The call is refused.
    Refuse,
}

/// A directory that an identity provider fills by SCIM, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScimRule {
    /// Name in metrics and replies of the admin API.
    pub name: Arc<str>,
    /// Whose directory: the level and everything below it.
    pub tenant: TenantPath,
    /// The provider's bearer token, and the one that takes its place.
    pub tokens: Vec<Secret>,
    /// From a group's name to Weir's role.
    pub roles: BTreeMap<String, String>,
    /// From an attribute for policy to the fact that it is.
    pub attributes: BTreeMap<String, String>,
    /// Users that it doesn't know.
    pub strangers: Strangers,
}

/// Every directory, as configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirectoryRules {
    /// Filled by SCIM.
    pub scim: Vec<Arc<ScimRule>>,
    /// LDAP servers that are asked.
    pub ldap: Vec<Arc<LdapRule>>,
}

impl DirectoryRules {
    /// Whether some directory speaks of callers of this tenant.
    pub fn cover(&self, tenant: &TenantPath) -> bool {
        let mut tenants = self.scim.iter().map(|rule| &rule.tenant).chain(self.ldap.iter().map(|rule| &rule.tenant));
        tenants.any(|outer| tenant.is_within(outer))
    }
}

/// Why a directory refuses a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryFault {
    /// The user is switched off, or was deleted.
    #[error("the user is not active")]
    Inactive,
    /// Several users have the name.
    #[error("several users have this name")]
    Ambiguous,
    /// The directory doesn't know the user, and strangers are refused.
    #[error("the directory does not know the user")]
    Unknown,
    /// The directory can't be asked.
    #[error("the directory is unavailable")]
    Unavailable,
}

impl DirectoryFault {
    /// Reason code for the audit record and for metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Inactive => "directory_user_inactive",
            Self::Ambiguous => "directory_user_ambiguous",
            Self::Unknown => "directory_user_unknown",
            Self::Unavailable => "directory_unavailable",
        }
    }
}

/// What directories add to a caller.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Added {
    /// Weir's roles.
    pub roles: BTreeSet<Arc<str>>,
    /// Attributes for policy.
    pub attributes: BTreeMap<String, String>,
}

/// The names that directories know the user of a caller by: the level of a whole path, and what a token claims.
pub fn names(tenant: &TenantPath, claimed: &[UserName]) -> Vec<UserName> {
    let level = tenant.as_str().split('/').nth(USER_LEVELS.saturating_sub(1));
    level.map(|level| UserName::Level(level.into())).into_iter().chain(claimed.iter().cloned()).collect()
}

/// What directories said last. State; it outlives every World.
#[derive(Debug, Default)]
pub struct Directories {
    people: ArcSwap<People>,
    ldap: Ldap,
    /// Unix milliseconds of the last look at the store that worked.
    read_ms: AtomicU64,
}

impl Directories {
    /// Empty ones: they refuse everybody of a directory until their first [`refresh`](Self::refresh).
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the revision of the store's directories, and all of them where it moved. True where they were swapped.
    ///
    /// # Errors
    /// The store can't be read; what is known stays, and grows stale.
    pub async fn refresh(&self, store: &Store, now_ms: u64) -> Result<bool, StoreError> {
        // The revision is read first: a change between the two is read again at the next look.
        let revision = store.directory_revision().await?;
        let moved = self.people.load().revision != Some(revision);
        if moved {
            let (people, (groups, members)) = (store.people_all().await?, store.groups_all().await?);
            // Large directories take a while to sort.
            let made = tokio::task::spawn_blocking(move || People::new(revision, people, &groups, &members)).await;
            self.people.store(Arc::new(made.map_err(|_| StoreError::Broken { column: "directory_users" })?));
        }
        self.read_ms.store(now_ms, Ordering::Release);
        Ok(moved)
    }

    /// The revision that is known here; `None` before the first look.
    pub fn revision(&self) -> Option<u64> {
        self.people.load().revision
    }

    /// How every directory stands, for operators.
    pub fn standings(&self, rules: &DirectoryRules, now_ms: u64) -> Json {
        let people = self.people.load();
        let scim = rules.scim.iter().map(|rule| {
            let (users, groups) = people.counts(rule.tenant.as_str());
            json!({"name": &*rule.name, "tenant": rule.tenant.as_str(), "users": users, "groups": groups})
        });
        let ldap = rules.ldap.iter().map(|rule| self.ldap.standing(rule, now_ms));
        let read_ms = self.read_ms.load(Ordering::Acquire);
        json!({"scim": scim.collect::<Vec<_>>(), "ldap": ldap.collect::<Vec<_>>(), "read_ms": read_ms})
    }

    /// What the directories of a tenant add to a user. Waits only for LDAP, and no longer than its rule says.
    ///
    /// # Errors
    /// One of them refuses the user, or can't be asked.
    pub async fn lookup(
        &self,
        rules: &DirectoryRules,
        tenant: &TenantPath,
        user: &[UserName],
        now_ms: u64,
    ) -> Result<Added, DirectoryFault> {
        let mut added = Added::default();
        for rule in rules.scim.iter().filter(|rule| tenant.is_within(&rule.tenant)) {
            let told = self.told(rule, user, now_ms);
            metric::directory_asked(&rule.name, told.as_ref().err().map_or("ok", |fault| fault.code()));
            if let Some(found) = told? {
                found.add(rule, &mut added);
            }
        }
        for rule in rules.ldap.iter().filter(|rule| tenant.is_within(&rule.tenant)) {
            self.ldap.lookup(rule, user, now_ms, &mut added).await?;
        }
        Ok(added)
    }

    /// What SCIM told of a user.
    fn told(&self, rule: &ScimRule, user: &[UserName], now_ms: u64) -> Result<Option<Found>, DirectoryFault> {
        if now_ms.saturating_sub(self.read_ms.load(Ordering::Acquire)) > STALE_MS {
            return Err(DirectoryFault::Unavailable);
        }
        match self.people.load().find(rule.tenant.as_str(), user)? {
            None if rule.strangers == Strangers::Refuse => Err(DirectoryFault::Unknown),
            found => Ok(found),
        }
    }

    /// Whether a user that was served still is. Cheap: for streams that are running.
    pub fn is_live(&self, rules: &DirectoryRules, tenant: &TenantPath, user: &[UserName]) -> bool {
        let people = self.people.load();
        let mut covering = rules.scim.iter().filter(|rule| tenant.is_within(&rule.tenant));
        covering.all(|rule| people.find(rule.tenant.as_str(), user) != Err(DirectoryFault::Inactive))
    }
}

#[cfg(test)]
mod tests;
