//! Issuers of tokens, as they stand.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::clock;
use crate::running::Running;

/// Each configured issuer: the ids of its keys, the last look at them and how it went.
pub(crate) async fn list(State(running): State<Arc<Running>>) -> Json<Value> {
    let world = running.world.load();
    let standings = running.issuers.standings(&world.settings.issuers, clock::unix_ms());
    Json(json!({"issuers": standings}))
}
