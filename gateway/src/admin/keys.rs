//! Keys for the owner: list, create, revoke. The same functions as `weir key`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::AdminError;
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

pub(crate) async fn list(State(running): State<Arc<Running>>) -> Result<Json<Value>, AdminError> {
    let rows = running.store.key_list(None).await.map_err(AdminError::fault)?;
    Ok(Json(json!({"keys": rows.iter().map(shown).collect::<Vec<_>>()})))
}

pub(crate) async fn create(
    State(running): State<Arc<Running>>,
    new: Result<Json<NewKey>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), AdminError> {
    let Json(new) = new.map_err(|error| AdminError::unread(error.status(), error.body_text()))?;
    let world = running.world.load_full();
    if !world.settings.tenants.iter().any(|rule| new.tenant.is_within(&rule.path)) {
        return Err(AdminError::bad(format!("no configured tenant covers `{}`", new.tenant)));
    }
    if new.kind == KeyKind::Admin {
        return Err(AdminError::bad("`kind` is `user` or `service`"));
    }
    let now_ms = clock::unix_ms();
    if new.expires_in_s.is_some_and(|seconds| !(1..=LIFE_S_MAX).contains(&seconds)) {
        return Err(AdminError::bad("`expires_in_s` must be 1 second to 100 years; leave it out for a key that holds"));
    }
    let life = new.expires_in_s.map(|seconds| Duration::from_secs(seconds).as_millis());
    let wanted = Wanted {
        tenant: &new.tenant,
        name: &new.name,
        roles: &new.roles,
        models: new.models.as_ref(),
        expires_ms: life.map(|life| now_ms.saturating_add(u64::try_from(life).unwrap_or(u64::MAX))),
        kind: new.kind,
        scopes: &new.scopes,
        replaces: None,
    };
    let issued = key::issue(&running.store, &world.peppers, &wanted, now_ms).await;
    let fault = |error| {
        if matches!(error, KeyError::Wanted(_) | KeyError::Scopes(_)) {
            AdminError::bad(error)
        } else {
            AdminError::fault(error)
        }
    };
    let (key, row) = issued.map_err(fault)?;
    effective(&running).await;
    // The only time that the key itself is shown.
    Ok((StatusCode::CREATED, Json(json!({"key": key.reveal(), "about": shown(&row)}))))
}

pub(crate) async fn revoke(
    State(running): State<Arc<Running>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, AdminError> {
    match running.store.key_revoke(&id, clock::unix_ms()).await.map_err(AdminError::fault)? {
        true => {
            effective(&running).await;
            Ok(Json(json!({"id": id, "revoked": true})))
        }
        false => Err(AdminError::missing(format!("no live key has the id `{id}`"))),
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
    Path(id): Path<String>,
    turn: Result<Json<NewTurn>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), AdminError> {
    let Json(new) = turn.map_err(|error| AdminError::unread(error.status(), error.body_text()))?;
    let lives = [Some(new.overlap_s), new.expires_in_s];
    if lives.into_iter().flatten().any(|seconds| !(1..=LIFE_S_MAX).contains(&seconds)) {
        return Err(AdminError::bad("`overlap_s` and `expires_in_s` must be 1 second to 100 years"));
    }
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
    Path(id): Path<String>,
    sooner: Result<Json<Sooner>, JsonRejection>,
) -> Result<Json<Value>, AdminError> {
    let Json(sooner) = sooner.map_err(|error| AdminError::unread(error.status(), error.body_text()))?;
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
    Path(id): Path<String>,
    new: Result<Json<NewScope>, JsonRejection>,
) -> Result<Json<Value>, AdminError> {
    let Json(new) = new.map_err(|error| AdminError::unread(error.status(), error.body_text()))?;
    new.scopes.check().map_err(AdminError::bad)?;
    let done = running.store.key_narrow(&id, new.models.as_deref(), &new.scopes).await.map_err(AdminError::fault)?;
    after(&running, &id, done).await
}

/// The key as it is now, once this gateway knows.
async fn after(running: &Running, id: &str, done: bool) -> Result<Json<Value>, AdminError> {
    let missing = || AdminError::missing(format!("no live key has the id `{id}`"));
    let row = running.store.key_get(id).await.map_err(AdminError::fault)?.filter(|_| done).ok_or_else(missing)?;
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
