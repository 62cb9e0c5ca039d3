//! Policies as they stand: the operator's own, and each bundle with its revisions; the way back to an earlier one; and
//! data that is pushed to the operator's own.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::AdminError;
use crate::clock;
use crate::policy::Compiled;
use crate::policy::active::{Member, Revision};
use crate::policy::bundle::poll::note_revision;
use crate::policy::bundle::set::RollBackFault;
use crate::policy::pushed::PushFault;
use crate::reload::{self, PushRefused};
use crate::running::Running;

/// Which revision shall decide.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollBack {
    /// The bundle; may be left out where there is one only.
    bundle: Option<String>,
    /// Its revision, or the beginning of its digest.
    revision: String,
}

/// Everything that decides.
pub(crate) async fn show(State(running): State<Arc<Running>>) -> Json<Value> {
    let world = running.world.load_full();
    let now_ms = clock::unix_ms();
    let snapshot = world.bundles.load_full();
    let bundles: Vec<Value> = snapshot.members.iter().map(|member| shown(&running, member, now_ms)).collect();
    let entrypoint = &world.settings.policy.entrypoint;
    let mut own = json!({"entrypoint": entrypoint, "revision": world.revision});
    merge(&mut own, engine(&world.policy));
    Json(json!({"own": own, "bundles": bundles}))
}

fn shown(running: &Running, member: &Member, now_ms: u64) -> Value {
    let (rule, standing) = (&member.rule, &member.standing);
    let state = running.bundles.state(&rule.name);
    let kept: Vec<Value> = state
        .kept
        .iter()
        .map(|kept| {
            let held_back = state.held.contains(&kept.digest);
            let activated_ms = kept.activated_ms;
            json!({
                "revision": kept.revision, "digest": kept.digest, "activated_ms": activated_ms, "held_back": held_back,
            })
        })
        .collect();
    json!({
        "name": rule.name,
        "tenant": rule.tenant,
        "entrypoint": rule.entrypoint,
        "mode": rule.mode.name(),
        "percent": rule.percent,
        "newest": member.newest.as_deref().map(revision),
        "base": member.base.as_deref().map(revision),
        "kept": kept,
        "etag": state.etag,
        "polled_ms": standing.polled_ms.load(Ordering::Relaxed),
        "confirmed_ms": standing.confirmed_ms.load(Ordering::Relaxed),
        "stale": member.is_stale(now_ms),
        "fault": *standing.fault.lock(),
        "shadow": {"flips": standing.flipped.load(Ordering::Relaxed), "last": standing.flips()},
    })
}

fn revision(revision: &Revision) -> Value {
    let checked = &revision.checked;
    let roots: Vec<String> = checked.roots.iter().map(ToString::to_string).collect();
    let mut shown = json!({
        "revision": revision.name(), "digest": revision.digest, "activated_ms": revision.activated_ms,
        "signed": checked.signed, "tests": checked.tests, "roots": roots,
    });
    merge(&mut shown, engine(&checked.compiled));
    shown
}

fn engine(compiled: &Compiled) -> Value {
    json!({"engine": compiled.engine(), "why": compiled.interpreted().map(|why| why.to_string())})
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

/// Lets an earlier revision decide again, at once.
pub(crate) async fn roll_back(
    State(running): State<Arc<Running>>,
    wanted: Result<Json<RollBack>, JsonRejection>,
) -> Result<Json<Value>, AdminError> {
    let Json(wanted) = wanted.map_err(|error| AdminError::unread(error.status(), error.body_text()))?;
    let snapshot = running.bundles.snapshot();
    let name = match (wanted.bundle, snapshot.members.as_slice()) {
        (Some(name), _) => name,
        (None, [only]) => only.rule.name.to_string(),
        (None, _) => return Err(AdminError::bad("say which bundle: there is none, or more than one")),
    };
    let shared = running.clone();
    let (asked, to) = (name.clone(), wanted.revision);
    let done = spawn_blocking(move || shared.bundles.roll_back(&asked, &to)).await.map_err(AdminError::fault)?;
    let back = done.map_err(|fault| match fault {
        RollBackFault::Bundle(_) | RollBackFault::Revision(_) => AdminError::missing(fault),
        RollBackFault::Unusable(_) => AdminError::bad(fault),
    })?;
    if let Some(member) = running.bundles.member(&name) {
        note_revision(&running, "policy_bundle_rolled_back", &member, &back);
    }
    Ok(Json(json!({"bundle": name, "newest": revision(&back)})))
}

/// All data that was pushed.
pub(crate) async fn pushed(State(running): State<Arc<Running>>) -> Json<Value> {
    Json(running.pushed.lock().await.document())
}

/// Sets data at a path.
pub(crate) async fn push(
    State(running): State<Arc<Running>>,
    Path(path): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, AdminError> {
    // A member that stands twice would be one thing to whoever reviewed it and another to a rule.
    weir_wire::json::check(&body).map_err(AdminError::bad)?;
    let value = serde_json::from_slice(&body).map_err(AdminError::bad)?;
    let (revision, had) = reload::push(&path, Some(value), &running).await.map_err(refused)?;
    Ok(Json(json!({"path": path, "replaced": had, "revision": revision})))
}

/// Removes what was pushed to a path.
pub(crate) async fn take_back(
    State(running): State<Arc<Running>>,
    Path(path): Path<String>,
) -> Result<Json<Value>, AdminError> {
    let (revision, had) = reload::push(&path, None, &running).await.map_err(refused)?;
    match had {
        true => Ok(Json(json!({"path": path, "removed": true, "revision": revision}))),
        false => Err(AdminError::missing("nothing was pushed to this path")),
    }
}

fn refused(fault: PushRefused) -> AdminError {
    match fault {
        PushRefused::Push(PushFault::Keep(_)) => AdminError::fault(fault),
        PushRefused::Push(_) | PushRefused::World(_) => AdminError::bad(fault),
    }
}
