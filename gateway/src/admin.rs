//! The admin listener: health, readiness and metrics for everybody who reaches it; keys, usage and audit for
//! administrators.
//!
//! Start at [`route::table`], which has every route with its action, and at [`authority`], which says who may do it.
//! The owner has the token of `admin.token`; without one configured, only the open routes answer. People sign in on the
//! finance page ([`page`], [`session`]).

mod action;
mod authority;
mod csv;
mod directory;
mod finance;
mod issuers;
mod keys;
mod ledger;
mod opa;
mod page;
mod policy;
mod rehearse;
pub mod route;
mod scim;
mod secrets;
mod session;
mod status;
mod tenants;
mod token_keys;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::watch;

use authority::guard;
use route::Access;
pub use session::Sessions;

use crate::config::settings::AdminSettings;
use crate::running::Running;

/// An admin error: status and text.
pub(crate) struct AdminError(StatusCode, String);

#[allow(clippy::needless_pass_by_value, reason = "made for `map_err`, which gives the error away")]
impl AdminError {
    fn bad(text: impl std::fmt::Display) -> Self {
        Self(StatusCode::BAD_REQUEST, text.to_string())
    }
    fn fault(text: impl std::fmt::Display) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, text.to_string())
    }
    /// What axum could not read: its own words and status, in our shape.
    fn unread(status: StatusCode, text: String) -> Self {
        // A body of the right form that says the wrong thing is a bad request like any other.
        let status = if status == StatusCode::UNPROCESSABLE_ENTITY { StatusCode::BAD_REQUEST } else { status };
        Self(status, text)
    }
    fn missing(text: impl std::fmt::Display) -> Self {
        Self(StatusCode::NOT_FOUND, text.to_string())
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let kind = match self.0 {
            status if status.is_server_error() => "server_error",
            StatusCode::FORBIDDEN => "permission_error",
            _ => "invalid_request_error",
        };
        let body = serde_json::json!({"error": {"message": self.1, "type": kind}});
        (self.0, axum::Json(body)).into_response()
    }
}

/// Serves the admin API until `stop` turns true.
pub async fn serve(settings: AdminSettings, running: Arc<Running>, mut stop: watch::Receiver<bool>) {
    let listener = match TcpListener::bind(settings.listen).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(address = %settings.listen, %error, "the admin listener could not be opened");
            return;
        }
    };
    let app = router(running).into_make_service_with_connect_info::<SocketAddr>();
    let stopped = async move {
        stop.wait_for(|stop| *stop).await.ok();
    };
    if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "the admin listener failed");
    }
}

/// All routes.
pub fn router(running: Arc<Running>) -> Router {
    let app = route::table().into_iter().fold(Router::new(), |app, one| {
        match (one.access, one.handler) {
            (Access::Open | Access::Session, Some(handler)) => app.route(one.path, handler),
            (Access::Asks(action), Some(handler)) => {
                app.route(one.path, handler.route_layer(from_fn_with_state((running.clone(), action), guard)))
            }
            // Served by a router of its own, with a door of its own.
            (Access::Directory, _) | (_, None) => app,
        }
    });
    let app = app.merge(scim::router(&running));
    let app = app.fallback(nothing_here).method_not_allowed_fallback(wrong_method);
    app.layer(map_response(page::guarded)).with_state(running)
}

/// What `authorization: Bearer` presents, as bytes that nobody has looked at.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(header::AUTHORIZATION)?.as_bytes().strip_prefix(b"Bearer ")
}

async fn nothing_here() -> AdminError {
    AdminError::missing("nothing is served under this path; without `admin.token` only health and metrics are")
}

async fn wrong_method() -> AdminError {
    AdminError(StatusCode::METHOD_NOT_ALLOWED, "this path takes another method".to_owned())
}
