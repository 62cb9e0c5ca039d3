//! Weir's own access tokens: short-lived stand-ins for a key or for an issuer's token, signed and taken back by Weir.
//!
//! State: the signing keys as last read, and tokens that were proven lately. Start at [`OwnTokens::prove`]; a token
//! that is proven is still only a name: [`caller`](super::caller) asks what its source may do now.

pub mod claims;
pub mod keys;
pub mod narrowing;

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use parking_lot::Mutex;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::issuer::{self, Terms};
use super::token::{TOKEN_BYTES_MAX, Token, TokenFault};
use claims::{ACTORS_MAX, Claims, KEYS_MAX, OwnProven, TOKEN_TYPE};
use keys::{KEYS_FILE, KeysFault, SigningKeys};
use narrowing::Narrowing;

/// Milliseconds for which a proven token is believed without another look at its signature.
const REMEMBER_MS: u64 = 60_000;
/// Proven tokens remembered; then all are forgotten, which costs each one more proof.
const REMEMBERED_MAX: usize = 16_384;
/// Seconds by which two nodes' clocks may differ.
const LEEWAY_S: u64 = 1;
/// Seconds of a token's life at most: the longest that can be configured.
pub const LIFETIME_S_MAX: u64 = 3_600;

/// The token endpoint, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenEndpointRule {
    /// Its `iss`: the address under which clients reach Weir, without a path.
    pub issuer: Arc<str>,
    /// The `aud` of its tokens; one.
    pub audiences: Vec<String>,
    /// Seconds of a token's life.
    pub lifetime_s: u64,
    /// Requests of one client in a minute.
    pub client_requests: NonZeroU64,
    /// Requests from one address in a minute.
    pub address_requests: NonZeroU64,
    /// Roles that a token may be asked without.
    pub optional_roles: Vec<String>,
}

impl TokenEndpointRule {
    /// The audience of its tokens.
    pub fn audience(&self) -> &str {
        self.audiences.first().map_or(&self.issuer, String::as_str)
    }

    /// Whether a token says that it is Weir's own; nothing is proven.
    pub fn claims_issue_of(&self, text: &str) -> bool {
        #[derive(Deserialize)]
        struct Issued {
            iss: String,
        }
        let mut parts = text.splitn(3, '.').skip(1);
        let payload = parts.next().filter(|part| part.len() <= TOKEN_BYTES_MAX);
        let payload = payload.and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).unwrap_or_default();
        serde_json::from_slice::<Issued>(&payload).is_ok_and(|issued| *issued.iss == *self.issuer)
    }
}

/// Tells one state of the file from another without reading it.
type Stamp = (u64, i64, i64, u64);

#[derive(Clone)]
struct Remembered {
    proven: Arc<OwnProven>,
    /// By these keys and under these rules alone.
    keys: Arc<SigningKeys>,
    issuer: Arc<str>,
    audience: String,
    until_ms: u64,
}

/// The signing keys, and tokens that were proven lately.
pub struct OwnTokens {
    folder: PathBuf,
    keys: ArcSwapOption<SigningKeys>,
    stamp: Mutex<Option<Stamp>>,
    remembered: Mutex<HashMap<[u8; 32], Remembered>>,
}

