//! The two grants: client credentials (RFC 6749, section 4.4) and token exchange (RFC 8693).
//!
//! A token is never wider than its subject and never outlives it, and it rests on every key that had a part in it.

use http::HeaderMap;
use serde_json::{Value as Json, json};

use super::fault::OAuthFault;
use super::form::{Form, client};
use super::party::{Desk, Party, Proof};
use super::throttle::Asker;
use crate::audit::AuditNote;
use crate::clock;
use crate::exchange::CallId;
use crate::identity::KeyId;
use crate::identity::keyring::IdentityFault;
use crate::identity::metadata::is_target;
use crate::identity::own_tokens::claims::{ACTORS_MAX, Act, Claims, KEYS_MAX, Own};
use crate::identity::own_tokens::narrowing::Narrowing;
use crate::identity::scope::KeyKind;
use crate::identity::token::TokenFault;
use crate::journal;

/// Token exchange.
pub const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// Client credentials.
pub const CREDENTIALS: &str = "client_credentials";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// An API key of Weir's own: no standard has a name for it.
const API_KEY: &str = "urn:weir:params:oauth:token-type:api_key";

/// A token that is issued.
pub struct Granted {
    /// For the client.
    pub body: Json,
    /// For the audit log; without the token.
    pub note: AuditNote,
}

/// The grant that a form asks for, by a name for metrics and the audit log.
pub fn named(form: &Form) -> &'static str {
    match form.get("grant_type") {
        Some(CREDENTIALS) => CREDENTIALS,
        Some(EXCHANGE) => "token_exchange",
        Some(_) | None => "other",
    }
}

/// Issues the token that a form asks for.
///
/// # Errors
/// Whatever is wrong with the request, its client or its tokens.
pub async fn grant(desk: &Desk<'_>, headers: &HeaderMap, form: &Form) -> Result<Granted, OAuthFault> {
    let exchanged = match form.need("grant_type")? {
        EXCHANGE => true,
        CREDENTIALS => false,
        _ => return Err(OAuthFault::GrantType),
    };
    if !form.targets().iter().all(|target| is_target(desk.rule, target)) {
        return Err(OAuthFault::Target);
    }
    let client = match client(headers, form)? {
        Some(sent) => Some(desk.client(&sent).await?),
        None => None,
    };
    match exchanged {
        true => exchange(desk, form, client.as_ref()).await,
        false => credentials(desk, form, client.as_ref()),
    }
}

fn credentials(desk: &Desk<'_>, form: &Form, client: Option<&Party>) -> Result<Granted, OAuthFault> {
    let client = client.ok_or(OAuthFault::NoClient)?;
    if client.kind != Some(KeyKind::Service) {
        return Err(OAuthFault::ClientKind);
    }
    let mint = Mint {
        subject: client,
        client: client.own.from.subject(),
        act: None,
        keys: client.own.keys.clone(),
        ends_ms: client.ends_ms,
        issued_type: None,
    };
    mint.issue(desk, form)
}

async fn exchange(desk: &Desk<'_>, form: &Form, client: Option<&Party>) -> Result<Granted, OAuthFault> {
    let issued_type = match form.get("requested_token_type") {
        None | Some(ACCESS_TOKEN) => ACCESS_TOKEN,
        Some(JWT) => JWT,
        Some(_) => return Err(OAuthFault::TokenType),
    };
    let subject = desk.party(form.need("subject_token")?, proof(form.need("subject_token_type")?)?).await;
    let subject = subject.map_err(|fault| fault.of_token(OAuthFault::Subject))?;
    let actor = match (form.get("actor_token"), form.get("actor_token_type")) {
        (Some(token), Some(kind)) => {
            Some(desk.party(token, proof(kind)?).await.map_err(|fault| fault.of_token(OAuthFault::Actor))?)
        }
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(OAuthFault::ActorHalf),
    };
    if !client.into_iter().chain(&actor).all(|other| other.is_of(&subject)) {
        return Err(OAuthFault::Foreign);
    }
    if actor.as_ref().is_some_and(|actor| !subject.lets_act(actor)) {
        return Err(OAuthFault::MayAct);
    }
    let act = match &actor {
        Some(actor) => Some(Act { sub: actor.own.from.subject().clone(), act: subject.act.clone().map(Box::new) }),
        None => subject.act.clone(),
    };
    // A token dies with each key that had a part in it, and no later than any of them ends.
    let others = || client.into_iter().chain(&actor);
    let mut keys = subject.own.keys.clone();
    keys.extend(others().flat_map(Party::keys));
    keys.sort();
    keys.dedup();
    if act.as_ref().is_some_and(|act| act.depth() > ACTORS_MAX) || keys.len() > KEYS_MAX {
        return Err(OAuthFault::Chain);
    }
    let ends_ms = others().chain([&subject]).filter_map(|party| party.ends_ms).min();
    let asked_by = client.map_or_else(|| subject.own.from.subject(), |client| client.own.from.subject());
    let mint = Mint { subject: &subject, client: asked_by, act, keys, ends_ms, issued_type: Some(issued_type) };
    mint.issue(desk, form)
}

