//! Secrets of tenants: names are listed, values only taken. The same as `weir tenant secret`.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::AdminError;
use super::action::Action;
use super::authority::{Authority, Resource};
use super::keys::effective;
use crate::cli::tenant::secret;
use crate::clock;
use crate::config::settings::Secret;
use crate::identity::TenantPath;
use crate::running::Running;

/// A secret. It is never printed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSecret {
    tenant: TenantPath,
    name: String,
    value: String,
}

/// Which secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    tenant: TenantPath,
    name: String,
}

pub(crate) async fn list(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
) -> Result<Json<Value>, AdminError> {
    let rows = running.store.secrets_all().await.map_err(AdminError::fault)?;
    let seen = rows.iter().filter(|row| authority.sees(&row.tenant));
    Ok(Json(json!({"secrets": seen.map(secret::shown).collect::<Vec<_>>()})))
}

pub(crate) async fn set(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
    new: Result<Json<NewSecret>, JsonRejection>,
) -> Result<Json<Value>, AdminError> {
    // What can't be read may hold the secret: the place is told and not the text.
    let Json(new) = new.map_err(|error| AdminError::unread(error.status(), "send {tenant, name, value}".to_owned()))?;
    authority.may(Action::SecretsChange, &Resource::of(&new.tenant))?;
    let value = Secret::new(new.value.as_bytes());
    let keys = &running.world.load_full().master_keys;
    let row =
        secret::sealed(keys, &new.tenant, &new.name, value.expose(), clock::unix_ms()).map_err(AdminError::bad)?;
    running.store.secret_set(&row).await.map_err(AdminError::fault)?;
    effective(&running).await;
    Ok(Json(secret::shown(&row)))
}

pub(crate) async fn remove(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
    named: Result<Query<Named>, QueryRejection>,
) -> Result<Json<Value>, AdminError> {
    let Query(Named { tenant, name }) = named.map_err(|error| AdminError::unread(error.status(), error.body_text()))?;
    authority.may(Action::SecretsChange, &Resource::of(&tenant))?;
    match running.store.secret_remove(tenant.as_str(), &name).await.map_err(AdminError::fault)? {
        true => {
            effective(&running).await;
            Ok(Json(json!({"tenant": tenant, "name": name, "removed": true})))
        }
        false => Err(AdminError::missing("this tenant has no such secret")),
    }
}
