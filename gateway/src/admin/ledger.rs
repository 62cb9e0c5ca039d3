//! Usage and audit: the same functions as `weir usage` and `weir audit`.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use clap::ValueEnum;
use serde::Deserialize;
use serde_json::Value;

use super::AdminError;
use super::action::Action;
use super::authority::{Authority, Resource};
use crate::audit::verify::audit_verify_on;
use crate::identity::TenantPath;
use crate::running::Running;
use crate::store::usage::{GroupBy, UsageFilter};
use crate::usage::query::usage_report;

/// What a report is to show.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageQuery {
    by: Option<String>,
    since_ms: Option<u64>,
    until_ms: Option<u64>,
    tenant: Option<TenantPath>,
}

fn not_a_group(by: &str) -> String {
    let names: Vec<String> = GroupBy::value_variants()
        .iter()
        .filter_map(|by| Some(format!("`{}`", by.to_possible_value()?.get_name())))
        .collect();
    format!("`{by}` is none of {}", names.join(", "))
}

pub(crate) async fn usage(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
    query: Result<Query<UsageQuery>, QueryRejection>,
) -> Result<Json<Value>, AdminError> {
    let Query(query) = query.map_err(|error| AdminError::unread(error.status(), error.body_text()))?;
    let by = query.by.as_deref().unwrap_or("tenant");
    let by = GroupBy::from_str(by, true).map_err(|_| AdminError::bad(not_a_group(by)))?;
    if let Some(tenant) = &query.tenant {
        authority.may(Action::UsageRead, &Resource::of(tenant))?;
    }
    let tenant = query.tenant.as_ref().or(authority.scope()).map(|tenant| tenant.as_str().to_owned());
    let filter = UsageFilter { since_ms: query.since_ms, until_ms: query.until_ms, tenant };
    let report = usage_report(&running.store, by, &filter).await.map_err(AdminError::fault)?;
    serde_json::to_value(report).map(Json).map_err(AdminError::fault)
}

pub(crate) async fn verify(State(running): State<Arc<Running>>) -> Result<Json<Value>, AdminError> {
    let settings = &running.world.load().settings;
    let (folder, store) = (settings.data.clone(), settings.store.clone());
    let runtime = tokio::runtime::Handle::current();
    // Reading the whole log takes as long as it takes: not on a thread that others wait for.
    let checked = tokio::task::spawn_blocking(move || runtime.block_on(audit_verify_on(&folder, &store)));
    let report = checked.await.map_err(AdminError::fault)?.map_err(AdminError::fault)?;
    serde_json::to_value(report).map(Json).map_err(AdminError::fault)
}