impl OwnTokens {
    /// Has no keys until [`keep`](Self::keep) was called.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            keys: ArcSwapOption::empty(),
            stamp: Mutex::default(),
            remembered: Mutex::default(),
        }
    }

    /// Reads the keys where they are others than last time, and makes the first one. True where they are others.
    ///
    /// # Errors
    /// They can't be read or made; those of last time stay.
    pub fn keep(&self, now_ms: u64) -> Result<bool, KeysFault> {
        let mut stamp = self.stamp.lock();
        let found = self.look();
        if found.is_some() && *stamp == found {
            return Ok(false);
        }
        let keys = match SigningKeys::read(&self.folder)? {
            Some(keys) => keys,
            None => keys::rotate(&self.folder, now_ms)?,
        };
        self.keys.store(Some(Arc::new(keys)));
        self.remembered.lock().clear();
        *stamp = self.look();
        Ok(true)
    }

    fn look(&self) -> Option<Stamp> {
        let meta = std::fs::metadata(self.folder.join(KEYS_FILE)).ok()?;
        Some((meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
    }

    /// The keys of this moment; `None` before the first [`keep`](Self::keep).
    pub fn keys(&self) -> Option<Arc<SigningKeys>> {
        self.keys.load_full()
    }

    /// Signs a token.
    ///
    /// # Errors
    /// There are no keys yet, or no random bytes.
    pub fn sign(&self, claims: &Claims) -> Result<String, KeysFault> {
        let keys = self.keys().ok_or_else(|| KeysFault::Broken(self.folder.join(KEYS_FILE)))?;
        let claims = serde_json::to_vec(claims).map_err(|_| KeysFault::Random)?;
        keys.sign(TOKEN_TYPE, &claims)
    }

    /// Proves a token of Weir's own: its signature, its times and for whom it is. What its source may do is not asked.
    ///
    /// # Errors
    /// The exact reason, for the audit record.
    pub fn prove(&self, text: &str, rule: &TokenEndpointRule, now_ms: u64) -> Result<Arc<OwnProven>, TokenFault> {
        let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let keys = self.keys().ok_or(TokenFault::NoKeys)?;
        if let Some(known) = self.recall(&hash, &keys, rule, now_ms) {
            return Ok(known);
        }
        let proven = Arc::new(prove(text, &keys, rule, now_ms / 1_000)?);
        let until_ms = now_ms.saturating_add(REMEMBER_MS).min(proven.expires_s.saturating_mul(1_000));
        let (issuer, audience) = (Arc::clone(&rule.issuer), rule.audience().to_owned());
        let mut remembered = self.remembered.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(hash, Remembered { proven: Arc::clone(&proven), keys, issuer, audience, until_ms });
        Ok(proven)
    }

    fn recall(
        &self,
        hash: &[u8; 32],
        keys: &Arc<SigningKeys>,
        rule: &TokenEndpointRule,
        now_ms: u64,
    ) -> Option<Arc<OwnProven>> {
        let remembered = self.remembered.lock();
        let known = remembered.get(hash).filter(|known| now_ms < known.until_ms)?;
        // A key that is gone proves nothing any more, also not what it proved before.
        let is_same =
            Arc::ptr_eq(&known.keys, keys) && known.issuer == rule.issuer && known.audience == rule.audience();
        is_same.then(|| Arc::clone(&known.proven))
    }
}

/// Proves a token by these keys.
///
/// # Errors
/// The exact reason.
pub fn prove(text: &str, keys: &SigningKeys, rule: &TokenEndpointRule, now_s: u64) -> Result<OwnProven, TokenFault> {
    let token = Token::parse(text)?;
    let json = token.claims()?;
    token.verify(keys.set(), &[Algorithm::ES256])?;
    if token.kind.as_deref() != Some(TOKEN_TYPE) {
        return Err(TokenFault::Type);
    }
    let terms =
        Terms { issuer: &rule.issuer, audiences: &rule.audiences, leeway_s: LEEWAY_S, age_max_s: LIFETIME_S_MAX };
    let (_, expires_s) = issuer::standard(&terms, &json, now_s)?;
    // The leeway is for clocks that differ; a token of one's own ends when it says.
    if expires_s <= now_s {
        return Err(TokenFault::Expired);
    }
    let claims: Claims = serde_json::from_value(json).map_err(|_| TokenFault::Claims)?;
    let is_bounded = claims.weir.keys.len() <= KEYS_MAX
        && claims.act.as_ref().is_none_or(|act| act.depth() <= ACTORS_MAX)
        && claims.sub == *claims.weir.from.subject();
    if !is_bounded {
        return Err(TokenFault::Claims);
    }
    let narrowing = Narrowing::parse(claims.scope.as_deref().unwrap_or_default()).map_err(|_| TokenFault::Claims)?;
    Ok(OwnProven { own: claims.weir, narrowing, act: claims.act, expires_s })
}

#[cfg(test)]
pub(super) mod tests;
