//! Directories, as they stand.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use crate::clock;
use crate::running::Running;

/// Each configured directory: what it holds, or when it last answered.
pub(crate) async fn list(State(running): State<Arc<Running>>) -> Json<Value> {
    let world = running.world.load_full();
    Json(running.directories.standings(&world.settings.directory, clock::unix_ms()))
}
