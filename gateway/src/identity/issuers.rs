//! Issuers at work: their keys as last seen, and tokens that were proven lately. State; it outlives every World.
//!
//! Keys are looked at again by the clock and, once per cool-down, when a token names an unknown one: neither a flood of
//! made-up key ids nor an issuer that is away costs the others anything. The last good keys serve for a stated time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use http::HeaderMap;
use parking_lot::Mutex;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use url::Url;

use super::introspect::{self, Introspections};
use super::issuer::{self, IssuerRule, KeySource, Proven};
use super::jwk::{KeySet, SET_BYTES_MAX, Symmetric};
use super::token::{Token, TokenFault};
use crate::fetch::{Fetcher, Trust};
use crate::telemetry::metric;

/// Milliseconds between two tries while an issuer has no keys at all.
const FIRST_RETRY_MS: u64 = 1_000;
/// Milliseconds for which a proven token is believed without another look.
const REMEMBER_MS: u64 = 60_000;
/// Proven tokens remembered; then all are forgotten, which costs each one more proof.
const REMEMBERED_MAX: usize = 16_384;
/// Bytes of an issuer's metadata.
const METADATA_BYTES_MAX: usize = 64 << 10;

/// What is known of one issuer's keys.
#[derive(Default)]
struct Held {
    keys: ArcSwapOption<KeySet>,
    /// Unix milliseconds of the last fetch that worked, and of the last that was begun.
    fetched_ms: AtomicU64,
    begun_ms: AtomicU64,
    /// One fetch at a time; the others use what it brings.
    fetching: tokio::sync::Mutex<()>,
    last_fault: Mutex<Option<String>>,
}

/// An issuer's state, for operators.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Ids of its keys.
    pub keys: Vec<String>,
    /// Unix milliseconds of the last fetch that worked; 0 before the first.
    pub fetched_ms: u64,
    /// Unix milliseconds of the last try.
    pub tried_ms: u64,
    /// Why the last try failed, where it did.
    pub fault: Option<String>,
    /// Whether it answers about opaque tokens; nothing where it is not asked.
    pub introspection: Option<&'static str>,
}

/// All issuers' keys, and the tokens that were proven lately.
pub struct Issuers {
    fetcher: Fetcher,
    /// By name, issuer and source: a reload that changes one begins anew.
    held: Mutex<HashMap<String, Arc<Held>>>,
    remembered: Mutex<HashMap<[u8; 32], Remembered>>,
    introspections: Introspections,
}

#[derive(Clone)]
struct Remembered {
    rule: Arc<IssuerRule>,
    proven: Arc<Proven>,
    until_ms: u64,
}

impl Issuers {
    /// Knows no keys yet.
    pub fn new(fetcher: Fetcher) -> Self {
        Self {
            fetcher,
            held: Mutex::default(),
            remembered: Mutex::default(),
            introspections: Introspections::default(),
        }
    }

    /// Proves a token of one of these issuers.
    ///
    /// # Errors
    /// The exact reason, for the audit record.
    pub async fn prove(
        &self,
        text: &str,
        rules: &[Arc<IssuerRule>],
        now_ms: u64,
    ) -> Result<(Arc<IssuerRule>, Arc<Proven>), TokenFault> {
        let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        if let Some(known) = self.recall(&hash, rules, now_ms) {
            return Ok((known.rule, known.proven));
        }
        if let Some(rule) = introspect::asked(text, rules) {
            let proven = self.introspections.prove(&self.fetcher, rule, (text, hash), now_ms).await?;
            let asks = rule.introspection.as_ref();
            let for_ms = asks.map_or(0, |asks| asks.cache_s).saturating_mul(1_000).min(REMEMBER_MS);
            let until_ms = now_ms.saturating_add(for_ms).min(proven.expires_s.saturating_mul(1_000));
            self.remember(hash, Remembered { rule: Arc::clone(rule), proven: Arc::clone(&proven), until_ms });
            return Ok((Arc::clone(rule), proven));
        }
        let token = Token::parse(text)?;
        let claims = token.claims()?;
        let claimed = issuer::claimed_issuer(&claims)?;
        let rule = rules.iter().find(|rule| &*rule.issuer == claimed).ok_or(TokenFault::Issuer)?;
        let proven = self.judge(rule, &token, &claims, now_ms).await;
        metric::token_judged(&rule.name, proven.as_ref().err().map_or("accepted", |fault| fault.code()));
        let proven = Arc::new(proven?);
        let until_ms = now_ms.saturating_add(REMEMBER_MS).min(proven.expires_s.saturating_mul(1_000));
        self.remember(hash, Remembered { rule: Arc::clone(rule), proven: Arc::clone(&proven), until_ms });
        Ok((Arc::clone(rule), proven))
    }

