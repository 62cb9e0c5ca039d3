//! A candidate policy on the calls of just now: what `weir policy replay` does with files, on the decisions in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;

use super::AdminError;
use crate::policy::decision_log::recent::DECISIONS_MAX;
use crate::policy::replay::{self, Judge, Remember, Replay};
use crate::policy::source::{Bundle, shipped};
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
    /// Text by file name; the shipped policies where there is none.
    #[serde(default)]
    modules: BTreeMap<String, String>,
    /// Joined to the grants of the configuration.
    #[serde(default)]
    data: Option<Value>,
    /// The gateway's own where none is named.
    #[serde(default)]
    entrypoint: Option<String>,
    /// Decisions, the latest; all that are in memory without a number.
    #[serde(default)]
    last: Option<usize>,
    #[serde(default)]
    limit: Option<usize>,
}

/// `POST /admin/v1/policy/rehearse`.
pub(crate) async fn rehearse(State(running): State<Arc<Running>>, body: Bytes) -> Result<Json<Value>, AdminError> {
    let candidate: Candidate = serde_json::from_slice(&body).map_err(AdminError::bad)?;
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
    let entrypoint = candidate.entrypoint.unwrap_or_else(|| settings.policy.entrypoint.clone());
    let mut policies: Vec<_> = candidate.modules.into_iter().collect();
    if policies.is_empty() {
        let own = shipped(&entrypoint).iter();
        policies = own.map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    }
    let data = [crate::policy::grants(&settings.tenants)].into_iter().chain(candidate.data).collect();
    let lines = running.decisions.recent(candidate.last.unwrap_or(DECISIONS_MAX));
    let probes = lines.first().map_or_else(Vec::new, |line| replay::probes(line));
    let judge =
        Judge::new(&Bundle { policies, data, ..Bundle::default() }, &entrypoint, &probes).map_err(AdminError::bad)?;
    let report = Replay::new(judge, None, Remember::Read).lines(&lines);
    Ok(report.to_json(candidate.limit.unwrap_or(GROUPS).min(GROUPS_MAX)))
}