fn proof(kind: &str) -> Result<Proof, OAuthFault> {
    match kind {
        ACCESS_TOKEN | JWT => Ok(Proof::Token),
        API_KEY => Ok(Proof::ApiKey),
        _ => Err(OAuthFault::TokenType),
    }
}

/// Everything that makes up a new token.
struct Mint<'a> {
    subject: &'a Party,
    client: &'a KeyId,
    act: Option<Act>,
    keys: Vec<(KeyId, u64)>,
    ends_ms: Option<u64>,
    /// `None` where OAuth's answer doesn't say it.
    issued_type: Option<&'static str>,
}

impl Mint<'_> {
    fn issue(self, desk: &Desk<'_>, form: &Form) -> Result<Granted, OAuthFault> {
        let asker = Asker::Client(self.client.clone());
        let throttle = &desk.running.token_requests;
        throttle.count(asker, desk.rule.client_requests, clock::instant()).map_err(OAuthFault::SlowDown)?;
        let asked = Narrowing::parse(form.get("scope").unwrap_or_default()).map_err(OAuthFault::Scope)?;
        asked.check(&self.subject.caller, &desk.rule.optional_roles).map_err(OAuthFault::Scope)?;
        let now_s = desk.now_ms / 1_000;
        let ends_s = self.ends_ms.map_or(u64::MAX, |ends_ms| ends_ms / 1_000);
        let exp = now_s.saturating_add(desk.rule.lifetime_s).min(ends_s);
        if exp <= now_s {
            return Err(OAuthFault::Subject(IdentityFault::Token(TokenFault::Expired)));
        }
        let claims = Claims {
            iss: desk.rule.issuer.to_string(),
            aud: desk.rule.audience().to_owned(),
            sub: self.subject.own.from.subject().clone(),
            client_id: self.client.clone(),
            iat: now_s,
            exp,
            jti: CallId::at(desk.now_ms).0.to_string(),
            scope: self.subject.narrowing.with(&asked).text(),
            act: self.act,
            weir: Own { from: self.subject.own.from.clone(), keys: self.keys },
        };
        let token = desk.running.own_tokens.sign(&claims);
        let token = token.map_err(|_| OAuthFault::Unavailable("token_keys_unavailable"))?;
        let mut body = json!({"access_token": token, "token_type": "Bearer", "expires_in": exp.saturating_sub(now_s)});
        if let Some(body) = body.as_object_mut() {
            body.extend(self.issued_type.map(|kind| ("issued_token_type".to_owned(), kind.into())));
            body.extend(claims.scope.as_ref().map(|scope| ("scope".to_owned(), scope.as_str().into())));
        }
        Ok(Granted { body, note: note(&claims, &self.subject.caller.subject.tenant.to_string(), desk.now_ms, form) })
    }
}

fn note(claims: &Claims, tenant: &str, now_ms: u64, form: &Form) -> AuditNote {
    let mut note = journal::note("token_issued", now_ms)
        .with("grant", &named(form))
        .with("client", &claims.client_id)
        .with("subject", &claims.sub)
        .with("tenant", &tenant)
        .with("token", &claims.jti)
        .with("expires_s", &claims.exp);
    if let Some(scope) = &claims.scope {
        note = note.with("scope", scope);
    }
    if let Some(act) = &claims.act {
        note = note.with("actor", &act.sub);
    }
    note
}
