//! Stored tenants: list, create, change, disable, delete. The same as `weir tenant`, within an administrator's own.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::AdminError;
use super::action::Action;
use super::authority::{Authority, Resource};
use super::keys::effective;
use crate::clock;
use crate::identity::TenantPath;
use crate::identity::stored::TenantSettings;
use crate::running::Running;
use crate::store::StoreError;
use crate::store::tenant::{TenantGone, TenantRow};

/// Bytes of a tenant's name.
const NAME_BYTES_MAX: usize = 256;

/// A new level.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenant {
    path: TenantPath,
    #[serde(default)]
    name: String,
    #[serde(default)]
    settings: TenantSettings,
}

/// What changes; what is not there stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    settings: Option<TenantSettings>,
    disabled: Option<bool>,
}

fn shown(row: &TenantRow) -> Value {
    json!({
        "path": row.path, "name": row.name, "disabled": row.disabled, "settings": row.settings,
        "created_ms": row.created_ms, "changed_ms": row.changed_ms,
    })
}

fn unread(error: &JsonRejection) -> AdminError {
    AdminError::unread(error.status(), error.body_text())
}

pub(crate) async fn list(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
) -> Result<Json<Value>, AdminError> {
    let rows = running.store.tenants_all().await.map_err(AdminError::fault)?;
    let seen = rows.iter().filter(|row| authority.sees(&row.path));
    Ok(Json(json!({"tenants": seen.map(shown).collect::<Vec<_>>()})))
}

pub(crate) async fn create(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
    new: Result<Json<NewTenant>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), AdminError> {
    let Json(new) = new.map_err(|error| unread(&error))?;
    authority.may(Action::TenantsCreate, &Resource::of(&new.path))?;
    // A level that no rule of the configuration covers would grant nothing and look as if it did.
    if !running.world.load().settings.tenants.iter().any(|rule| new.path.is_within(&rule.path)) {
        return Err(AdminError::bad(format!("no configured tenant covers `{}`", new.path)));
    }
    if new.name.len() > NAME_BYTES_MAX || new.name.chars().any(char::is_control) {
        return Err(AdminError::bad("`name` has at most 256 bytes without control characters"));
    }
    new.settings.check().map_err(AdminError::bad)?;
    let now_ms = clock::unix_ms();
    let path = new.path.to_string();
    let (created_ms, changed_ms) = (now_ms, now_ms);
    let row = TenantRow { path, name: new.name, disabled: false, settings: new.settings, created_ms, changed_ms };
    running.store.tenant_insert(&row).await.map_err(|error| {
        if matches!(error, StoreError::TenantExists(_)) { AdminError::bad(error) } else { AdminError::fault(error) }
    })?;
    effective(&running).await;
    Ok((StatusCode::CREATED, Json(shown(&row))))
}

pub(crate) async fn change(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
    Path(path): Path<String>,
    change: Result<Json<Change>, JsonRejection>,
) -> Result<Json<Value>, AdminError> {
    let Json(change) = change.map_err(|error| unread(&error))?;
    let path = TenantPath::parse(&path).map_err(AdminError::bad)?;
    authority.may(Action::TenantsChange, &Resource::of(&path))?;
    let (store, now_ms) = (&running.store, clock::unix_ms());
    let missing = || AdminError::missing(format!("no stored tenant has the path `{path}`"));
    if let Some(settings) = &change.settings {
        settings.check().map_err(AdminError::bad)?;
        if !store.tenant_set(path.as_str(), settings, now_ms).await.map_err(AdminError::fault)? {
            return Err(missing());
        }
    }
    match change.disabled {
        Some(true) => store.tenant_disable(path.as_str(), now_ms).await.map_err(AdminError::fault)?,
        Some(false) => {
            if !store.tenant_enable(path.as_str(), now_ms).await.map_err(AdminError::fault)? {
                return Err(missing());
            }
        }
        None => {}
    }
    let row = store.tenant_get(path.as_str()).await.map_err(AdminError::fault)?.ok_or_else(missing)?;
    effective(&running).await;
    Ok(Json(shown(&row)))
}

pub(crate) async fn delete(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
    Path(path): Path<String>,
) -> Result<Json<Value>, AdminError> {
    let path = TenantPath::parse(&path).map_err(AdminError::bad)?;
    authority.may(Action::TenantsDelete, &Resource::of(&path))?;
    let gone = running.store.tenant_delete(path.as_str(), clock::unix_ms()).await.map_err(AdminError::fault)?;
    if gone == TenantGone::default() {
        return Err(AdminError::missing(format!("no stored tenant has the path `{path}`")));
    }
    effective(&running).await;
    Ok(Json(json!({"path": path.as_str(), "tenants": gone.tenants, "keys": gone.keys, "secrets": gone.secrets})))
}
