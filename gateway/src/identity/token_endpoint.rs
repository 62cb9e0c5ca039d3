//! Weir's own token endpoint, and the documents beside it: served on the data listeners, before and apart from the
//! story of a call.
//!
//! It issues short-lived tokens to service accounts and in exchange for a key or an issuer's token. What it did is a
//! note on the audit log; a token whose note can't be written is not issued. Start at [`answer`].

pub mod fault;
pub mod form;
pub mod grant;
pub mod party;
pub mod throttle;

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use serde_json::{Value as Json, json};

use super::metadata::{self, Route};
use super::own_tokens::TokenEndpointRule;
use weir_wire::endpoint::Dialect;

use crate::config::settings::RequestSettings;
use crate::refusal::Refusal;
use crate::running::Running;
use crate::telemetry::metric;
use crate::world::World;
use crate::{clock, journal, origin, request};
use fault::OAuthFault;
use form::{FORM_BYTES_MAX, Form};
use grant::Granted;
use party::Desk;
use throttle::Asker;

/// Longest wait for a form, whatever other requests may take.
const FORM_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// How long others may keep a document: a new key signs at once, but a client that knows it not looks again.
const DOCUMENT_KEPT: &str = "public, max-age=60";

/// Follows a change of the token keys, whoever made it, and notes it.
pub fn keep_keys(running: &Running) {
    let now_ms = clock::unix_ms();
    match running.own_tokens.keep(now_ms) {
        Ok(false) => {}
        Ok(true) => {
            let keys = running.own_tokens.keys().map(|keys| keys.standings()).unwrap_or_default();
            let ids = keys.into_iter().map(|key| key.id).collect::<Vec<_>>().join(" ");
            let note = journal::note("token_keys_changed", now_ms).with("keys", &ids);
            if running.journal.note(note).is_err() {
                tracing::error!("a change of the token keys could not be noted");
            }
        }
        // Tokens are proven and signed by the keys of before.
        Err(error) => tracing::error!(%error, "the token keys could not be read"),
    }
}

