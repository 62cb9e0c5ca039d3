//! Proofs of possession (RFC 9449): that who presents a token holds the key that it is bound to. Pure.
//!
//! A proof is a token of its own, signed for one request and one access token. Refuses a proof for another method,
//! address, token or time, and one by a key that both sides hold or whose private half it brings along. That a proof is
//! used once is the affair of [`replay`]; [`nonce`] has the server's own. Start at [`judge`].

pub mod challenge;
pub mod nonce;
pub mod replay;
pub mod thumbprint;
pub mod url;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use jsonwebtoken::Algorithm;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::jwk::{Key, KeySet, Symmetric};
use super::token::{Token, TokenFault};

/// Bytes of a proof: a key, a few short claims and a signature.
pub const PROOF_BYTES_MAX: usize = 8 << 10;
/// Bytes of a proof's `jti`.
const ID_BYTES_MAX: usize = 256;
/// Seconds by which a client's clock may be ahead.
const AHEAD_S: u64 = 10;
/// Members of a JWK that are secret (RFC 7518, section 6).
const SECRET_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a proof is not accepted. Each has a code of its own; clients learn less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DpopFault {
    /// The gateway does not know its own address, so that no proof can be for it.
    #[error("proofs of possession are not configured")]
    NotConfigured,
    /// No `DPoP` header.
    #[error("the request carries no proof")]
    Missing,
    /// Two of them.
    #[error("the request carries more than one proof")]
    Many,
    /// The access token is bound to no key, and comes with a proof.
    #[error("the token is bound to no key")]
    TokenUnbound,
    /// No signed token, or over [`PROOF_BYTES_MAX`].
    #[error("the proof is malformed")]
    Malformed,
    /// Another `typ` than `dpop+jwt`.
    #[error("the proof's type is not `dpop+jwt`")]
    Type,
    /// `none`, one that both sides hold the key of, or one that is not configured.
    #[error("the proof's algorithm is not allowed")]
    Algorithm,
    /// No public key in its header, or one that can't be used.
    #[error("the proof has no usable public key")]
    Key,
    /// The private half stands beside the public one.
    #[error("the proof brings a private key along")]
    PrivateKey,
    /// Signed with another key.
    #[error("the proof's signature is wrong")]
    Signature,
    /// The claims are no plain JSON object.
    #[error("the proof's claims are no plain JSON object")]
    Claims,
    /// `jti` is missing, empty or too long.
    #[error("the proof has no usable id")]
    Id,
    /// For another method.
    #[error("the proof is for another method")]
    Method,
    /// For another address.
    #[error("the proof is for another address")]
    Url,
    /// `iat` is missing or no whole second.
    #[error("the proof says not when it was made")]
    Time,
    /// Made too long ago.
    #[error("the proof is too old")]
    Old,
    /// Made in the future.
    #[error("the proof was made in the future")]
    FromTheFuture,
    /// For another access token, or for none.
    #[error("the proof is for another access token")]
    TokenHash,
    /// Without the server's nonce, or with an old one.
    #[error("the proof lacks the current nonce")]
    Nonce,
    /// By another key than the token is bound to.
    #[error("the proof is by another key than the token is bound to")]
    OtherKey,
    /// Used before.
    #[error("the proof was used before")]
    Replayed,
    /// No place to note it down, so that it could be used again.
    #[error("no further proof can be remembered")]
    ReplaysFull,
}

impl DpopFault {
    /// Reason code for the audit record, metrics and `weir token check`.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotConfigured => "dpop_not_configured",
            Self::Missing => "dpop_missing",
            Self::Many => "dpop_many_proofs",
            Self::TokenUnbound => "dpop_token_unbound",
            Self::Malformed => "dpop_malformed",
            Self::Type => "dpop_type",
            Self::Algorithm => "dpop_algorithm",
            Self::Key => "dpop_key",
            Self::PrivateKey => "dpop_private_key",
            Self::Signature => "dpop_signature",
            Self::Claims => "dpop_claims",
            Self::Id => "dpop_id",
            Self::Method => "dpop_method",
            Self::Url => "dpop_url",
            Self::Time => "dpop_time",
            Self::Old => "dpop_too_old",
            Self::FromTheFuture => "dpop_from_the_future",
            Self::TokenHash => "dpop_token_hash",
            Self::Nonce => "dpop_nonce",
            Self::OtherKey => "dpop_other_key",
            Self::Replayed => "dpop_replayed",
            Self::ReplaysFull => "dpop_replays_full",
        }
    }
}

