//! What the endpoint can do, and what its resources hold (RFC 7644, section 4).

use axum::Extension;
use axum::extract::Path;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Scim;
use super::door::Door;
use super::search::{PAGE_MAX, found};
use crate::identity::scim::{Schema, ScimFault, Type};

pub(super) async fn provider(Extension(door): Extension<Door>) -> Scim {
    let absent = json!({"supported": false});
    let scheme = json!({
        "type": "oauthbearertoken", "name": "Bearer token", "primary": true,
        "description": "The token of a directory, as `authorization: Bearer ...`",
        "specUri": "https://www.rfc-editor.org/info/rfc6750",
    });
    let document = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": {"supported": true},
        "bulk": {"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": true, "maxResults": PAGE_MAX},
        "changePassword": absent, "sort": absent, "etag": absent,
        "authenticationSchemes": [scheme],
        "meta": {
            "resourceType": "ServiceProviderConfig",
            "location": format!("{}/ServiceProviderConfig", door.base),
        },
    });
    Scim(StatusCode::OK, document)
}

fn all(documents: Vec<Value>) -> Scim {
    let total = documents.len();
    Scim(StatusCode::OK, found(total, 1, documents))
}

pub(super) async fn types(Extension(door): Extension<Door>) -> Scim {
    all(Type::ALL.iter().map(|of| of.document(&door.base)).collect())
}

pub(super) async fn one_type(Extension(door): Extension<Door>, Path(id): Path<String>) -> Result<Scim, ScimFault> {
    let found = Type::ALL.into_iter().find(|of| of.name() == id).ok_or_else(ScimFault::not_found)?;
    Ok(Scim(StatusCode::OK, found.document(&door.base)))
}

pub(super) async fn schemas(Extension(door): Extension<Door>) -> Scim {
    all(Schema::ALL.iter().map(|schema| schema.document(&door.base)).collect())
}

pub(super) async fn schema(Extension(door): Extension<Door>, Path(id): Path<String>) -> Result<Scim, ScimFault> {
    let mut all = Schema::ALL.into_iter();
    let found = all.find(|schema| schema.id.eq_ignore_ascii_case(&id)).ok_or_else(ScimFault::not_found)?;
    Ok(Scim(StatusCode::OK, found.document(&door.base)))
}