/// What goes back.
struct Reply {
    status: u16,
    body: Json,
    headers: Vec<(&'static str, String)>,
}

/// Answers a request for a token or a document.
pub async fn answer(running: &Running, world: &World, session: &mut Session, route: Route<'_>) {
    if let Err(refusal) = request::check_framing(session) {
        return request::refuse(session, &refusal, Dialect::OpenAi, &Vec::new(), None).await;
    }
    let Some(rule) = &world.settings.token_endpoint else { return };
    let reply = match route {
        Route::Token => match token(running, world, rule, session).await {
            Some(reply) => reply,
            None => return session.set_keepalive(None),
        },
        Route::Keys => document(session, running.own_tokens.keys().map(|keys| keys.document())),
        Route::Server => document(session, Some(metadata::server(rule))),
        Route::Resource(suffix) => document(session, Some(metadata::resource(rule, suffix))),
    };
    let body = Bytes::from(reply.body.to_string());
    let is_head = session.req_header().method == http::Method::HEAD;
    let Ok(head) = head(&reply, body.len()) else { return };
    request::reply(session, head, if is_head { Bytes::new() } else { body }).await;
}

fn head(reply: &Reply, length: usize) -> pingora::Result<ResponseHeader> {
    let mut head = ResponseHeader::build_no_case(reply.status, Some(8))?;
    head.insert_header("content-type", "application/json")?;
    head.insert_header("content-length", length.to_string())?;
    for (name, value) in &reply.headers {
        head.insert_header(*name, value.as_str())?;
    }
    Ok(head)
}

fn document(session: &Session, document: Option<Json>) -> Reply {
    let method = &session.req_header().method;
    if method != http::Method::GET && method != http::Method::HEAD {
        let refusal = Refusal::MethodNotAllowed { allow: "GET" };
        let body = serde_json::from_slice(&refusal.body(Dialect::OpenAi)).unwrap_or_default();
        return Reply { status: refusal.face().status, body, headers: vec![("allow", "GET".to_owned())] };
    }
    match document {
        Some(body) => Reply { status: 200, body, headers: vec![("cache-control", DOCUMENT_KEPT.to_owned())] },
        None => refused(OAuthFault::Unavailable("token_keys_unavailable")),
    }
}

/// `None` where the client went away.
async fn token(running: &Running, world: &World, rule: &TokenEndpointRule, session: &mut Session) -> Option<Reply> {
    // Behind a trusted proxy each of its clients counts apart, or a single one of them could lock all others out.
    let ip = origin::address(&session.req_header().headers, request::peer(session), &world.settings.client);
    let desk = Desk { running, world, rule, ip, now_ms: clock::unix_ms() };
    let form = match read(&desk, session).await {
        Ok(form) => form?,
        Err(fault) => return Some(refuse(&desk, "unread", None, fault)),
    };
    let named = grant::named(&form);
    let granted = grant::grant(&desk, &session.req_header().headers, &form).await;
    let written = granted.and_then(|Granted { body, note }| {
        running.journal.note(note).map_err(|_| OAuthFault::Unavailable("ledger_unavailable"))?;
        Ok(body)
    });
    Some(match written {
        Ok(body) => {
            metric::token_requested(named, "issued");
            Reply { status: 200, body, headers: unstored() }
        }
        Err(fault) => {
            let client = form::client(&session.req_header().headers, &form).ok().flatten();
            refuse(&desk, named, client.map(|client| client.id).as_deref(), fault)
        }
    })
}

/// The form, once it is known that one may be read.
async fn read(desk: &Desk<'_>, session: &mut Session) -> Result<Option<Form>, OAuthFault> {
    let head = session.req_header();
    if head.method != http::Method::POST {
        return Err(OAuthFault::Method);
    }
    if head.uri.query().is_some() {
        return Err(OAuthFault::InUrl);
    }
    if desk.running.draining.load(Ordering::Relaxed) {
        return Err(OAuthFault::Unavailable("shutting_down"));
    }
    let asker = Asker::address(desk.ip);
    let counted = desk.running.token_requests.count(asker, desk.rule.address_requests, clock::instant());
    counted.map_err(OAuthFault::SlowDown)?;
    let text = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap_or("?").trim());
    let kind = text("content-type").and_then(|kind| kind.split(';').next()).unwrap_or_default();
    let is_plain = text("content-encoding").is_none_or(|coding| coding.eq_ignore_ascii_case("identity"));
    if !kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") || !is_plain {
        return Err(OAuthFault::MediaType);
    }
    let body_timeout = desk.world.settings.request.body_timeout.min(FORM_TIMEOUT_MAX);
    let limits = RequestSettings { body_bytes_max: FORM_BYTES_MAX, body_timeout };
    let length = text("content-length").and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| length > limits.body_bytes_max) {
        return Err(OAuthFault::TooLarge);
    }
    match request::body(session, limits).await {
        Ok(Some(body)) => Form::parse(&body).map(Some),
        Ok(None) => Ok(None),
        Err(Refusal::BodyTooLarge { .. }) => Err(OAuthFault::TooLarge),
        Err(Refusal::BodyTimeout) => Err(OAuthFault::Timeout),
        Err(_) => Err(OAuthFault::Form),
    }
}

/// Counts and notes a refusal. One for too many requests is only counted: whoever is over a limit must not be able to
/// fill the log.
fn refuse(desk: &Desk<'_>, grant: &'static str, client: Option<&str>, fault: OAuthFault) -> Reply {
    metric::token_requested(grant, fault.face().error);
    if !matches!(fault, OAuthFault::SlowDown(_) | OAuthFault::Unavailable(_) | OAuthFault::Method) {
        let mut note =
            journal::note("token_refused", desk.now_ms).with("grant", &grant).with("reason", &fault.reason());
        // A name that could be a key's; anything else may be a secret in the wrong place.
        let is_id = |id: &&str| id.len() == super::api_key::ID_LEN && id.bytes().all(|b| b.is_ascii_alphanumeric());
        if let Some(id) = client.filter(is_id) {
            note = note.with("client", &id);
        }
        if desk.running.journal.note(note).is_err() {
            return refused(OAuthFault::Unavailable("ledger_unavailable"));
        }
    }
    refused(fault)
}

fn refused(fault: OAuthFault) -> Reply {
    let face = fault.face();
    let mut headers = unstored();
    match face.status {
        401 => headers.push(("www-authenticate", r#"Basic realm="weir", charset="UTF-8""#.to_owned())),
        405 => headers.push(("allow", "POST".to_owned())),
        _ => {}
    }
    if let Some(wait) = face.retry_after {
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
        headers.push(("retry-after", seconds.to_string()));
    }
    let body = json!({"error": face.error, "error_description": fault.to_string()});
    Reply { status: face.status, body, headers }
}

/// Nothing of a token's reply may be kept (RFC 6749, section 5.1).
fn unstored() -> Vec<(&'static str, String)> {
    vec![("cache-control", "no-store".to_owned()), ("pragma", "no-cache".to_owned())]
}
