//! The books of a gateway, read with its own commands: what was used, and what the audit log says.

use serde_json::Value;

use super::Gateway;
use crate::clock;

/// What a report of usage adds up.
const SUMS: [&str; 3] = ["input_tokens", "output_tokens", "cost_nano"];

/// The outcome of a call or an attempt.
pub fn outcome(record: &Value) -> &str {
    record["outcome"].as_str().unwrap_or_default()
}

impl Gateway {
    /// The audit records of calls, oldest first.
    ///
    /// # Panics
    /// The command fails.
    pub async fn audit(&self) -> Vec<Value> {
        let records = self.weir(&["audit", "list", "--json", "--limit", "100000"]).await.json();
        // A single line is a value of its own.
        let records = if records.is_array() { records } else { Value::Array(vec![records]) };
        let is_call = |record: &&Value| record["kind"] == "call";
        records.as_array().into_iter().flatten().filter(is_call).cloned().collect()
    }

    /// The audit records of calls, once there are this many.
    ///
    /// # Panics
    /// There are not soon, or there are more.
    pub async fn audit_calls(&self, count: usize) -> Vec<Value> {
        let look = async || Some(self.audit().await).filter(|calls| calls.len() >= count);
        let calls = clock::eventually(&format!("{count} audit records"), look).await;
        assert_eq!(calls.len(), count, "audit records: {calls:#?}");
        calls
    }

    /// The usage rows, one per upstream attempt: the attempts of the audit records, each with its `call`, once the
    /// ledger adds up to the same number, tokens and cost.
    ///
    /// # Panics
    /// The two never agree.
    pub async fn usage(&self) -> Vec<Value> {
        clock::eventually("ledger and audit log agree", async || {
            let rows = attempts(&self.audit().await);
            let total = self.ledger().await["total"].clone();
            let sum = |name: &str| rows.iter().filter_map(|row| row[name].as_i64()).sum::<i64>();
            let agree = SUMS.iter().all(|name| total[*name].as_i64() == Some(sum(name)));
            (agree && total["attempts"] == rows.len()).then_some(rows)
        })
        .await
    }

    /// The ledger's own report, a row per call.
    ///
    /// # Panics
    /// The command fails.
    pub async fn ledger(&self) -> Value {
        self.weir(&["usage", "report", "--json", "--by", "call"]).await.json()
    }

    /// The usage rows, once there are this many.
    ///
    /// # Panics
    /// There are not soon, or there are more.
    pub async fn usage_rows(&self, count: usize) -> Vec<Value> {
        let look = async || Some(self.usage().await).filter(|rows| rows.len() >= count);
        let rows = clock::eventually(&format!("{count} usage rows"), look).await;
        assert_eq!(rows.len(), count, "usage rows: {rows:#?}");
        rows
    }

    /// Proves the audit chain with the real command.
    ///
    /// # Panics
    /// It finds a fault.
    pub async fn verify_audit(&self) -> Value {
        // The store may be a moment behind the log.
        let report = clock::eventually("the audit log is sound", async || {
            let done = self.weir(&["audit", "verify", "--json"]).await;
            (done.status == 0).then(|| done.json())
        });
        report.await
    }
}

/// Every attempt of these calls, with the call's id.
fn attempts(calls: &[Value]) -> Vec<Value> {
    let of_call = |call: &Value| {
        let id = call["id"].clone();
        let with_id = move |attempt: &Value| {
            let mut attempt = attempt.clone();
            attempt["call"] = id.clone();
            attempt
        };
        call["attempts"].as_array().into_iter().flatten().map(with_id).collect::<Vec<_>>()
    };
    calls.iter().flat_map(of_call).collect()
}
