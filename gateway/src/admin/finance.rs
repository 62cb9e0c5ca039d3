//! Budgets, statements and exports: the same functions as `weir usage`, within what an administrator may see.

use std::io::Write;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::AdminError;
use super::action::Action;
use super::authority::{Authority, Resource};
use super::ledger::one_of;
use crate::clock;
use crate::finance::budget::{budgets as read_budgets, rules};
use crate::finance::close::{CloseError, CloseOf, close as close_month, verify};
use crate::finance::export::{Export, ExportOf};
use crate::finance::focus::Version;
use crate::finance::focus::sink::{Format, Sink};
use crate::finance::reprice::{Prices, RepriceOf, reprice as repriced};
use crate::identity::TenantPath;
use crate::running::Running;
use crate::store::StoreError;
use crate::store::rollup::RollupFilter;
use crate::store::statement::StatementRow;
use crate::store::usage::UsageFilter;

/// Whose things are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Whose {
    tenant: Option<TenantPath>,
}

/// The tenant that an answer is about: as asked, else the administrator's own.
fn scope(authority: &Authority, asked: Option<&TenantPath>) -> Result<Option<TenantPath>, AdminError> {
    if let Some(tenant) = asked {
        authority.may(Action::UsageRead, &Resource::of(tenant))?;
    }
    Ok(asked.or(authority.scope()).cloned())
}

fn unread(error: &QueryRejection) -> AdminError {
    AdminError::unread(error.status(), error.body_text())
}

pub(crate) async fn budgets(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
    query: Result<Query<Whose>, QueryRejection>,
) -> Result<Json<Value>, AdminError> {
    let Query(query) = query.map_err(|error| unread(&error))?;
    let scope = scope(&authority, query.tenant.as_ref())?;
    let mut rules = rules(&running.world.load().settings.tenants);
    let within = |path: &str, above| TenantPath::parse(path).is_ok_and(|path| path.is_within(above));
    rules.retain(|rule| scope.as_ref().is_none_or(|above| within(&rule.tenant, above)));
    let now_ms = clock::unix_ms();
    let budgets = read_budgets(&running.store, &rules, now_ms).await.map_err(AdminError::fault)?;
    let value = serde_json::to_value(budgets).map_err(AdminError::fault)?;
    Ok(Json(json!({"at_ms": now_ms, "budgets": value})))
}

pub(crate) async fn statements(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
    query: Result<Query<Whose>, QueryRejection>,
) -> Result<Json<Value>, AdminError> {
    let Query(query) = query.map_err(|error| unread(&error))?;
    let scope = scope(&authority, query.tenant.as_ref())?;
    let rows = running.store.statements(scope.as_ref().map(TenantPath::as_str)).await.map_err(AdminError::fault)?;
    let value = serde_json::to_value(rows).map_err(AdminError::fault)?;
    Ok(Json(json!({"statements": value})))
}

/// A statement that the administrator may see; another's is not there at all.
async fn visible(running: &Running, authority: &Authority, number: u64) -> Result<StatementRow, AdminError> {
    let row = running.store.statement(number).await.map_err(AdminError::fault)?;
    let row = row.filter(|row| authority.scope().is_none() || authority.sees(&row.tenant));
    row.ok_or_else(|| AdminError::missing(format!("there is no statement {number}")))
}

pub(crate) async fn statement(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
    number: Result<Path<u64>, PathRejection>,
) -> Result<Response, AdminError> {
    let Path(number) = number.map_err(|error| AdminError::unread(error.status(), error.body_text()))?;
    let row = visible(&running, &authority, number).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], row.body).into_response())
}

pub(crate) async fn check(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
    number: Result<Path<u64>, PathRejection>,
) -> Result<Json<Value>, AdminError> {
    let Path(number) = number.map_err(|error| AdminError::unread(error.status(), error.body_text()))?;
    visible(&running, &authority, number).await?;
    let verdict = verify(&running.store, number).await.map_err(AdminError::fault)?;
    serde_json::to_value(verdict).map(Json).map_err(AdminError::fault)
}

/// Which rows are held against the prices.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reprice {
    tenant: Option<TenantPath>,
    since_ms: Option<u64>,
    until_ms: Option<u64>,
    as_of_ms: Option<u64>,
    #[serde(default)]
    apply: bool,
}

