//! Tokens that say nothing themselves: their issuer is asked what they are (RFC 7662).
//!
//! An answer counts for a short stated time, yes and no apart, so that a flood of made-up tokens pushes out nobody who
//! was proven. Questions about one token that come together are one question; an issuer that is away is left alone for
//! a moment. Only a token of the right form is sent anywhere, and only to the issuer whose prefix it has.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use serde_json::Value as Json;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;
use url::{Url, form_urlencoded};

use super::CredentialKind;
use super::issuer::{self, IssuerRule, Proven};
use super::token::{TOKEN_BYTES_MAX, TokenFault, plain_object};
use crate::config::settings::Secret;
use crate::fetch::{Fetcher, Trust};
use crate::telemetry::metric;

/// Milliseconds for which a token that was refused is not asked about again.
const REFUSED_MS: u64 = 5_000;
/// Refused tokens remembered; then all are forgotten, which costs each one more question.
const REFUSED_MAX: usize = 8_192;
/// Questions to one issuer at the same time.
const ASKING_MAX: usize = 32;
/// Longest wait for one of these places.
const PLACE_WAIT: Duration = Duration::from_secs(2);
/// Milliseconds for which an issuer that did not answer is not asked anything.
const AWAY_MS: u64 = 1_000;
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// How an issuer is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspection {
    /// Its introspection endpoint.
    pub url: Url,
    /// Weir's own name there.
    pub client_id: Arc<str>,
    /// Weir's own secret there.
    pub client_secret: Secret,
    /// What its opaque tokens begin with; empty: every one.
    pub prefix: String,
    /// Seconds for which a yes counts.
    pub cache_s: u64,
}

/// The issuer that is asked about a token; `None` where the token has another form or no issuer's prefix.
pub fn asked<'a>(text: &str, rules: &'a [Arc<IssuerRule>]) -> Option<&'a Arc<IssuerRule>> {
    let is_prefixed = |asks: &Introspection| text.starts_with(asks.prefix.as_str());
    let mut all = rules.iter().filter(|_| is_opaque(text));
    all.find(|rule| rule.introspection.as_ref().is_some_and(is_prefixed))
}

/// Whether a text has the form of a bearer token (RFC 6750, section 2.1) and is neither a JWT nor a JWE: what looks
/// like one is judged as one, and never sent away because it was judged badly.
fn is_opaque(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
    let dots = text.bytes().filter(|b| *b == b'.').count();
    let is_form = !body.is_empty() && text.len() <= TOKEN_BYTES_MAX && body.bytes().all(plain);
    is_form && !matches!(dots, 2 | 4) && !text.starts_with("eyJ")
}

/// What an issuer's answer proves.
///
/// # Errors
/// [`TokenFault::Inactive`] where it says no, [`TokenFault::NoAnswer`] where it says nothing usable, else what is
/// wrong with the claims. An audience and an end are asked for as in a signed token: an issuer also answers about
/// refresh tokens and about tokens for others.
pub fn judge(rule: &IssuerRule, body: &[u8], now_s: u64) -> Result<Proven, TokenFault> {
    let mut answer = plain_object(body).ok_or(TokenFault::NoAnswer)?;
    match answer.get("active") {
        Some(Json::Bool(true)) => {}
        Some(Json::Bool(false)) => return Err(TokenFault::Inactive),
        Some(Json::Null | Json::Number(_) | Json::String(_) | Json::Array(_) | Json::Object(_)) | None => {
            return Err(TokenFault::NoAnswer);
        }
    }
    let is_access_token = |kind: &Json| {
        kind.as_str().is_some_and(|kind| ["bearer", "dpop"].iter().any(|one| kind.eq_ignore_ascii_case(one)))
    };
    if !answer.get("token_type").is_none_or(is_access_token) {
        return Err(TokenFault::Type);
    }
    let client = answer.get("client_id").cloned();
    if let Some(claims) = answer.as_object_mut() {
        // The answer came from the issuer itself; where it names one, it must be the same.
        claims.entry("iss").or_insert_with(|| Json::from(&*rule.issuer));
        // A token that a client holds for itself has no other subject (RFC 9068, section 2.2).
        if let (None, Some(client)) = (claims.get("sub"), client) {
            claims.insert("sub".to_owned(), client);
        }
    }
    let proven = issuer::judge_claims(rule, &answer, now_s)?;
    Ok(Proven { credential: CredentialKind::Introspected, ..proven })
}

type Hash = [u8; 32];
type Answer = Result<Arc<Proven>, TokenFault>;

/// Questions that are on their way, and tokens that were refused lately. State; it outlives every World.
#[derive(Default)]
pub struct Introspections {
    asking: Mutex<HashMap<Hash, Waiting>>,
    refused: Mutex<HashMap<Hash, Refused>>,
    /// By issuer; as many as were ever configured.
    desks: Mutex<HashMap<Arc<str>, Arc<Desk>>>,
}

/// One question and those who wait for its answer.
#[derive(Default, Clone)]
struct Waiting {
    callers: usize,
    answer: Arc<OnceCell<Answer>>,
}

struct Refused {
    rule: Arc<IssuerRule>,
    fault: TokenFault,
    until_ms: u64,
}

/// Where one issuer is asked.
struct Desk {
    places: Semaphore,
    away_until_ms: AtomicU64,
}

