//! One resource: made, shown, replaced, changed, deleted.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::door::Door;
use super::search::shown_by;
use super::{Scim, Type};
use crate::clock;
use crate::identity::directory::entry;
use crate::identity::scim::resource::{self, Document};
use crate::identity::scim::shown::{About, Membership, Shown, whole};
use crate::identity::scim::{Kind, ScimFault, patch};
use crate::running::Running;
use crate::store::directory::{Pick, ResourceRow};
use crate::store::{Store, StoreError};

/// Times that a change is tried again because another came first.
const TRIES_MAX: usize = 8;

/// A body, or why there is none.
pub(super) type Body = Result<Bytes, BytesRejection>;
type Parameters = Query<HashMap<String, String>>;

/// The JSON of a body; a member that stands twice is refused at every depth.
pub(super) fn read(body: Body) -> Result<Value, ScimFault> {
    let body = body.map_err(|fault| match fault.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ScimFault::new(Kind::TooLarge, "the body is too large"),
        _ => ScimFault::new(Kind::InvalidSyntax, "the body did not arrive whole"),
    })?;
    resource::parse(&body)
}

pub(super) fn failed(error: StoreError) -> ScimFault {
    match error {
        StoreError::UserExists => ScimFault::new(Kind::Uniqueness, error.to_string()),
        StoreError::DirectoryFull(_) => ScimFault::new(Kind::Full, error.to_string()),
        StoreError::NoSuchMember => ScimFault::new(Kind::InvalidValue, error.to_string()),
        StoreError::NoSuchStore(_)
        | StoreError::Newer { .. }
        | StoreError::KeyExists(_)
        | StoreError::TenantExists(_)
        | StoreError::Broken { .. }
        | StoreError::Full(_)
        | StoreError::ReadOnly(_)
        | StoreError::Busy(_)
        | StoreError::Damaged(_)
        | StoreError::Away(_)
        | StoreError::NodeTaken(_)
        | StoreError::Sql(_)
        | StoreError::Io(_) => {
            tracing::error!(%error, "a directory could not be read or written");
            ScimFault::new(Kind::Internal, "the directory can't be read or written at the moment")
        }
    }
}

/// The stored resource of that id.
async fn row(of: Type, store: &Store, tenant: &str, id: &str) -> Result<ResourceRow, ScimFault> {
    let pick = Pick::Id(id.to_owned());
    let rows = match of {
        Type::User => store.users_list(tenant, &pick, (0, 1)).await,
        Type::Group => store.groups_list(tenant, &pick, (0, 1)).await,
    };
    rows.map_err(failed)?.pop().ok_or_else(ScimFault::not_found)
}

/// The document of a row, a group's with its members.
async fn document(of: Type, store: &Store, tenant: &str, row: &ResourceRow) -> Result<Document, ScimFault> {
    let broken = |_| failed(StoreError::Broken { column: "directory.document" });
    let mut document: Document = serde_json::from_str(&row.document).map_err(broken)?;
    if of == Type::Group {
        let members = store.group_members(tenant, &row.id).await.map_err(failed)?;
        if !members.is_empty() {
            let members = members.into_iter().map(|(id, kind)| json!({"value": id, "type": kind}));
            document.insert("members".to_owned(), members.collect());
        }
    }
    Ok(document)
}

/// A row as it is shown whole.
pub(super) async fn complete(of: Type, store: &Store, door: &Door, row: &ResourceRow) -> Result<Document, ScimFault> {
    let tenant = door.rule.tenant.as_str();
    let document = document(of, store, tenant, row).await?;
    let groups = match of {
        Type::User => store.groups_of(tenant, &row.id).await.map_err(failed)?,
        Type::Group => Vec::new(),
    };
    let name = |document: &str| {
        let document: Value = serde_json::from_str(document).ok()?;
        Some(document.get("displayName")?.as_str()?.to_owned())
    };
    let membership = |(group, document): (String, String)| {
        let display = name(&document).unwrap_or_default();
        Membership { group, display }
    };
    let groups: Vec<Membership> = groups.into_iter().map(membership).collect();
    let about = About { id: &row.id, created_ms: row.created_ms, changed_ms: row.changed_ms };
    Ok(whole(of, document, &about, &groups, &door.base))
}

async fn reply(
    status: StatusCode,
    of: Type,
    running: &Running,
    door: &Door,
    (id, shown): (&str, &Shown),
) -> Result<Response, ScimFault> {
    let row = row(of, &running.store, door.rule.tenant.as_str(), id).await?;
    let whole = complete(of, &running.store, door, &row).await?;
    let place = format!("{}/{}/{id}", door.base, of.endpoint());
    let mut reply = Scim(status, Value::Object(shown.of(of, whole))).into_response();
    if let Ok(place) = HeaderValue::from_str(&place) {
        let name = if status == StatusCode::CREATED { header::LOCATION } else { header::CONTENT_LOCATION };
        reply.headers_mut().insert(name, place);
    }
    Ok(reply)
}

