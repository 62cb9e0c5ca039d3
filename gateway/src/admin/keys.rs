//! Keys: list, create, revoke, rotate. The same functions as `weir key`, within an administrator's tenant.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::AdminError;
use super::action::Action;
use super::authority::{Authority, Resource};
use crate::cli::key::change::{Turn, rotated};
use crate::cli::key::{self, KeyError, Wanted};
use crate::clock;
use crate::identity::TenantPath;
use crate::identity::scope::{KeyKind, Scopes};
use crate::running::Running;
use crate::store::KeyRow;

/// Longest wait until a change holds; the keyring looks every 250 ms.
const EFFECTIVE_MAX: Duration = Duration::from_secs(1);

/// Seconds of a key's life at most: 100 years.
const LIFE_S_MAX: u64 = 36_525 * 86_400;

/// What a new key is to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    tenant: TenantPath,
    #[serde(default)]
    name: String,
    #[serde(default)]
    roles: Vec<String>,
    models: Option<Vec<String>>,
    expires_in_s: Option<u64>,
    #[serde(default = "users")]
    kind: KeyKind,
    #[serde(default)]
    scopes: Scopes,
}

fn users() -> KeyKind {
    KeyKind::User
}

fn shown(row: &KeyRow) -> Value {
    json!({
        "id": row.id, "tenant": row.tenant, "name": row.name, "roles": row.roles, "models": row.models,
        "created_ms": row.created_ms, "expires_ms": row.expires_ms, "revoked_ms": row.revoked_ms,
        "used_ms": row.used_ms, "kind": row.kind.name(), "scopes": row.scopes, "replaces": row.replaces,
    })
}

pub(crate) async fn list(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
) -> Result<Json<Value>, AdminError> {
    let rows = running.store.key_list(authority.scope().map(TenantPath::as_str)).await.map_err(AdminError::fault)?;
    Ok(Json(json!({"keys": rows.iter().map(shown).collect::<Vec<_>>()})))
}

pub(crate) async fn create(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
    new: Result<Json<NewKey>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), AdminError> {
    let Json(new) = new.map_err(|error| AdminError::unread(error.status(), error.body_text()))?;
    authority.may(Action::KeysCreate, &Resource { roles: &new.roles, ..Resource::of(&new.tenant) })?;
    if !running.world.load().settings.tenants.iter().any(|rule| new.tenant.is_within(&rule.path)) {
        return Err(AdminError::bad(format!("no configured tenant covers `{}`", new.tenant)));
    }
    if new.kind == KeyKind::Admin {
        return Err(AdminError::bad("`kind` is `user` or `service`; administrators are made under /admin/v1/admins"));
    }
    let wanted = Wanted {
        tenant: Some(&new.tenant),
        name: &new.name,
        roles: &new.roles,
        models: new.models.as_ref(),
        expires_ms: None,
        kind: new.kind,
        scopes: &new.scopes,
        replaces: None,
    };
    made(&running, wanted, new.expires_in_s).await
}

/// What a new administrator is to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAdmin {
    role: String,
    /// Everywhere without one.
    tenant: Option<TenantPath>,
    #[serde(default)]
    name: String,
    expires_in_s: Option<u64>,
}

pub(crate) async fn create_admin(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
    new: Result<Json<NewAdmin>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), AdminError> {
    let Json(new) = new.map_err(|error| AdminError::unread(error.status(), error.body_text()))?;
    let tenant = new.tenant.as_ref();
    authority.may(Action::AdminsChange, &Resource { tenant, deployment: tenant.is_none(), roles: &[] })?;
    let wanted = Wanted {
        tenant,
        name: &new.name,
        roles: std::slice::from_ref(&new.role),
        models: None,
        expires_ms: None,
        kind: KeyKind::Admin,
        scopes: &Scopes::default(),
        replaces: None,
    };
    made(&running, wanted, new.expires_in_s).await
}

async fn made(
    running: &Running,
    wanted: Wanted<'_>,
    expires_in_s: Option<u64>,
) -> Result<(StatusCode, Json<Value>), AdminError> {
    let now_ms = clock::unix_ms();
    if expires_in_s.is_some_and(|seconds| !(1..=LIFE_S_MAX).contains(&seconds)) {
        return Err(AdminError::bad("`expires_in_s` must be 1 second to 100 years; leave it out for a key that holds"));
    }
    let life = expires_in_s.map(|seconds| Duration::from_secs(seconds).as_millis());
    let expires_ms = life.map(|life| now_ms.saturating_add(u64::try_from(life).unwrap_or(u64::MAX)));
    let wanted = Wanted { expires_ms, ..wanted };
    let peppers = &running.world.load_full().peppers;
    let (key, row) = key::issue(&running.store, peppers, &wanted, now_ms).await.map_err(changed)?;
    effective(running).await;
    // The only time that the key itself is shown.
    Ok((StatusCode::CREATED, Json(json!({"key": key.reveal(), "about": shown(&row)}))))
}

fn no_key(id: &str) -> AdminError {
    AdminError::missing(format!("no live key has the id `{id}`"))
}

