//! A decision as a line of JSON, in the shape of OPA's decision log events.
//!
//! A decision that a mask policy must look at is masked on a copy of its own. Where that fails, the payload stays out:
//! a skeleton of id, time and decision is written.

use std::collections::BTreeMap;

use regorus::Value;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::mask::{self, Applied};
use super::record::Record;
use crate::policy::obligation::{LogLevel, Obligations};
use crate::policy::permit::DeniedBy;
use crate::policy::{Denied, Permit};

/// Nanoseconds of a second.
const SECOND_NS: i64 = 1_000_000_000;
/// Members that a skeleton keeps.
const SKELETON: [&str; 8] = ["labels", "decision_id", "bundles", "path", "timestamp", "metrics", "req_id", "error"];

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// A line with all that may be kept.
    Plain,
    /// A line of which the masks erased or replaced something.
    Masked,
    /// Masking failed: a line without payload.
    Skeleton,
    /// No line: the drop policy says so.
    Dropped,
}

#[derive(Serialize)]
struct Event<'a> {
    labels: &'a BTreeMap<String, String>,
    decision_id: String,
    bundles: BTreeMap<&'a str, Bundle<'a>>,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Value>,
    result: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_by: Option<String>,
    timestamp: String,
    metrics: Metrics,
    #[serde(skip_serializing_if = "Option::is_none")]
    nd_builtin_cache: Option<BTreeMap<&'static str, BTreeMap<&'static str, i64>>>,
    req_id: u64,
}

#[derive(Serialize)]
struct Bundle<'a> {
    revision: &'a str,
}

#[derive(Serialize)]
struct Failure {
    code: &'static str,
}

#[derive(Serialize)]
struct Metrics {
    timer_rego_query_eval_ns: u64,
}

/// Appends the record's line, without a line break, to `out`.
pub fn write(record: &Record, number: u64, out: &mut Vec<u8>) -> Written {
    let event = Event::of(record, number);
    if !record.rules.look() {
        let begun = out.len();
        if serde_json::to_writer(&mut *out, &event).is_ok() {
            return Written::Plain;
        }
        out.truncate(begun);
        return skeleton(&event, out);
    }
    match masked(record, &event) {
        Ok(None) => Written::Dropped,
        Ok(Some((line, is_masked))) => {
            out.extend_from_slice(line.to_string().as_bytes());
            if is_masked { Written::Masked } else { Written::Plain }
        }
        Err(Failed(why)) => {
            tracing::warn!(%why, "a decision could not be masked: its payload is not logged");
            skeleton(&event, out)
        }
    }
}

struct Failed(String);

/// The event after drop and mask policy; `None` where it is dropped.
fn masked(record: &Record, event: &Event<'_>) -> Result<Option<(Json, bool)>, Failed> {
    let failed = |fault: &dyn std::fmt::Display| Failed(fault.to_string());
    // Text between, so that this is nobody else's document, and its sets are lists.
    let mut json = serde_json::to_value(event).map_err(|fault| failed(&fault))?;
    let document = Value::from(json.clone());
    if record.rules.drops(&document).map_err(|fault| failed(&fault))? {
        return Ok(None);
    }
    let masks = record.rules.masks(&document).map_err(|fault| failed(&fault))?;
    if masks == Value::Undefined {
        return Ok(Some((json, false)));
    }
    let masks = serde_json::to_value(&masks).map_err(|fault| failed(&fault))?;
    let masks = mask::read(&masks).map_err(|fault| failed(&fault))?;
    let members = json.as_object_mut().ok_or_else(|| Failed("the event is no object".to_owned()))?;
    let applied = mask::apply(&masks, members);
    let is_masked = !applied.erased.is_empty() || !applied.masked.is_empty();
    note(members, applied);
    Ok(Some((json, is_masked)))
}

fn note(members: &mut Map<String, Json>, applied: Applied) {
    let lists = [("erased", applied.erased), ("masked", applied.masked), ("not_erased", applied.not_erased)];
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        members.insert(name.to_owned(), list.into());
    }
}

