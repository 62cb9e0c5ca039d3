//! Who calls. Owns API keys and the tenant path; refuses what it can't prove.
//!
//! Start at [`caller`]: from a [`credential`] to the proof. [`tenant`] has the path, [`api_key`] and [`keyring`] the
//! keys, [`issuers`] the tokens of others and [`dpop`] their proofs, [`certificate`] what clients present in the
//! handshake, [`stored`] the tenants of the store, [`token_endpoint`] and [`own_tokens`] the tokens that Weir issues
//! itself.

pub mod api_key;
pub mod caller;
pub mod certificate;
pub mod confirmation;
pub mod credential;
pub mod directory;
pub mod dpop;
pub mod introspect;
pub mod issuer;
pub mod issuers;
pub mod jwk;
pub mod keyring;
pub mod ldap;
pub mod metadata;
pub mod own_tokens;
pub mod pepper;
pub mod scim;
pub mod scope;
pub mod sealed;
pub mod stored;
pub mod tenant;
pub mod token;
pub mod token_endpoint;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use credential::{Credential, CredentialKind};
pub use directory::UserName;
pub use keyring::{Identified, IdentityFault, Keyring, TenantRules};
pub use pepper::Peppers;
pub use tenant::{KeyId, TenantPath};

/// The proven caller of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Organisation, team, project, user: one to four levels.
    pub tenant: TenantPath,
    /// The key that proved it; the public part only.
    pub key: KeyId,
    /// The key's epoch when it was checked. A running stream ends when the store knows a later one.
    pub key_epoch: u64,
    /// Every key that it rests on, with its epoch, where a token of Weir's own proved it: all must hold.
    pub vouchers: Arc<[(KeyId, u64)]>,
    /// How it was proven.
    pub credential: CredentialKind,
    /// Roles granted by the key and by each level of the tenant path.
    pub roles: Arc<[Arc<str>]>,
    /// Attributes for policy, such as `environment`.
    pub attributes: Arc<BTreeMap<String, String>>,
    /// The names that directories know the user by; `None` where no directory speaks of such callers.
    pub user: Option<Arc<[UserName]>>,
}