    async fn judge(
        &self,
        rule: &Arc<IssuerRule>,
        token: &Token<'_>,
        claims: &Json,
        now_ms: u64,
    ) -> Result<Proven, TokenFault> {
        let held = self.held(rule);
        let keys = match self.usable(rule, &held, now_ms) {
            Some(keys) => keys,
            None => {
                self.refresh(rule, now_ms).await;
                self.usable(rule, &held, now_ms).ok_or(TokenFault::NoKeys)?
            }
        };
        let first = token.verify(&keys, &rule.algorithms);
        // A key that is new, or new under an old name, is looked for once per cool-down.
        let may_be_new = matches!(first, Err(TokenFault::UnknownKey | TokenFault::Signature));
        if may_be_new && self.refresh(rule, now_ms).await {
            let keys = self.usable(rule, &held, now_ms).ok_or(TokenFault::NoKeys)?;
            token.verify(&keys, &rule.algorithms)?;
        } else {
            first?;
        }
        issuer::judge(rule, token, claims, now_ms / 1_000)
    }

    fn held(&self, rule: &IssuerRule) -> Arc<Held> {
        let source = match &rule.keys {
            KeySource::Discovery => String::new(),
            KeySource::Url(url) => url.to_string(),
            KeySource::File(bytes) => Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        let id = format!("{}\n{}\n{source}", rule.name, rule.issuer);
        Arc::clone(self.held.lock().entry(id).or_default())
    }

    /// The keys, while they are not too old.
    fn usable(&self, rule: &IssuerRule, held: &Held, now_ms: u64) -> Option<Arc<KeySet>> {
        let age_ms = now_ms.saturating_sub(held.fetched_ms.load(Ordering::Acquire));
        let limit_ms = rule.refresh_s.saturating_add(rule.stale_s).saturating_mul(1_000);
        held.keys.load_full().filter(|_| age_ms <= limit_ms)
    }

    /// Looks at an issuer's keys again, unless that was done lately. True where the keys may be others now.
    pub async fn refresh(&self, rule: &Arc<IssuerRule>, now_ms: u64) -> bool {
        let held = self.held(rule);
        let seen_ms = held.fetched_ms.load(Ordering::Acquire);
        let _one_at_a_time = held.fetching.lock().await;
        if held.fetched_ms.load(Ordering::Acquire) != seen_ms {
            return true;
        }
        let cooldown_ms = rule.cooldown_s.saturating_mul(1_000);
        let pause_ms = if held.keys.load().is_some() { cooldown_ms } else { FIRST_RETRY_MS };
        let begun_ms = held.begun_ms.load(Ordering::Acquire);
        if begun_ms != 0 && now_ms.saturating_sub(begun_ms) < pause_ms {
            return false;
        }
        // Before the fetch: what takes long or fails is not tried again at once.
        held.begun_ms.store(now_ms, Ordering::Release);
        let fetched = self.fetch(rule).await;
        metric::issuer_fetched(&rule.name, if fetched.is_ok() { "ok" } else { "failed" });
        match fetched {
            Ok(keys) => {
                held.keys.store(Some(Arc::new(keys)));
                held.fetched_ms.store(now_ms.max(seen_ms.saturating_add(1)), Ordering::Release);
                *held.last_fault.lock() = None;
                // A key that is gone proves nothing any more, also not what it proved before.
                self.remembered.lock().clear();
                true
            }
            Err(fault) => {
                tracing::warn!(issuer = %rule.name, %fault, "an issuer's keys could not be fetched");
                *held.last_fault.lock() = Some(fault);
                false
            }
        }
    }

    /// Refreshes the issuers whose keys have their age. Called by the clock, so that it depends on no token.
    pub async fn keep_fresh(&self, rules: &[Arc<IssuerRule>], now_ms: u64) {
        for rule in rules {
            let held = self.held(rule);
            let age_ms = now_ms.saturating_sub(held.fetched_ms.load(Ordering::Acquire));
            if held.keys.load().is_none() || age_ms >= rule.refresh_s.saturating_mul(1_000) {
                self.refresh(rule, now_ms).await;
            }
        }
    }

    async fn fetch(&self, rule: &IssuerRule) -> Result<KeySet, String> {
        let url = match &rule.keys {
            KeySource::File(bytes) => {
                return KeySet::parse(bytes, Symmetric::Allowed).map_err(|fault| fault.to_string());
            }
            KeySource::Url(url) => (url.clone(), Trust::Configured),
            KeySource::Discovery => self.discover(rule).await?,
        };
        let body = self.document(&url.0, SET_BYTES_MAX, url.1).await?;
        KeySet::parse(&body, Symmetric::Refused).map_err(|fault| fault.to_string())
    }

    /// The address of the keys from the issuer's metadata, which must name the issuer itself.
    async fn discover(&self, rule: &IssuerRule) -> Result<(Url, Trust), String> {
        let base = Url::parse(&rule.issuer).map_err(|_| "the issuer is no URL: name its keys' address".to_owned())?;
        let mut last = String::new();
        for address in metadata_addresses(&base) {
            match self.document(&address, METADATA_BYTES_MAX, Trust::Configured).await {
                Ok(body) => return keys_address(&rule.issuer, &base, &body),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    async fn document(&self, url: &Url, bytes_max: usize, trust: Trust) -> Result<bytes::Bytes, String> {
        let mut headers = HeaderMap::new();
        headers.insert("accept", http::HeaderValue::from_static("application/json"));
        let reply = self.fetcher.get(url, headers, bytes_max, trust).await.map_err(|fault| fault.to_string())?;
        match reply.status.as_u16() {
            200 => Ok(reply.body),
            status => Err(format!("status {status}")),
        }
    }

    fn recall(&self, hash: &[u8; 32], rules: &[Arc<IssuerRule>], now_ms: u64) -> Option<Remembered> {
        let remembered = self.remembered.lock();
        let known = remembered.get(hash).filter(|known| now_ms < known.until_ms)?;
        // Under the rules of this very World: after a reload each token is judged anew.
        rules.iter().any(|rule| Arc::ptr_eq(rule, &known.rule)).then(|| known.clone())
    }

    fn remember(&self, hash: [u8; 32], proven: Remembered) {
        let mut remembered = self.remembered.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(hash, proven);
    }

    /// What is known of each issuer.
    pub fn standings(&self, rules: &[Arc<IssuerRule>], now_ms: u64) -> Vec<Standing> {
        let answers = |rule: &IssuerRule| if self.introspections.is_away(rule, now_ms) { "away" } else { "ok" };
        let standing = |rule: &Arc<IssuerRule>| {
            let held = self.held(rule);
            Standing {
                name: rule.name.to_string(),
                keys: held.keys.load().as_ref().map_or_else(Vec::new, |keys| keys.ids()),
                fetched_ms: held.fetched_ms.load(Ordering::Acquire),
                tried_ms: held.begun_ms.load(Ordering::Acquire),
                fault: held.last_fault.lock().clone(),
                introspection: rule.introspection.as_ref().map(|_| answers(rule)),
            }
        };
        rules.iter().map(standing).collect()
    }
}

/// OpenID Connect Discovery appends its name to the issuer; RFC 8414 puts its own before the issuer's path.
fn metadata_addresses(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let with = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url.set_query(None);
        url
    };
    vec![
        with(format!("{path}/.well-known/openid-configuration")),
        with(format!("/.well-known/oauth-authorization-server{path}")),
    ]
}

fn keys_address(issuer: &str, base: &Url, metadata: &[u8]) -> Result<(Url, Trust), String> {
    let json = super::token::plain_object(metadata).ok_or("the metadata is no plain JSON object")?;
    if json.get("issuer").and_then(Json::as_str) != Some(issuer) {
        return Err("the metadata names another issuer".to_owned());
    }
    let address = json.get("jwks_uri").and_then(Json::as_str).and_then(|text| Url::parse(text).ok());
    let address = address.ok_or("the metadata has no valid `jwks_uri`")?;
    if address.scheme() != base.scheme() && address.scheme() != "https" {
        return Err("the keys' address is less safe than the issuer's".to_owned());
    }
    // The host that the configuration names may be one of the own network; another may not.
    let is_named = address.host() == base.host() && address.port_or_known_default() == base.port_or_known_default();
    Ok((address, if is_named { Trust::Configured } else { Trust::Remote }))
}

#[cfg(test)]
pub(super) mod tests;