pub(super) async fn show(
    of: Type,
    State(running): State<Arc<Running>>,
    Extension(door): Extension<Door>,
    Path(id): Path<String>,
    Query(parameters): Parameters,
) -> Result<Response, ScimFault> {
    reply(StatusCode::OK, of, &running, &door, (&id, &shown_by(&parameters))).await
}

pub(super) async fn create(
    of: Type,
    State(running): State<Arc<Running>>,
    Extension(door): Extension<Door>,
    Query(parameters): Parameters,
    body: Body,
) -> Result<Response, ScimFault> {
    let document = resource::accept(of, &read(body)?)?;
    let (tenant, now_ms) = (door.rule.tenant.as_str(), clock::unix_ms());
    let id = new_id(now_ms);
    let made = match of {
        Type::User => running.store.user_insert(tenant, &id, &entry::user(&document), now_ms).await,
        Type::Group => running.store.group_insert(tenant, &id, &entry::group(&document), now_ms).await,
    };
    made.map_err(failed)?;
    reply(StatusCode::CREATED, of, &running, &door, (&id, &shown_by(&parameters))).await
}

/// Ids grow with time, so that lists keep their order while resources are added.
fn new_id(now_ms: u64) -> String {
    let seconds = now_ms.checked_div(1_000).unwrap_or_default();
    let millis = u32::try_from(now_ms.checked_rem(1_000).unwrap_or_default()).unwrap_or_default();
    let time = uuid::Timestamp::from_unix(uuid::NoContext, seconds, millis.saturating_mul(1_000_000));
    uuid::Uuid::new_v7(time).to_string()
}

/// Puts another document in the place of a resource's; false where another change came first.
async fn put(of: Type, store: &Store, tenant: &str, row: &ResourceRow, document: &Document) -> Result<bool, ScimFault> {
    let (at, now_ms) = ((row.id.as_str(), row.version), clock::unix_ms());
    let done = match of {
        Type::User => store.user_replace(tenant, at, &entry::user(document), now_ms).await,
        Type::Group => store.group_replace(tenant, at, &entry::group(document), now_ms).await,
    };
    done.map_err(failed)
}

/// What a body is to a resource.
enum Change<'a> {
    /// It takes its place.
    Whole(&'a Value),
    /// It says what becomes of it.
    Patch(&'a Value),
}

/// Changes a resource; once more where another change came first.
async fn rewrite(of: Type, running: &Running, door: &Door, id: &str, change: Change<'_>) -> Result<(), ScimFault> {
    let (store, tenant) = (&running.store, door.rule.tenant.as_str());
    for _ in 0..TRIES_MAX {
        let row = row(of, store, tenant, id).await?;
        let document = match change {
            Change::Whole(body) => resource::accept(of, body)?,
            Change::Patch(body) => {
                let mut document = document(of, store, tenant, &row).await?;
                patch::apply(of, &mut document, body)?;
                document
            }
        };
        if put(of, store, tenant, &row, &document).await? {
            return Ok(());
        }
    }
    Err(ScimFault::new(Kind::Internal, "too many changes of this resource at the same time"))
}

pub(super) async fn replace(
    of: Type,
    State(running): State<Arc<Running>>,
    Extension(door): Extension<Door>,
    Path(id): Path<String>,
    Query(parameters): Parameters,
    body: Body,
) -> Result<Response, ScimFault> {
    let body = read(body)?;
    rewrite(of, &running, &door, &id, Change::Whole(&body)).await?;
    reply(StatusCode::OK, of, &running, &door, (&id, &shown_by(&parameters))).await
}

pub(super) async fn change(
    of: Type,
    State(running): State<Arc<Running>>,
    Extension(door): Extension<Door>,
    Path(id): Path<String>,
    Query(parameters): Parameters,
    body: Body,
) -> Result<Response, ScimFault> {
    let body = read(body)?;
    rewrite(of, &running, &door, &id, Change::Patch(&body)).await?;
    reply(StatusCode::OK, of, &running, &door, (&id, &shown_by(&parameters))).await
}

pub(super) async fn delete(
    of: Type,
    State(running): State<Arc<Running>>,
    Extension(door): Extension<Door>,
    Path(id): Path<String>,
) -> Result<StatusCode, ScimFault> {
    let tenant = door.rule.tenant.as_str();
    let done = match of {
        Type::User => running.store.user_delete(tenant, &id, clock::unix_ms()).await,
        Type::Group => running.store.group_delete(tenant, &id).await,
    };
    if done.map_err(failed)? { Ok(StatusCode::NO_CONTENT) } else { Err(ScimFault::not_found()) }
}
