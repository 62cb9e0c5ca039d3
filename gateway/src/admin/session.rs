//! Sign-in of people on the finance page: an administrator's key, or the owner's token, for a cookie.
//!
//! The cookie is only another credential: what its holder may do is asked of the admin policy at each request, as for a
//! bearer. It holds nothing but a random id; scripts can't read it, no other site can send it, and every request that
//! changes something needs the session's own token as a header beside it. Start at [`prove`].

mod table;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, extract::ConnectInfo};
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

pub use table::Sessions;
use table::{Csrf, Holder, NotOpened, Terms};

use super::authority::{Unproven, owner, prove_bearer, refuse};
use super::{AdminError, nothing_here};
use crate::identity::IdentityFault;
use crate::identity::keyring::Administrator;
use crate::identity::token_endpoint::throttle::Asker;
use crate::origin;
use crate::running::Running;
use crate::telemetry::metric;
use crate::world::World;
use crate::{clock, journal};

/// Name of the cookie.
const COOKIE: &str = "weir_session";
/// Its name where the page came over TLS: browsers then hold it to this host, this path and TLS.
const COOKIE_TLS: &str = "__Host-weir_session";
/// Header with the session's own token.
const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");
/// What browsers say of who made a request.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Somebody signed in.
pub(super) struct SignedIn {
    who: Administrator,
    csrf: Csrf,
    id: String,
}

/// Proves who is signed in, and that their own page asks.
pub(super) fn prove(running: &Running, world: &World, request: &Request) -> Result<Administrator, Unproven> {
    let signed_in = signed_in(running, world, request.headers())?;
    match is_own(request.method(), request.headers(), &signed_in.csrf) {
        true => Ok(signed_in.who),
        false => Err(Unproven::Forged(signed_in.who)),
    }
}

/// Whose session the cookie names.
fn signed_in(running: &Running, world: &World, headers: &HeaderMap) -> Result<SignedIn, Unproven> {
    let settings = &world.settings.admin;
    let token = settings.token.as_ref().ok_or(Unproven::Closed)?;
    let (id, now_ms) = (cookie(headers).ok_or(Unproven::Wrong)?, clock::unix_ms());
    let (holder, csrf) = running.sessions.find(id, Terms::from(settings), now_ms).ok_or(Unproven::Wrong)?;
    let still = match holder {
        // The token of the present revision: a reload that changes it ends the old one's sessions.
        Holder::Owner(presented) => match presented.expose().ct_eq(token.expose()).into() {
            true => Ok(owner()),
            false => Err(IdentityFault::Revoked),
        },
        Holder::Key { id, epoch } => running.keyring.administrator_still(&id, epoch, now_ms),
    };
    match still {
        Ok(who) => Ok(SignedIn { who, csrf, id: id.to_owned() }),
        // Nobody is proven while the store can't be read; the session may hold once it can.
        Err(IdentityFault::StoreUnavailable) => Err(Unproven::Wrong),
        Err(_) => {
            running.sessions.close(id);
            Err(Unproven::Wrong)
        }
    }
}

/// The session's id; none where two cookies claim to be it.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs: Vec<_> = all.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('=')).collect();
    let named = |name: &str| {
        let mut found = pairs.iter().filter(|(found, _)| *found == name).map(|(_, value)| *value);
        (found.next(), found.next())
    };
    match (named(COOKIE_TLS), named(COOKIE)) {
        ((Some(only), None), _) | ((None, None), (Some(only), None)) => Some(only),
        _ => None,
    }
}

/// Whether the page of the same sign-in made the request, and no other page in the same browser.
fn is_own(method: &Method, headers: &HeaderMap, csrf: &Csrf) -> bool {
    let reads = [Method::GET, Method::HEAD].contains(method);
    // A person who opens an address of the API directly reads it with their own rights.
    is_same_origin(headers, reads) && (reads || headers.get(CSRF).is_some_and(|token| csrf.is(token.as_bytes())))
}

/// What a browser says of where a request comes from: this very origin. Other clients say nothing.
///
/// Another port of the same host is the same site to a cookie, so `SameSite` alone would let its pages in.
fn is_same_origin(headers: &HeaderMap, may_be_typed: bool) -> bool {
    let site = headers.get(FETCH_SITE).is_none_or(|site| site == "same-origin" || (may_be_typed && site == "none"));
    let origin = headers.get(header::ORIGIN).is_none_or(|origin| {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
        scheme_and_host(origin).is_some_and(|(_, origin)| host.is_some_and(|host| host == origin))
    });
    site && origin
}

fn scheme_and_host(origin: &HeaderValue) -> Option<(&str, Authority)> {
    let (scheme, host) = origin.to_str().ok()?.split_once("://")?;
    Some((scheme, host.parse().ok()?))
}

/// A key or the owner's token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    key: String,
}