/// At the prices of the running configuration. Each correction is a row of the ledger, so the sums are the answer.
pub(crate) async fn reprice(
    State(running): State<Arc<Running>>,
    body: Result<Json<Reprice>, JsonRejection>,
) -> Result<Json<Value>, AdminError> {
    let Json(asked) = body.map_err(|error| AdminError::unread(error.status(), error.body_text()))?;
    let world = running.world.load_full();
    let prices = Prices::new(world.prices.clone(), &world.settings.models);
    let of = RepriceOf {
        filter: UsageFilter {
            since_ms: asked.since_ms,
            until_ms: asked.until_ms,
            tenant: asked.tenant.map(|tenant| tenant.as_str().to_owned()),
        },
        as_of_ms: asked.as_of_ms,
        apply: asked.apply,
        now_ms: clock::unix_ms(),
    };
    let done = repriced(&running.store, &prices, &of, |_| Ok::<_, StoreError>(())).await.map_err(AdminError::fault)?;
    serde_json::to_value(done).map(Json).map_err(AdminError::fault)
}

/// A month to close.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewStatement {
    month: String,
    tenant: Option<TenantPath>,
}

pub(crate) async fn close(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
    body: Result<Json<NewStatement>, JsonRejection>,
) -> Result<Json<Value>, AdminError> {
    let Json(new) = body.map_err(|error| AdminError::unread(error.status(), error.body_text()))?;
    let everybody = Resource { deployment: true, ..Resource::default() };
    authority.may(Action::StatementsClose, &new.tenant.as_ref().map_or(everybody, Resource::of))?;
    let finance = running.world.load().settings.finance.clone();
    let of = CloseOf {
        month: new.month,
        tenant: new.tenant.map(|tenant| tenant.as_str().to_owned()),
        zone: finance.zone,
        issuer: finance.issuer,
    };
    let row = close_month(&running.store, &of, clock::unix_ms()).await.map_err(|error| match error {
        CloseError::Month(_) | CloseError::NotOver(_) => AdminError::bad(error),
        CloseError::Busy
        | CloseError::NoSuchStatement(_)
        | CloseError::Overflow
        | CloseError::Unreadable(_)
        | CloseError::NotWhole(_)
        | CloseError::Encode(_)
        | CloseError::Store(_) => AdminError::fault(error),
    })?;
    serde_json::to_value(row).map(Json).map_err(AdminError::fault)
}

/// What to export.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportQuery {
    format: Option<String>,
    version: Option<String>,
    since_ms: Option<u64>,
    until_ms: Option<u64>,
    tenant: Option<TenantPath>,
}

/// What a sink wrote and nobody has read yet: at most one piece.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A file on its way out, piece by piece, as fast as it is read.
struct Outgoing {
    running: Arc<Running>,
    export: Export,
    sink: Option<Sink<Shared>>,
    out: Shared,
}

impl Outgoing {
    /// The next piece; `None` behind the last.
    async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        let Some(mut sink) = self.sink.take() else { return Ok(None) };
        match self.export.next(&self.running.store).await.map_err(std::io::Error::other)? {
            Some(piece) => {
                sink.write(&piece).map_err(std::io::Error::other)?;
                self.sink = Some(sink);
            }
            None => sink.finish().map_err(std::io::Error::other)?,
        }
        Ok(Some(Bytes::from(std::mem::take(&mut *self.out.0.lock()))))
    }
}

pub(crate) async fn export(
    State(running): State<Arc<Running>>,
    Extension(authority): Extension<Authority>,
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Result<Response, AdminError> {
    let Query(query) = query.map_err(|error| unread(&error))?;
    let scope = scope(&authority, query.tenant.as_ref())?;
    let format: Format = query.format.as_deref().map_or(Ok(Format::FocusCsv), one_of)?;
    let version: Version = query.version.as_deref().map_or(Ok(Version::V1_2), one_of)?;
    let tenant = scope.map(|tenant| tenant.as_str().to_owned());
    let of = ExportOf {
        since_ms: query.since_ms,
        until_ms: query.until_ms,
        filter: RollupFilter { tenant, ..RollupFilter::default() },
        issuer: running.world.load().settings.finance.issuer.clone(),
    };
    let export = Export::begin(&running.store, of).await.map_err(AdminError::fault)?;
    let out = Shared::default();
    let sink = Sink::new(out.clone(), format, version).map_err(AdminError::fault)?;
    let file = Outgoing { running, export, sink: Some(sink), out };
    let pieces = futures_util::stream::try_unfold(file, |mut file| async move {
        let piece = file.next().await?;
        std::io::Result::Ok(piece.map(|piece| (piece, file)))
    });
    Ok(([(header::CONTENT_TYPE, format.media_type())], Body::from_stream(pieces)).into_response())
}
