//! The admin listener: health, readiness and metrics for everybody who reaches it; keys, usage and audit for the owner.
//!
//! Start at [`router`]. The owner proves itself with the token of `admin.token`; without one configured, only the open
//! routes answer.

mod issuers;
mod keys;
mod ledger;
mod status;
mod tenants;
mod token_keys;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::settings::AdminSettings;
use crate::running::Running;
use crate::telemetry::metric;

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
        let kind = if self.0.is_server_error() { "server_error" } else { "invalid_request_error" };
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
    let app = router(running);
    let stopped = async move {
        stop.wait_for(|stop| *stop).await.ok();
    };
    if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "the admin listener failed");
    }
}

/// All routes.
pub fn router(running: Arc<Running>) -> Router {
    let open = Router::new()
        .route("/healthz", get(status::health))
        .route("/readyz", get(status::ready))
        .route("/metrics", get(status::metrics));
    let owner = Router::new()
        .route("/admin/v1/status", get(status::status))
        .route("/admin/v1/keys", get(keys::list).post(keys::create))
        .route("/admin/v1/keys/{id}", delete(keys::revoke))
        .route("/admin/v1/keys/{id}/revoke", post(keys::revoke))
        .route("/admin/v1/keys/{id}/rotate", post(keys::rotate))
        .route("/admin/v1/keys/{id}/expire", post(keys::expire))
        .route("/admin/v1/keys/{id}/scope", post(keys::scope))
        .route("/admin/v1/tenants", get(tenants::list).post(tenants::create))
        .route("/admin/v1/tenants/{*path}", patch(tenants::change).delete(tenants::delete))
        .route("/admin/v1/issuers", get(issuers::list))
        .route("/admin/v1/token-keys", get(token_keys::list))
        .route("/admin/v1/token-keys/rotate", post(token_keys::rotate))
        .route("/admin/v1/usage", get(ledger::usage))
        .route("/admin/v1/audit/verify", get(ledger::verify))
        .route_layer(from_fn_with_state(running.clone(), owner_only));
    open.merge(owner).fallback(nothing_here).method_not_allowed_fallback(wrong_method).with_state(running)
}

async fn nothing_here() -> AdminError {
    AdminError::missing("nothing is served under this path; without `admin.token` only health and metrics are")
}

async fn wrong_method() -> AdminError {
    AdminError(StatusCode::METHOD_NOT_ALLOWED, "this path takes another method".to_owned())
}

async fn owner_only(State(running): State<Arc<Running>>, request: Request, next: Next) -> Response {
    // The token of the present revision: a reload that changes it locks the old one out.
    let world = running.world.load_full();
    let Some(token) = &world.settings.admin.token else { return nothing_here().await.into_response() };
    let presented =
        request.headers().get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    match presented.is_some_and(|presented| presented.ct_eq(token.expose()).into()) {
        true => next.run(request).await,
        false => {
            metrics::counter!(metric::REFUSALS, "reason" => "admin_token").increment(1);
            let text = "send the owner's token as `authorization: Bearer ...`".to_owned();
            AdminError(StatusCode::UNAUTHORIZED, text).into_response()
        }
    }
}
