//! A candidate policy on the calls of just now: what `weir policy replay` does with files, on the decisions in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::AdminError;
use crate::policy;
use crate::policy::decision_log::recent::DECISIONS_MAX;
use crate::policy::replay::{self, Judge, Remember, Replay};
use crate::policy::source::Bundle;
use crate::running::Running;

/// Modules of a candidate. Their bytes are bounded by the body, which axum ends at 2 MB.
const MODULES_MAX: usize = 256;
/// Groups of flips that are told, unless another number is asked for.
const GROUPS: usize = 100;
/// Groups of flips that can be asked for.
const GROUPS_MAX: usize = 10_000;

/// One at a time: it takes a whole core.
static BUSY: Mutex<()> = Mutex::new(());

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Candidate {
    /// Text by file name; the operator's own policies where there is none.
    #[serde(default)]
    modules: BTreeMap<String, String>,
    /// In place of the operator's own data; the grants of the configuration and what was pushed stay.
    #[serde(default)]
    data: Option<Value>,
    /// The gateway's own where none is named.
    #[serde(default)]
    entrypoint: Option<String>,
    /// Decisions, the latest; all that are in memory without a number.
    #[serde(default)]
    last: Option<usize>,
    /// Groups of flips that are told.
    #[serde(default)]
    limit: Option<usize>,
    /// What it is compared with. Where bundles decide too, what was recorded is more than one policy's answer.
    #[serde(default)]
    baseline: Baseline,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Baseline {
    /// What was decided.
    #[default]
    Recorded,
    /// What the operator's own policy decides now.
    Current,
}

/// `POST /admin/v1/policy/rehearse`.
pub(crate) async fn rehearse(State(running): State<Arc<Running>>, body: Bytes) -> Result<Json<Value>, AdminError> {
    // A list would be taken for the members in their order.
    let members: Map<String, Value> = serde_json::from_slice(&body).map_err(AdminError::bad)?;
    let candidate: Candidate = serde_json::from_value(members.into()).map_err(AdminError::bad)?;
    if candidate.modules.len() > MODULES_MAX {
        return Err(AdminError::bad(format!("more than {MODULES_MAX} modules")));
    }
    if !running.decisions.is_on() {
        return Err(AdminError::missing("no decisions are recorded: set `policy.decision_log.sink`"));
    }
    let work = tokio::task::spawn_blocking(move || answer(&running, candidate));
    work.await.map_err(|_| AdminError::fault("the rehearsal panicked"))?.map(Json)
}

fn answer(running: &Running, candidate: Candidate) -> Result<Value, AdminError> {
    let Some(_busy) = BUSY.try_lock() else {
        return Err(AdminError(StatusCode::CONFLICT, "another rehearsal is running, try again".to_owned()));
    };
    let world = running.world.load_full();
    let settings = &world.settings;
    let own = policy::own(&settings.policy, &settings.tenants, &running.pushed.blocking_lock());
    let own = own.map_err(AdminError::fault)?;
    let lines = running.decisions.recent(candidate.last.unwrap_or(DECISIONS_MAX));
    let probes = lines.first().map_or_else(Vec::new, |line| replay::probes(line));
    let baseline = match candidate.baseline {
        Baseline::Recorded => None,
        Baseline::Current => Some(Judge::new(&own, &settings.policy.entrypoint, &probes).map_err(AdminError::fault)?),
    };
    let entrypoint = candidate.entrypoint.as_deref().unwrap_or(&settings.policy.entrypoint);
    let limit = candidate.limit.unwrap_or(GROUPS).min(GROUPS_MAX);
    let bundle = joined(own, candidate.modules, candidate.data);
    let judge = Judge::new(&bundle, entrypoint, &probes).map_err(AdminError::bad)?;
    Ok(Replay::new(judge, baseline, Remember::Read).lines(&lines).to_json(limit))
}

/// The operator's own bundle with the candidate's modules and data in place of its own.
fn joined(own: Bundle, modules: BTreeMap<String, String>, data: Option<Value>) -> Bundle {
    let mut bundle = own;
    if let Some(data) = data {
        // Before the files' own stand the grants and what was pushed.
        bundle.data.truncate(2);
        bundle.data.push(data);
    }
    if !modules.is_empty() {
        bundle.policies = modules.into_iter().collect();
        bundle.wasm = None;
    }
    bundle
}
