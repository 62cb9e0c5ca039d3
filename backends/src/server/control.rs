//! The endpoints beside the answers: models, health, metrics, pages, allowances and aborts.

use super::fault::Fault;
use super::{Body, Served};
use crate::scheduler::{PageCounts, SubmitError};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use std::sync::Arc;
use weir_wire::chat::RequestFault;
use weir_wire::delta::{Model, ModelList};

pub(super) async fn models(State(served): State<Arc<Served>>) -> Json<ModelList> {
    let (id, created) = (served.name.clone(), served.created);
    let model = Model { id, object: "model".into(), created, owned_by: "weir".into() };
    Json(ModelList { object: "list".into(), data: vec![model] })
}

/// Whether the scheduler's thread lives; a long step is no illness.
pub(super) async fn health(State(served): State<Arc<Served>>) -> impl IntoResponse {
    let (status, text) = match served.engine.is_alive() {
        true => (StatusCode::OK, r#"{"status":"ok"}"#),
        false => (StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"stopped"}"#),
    };
    (status, [(header::CONTENT_TYPE, "application/json")], text)
}

pub(super) async fn metrics(State(served): State<Arc<Served>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], served.metrics.render())
}

pub(super) async fn pages(State(served): State<Arc<Served>>) -> Result<Json<PageCounts>, Fault> {
    served.engine.pages().await.map(Json).map_err(|error| refused(&error))
}

#[derive(Deserialize)]
struct Renewal {
    tokens_total: u64,
    #[serde(default)]
    is_last: bool,
}

/// Sets the completion tokens that a call may make in all; a paused call goes on at once. The last
/// allowance ends its call at the token, without a pause.
pub(super) async fn renew(
    State(served): State<Arc<Served>>,
    Path(call_id): Path<String>,
    body: Body,
) -> Result<StatusCode, Fault> {
    let renewal: Renewal = serde_json::from_slice(&body?).map_err(RequestFault::from)?;
    let found = served
        .engine
        .renew(call_id.clone(), renewal.tokens_total, renewal.is_last)
        .await
        .map_err(|error| refused(&error))?;
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(Fault::unknown_call(&call_id)) }
}

/// Ends a call; its stream finishes with the reason `abort`.
pub(super) async fn abort(State(served): State<Arc<Served>>, Path(call_id): Path<String>) -> Result<StatusCode, Fault> {
    let found = served.engine.abort(call_id.clone()).await.map_err(|error| refused(&error))?;
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(Fault::unknown_call(&call_id)) }
}

fn refused(error: &SubmitError) -> Fault {
    Fault::from_submit(error, "call_id")
}
