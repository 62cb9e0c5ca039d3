//! What the journal's tests share: calls, folders, and the check that every crash must pass.

#![allow(clippy::arithmetic_side_effects, clippy::as_conversions)] // tests count small numbers

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::audit::files::{self, Line, Lines};
use crate::audit::verify::audit_verify;
use crate::exchange::{Attempt, CallId, Outcome, UsageSource};
use crate::identity::{KeyId, TenantPath};
use crate::store::usage::{GroupBy, UsageFilter};
use crate::store::{STORE_FILE, Store, sqlite::Create};
use crate::usage::bill::Bill;

pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A folder in memory where there is one: the tests sync thousands of times.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(crate) fn call(number: u128) -> CallId {
    CallId(uuid::Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 + number))
}

pub(crate) fn opening(call: CallId, attempt: u16) -> Opening {
    Opening {
        call,
        attempt,
        at_ms: 1_700_000_000_000,
        tenant: TenantPath::parse("acme/research/chat/ada").unwrap(),
        key: KeyId("k0000001".into()),
        endpoint: "/v1/chat/completions".into(),
        model: "small".into(),
        deployment: "own".into(),
        provider: "engine".into(),
        upstream_model: "smollm2".into(),
        held_input_tokens: 100,
        held_output_tokens: 50,
        held_nano: 6_000,
        end_user: Some("eu_00112233445566ff".into()),
    }
}

/// A closing of `attempts` attempts; none means that the call was refused.
pub(crate) fn closing(call: CallId, attempts: u16) -> Closing {
    let open = opening(call, 0);
    let outcome = if attempts == 0 { Outcome::Refused } else { Outcome::Completed };
    let attempt = |attempt| Attempt {
        attempt,
        deployment: open.deployment.clone(),
        provider: open.provider.clone(),
        model: open.upstream_model.clone(),
        status: 200,
        outcome,
        reason: None,
        input_tokens: 90,
        output_tokens: 30,
        source: UsageSource::Exact,
        cost_nano: 4_200,
        price_version: "v1".into(),
        first_token_ms: Some(12),
        total_ms: 90,
        finish_reason: Some("stop".into()),
        bill: Bill {
            buckets: [("input_text", 80), ("cache_read", 10), ("output_text", 25), ("reasoning", 5)]
                .map(|(name, count)| (name.into(), count))
                .into(),
            list_nano: 4_200,
            provider_cost_nano: Some(4_199),
            region: Some("eu".into()),
            ..Bill::default()
        },
    };
    Closing {
        call,
        at_ms: open.at_ms,
        ended_ms: open.at_ms + 90,
        tenant: Some(open.tenant.clone()),
        key: Some(open.key.clone()),
        endpoint: open.endpoint.clone(),
        model: Some(open.model.clone()),
        end_user: open.end_user.clone(),
        stream: true,
        outcome,
        status: 200,
        reason: (attempts == 0).then(|| "model_denied".into()),
        rule: Some("allow".into()),
        obligations: Vec::new(),
        revision: 3,
        fail_open: Vec::new(),
        attempts: (0..attempts).map(attempt).collect(),
    }
}

/// Copies a data folder as a crash would leave it. SQLite makes its shared memory anew.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else if !path.to_str().unwrap().ends_with("-shm") {
            match std::fs::copy(&path, &target) {
                // SQLite takes its log away when the last connection closes, which may be now.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}

/// One line of the audit log: kind or event, and the number of attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) what: String,
    pub(crate) attempts: usize,
}

pub(crate) fn records(data: &Path) -> Vec<(CallId, Record)> {
    let folder = data.join(files::AUDIT_FOLDER);
    let mut records = Vec::new();
    for number in files::numbers(&folder).unwrap() {
        let mut lines = Lines::open(&files::path(&folder, number), 0).unwrap();
        while let Some(line) = lines.read().unwrap() {
            let Line::Whole(line) = line else { panic!("a torn line") };
            let value: serde_json::Value = serde_json::from_slice(line).unwrap();
            let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
            let what = if text("kind") == "note" { text("event") } else { text("outcome") };
            let attempts = value["attempts"].as_array().map_or(0, Vec::len);
            records.push((serde_json::from_value(value["id"].clone()).unwrap(), Record { what, attempts }));
        }
    }
    records
}

pub(crate) async fn rows(data: &Path) -> BTreeMap<String, u64> {
    let store = Store::open(&data.join(STORE_FILE), Create::Never).await.unwrap();
    let rows = store.usage_rows(GroupBy::Call, &UsageFilter::default()).await.unwrap();
    store.close().await;
    rows.into_iter().map(|row| (row.group, row.attempts)).collect()
}

/// Starts once more on the folder, ends, and checks what must hold after any crash: one record per call, one row
/// per attempt, a sound chain, nothing of `promised` lost.
pub(crate) async fn check(data: &Path, promised: &BTreeSet<CallId>, context: &str) -> Vec<(CallId, Record)> {
    let (journal, _) =
        Journal::open(data, Durability::Window).await.unwrap_or_else(|error| panic!("{context}: {error}"));
    journal.shutdown(LONG).await.unwrap();
    check_files(data, promised, context).await
}

pub(crate) async fn check_files(data: &Path, promised: &BTreeSet<CallId>, context: &str) -> Vec<(CallId, Record)> {
    let report = audit_verify(data).await.unwrap();
    assert!(report.ok && report.notes.is_empty(), "{context}: {report:#?}");
    let records = records(data);
    let mut by_call = BTreeMap::new();
    for (id, record) in &records {
        assert!(by_call.insert(*id, record.clone()).is_none(), "{context}: two records of {id:?}");
    }
    for id in promised {
        assert!(by_call.contains_key(id), "{context}: no record of {id:?}");
    }
    let rows = rows(data).await;
    for (id, record) in &by_call {
        let count = rows.get(&id.0.to_string()).copied().unwrap_or(0);
        assert_eq!(count, record.attempts as u64, "{context}: rows of {id:?}");
    }
    let attempts: usize = by_call.values().map(|record| record.attempts).sum();
    assert_eq!(rows.values().sum::<u64>(), attempts as u64, "{context}: rows without a record");
    records
}