impl Introspections {
    /// Asks the issuer, or shares the answer that another caller is waiting for.
    ///
    /// # Errors
    /// As [`judge`]; [`TokenFault::NoAnswer`] also where the issuer is away or too busy.
    pub async fn prove(
        &self,
        fetcher: &Fetcher,
        rule: &Arc<IssuerRule>,
        (text, hash): (&str, Hash),
        now_ms: u64,
    ) -> Answer {
        if let Some(fault) = self.refused_lately(&hash, rule, now_ms) {
            return Err(fault);
        }
        let turn = Turn::take(&self.asking, hash);
        let asks = || async {
            let answer = self.ask(fetcher, rule, text, now_ms).await;
            metric::token_judged(&rule.name, answer.as_ref().err().map_or("accepted", |fault| fault.code()));
            if let Err(fault) = answer.as_ref() {
                self.refuse(hash, rule, *fault, now_ms);
            }
            answer.map(Arc::new)
        };
        turn.answer.get_or_init(asks).await.clone()
    }

    async fn ask(&self, fetcher: &Fetcher, rule: &IssuerRule, text: &str, now_ms: u64) -> Result<Proven, TokenFault> {
        let asks = rule.introspection.as_ref().ok_or(TokenFault::NoAnswer)?;
        let desk = self.desk(rule);
        if now_ms < desk.away_until_ms.load(Ordering::Acquire) {
            return Err(TokenFault::NoAnswer);
        }
        let place = timeout(PLACE_WAIT, desk.places.acquire()).await;
        let _place = place.ok().and_then(Result::ok).ok_or(TokenFault::NoAnswer)?;
        let reply = fetcher.post(&asks.url, headers(asks), form(text), ANSWER_BYTES_MAX, Trust::Configured).await;
        let fault = match reply {
            Ok(reply) if reply.status.as_u16() == 200 => {
                metric::introspected(&rule.name, "ok");
                return judge(rule, &reply.body, now_ms / 1_000);
            }
            Ok(reply) => format!("status {}", reply.status.as_u16()),
            Err(fault) => fault.to_string(),
        };
        metric::introspected(&rule.name, "failed");
        tracing::warn!(issuer = %rule.name, fault, "an issuer did not answer about a token");
        desk.away_until_ms.store(now_ms.saturating_add(AWAY_MS), Ordering::Release);
        Err(TokenFault::NoAnswer)
    }

    fn desk(&self, rule: &IssuerRule) -> Arc<Desk> {
        let mut desks = self.desks.lock();
        let new = || Desk { places: Semaphore::new(ASKING_MAX), away_until_ms: AtomicU64::new(0) };
        Arc::clone(desks.entry(Arc::clone(&rule.name)).or_insert_with(|| Arc::new(new())))
    }

    fn refused_lately(&self, hash: &Hash, rule: &Arc<IssuerRule>, now_ms: u64) -> Option<TokenFault> {
        let refused = self.refused.lock();
        let known = refused.get(hash).filter(|known| now_ms < known.until_ms && Arc::ptr_eq(&known.rule, rule))?;
        Some(known.fault)
    }

    fn refuse(&self, hash: Hash, rule: &Arc<IssuerRule>, fault: TokenFault, now_ms: u64) {
        // An issuer that was away may know the token well.
        if fault == TokenFault::NoAnswer {
            return;
        }
        let mut refused = self.refused.lock();
        if refused.len() >= REFUSED_MAX {
            refused.clear();
        }
        let until_ms = now_ms.saturating_add(REFUSED_MS);
        refused.insert(hash, Refused { rule: Arc::clone(rule), fault, until_ms });
    }

    /// Whether an issuer did not answer lately.
    pub fn is_away(&self, rule: &IssuerRule, now_ms: u64) -> bool {
        now_ms < self.desk(rule).away_until_ms.load(Ordering::Acquire)
    }
}

/// A caller's place at a question; the last one who leaves takes the question away.
struct Turn<'a> {
    asking: &'a Mutex<HashMap<Hash, Waiting>>,
    hash: Hash,
    answer: Arc<OnceCell<Answer>>,
}

impl<'a> Turn<'a> {
    fn take(asking: &'a Mutex<HashMap<Hash, Waiting>>, hash: Hash) -> Self {
        let mut all = asking.lock();
        let waiting = all.entry(hash).or_default();
        waiting.callers = waiting.callers.saturating_add(1);
        let answer = Arc::clone(&waiting.answer);
        Self { asking, hash, answer }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut all = self.asking.lock();
        let left = all.get_mut(&self.hash).map_or(0, |waiting| {
            waiting.callers = waiting.callers.saturating_sub(1);
            waiting.callers
        });
        if left == 0 {
            all.remove(&self.hash);
        }
    }
}

/// Weir's own credential, as RFC 6749, section 2.3.1, writes it.
fn headers(asks: &Introspection) -> HeaderMap {
    let encode = |bytes: &[u8]| form_urlencoded::byte_serialize(bytes).collect::<String>();
    let pair = format!("{}:{}", encode(asks.client_id.as_bytes()), encode(asks.client_secret.expose()));
    let mut headers = HeaderMap::new();
    // Base64 always fits a header; without one the issuer would refuse.
    if let Ok(mut basic) = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))) {
        basic.set_sensitive(true);
        headers.insert("authorization", basic);
    }
    headers.insert("accept", HeaderValue::from_static("application/json"));
    headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers
}

fn form(text: &str) -> Bytes {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("token", text).append_pair("token_type_hint", "access_token");
    form.finish().into()
}

#[cfg(test)]
mod tests;
