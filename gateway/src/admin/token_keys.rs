//! The keys of Weir's own tokens, as they stand, and a new one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::AdminError;
use crate::clock;
use crate::identity::own_tokens::keys;
use crate::identity::token_endpoint;
use crate::running::Running;

/// The keys' ids, newest first: it signs.
pub(crate) async fn list(State(running): State<Arc<Running>>) -> Result<Json<Value>, AdminError> {
    configured(&running)?;
    let keys = running.own_tokens.keys().map(|keys| keys.standings()).unwrap_or_default();
    Ok(Json(json!({"keys": keys})))
}

/// A new key signs from now on; tokens of the one before live on, those of the one before that end.
pub(crate) async fn rotate(State(running): State<Arc<Running>>) -> Result<Json<Value>, AdminError> {
    configured(&running)?;
    let made = tokio::task::spawn_blocking(move || {
        let folder = running.world.load().settings.data.clone();
        let keys = keys::rotate(&folder, clock::unix_ms())?;
        token_endpoint::keep_keys(&running);
        Ok::<_, keys::KeysFault>(keys.standings())
    });
    let keys = made.await.map_err(AdminError::fault)?.map_err(AdminError::fault)?;
    Ok(Json(json!({"keys": keys})))
}

fn configured(running: &Running) -> Result<(), AdminError> {
    match running.world.load().settings.token_endpoint {
        Some(_) => Ok(()),
        None => Err(AdminError::missing("no `identity.token_endpoint` is configured")),
    }
}