/// Id, time and decision, of an event whose payload may not be written.
fn skeleton(event: &Event<'_>, out: &mut Vec<u8>) -> Written {
    let mut members = match serde_json::to_value(event) {
        Ok(Json::Object(members)) => members,
        Ok(_) | Err(_) => Map::from_iter([("decision_id".to_owned(), Json::from(event.decision_id.as_str()))]),
    };
    members.retain(|name, _| SKELETON.contains(&name.as_str()));
    members.insert("result".to_owned(), json!({"allow": event.result.get("allow").unwrap_or(&Json::Bool(false))}));
    members.insert("mask_error".to_owned(), Json::from("mask_failed"));
    out.extend_from_slice(Json::Object(members).to_string().as_bytes());
    Written::Skeleton
}

impl<'a> Event<'a> {
    fn of(record: &'a Record, number: u64) -> Self {
        let (bundle, revision) = record.rules.bundle();
        let by = record.verdict.as_ref().err().map(|denied| denied.by).filter(|by| *by != DeniedBy::Rule);
        Self {
            labels: record.rules.labels(),
            decision_id: record.id.hyphenated().to_string(),
            bundles: [(bundle, revision)]
                .into_iter()
                .chain(record.active.deciding(record.subject()).map(|(rule, taken)| (&*rule.name, taken.name())))
                .map(|(name, revision)| (name, Bundle { revision }))
                .collect(),
            path: record.rules.path(),
            input: (record.level() == LogLevel::Full).then(|| record.input()),
            result: result(&record.verdict),
            error: by.map(|by| Failure { code: by.code() }),
            requested_by: record.client().map(|ip| ip.to_canonical().to_string()),
            timestamp: rfc3339(record.at_ns),
            metrics: Metrics { timer_rego_query_eval_ns: record.took_ns },
            nd_builtin_cache: record.now_ns.map(|ns| BTreeMap::from([("time.now_ns", BTreeMap::from([("[]", ns)]))])),
            req_id: number,
        }
    }
}

/// The decision as a policy would have written it: what reads decisions reads this one back.
pub fn result(verdict: &Result<Permit, Denied>) -> Json {
    match verdict {
        Ok(permit) => json!({"allow": true, "rule": permit.rule(), "reason": permit.reason(),
            "obligations": obligations(permit.obligations())}),
        Err(denied) => {
            let mut result = json!({"allow": false, "rule": denied.rule, "reason": denied.reason});
            if let (Some(status), Some(members)) = (denied.status, result.as_object_mut()) {
                members.insert("http_status".to_owned(), status.into());
            }
            result
        }
    }
}

/// Obligations as a policy would have written them; only what demands something.
pub fn obligations(all: &Obligations) -> Json {
    let mut members = Map::new();
    if all.redact {
        members.insert("redact".to_owned(), true.into());
    }
    let lists = [("region", &all.route.regions), ("exclude", &all.route.exclude)];
    let route: Map<String, Json> = lists
        .into_iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(name, list)| (name.to_owned(), json!(list)))
        .collect();
    if !route.is_empty() {
        members.insert("route".to_owned(), route.into());
    }
    if let Some(tokens) = all.max_tokens {
        members.insert("limit".to_owned(), json!({ "max_tokens": tokens }));
    }
    match all.log {
        LogLevel::Full => {}
        LogLevel::Metadata => drop(members.insert("log".to_owned(), "metadata".into())),
        LogLevel::None => drop(members.insert("log".to_owned(), "none".into())),
    }
    if !all.headers.is_empty() {
        let headers: Map<String, Json> =
            all.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        members.insert("headers".to_owned(), headers.into());
    }
    members.into()
}

/// RFC 3339 with nanoseconds, UTC.
pub fn rfc3339(at_ns: i64) -> String {
    let (seconds, ns) = (at_ns.div_euclid(SECOND_NS), at_ns.rem_euclid(SECOND_NS));
    let at_ms = u64::try_from(seconds).unwrap_or_default().saturating_mul(1_000);
    let date = crate::cli::date::utc(at_ms).replace(' ', "T");
    format!("{}.{ns:09}Z", date.trim_end_matches('Z'))
}
