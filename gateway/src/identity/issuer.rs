//! What an issuer's tokens must be, and who they speak for. Pure: rules, claims and the time come in, a caller goes
//! out.
//!
//! RFC 8725 as code: issuer, audience and subject are required and exact, times are whole seconds within a stated
//! leeway, the type is that of an access token. An issuer speaks for one level of the tenant path and what lies below,
//! never for another.

use std::collections::BTreeMap;
use std::sync::Arc;

use jsonwebtoken::Algorithm;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::introspect::Introspection;
use super::token::{Token, TokenFault};
use super::{CredentialKind, KeyId, TenantPath, UserName};

/// Audiences of one token.
const AUDIENCES_MAX: usize = 64;
/// Roles that one token may bring.
const ROLES_MAX: usize = 256;
/// Bytes of an attribute's text.
const ATTRIBUTE_BYTES_MAX: usize = 1_024;
/// Claims that a user is looked up by.
const USER_CLAIMS_MAX: usize = 8;
/// The last second that any clock shall show: the end of the year 9999.
const SECONDS_MAX: u64 = 253_402_300_799;

/// Which `typ` an issuer's access tokens have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    /// `at+jwt` (RFC 9068): no other kind of token can be taken for an access token.
    AccessToken,
    /// `at+jwt`, `JWT` or none, for issuers that know no better.
    Any,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// Its metadata says (OpenID Connect Discovery, RFC 8414).
    Discovery,
    /// This address.
    Url(url::Url),
    /// This file, read with the configuration.
    File(Arc<[u8]>),
}

/// One issuer, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerRule {
    /// Name in metrics, audit and key ids.
    pub name: Arc<str>,
    /// Its `iss`, compared byte by byte.
    pub issuer: Arc<str>,
    /// Audiences of which a token must name one.
    pub audiences: Vec<String>,
    /// Algorithms that its keys may be used with.
    pub algorithms: Vec<Algorithm>,
    /// Which `typ` is taken.
    pub kind: TokenType,
    /// Clients (`azp`, or else `client_id`) whose tokens are taken; empty: all.
    pub clients: Vec<String>,
    /// Seconds by which its clock may differ.
    pub leeway_s: u64,
    /// Seconds of a token's life at most.
    pub age_max_s: u64,
    /// The level that it speaks for.
    pub tenant: TenantPath,
    /// Claims whose texts are the levels below, outermost first.
    pub path_claims: Vec<String>,
    /// The claim that lists the subject's roles.
    pub roles_claim: String,
    /// From the issuer's role to Weir's; the others are left out.
    pub roles: BTreeMap<String, String>,
    /// From an attribute to its claim.
    pub attributes: BTreeMap<String, String>,
    /// Claims that directories know a user by.
    pub user_claims: Vec<String>,
    /// Where its keys come from.
    pub keys: KeySource,
    /// Seconds between two looks at the keys.
    pub refresh_s: u64,
    /// Seconds for which the last good keys are used while the issuer is away.
    pub stale_s: u64,
    /// Seconds between two fetches of its keys at least, whatever the tokens say.
    pub cooldown_s: u64,
    /// How it is asked about tokens that say nothing themselves, where it is.
    pub introspection: Option<Introspection>,
}

/// Who a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Whether the token was signed or its issuer asked.
    pub credential: CredentialKind,
    /// The tenant path.
    pub tenant: TenantPath,
    /// Stands for the subject without naming it.
    pub key: KeyId,
    /// Weir's roles.
    pub roles: Vec<Arc<str>>,
    /// Attributes for policy.
    pub attributes: BTreeMap<String, String>,
    /// The names that directories may know the subject by.
    pub user: Arc<[UserName]>,
    /// Unix seconds of the token's end.
    pub expires_s: u64,
    /// What the token is bound to (RFC 7800), where it is.
    pub confirmation: Option<Json>,
}

/// The `iss` that a token claims, to find its issuer by; nothing is proven.
///
/// # Errors
/// No claims, or no text.
pub fn claimed_issuer(claims: &Json) -> Result<&str, TokenFault> {
    claims.get("iss").and_then(Json::as_str).ok_or(TokenFault::Issuer)
}

