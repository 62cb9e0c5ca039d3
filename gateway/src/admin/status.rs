//! Health, readiness, metrics, and what a running gateway says of itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::clock;
use crate::running::Running;
use crate::telemetry::metric;

/// The process answers.
pub(crate) async fn health() -> &'static str {
    "ok\n"
}

/// Calls can be served; if not, why.
pub(crate) async fn ready(State(running): State<Arc<Running>>) -> (StatusCode, String) {
    // A tenant's own bundle keeps nobody else waiting.
    let missing = running.bundles.snapshot().missing().any(|member| member.rule.tenant.is_none());
    let faults = [
        (running.draining.load(Ordering::Relaxed), "draining"),
        (!running.listening.load(Ordering::Relaxed), "not every listener is open"),
        (!running.engine_ready.load(Ordering::Relaxed), "the engine is not ready"),
        (!running.journal.admits(), "the journal can't be written"),
        (missing, "a policy bundle is missing"),
        (running.keyring.is_stale(clock::unix_ms()), "the key store can't be read"),
    ];
    let why: Vec<&str> = faults.into_iter().filter_map(|(is, text)| is.then_some(text)).collect();
    match why.is_empty() {
        true => (StatusCode::OK, "ready\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", why.join(", "))),
    }
}

/// Prometheus' text format.
pub(crate) async fn metrics(State(running): State<Arc<Running>>) -> String {
    metric::observe(&running, clock::instant());
    metric::render()
}

/// Revision, running calls, cool-downs.
pub(crate) async fn status(State(running): State<Arc<Running>>) -> Json<Value> {
    let world = running.world.load();
    let cooling: Vec<Value> = running
        .health
        .all_cooling(clock::instant())
        .into_iter()
        .map(|(deployment, left)| json!({"deployment": deployment, "left_ms": left.as_millis()}))
        .collect();
    let models: Vec<&str> = world.settings.models.iter().map(|model| model.name.as_ref()).collect();
    let interpreted = world.policy.interpreted();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "revision": world.revision,
        "calls_in_flight": running.in_flight.count(),
        "engine_ready": running.engine_ready.load(Ordering::Relaxed),
        "journal": {"failing": !running.journal.admits(), "backlog": running.journal.backlog()},
        "models": models,
        "policy": {
            "engine": world.policy.engine(),
            "why": interpreted.map(|why| why.to_string()),
        },
        "cooling": cooling,
    }))
}
