//! OPA's data API for the operator's own policy, so that tools that know OPA can ask it: `POST` and `GET /v1/data/…`.
//!
//! Any document of `data` is evaluated for the given input by the interpreter; a compiled policy answers for its entry
//! points. Nothing is decided here: calls aren't asked about, and nothing is changed. Start at [`ask`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use regorus::Value;
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::clock;
use crate::exchange::CallId;
use crate::policy::rego::RegoFault;
use crate::running::Running;
use crate::telemetry::metric;

/// Names in a path.
const PATH_PARTS_MAX: usize = 64;

type Members = serde_json::Map<String, serde_json::Value>;
type Wanted = Query<HashMap<String, String>>;

/// OPA's own sign of life.
pub(crate) async fn health() -> Json<serde_json::Value> {
    Json(json!({}))
}

/// `POST /v1/data/{path}` with `{"input": …}`.
pub(crate) async fn ask(
    State(running): State<Arc<Running>>,
    Path(path): Path<String>,
    wanted: Wanted,
    body: Bytes,
) -> Response {
    let started = clock::instant();
    let input = match body.trim_ascii().is_empty() {
        true => Ok(None),
        false => read(&body).and_then(|body| {
            let serde_json::Value::Object(mut members) = body else { return Err("the body is no object".to_owned()) };
            Ok(members.remove("input"))
        }),
    };
    answer(&running, &path, input, &wanted.0, started).await
}

/// `GET /v1/data/{path}?input=…`.
pub(crate) async fn get(State(running): State<Arc<Running>>, Path(path): Path<String>, wanted: Wanted) -> Response {
    let started = clock::instant();
    let input = wanted.0.get("input").map(|text| read(text.as_bytes())).transpose();
    answer(&running, &path, input, &wanted.0, started).await
}

/// A member that stands twice would be one thing to whoever asks and another to a rule.
fn read(text: &[u8]) -> Result<serde_json::Value, String> {
    weir_wire::json::check(text).map_err(|fault| fault.to_string())?;
    serde_json::from_slice(text).map_err(|fault| fault.to_string())
}

async fn answer(
    running: &Running,
    path: &str,
    input: Result<Option<serde_json::Value>, String>,
    wanted: &HashMap<String, String>,
    started: Instant,
) -> Response {
    let is_wanted = |name: &str| wanted.get(name).is_some_and(|value| matches!(value.as_str(), "" | "true" | "1"));
    let input = match input {
        Ok(input) => input,
        Err(text) => return refused(StatusCode::BAD_REQUEST, "invalid_parameter", &text, None),
    };
    let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    if parts.len() > PATH_PARTS_MAX {
        return refused(StatusCode::BAD_REQUEST, "invalid_parameter", "the path has too many parts", None);
    }
    let world = running.world.load_full();
    let revision = world.revision;
    let has_input = input.is_some();
    let asked = clock::instant();
    let evaluated = spawn_blocking(move || world.policy.ask(&parts, input.map(Value::from))).await;
    let took = clock::instant().saturating_duration_since(asked);
    let value = match evaluated {
        Ok(Ok(value)) => value,
        Ok(Err(fault)) => {
            metric::policy_asked("error");
            let text = "error(s) occurred while evaluating query";
            return refused(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", text, Some(&fault));
        }
        Err(error) => {
            return refused(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", &error.to_string(), None);
        }
    };
    let mut reply = Members::new();
    reply.insert("decision_id".to_owned(), CallId::at(clock::unix_ms()).0.to_string().into());
    metric::policy_asked(if value == Value::Undefined { "undefined" } else { "result" });
    if value != Value::Undefined {
        reply.insert("result".to_owned(), serde_json::to_value(&value).unwrap_or_default());
    }
    if !has_input {
        let text = "'input' key missing from the request";
        reply.insert("warning".to_owned(), json!({"code": "api_usage_warning", "message": text}));
    }
    if is_wanted("metrics") {
        let whole = clock::instant().saturating_duration_since(started);
        let (query, whole) = (nanoseconds(took), nanoseconds(whole));
        let timers = json!({"timer_rego_query_eval_ns": query, "timer_server_handler_ns": whole});
        reply.insert("metrics".to_owned(), timers);
    }
    if is_wanted("provenance") {
        let provenance = json!({"version": env!("CARGO_PKG_VERSION"), "revision": revision.to_string()});
        reply.insert("provenance".to_owned(), provenance);
    }
    shown(StatusCode::OK, &reply.into(), is_wanted("pretty"))
}

fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// An error in OPA's words.
fn refused(status: StatusCode, code: &str, text: &str, fault: Option<&RegoFault>) -> Response {
    let errors = fault.map(|fault| ("errors", json!([{"code": fault.code, "message": fault.text}])));
    let reply = [("code", code.into()), ("message", text.into())].into_iter().chain(errors);
    let reply: Members = reply.map(|(name, value)| (name.to_owned(), value)).collect();
    shown(status, &reply.into(), false)
}

fn shown(status: StatusCode, reply: &serde_json::Value, is_pretty: bool) -> Response {
    let text = match is_pretty {
        true => serde_json::to_string_pretty(reply).unwrap_or_default(),
        false => reply.to_string(),
    };
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}
