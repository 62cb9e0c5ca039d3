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

/// Waits until this gateway knows the store's latest change, so that what was answered holds. Where the store can't be
/// read the answer is given all the same: the change is made, and stale keys prove nobody.
async fn effective(running: &Running) {
    let Ok(revision) = running.store.revision().await else { return };
    let known = async {
        while running.keyring.revision() < Some(revision) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(EFFECTIVE_MAX, known).await.unwrap_or(());
}