/// Whether this may be done to that key. A key of another tenant is not there.
///
/// An administrator's key is worth what its role is, and a key's replacement what the old one's roles are: who may not
/// give these away can't come by them like this.
async fn may(running: &Running, authority: &Authority, action: Action, id: &str) -> Result<(), AdminError> {
    let row = running.store.key_get(id).await.map_err(AdminError::fault)?;
    let row = row.filter(|row| authority.sees(&row.tenant)).ok_or_else(|| no_key(id))?;
    let tenant = TenantPath::parse(&row.tenant).ok();
    let (action, roles) = match (row.kind, action) {
        (KeyKind::Admin, _) => (Action::AdminsChange, &[][..]),
        (KeyKind::User | KeyKind::Service, Action::KeysRotate) => (action, row.roles.as_slice()),
        (KeyKind::User | KeyKind::Service, _) => (action, &[][..]),
    };
    authority.may(action, &Resource { tenant: tenant.as_ref(), deployment: tenant.is_none(), roles })
}

pub(crate) async fn revoke(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
    Path(id): Path<String>,
) -> Result<Json<Value>, AdminError> {
    may(&running, &authority, Action::KeysRevoke, &id).await?;
    match running.store.key_revoke(&id, clock::unix_ms()).await.map_err(AdminError::fault)? {
        true => {
            effective(&running).await;
            Ok(Json(json!({"id": id, "revoked": true})))
        }
        false => Err(no_key(&id)),
    }
}

/// A rotation: seconds for which both keys work, and of the new key's life.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTurn {
    overlap_s: u64,
    expires_in_s: Option<u64>,
}

pub(crate) async fn rotate(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
    Path(id): Path<String>,
    turn: Result<Json<NewTurn>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), AdminError> {
    let Json(new) = turn.map_err(|error| AdminError::unread(error.status(), error.body_text()))?;
    let lives = [Some(new.overlap_s), new.expires_in_s];
    if lives.into_iter().flatten().any(|seconds| !(1..=LIFE_S_MAX).contains(&seconds)) {
        return Err(AdminError::bad("`overlap_s` and `expires_in_s` must be 1 second to 100 years"));
    }
    may(&running, &authority, Action::KeysRotate, &id).await?;
    let expires_in = new.expires_in_s.map(Duration::from_secs);
    let turn = Turn { id: &id, overlap: Duration::from_secs(new.overlap_s), expires_in };
    let world = running.world.load_full();
    let made = rotated(&running.store, &world.peppers, &turn, clock::unix_ms()).await;
    let (key, row, until_ms) = made.map_err(changed)?;
    effective(&running).await;
    let about = shown(&row);
    Ok((StatusCode::CREATED, Json(json!({"key": key.reveal(), "about": about, "old_until_ms": until_ms}))))
}

/// Seconds until a key ends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sooner {
    in_s: u64,
}

pub(crate) async fn expire(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
    Path(id): Path<String>,
    sooner: Result<Json<Sooner>, JsonRejection>,
) -> Result<Json<Value>, AdminError> {
    let Json(sooner) = sooner.map_err(|error| AdminError::unread(error.status(), error.body_text()))?;
    may(&running, &authority, Action::KeysExpire, &id).await?;
    let at_ms = clock::unix_ms().saturating_add(sooner.in_s.saturating_mul(1_000));
    let done = running.store.key_expire(&id, at_ms).await.map_err(AdminError::fault)?;
    after(&running, &id, done).await
}

/// A key's new lists, in the place of what it had.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewScope {
    models: Option<Vec<String>>,
    #[serde(default)]
    scopes: Scopes,
}

pub(crate) async fn scope(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
    Path(id): Path<String>,
    new: Result<Json<NewScope>, JsonRejection>,
) -> Result<Json<Value>, AdminError> {
    let Json(new) = new.map_err(|error| AdminError::unread(error.status(), error.body_text()))?;
    new.scopes.check().map_err(AdminError::bad)?;
    may(&running, &authority, Action::KeysScope, &id).await?;
    let done = running.store.key_narrow(&id, new.models.as_deref(), &new.scopes).await.map_err(AdminError::fault)?;
    after(&running, &id, done).await
}

/// The key as it is now, once this gateway knows.
async fn after(running: &Running, id: &str, done: bool) -> Result<Json<Value>, AdminError> {
    let row = running.store.key_get(id).await.map_err(AdminError::fault)?.filter(|_| done);
    let row = row.ok_or_else(|| no_key(id))?;
    effective(running).await;
    Ok(Json(shown(&row)))
}

#[allow(clippy::needless_pass_by_value, reason = "made for `map_err`, which gives the error away")]
fn changed(error: KeyError) -> AdminError {
    if matches!(error, KeyError::Wanted(_) | KeyError::Scopes(_)) {
        AdminError::bad(error)
    } else if matches!(error, KeyError::Unknown(_)) {
        AdminError::missing(error)
    } else {
        AdminError::fault(error)
    }
}

/// Waits until this gateway knows the store's latest change, so that what was answered holds. Where the store can't be
/// read the answer is given all the same: the change is made, and stale keys prove nobody.
pub(super) async fn effective(running: &Running) {
    let Ok(revision) = running.store.revision().await else { return };
    let known = async {
        while running.keyring.revision() < Some(revision) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(EFFECTIVE_MAX, known).await.unwrap_or(());
}