/// Judges the claims of a token whose signature was proven.
///
/// # Errors
/// The first thing that is wrong, in an order that doesn't change.
pub fn judge(rule: &IssuerRule, token: &Token<'_>, claims: &Json, now_s: u64) -> Result<Proven, TokenFault> {
    let is_typed = match (rule.kind, token.kind.as_deref()) {
        (_, Some("at+jwt")) | (TokenType::Any, None | Some("jwt")) => true,
        (TokenType::AccessToken | TokenType::Any, _) => false,
    };
    if !is_typed {
        return Err(TokenFault::Type);
    }
    judge_claims(rule, claims, now_s)
}

/// Judges claims that the issuer is known to have made.
///
/// # Errors
/// As [`judge`].
pub(super) fn judge_claims(rule: &IssuerRule, claims: &Json, now_s: u64) -> Result<Proven, TokenFault> {
    let terms =
        Terms { issuer: &rule.issuer, audiences: &rule.audiences, leeway_s: rule.leeway_s, age_max_s: rule.age_max_s };
    let (subject, expires_s) = standard(&terms, claims, now_s)?;
    client(rule, claims)?;
    Ok(Proven {
        credential: CredentialKind::Jwt,
        tenant: tenant(rule, claims)?,
        key: key_id(&rule.name, subject),
        roles: roles(rule, claims),
        attributes: attributes(rule, claims),
        user: user(rule, claims),
        expires_s,
        confirmation: claims.get("cnf").cloned(),
    })
}

/// What the claims of any issuer must say, whoever they speak for.
pub(super) struct Terms<'a> {
    pub(super) issuer: &'a str,
    pub(super) audiences: &'a [String],
    pub(super) leeway_s: u64,
    pub(super) age_max_s: u64,
}

/// Issuer, audience, subject and times: the subject and the end come back.
///
/// # Errors
/// The first that is wrong.
pub(super) fn standard<'a>(terms: &Terms<'_>, claims: &'a Json, now_s: u64) -> Result<(&'a str, u64), TokenFault> {
    if claimed_issuer(claims)? != terms.issuer {
        return Err(TokenFault::Issuer);
    }
    if !is_for(claims, terms.audiences) {
        return Err(TokenFault::Audience);
    }
    let subject = claims.get("sub").and_then(Json::as_str).filter(|text| !text.is_empty());
    let subject = subject.ok_or(TokenFault::Subject)?;
    Ok((subject, times(terms, claims, now_s)?))
}

fn is_for(claims: &Json, audiences: &[String]) -> bool {
    let known = |one: &Json| one.as_str().is_some_and(|one| audiences.iter().any(|known| known == one));
    match claims.get("aud") {
        Some(Json::Array(many)) => {
            many.len() <= AUDIENCES_MAX && many.iter().all(Json::is_string) && many.iter().any(known)
        }
        Some(one) => known(one),
        None => false,
    }
}

/// Expiry, begin, issue: the end comes back.
fn times(terms: &Terms<'_>, claims: &Json, now_s: u64) -> Result<u64, TokenFault> {
    let expires = seconds(claims, "exp")?.ok_or(TokenFault::NoExpiry)?;
    if expires.saturating_add(terms.leeway_s) <= now_s {
        return Err(TokenFault::Expired);
    }
    let ahead = now_s.saturating_add(terms.leeway_s);
    if seconds(claims, "nbf")?.is_some_and(|begins| begins > ahead) {
        return Err(TokenFault::NotYet);
    }
    let issued = seconds(claims, "iat")?;
    if issued.is_some_and(|issued| issued > ahead) {
        return Err(TokenFault::FromTheFuture);
    }
    // Without an issue time, what is left of its life may not be longer.
    let life = expires.saturating_sub(issued.unwrap_or(now_s));
    let slack = if issued.is_some() { 0 } else { terms.leeway_s };
    if life > terms.age_max_s.saturating_add(slack) {
        return Err(TokenFault::TooOld);
    }
    Ok(expires)
}

