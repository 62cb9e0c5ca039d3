//! Usage and audit: the same functions as `weir usage` and `weir audit`.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chrono_tz::Tz;
use clap::ValueEnum;
use serde::Deserialize;
use serde_json::Value;

use super::AdminError;
use super::action::Action;
use super::authority::{Authority, Resource};
use super::csv;
use crate::audit::verify::audit_verify_on;
use crate::finance::report::{By, Level, ReportOf, usage_report};
use crate::identity::TenantPath;
use crate::running::Running;
use crate::store::rollup::RollupFilter;

/// What a report is to show.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageQuery {
    by: Option<String>,
    level: Option<String>,
    zone: Option<String>,
    since_ms: Option<u64>,
    until_ms: Option<u64>,
    tenant: Option<TenantPath>,
    key: Option<String>,
    model: Option<String>,
    upstream_model: Option<String>,
    provider: Option<String>,
    deployment: Option<String>,
    tier: Option<String>,
    #[serde(default)]
    format: Format,
    #[serde(default)]
    order: Order,
}

/// How a report is written.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// All of it.
    #[default]
    Json,
    /// Its rows, for spreadsheets.
    Csv,
}

/// In which order a report's rows come.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    /// By the groups' names.
    #[default]
    Group,
    /// The dearest first; equally dear ones by name.
    Cost,
}

/// One of a closed set of names.
pub(crate) fn one_of<T: ValueEnum>(name: &str) -> Result<T, AdminError> {
    T::from_str(name, true).map_err(|_| {
        let known = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let names: Vec<String> = known.map(|known| format!("`{}`", known.get_name())).collect();
        AdminError::bad(format!("`{name}` is none of {}", names.join(", ")))
    })
}

/// A time zone by its name.
pub(crate) fn zone(name: Option<&str>) -> Result<Tz, AdminError> {
    let name = name.unwrap_or("UTC");
    name.parse().map_err(|_| AdminError::bad(format!("`{name}` is no time zone such as `Europe/Berlin`")))
}

impl UsageQuery {
    /// The question, within what the administrator may see.
    fn question(self, authority: &Authority) -> Result<ReportOf, AdminError> {
        if let Some(tenant) = &self.tenant {
            authority.may(Action::UsageRead, &Resource::of(tenant))?;
        }
        let tenant = self.tenant.as_ref().or(authority.scope()).map(|tenant| tenant.as_str().to_owned());
        let by = self.by.as_deref().unwrap_or("tenant").split(',').map(one_of::<By>).collect::<Result<_, _>>()?;
        Ok(ReportOf {
            by,
            level: self.level.as_deref().map_or(Ok(Level::User), one_of)?,
            zone: zone(self.zone.as_deref())?,
            since_ms: self.since_ms,
            until_ms: self.until_ms,
            filter: RollupFilter {
                tenant,
                key: self.key,
                model: self.model,
                upstream_model: self.upstream_model,
                provider: self.provider,
                deployment: self.deployment,
                tier: self.tier,
            },
        })
    }
}

pub(crate) async fn usage(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
    query: Result<Query<UsageQuery>, QueryRejection>,
) -> Result<Response, AdminError> {
    let Query(query) = query.map_err(|error| AdminError::unread(error.status(), error.body_text()))?;
    let (format, order) = (query.format, query.order);
    let question = query.question(&authority)?;
    let mut report = usage_report(&running.store, &question).await.map_err(|error| match error.is_the_askers() {
        true => AdminError::bad(error),
        false => AdminError::fault(error),
    })?;
    match order {
        Order::Group => {}
        // Stable: the names' order stays within a cost.
        Order::Cost => report.rows.sort_by_key(|row| std::cmp::Reverse(row.cost_nano)),
    }
    match format {
        Format::Json => Ok(Json(report).into_response()),
        Format::Csv => csv::of_report(&report),
    }
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
