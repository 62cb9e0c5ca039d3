//! The claims of Weir's own tokens (RFC 9068), and who they stand for.
//!
//! A token repeats no rights: it names what it came from, and what is left of that. So whatever the source loses, the
//! token loses with it, at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::narrowing::Narrowing;
use crate::identity::{KeyId, TenantPath, UserName};

/// The `typ` of an access token (RFC 9068, section 2.1).
pub const TOKEN_TYPE: &str = "at+jwt";
/// Actors behind one another at most: a longer chain is refused.
pub const ACTORS_MAX: usize = 4;
/// Keys that one token may rest on beside its subject: its actors, and the clients that asked for it.
pub const KEYS_MAX: usize = 8;

/// What a token came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Origin {
    /// An API key: the token is that key, by its public id, as long as it stays as it is.
    Key {
        /// The public id.
        id: KeyId,
        /// Its epoch then.
        epoch: u64,
    },
    /// A token of a configured issuer.
    Issuer {
        /// The issuer's name in the configuration.
        name: Arc<str>,
        /// Stands for its subject without naming it.
        key: KeyId,
        /// Where the subject is.
        tenant: TenantPath,
        /// Weir's roles that the issuer gave it.
        roles: Vec<Arc<str>>,
        /// Attributes that the issuer gave it.
        attributes: BTreeMap<String, String>,
        /// The names that directories may know the subject by.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        user: Vec<UserName>,
    },
}

impl Origin {
    /// The name that calls are recorded under, and the token's `sub`.
    pub fn subject(&self) -> &KeyId {
        match self {
            Self::Key { id, .. } => id,
            Self::Issuer { key, .. } => key,
        }
    }

    /// The names that a directory is asked for, beside those of the tenant path.
    pub fn user(&self) -> Arc<[UserName]> {
        match self {
            Self::Key { .. } => Arc::default(),
            Self::Issuer { user, .. } => user.as_slice().into(),
        }
    }
}

/// Who acts for the subject (RFC 8693, section 4.1); the innermost was the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// The actor.
    pub sub: KeyId,
    /// Who acted before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Act>>,
}

impl Act {
    /// How many there are.
    pub fn depth(&self) -> usize {
        std::iter::successors(Some(self), |act| act.act.as_deref()).take(ACTORS_MAX.saturating_add(1)).count()
    }
}

/// What a token says of itself to Weir alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// What it came from.
    pub from: Origin,
    /// The other keys that it rests on, with their epochs: all must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<(KeyId, u64)>,
}

/// All claims.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Weir's own name.
    pub iss: String,
    /// Who is meant.
    pub aud: String,
    /// The subject, as in the audit log.
    pub sub: KeyId,
    /// Who asked.
    pub client_id: KeyId,
    /// Unix seconds.
    pub iat: u64,
    /// Unix seconds.
    pub exp: u64,
    /// The token's own name.
    pub jti: String,
    /// What it is narrowed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Who acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Act>,
    /// For Weir alone.
    pub weir: Own,
}

/// Who a token of Weir's own stands for, once it is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnProven {
    /// What it came from and rests on.
    pub own: Own,
    /// What is left of it.
    pub narrowing: Narrowing,
    /// Who acts.
    pub act: Option<Act>,
    /// Unix seconds.
    pub expires_s: u64,
}