/// A time as whole seconds since 1970; a fraction is cut off where it is exact (RFC 7519, section 2, allows one).
fn seconds(claims: &Json, name: &str) -> Result<Option<u64>, TokenFault> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole = value.as_u64().filter(|seconds| *seconds <= SECONDS_MAX);
    let cut = || {
        let text = value.as_f64().filter(|seconds| *seconds >= 0.0)?.trunc();
        // Formatted without an exponent: `as` would be silent about what doesn't fit.
        format!("{text:.0}").parse::<u64>().ok().filter(|seconds| *seconds <= SECONDS_MAX)
    };
    whole.or_else(cut).map(Some).ok_or(TokenFault::Time)
}

fn client(rule: &IssuerRule, claims: &Json) -> Result<(), TokenFault> {
    let named = claims.get("azp").or_else(|| claims.get("client_id")).and_then(Json::as_str);
    let is_allowed = rule.clients.is_empty() || named.is_some_and(|named| rule.clients.iter().any(|one| one == named));
    if is_allowed { Ok(()) } else { Err(TokenFault::Client) }
}

/// A claim by its name, or by a JSON pointer (RFC 6901).
fn claim<'a>(claims: &'a Json, name: &str) -> Option<&'a Json> {
    if name.starts_with('/') { claims.pointer(name) } else { claims.get(name) }
}

fn tenant(rule: &IssuerRule, claims: &Json) -> Result<TenantPath, TokenFault> {
    let mut path = rule.tenant.as_str().to_owned();
    for name in &rule.path_claims {
        // One level each: a claim can't leave its level or skip one.
        let level = claim(claims, name).and_then(Json::as_str).filter(|level| !level.contains('/'));
        path = format!("{path}/{}", level.ok_or(TokenFault::Tenant)?);
    }
    TenantPath::parse(&path).map_err(|_| TokenFault::Tenant)
}

/// An id that is the same for each token of one subject, and tells nobody who that is.
fn key_id(issuer: &str, subject: &str) -> KeyId {
    let hash = Sha256::digest(subject.as_bytes());
    let hex: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    KeyId(format!("jwt.{issuer}.{hex}").into())
}

/// Roles as a list, or as one text with spaces (as `scope`).
fn roles(rule: &IssuerRule, claims: &Json) -> Vec<Arc<str>> {
    let listed: Vec<&str> = match claim(claims, &rule.roles_claim) {
        Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).take(ROLES_MAX).collect(),
        Some(Json::String(text)) => text.split(' ').take(ROLES_MAX).collect(),
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_)) | None => Vec::new(),
    };
    let mut roles: Vec<Arc<str>> =
        listed.iter().filter_map(|role| rule.roles.get(*role)).map(|role| role.as_str().into()).collect();
    roles.sort();
    roles.dedup();
    roles
}

fn attributes(rule: &IssuerRule, claims: &Json) -> BTreeMap<String, String> {
    let text = |value: &Json| match value {
        Json::String(text) => Some(text.clone()),
        Json::Bool(_) | Json::Number(_) => Some(value.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    };
    let found = rule.attributes.iter().filter_map(|(name, from)| {
        let text = claim(claims, from).and_then(text).filter(|text| text.len() <= ATTRIBUTE_BYTES_MAX)?;
        Some((name.clone(), text))
    });
    found.collect()
}

/// The names of the subject. An address counts only where the issuer says that it is the subject's.
fn user(rule: &IssuerRule, claims: &Json) -> Arc<[UserName]> {
    let name = |name: &String| {
        let text = claim(claims, name)?.as_str().filter(|text| !text.is_empty())?;
        match name.as_str() {
            "email" if claims.get("email_verified") == Some(&Json::Bool(true)) => Some(UserName::Mail(text.into())),
            "email" => None,
            _ => Some(UserName::Claim(text.into())),
        }
    };
    rule.user_claims.iter().take(USER_CLAIMS_MAX).filter_map(name).collect()
}

#[cfg(test)]
pub(super) mod tests;