/// `POST /session`: begins one.
pub(crate) async fn open(
    State(running): State<Arc<Running>>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    body: Result<Json<SignIn>, JsonRejection>,
) -> Result<Response, AdminError> {
    let Json(SignIn { key }) = body.map_err(|error| AdminError::unread(error.status(), error.body_text()))?;
    let world = running.world.load_full();
    if !is_same_origin(&headers, false) {
        metric::signed_in("other_origin");
        return Err(AdminError(StatusCode::FORBIDDEN, "only this listener's own page signs in".to_owned()));
    }
    let peer = peer.map(|Extension(ConnectInfo(peer))| peer.ip());
    let asker = Asker::address(origin::address(&headers, peer, &world.settings.client));
    if let Err(wait) = running.sessions.attempt(asker, clock::instant()) {
        metric::signed_in("throttled");
        let seconds = wait.as_secs().saturating_add(1);
        let text = format!("too many attempts to sign in; try again in {seconds} s");
        let refused = AdminError(StatusCode::TOO_MANY_REQUESTS, text);
        return Ok(([(header::RETRY_AFTER, seconds.to_string())], refused).into_response());
    }
    let who = match prove_bearer(&running, &world, key.trim().as_bytes()) {
        Ok(who) => who,
        Err(Unproven::Closed) => return Err(nothing_here().await),
        Err(Unproven::Wrong | Unproven::Forged(_)) => {
            metric::signed_in("refused");
            if running.sessions.may_note(clock::instant()) {
                note(&running, "admin_sign_in_failed", None);
            }
            return Err(AdminError(StatusCode::UNAUTHORIZED, "this is no administrator's key".to_owned()));
        }
    };
    if let Some(old) = cookie(&headers) {
        running.sessions.close(old);
    }
    begin(&running, &world, &who, key.trim(), &headers)
}

fn begin(
    running: &Running,
    world: &World,
    who: &Administrator,
    presented: &str,
    headers: &HeaderMap,
) -> Result<Response, AdminError> {
    let settings = &world.settings.admin;
    let holder = match settings.token.as_ref().filter(|_| *who == owner()) {
        Some(token) if presented.as_bytes().ct_eq(token.expose()).into() => Holder::Owner(token.clone()),
        Some(_) | None => Holder::Key { id: who.id.clone(), epoch: who.epoch },
    };
    let opened = running.sessions.open(holder, Terms::from(settings), clock::unix_ms()).map_err(|why| match why {
        NotOpened::Full => AdminError(StatusCode::SERVICE_UNAVAILABLE, why.to_string()),
        NotOpened::Random => AdminError::fault(why),
    })?;
    metric::signed_in("signed_in");
    note(running, "admin_signed_in", Some(who));
    let set = set_cookie(&opened.id, settings.session_life.as_secs(), headers)?;
    let body = Json(shown(who, &opened.csrf));
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, set)], body).into_response())
}

fn shown(who: &Administrator, csrf: &str) -> Value {
    json!({"id": who.id, "role": who.role, "tenant": who.tenant, "csrf": csrf})
}

/// The browser says by `Origin` whether it speaks TLS, also where something in between ends it.
fn set_cookie(id: &str, life_s: u64, headers: &HeaderMap) -> Result<HeaderValue, AdminError> {
    let is_tls = headers.get(header::ORIGIN).and_then(scheme_and_host).is_some_and(|(scheme, _)| scheme == "https");
    let (name, secure) = if is_tls { (COOKIE_TLS, "; Secure") } else { (COOKIE, "") };
    let text = format!("{name}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={life_s}{secure}");
    HeaderValue::from_str(&text).map_err(AdminError::fault)
}

/// `GET /session`: who is signed in.
pub(crate) async fn show(
    State(running): State<Arc<Running>>,
    method: Method,
    headers: HeaderMap,
) -> Result<Json<Value>, Response> {
    let signed_in = own(&running, &method, &headers).await?;
    Ok(Json(shown(&signed_in.who, signed_in.csrf.reveal())))
}

/// `DELETE /session`: ends it.
pub(crate) async fn close(
    State(running): State<Arc<Running>>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let signed_in = own(&running, &method, &headers).await?;
    running.sessions.close(&signed_in.id);
    note(&running, "admin_signed_out", Some(&signed_in.who));
    let set = set_cookie("", 0, &headers).map_err(IntoResponse::into_response)?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, set)]).into_response())
}

/// The session of a request that its own page made.
async fn own(running: &Running, method: &Method, headers: &HeaderMap) -> Result<SignedIn, Response> {
    let signed_in = match signed_in(running, &running.world.load_full(), headers) {
        Ok(signed_in) => signed_in,
        Err(unproven) => return Err(refuse(&unproven).await),
    };
    match is_own(method, headers, &signed_in.csrf) {
        true => Ok(signed_in),
        false => Err(refuse(&Unproven::Forged(signed_in.who)).await),
    }
}

/// The journal refuses calls where it is full, and says so: signing in reads and changes nothing.
fn note(running: &Running, event: &str, who: Option<&Administrator>) {
    let note = journal::note(event, clock::unix_ms());
    let note = who.iter().fold(note, |note, who| note.with("who", &who.id).with("role", &who.role));
    if running.journal.note(note).is_err() {
        tracing::error!(event, "a sign-in or sign-out could not be noted");
    }
}

#[cfg(test)]
mod tests;
