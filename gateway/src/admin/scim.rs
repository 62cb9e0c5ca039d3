//! `/scim/v2`: identity providers keep the users and groups of their tenant here (RFC 7644).
//!
//! Each bearer token of `identity.directory.scim` opens one directory, that of its tenant; of what is in others it
//! learns nothing, not even that it is there. Start at [`router`]; [`door`] is the credential, [`resources`] what is
//! done with one resource, [`search`] with many.

mod discovery;
mod door;
mod resources;
mod search;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use serde_json::Value;

use crate::identity::scim::{Kind, ScimFault, Type};
use crate::running::Running;

/// The media type of the protocol (RFC 7644, section 8.1).
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/scim+json");

/// Every endpoint that [`router`] serves, for the table of routes.
pub(super) const ENDPOINTS: [(&str, &str); 20] = [
    ("GET", "/scim/v2/ServiceProviderConfig"),
    ("GET", "/scim/v2/ResourceTypes"),
    ("GET", "/scim/v2/ResourceTypes/{id}"),
    ("GET", "/scim/v2/Schemas"),
    ("GET", "/scim/v2/Schemas/{id}"),
    ("POST", "/scim/v2/.search"),
    ("GET", "/scim/v2/Users"),
    ("POST", "/scim/v2/Users"),
    ("POST", "/scim/v2/Users/.search"),
    ("GET", "/scim/v2/Users/{id}"),
    ("PUT", "/scim/v2/Users/{id}"),
    ("PATCH", "/scim/v2/Users/{id}"),
    ("DELETE", "/scim/v2/Users/{id}"),
    ("GET", "/scim/v2/Groups"),
    ("POST", "/scim/v2/Groups"),
    ("POST", "/scim/v2/Groups/.search"),
    ("GET", "/scim/v2/Groups/{id}"),
    ("PUT", "/scim/v2/Groups/{id}"),
    ("PATCH", "/scim/v2/Groups/{id}"),
    ("DELETE", "/scim/v2/Groups/{id}"),
];

/// A reply.
struct Scim(StatusCode, Value);

impl IntoResponse for Scim {
    fn into_response(self) -> Response {
        (self.0, [(header::CONTENT_TYPE, MEDIA_TYPE)], self.1.to_string()).into_response()
    }
}

impl IntoResponse for ScimFault {
    fn into_response(self) -> Response {
        let (status, _) = self.kind.face();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut reply = Scim(status, self.body()).into_response();
        if self.kind == Kind::Unauthorized {
            reply.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"scim\""));
        }
        reply
    }
}

/// All routes below `/scim/v2`.
pub(super) fn router(running: &Arc<Running>) -> Router<Arc<Running>> {
    let routes = Router::new()
        .route("/ServiceProviderConfig", get(discovery::provider))
        .route("/ResourceTypes", get(discovery::types))
        .route("/ResourceTypes/{id}", get(discovery::one_type))
        .route("/Schemas", get(discovery::schemas))
        .route("/Schemas/{id}", get(discovery::schema))
        .route("/.search", post(search::everything))
        .route("/Bulk", any(absent))
        .route("/Me", any(absent));
    let routes = Type::ALL.into_iter().fold(routes, |routes, of| {
        let all = format!("/{}", of.endpoint());
        let (one, search) = (format!("{all}/{{id}}"), format!("{all}/.search"));
        routes
            .route(
                &all,
                get(move |a, b, c| search::list(of, a, b, c)).post(move |a, b, c, d| resources::create(of, a, b, c, d)),
            )
            .route(&search, post(move |a, b, c| search::posted(of, a, b, c)))
            .route(
                &one,
                get(move |a, b, c, d| resources::show(of, a, b, c, d))
                    .put(move |a, b, c, d, e| resources::replace(of, a, b, c, d, e))
                    .patch(move |a, b, c, d, e| resources::change(of, a, b, c, d, e))
                    .delete(move |a, b, c| resources::delete(of, a, b, c)),
            )
    });
    let routes = routes.fallback(nothing_here).method_not_allowed_fallback(wrong_method);
    Router::new().nest("/scim/v2", routes.layer(from_fn_with_state(running.clone(), door::admit)))
}

async fn absent() -> ScimFault {
    ScimFault::new(Kind::NotImplemented, "this part of the protocol is not served")
}

async fn nothing_here() -> ScimFault {
    ScimFault::not_found()
}

async fn wrong_method() -> ScimFault {
    ScimFault::new(Kind::Method, "this endpoint takes another method")
}