/// What proofs must be, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DpopRule {
    /// Where clients reach this gateway; a proof's `htu` is below it.
    pub public_url: ::url::Url,
    /// Algorithms that proofs may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// Seconds for which a proof can be used after it was made.
    pub window_s: u64,
    /// Derives the server's nonces, where clients must bring one.
    pub nonces: Option<nonce::Nonces>,
}

/// The request that a proof must be for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path, without the query.
    pub path: &'a str,
    /// The access token that it comes with.
    pub token: &'a str,
}

/// A proof that holds, apart from having been used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// Thumbprint of its key.
    pub key: [u8; 32],
    /// Stands for the proof among all proofs.
    pub id: [u8; 32],
    /// Unix seconds after which it is too old.
    pub until_s: u64,
}

/// The one proof of a request.
///
/// # Errors
/// There is none, or more than one.
pub fn presented(headers: &HeaderMap) -> Result<&str, DpopFault> {
    let mut all = headers.get_all("dpop").iter();
    match (all.next(), all.next()) {
        (None, _) => Err(DpopFault::Missing),
        (Some(only), None) => only.to_str().map_err(|_| DpopFault::Malformed),
        (Some(_), Some(_)) => Err(DpopFault::Many),
    }
}

/// Judges a proof (RFC 9449, section 4.3), all but its single use.
///
/// # Errors
/// The first thing that is wrong, in an order that doesn't change.
pub fn judge(rule: &DpopRule, text: &str, asked: &Asked<'_>, now_s: u64) -> Result<Proof, DpopFault> {
    if text.len() > PROOF_BYTES_MAX {
        return Err(DpopFault::Malformed);
    }
    let mut token = Token::parse(text).map_err(|_| DpopFault::Malformed)?;
    if token.kind.as_deref() != Some("dpop+jwt") {
        return Err(DpopFault::Type);
    }
    let header = super::token::header(text).map_err(|_| DpopFault::Malformed)?;
    let jwk = header.get("jwk").ok_or(DpopFault::Key)?;
    if SECRET_MEMBERS.iter().any(|name| jwk.get(name).is_some()) {
        return Err(DpopFault::PrivateKey);
    }
    let key = thumbprint::of(jwk).ok_or(DpopFault::Key)?;
    // The key is the one that it brings; a name for it means nothing here.
    token.key_id = None;
    let keys = KeySet::of(vec![Key::read(jwk, Symmetric::Refused).ok_or(DpopFault::Key)?]);
    token.verify(&keys, &rule.algorithms).map_err(signature)?;
    let claims = token.claims().map_err(|_| DpopFault::Claims)?;
    let text_of = |name: &str| claims.get(name).and_then(Json::as_str);
    let id = text_of("jti").filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX).ok_or(DpopFault::Id)?;
    if text_of("htm") != Some(asked.method) {
        return Err(DpopFault::Method);
    }
    if !text_of("htu").is_some_and(|said| url::is_for(said, &rule.public_url, asked.path)) {
        return Err(DpopFault::Url);
    }
    let until_s = time(&claims, rule.window_s, now_s)?;
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(asked.token));
    if !text_of("ath").is_some_and(|said| bool::from(said.as_bytes().ct_eq(hash.as_bytes()))) {
        return Err(DpopFault::TokenHash);
    }
    if rule.nonces.as_ref().is_some_and(|nonces| !text_of("nonce").is_some_and(|said| nonces.takes(said, now_s))) {
        return Err(DpopFault::Nonce);
    }
    let id = Sha256::new().chain_update(key).chain_update(id).finalize().into();
    Ok(Proof { key, id, until_s })
}

#[allow(clippy::wildcard_enum_match_arm, reason = "whatever else is wrong with a signature, it is wrong")]
fn signature(fault: TokenFault) -> DpopFault {
    match fault {
        TokenFault::Algorithm => DpopFault::Algorithm,
        TokenFault::WrongKey | TokenFault::AmbiguousKey => DpopFault::Key,
        _ => DpopFault::Signature,
    }
}

/// The last second at which it can be used.
fn time(claims: &Json, window_s: u64, now_s: u64) -> Result<u64, DpopFault> {
    let made_s = claims.get("iat").and_then(Json::as_u64).ok_or(DpopFault::Time)?;
    if made_s > now_s.saturating_add(AHEAD_S) {
        return Err(DpopFault::FromTheFuture);
    }
    let until_s = made_s.saturating_add(window_s);
    if until_s < now_s { Err(DpopFault::Old) } else { Ok(until_s) }
}

#[cfg(test)]
mod tests;
