//! The credential of an identity provider, and the directory that it opens.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use crate::admin::bearer;
use crate::identity::directory::ScimRule;
use crate::identity::scim::{Kind, ScimFault};
use crate::running::Running;
use crate::telemetry::metric;

/// An open door: whose directory, and the address under which it was reached.
#[derive(Debug, Clone)]
pub(super) struct Door {
    /// Whose directory.
    pub(super) rule: Arc<ScimRule>,
    /// The endpoint's address, without a slash at its end.
    pub(super) base: Arc<str>,
}

/// Lets in who presents a directory's token.
pub(super) async fn admit(State(running): State<Arc<Running>>, mut request: Request, next: Next) -> Response {
    // The tokens of the present revision: a reload that changes one locks the old one out.
    let world = running.world.load_full();
    let presented = bearer(request.headers());
    let mut opened = None;
    for rule in &world.settings.directory.scim {
        // Every token is compared, so that the time tells nothing of the others.
        for token in &rule.tokens {
            if presented.is_some_and(|presented| presented.ct_eq(token.expose()).into()) {
                opened = Some(Arc::clone(rule));
            }
        }
    }
    let Some(rule) = opened else {
        metric::scim_asked("none", "refused");
        return ScimFault::new(Kind::Unauthorized, "send the directory's token as `authorization: Bearer ...`")
            .into_response();
    };
    let base = base(request.headers()).into();
    request.extensions_mut().insert(Door { rule: Arc::clone(&rule), base });
    let reply = next.run(request).await;
    let result = match reply.status().as_u16() {
        ..400 => "ok",
        400..500 => "refused",
        500.. => "failed",
    };
    metric::scim_asked(&rule.name, result);
    reply
}

/// The address as the client sees it: what stands before a proxy is taken from its own headers only as far as it is an
/// authority. It decides nothing.
fn base(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text("host").and_then(|host| host.parse::<Authority>().ok());
    let scheme = if text("x-forwarded-proto") == Some("https") { "https" } else { "http" };
    host.map_or_else(|| "/scim/v2".to_owned(), |host| format!("{scheme}://{host}/scim/v2"))
}
