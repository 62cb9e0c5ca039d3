//! The ledger's rows one by one, for those who check a bill and for whoever re-rates it.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use super::either::{Cells, on, rows};
use super::usage::UsageFilter;
use super::{Store, StoreError, to_sql};

/// Rows of one page at most: some 500 bytes each.
pub const PAGE_ROWS: u32 = 1_000;

/// One row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsageEvent {
    /// `<call id>-<attempt>`: no other row has it.
    pub event: EventId,
    /// `usage` or `correction`.
    pub kind: String,
    /// The event that a correction re-rates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrects: Option<String>,
    /// Unix milliseconds at the call's birth; of a correction, when it was made.
    pub at_ms: u64,
    /// Who called.
    pub tenant: String,
    /// By which key.
    pub key: String,
    /// Pseudonym of the end user.
    pub end_user: Option<String>,
    /// Endpoint's path.
    pub endpoint: String,
    /// Model as asked for.
    pub model: String,
    /// Deployment that served it.
    pub deployment: String,
    /// Its provider.
    pub provider: String,
    /// Its model.
    pub upstream_model: String,
    /// Where it stands.
    pub region: Option<String>,
    /// The upstream's HTTP status.
    pub status: u16,
    /// How the attempt ended.
    pub outcome: String,
    /// Why it failed.
    pub reason: Option<String>,
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Completion tokens.
    pub output_tokens: u64,
    /// Where the counts come from.
    pub source: String,
    /// Tier of service.
    pub tier: String,
    /// Quantities by disjoint bucket.
    pub buckets: BTreeMap<String, u64>,
    /// How the cost came about.
    pub pricing: String,
    /// Nano-dollars.
    pub cost_nano: i64,
    /// Nano-dollars by list price.
    pub list_nano: i64,
    /// Nano-dollars that the provider states.
    pub provider_cost_nano: Option<i64>,
    /// Version of the price.
    pub price_version: String,
    /// Milliseconds in front of the deployment.
    pub queue_ms: Option<u32>,
    /// Milliseconds to the first token.
    pub first_token_ms: Option<u32>,
    /// Milliseconds to the end.
    pub total_ms: u32,
    /// The model's finish reason.
    pub finish_reason: Option<String>,
}

/// A row's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId {
    /// The call, UUIDv7.
    pub call: Uuid,
    /// Position in the call.
    pub attempt: u16,
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.call.hyphenated(), self.attempt)
    }
}

impl Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

const PAGE: &str = "SELECT call, attempt, kind, corrects, at_ms, tenant, key, end_user, endpoint, model, deployment, \
     provider, upstream_model, region, status, outcome, reason, input_tokens, output_tokens, source, tier, buckets, \
     pricing, cost_nano, list_nano, provider_cost_nano, price_version, queue_ms, first_token_ms, total_ms, \
     finish_reason FROM usage WHERE at_ms >= $1 AND at_ms < $2 \
     AND ($3 IS NULL OR tenant = $3 OR substr(tenant, 1, length($3) + 1) = $3 || '/') \
     AND (call > $4 OR (call = $4 AND attempt > $5)) ORDER BY call, attempt LIMIT $6";

impl Store {
    /// The rows behind `after`, in the order of their ids; fewer than [`PAGE_ROWS`] means that these are the last.
    pub async fn usage_events(
        &self,
        filter: &UsageFilter,
        after: Option<EventId>,
    ) -> Result<Vec<UsageEvent>, StoreError> {
        let (call, attempt) = after.map_or((Uuid::nil(), -1), |id| (id.call, i64::from(id.attempt)));
        let since = to_sql(filter.since_ms.unwrap_or(0));
        let until = filter.until_ms.map_or(i64::MAX, to_sql);
        let (tenant, call) = (filter.tenant.as_deref(), call.as_bytes().to_vec());
        rows!(&self.pools, event, PAGE, since, until, tenant, call, attempt, i64::from(PAGE_ROWS))
    }
}

fn event(row: &impl Cells) -> Result<UsageEvent, StoreError> {
    let broken = |column| StoreError::Broken { column };
    let small = |column: &'static str, value: Option<i64>| {
        value.map(|value| u32::try_from(value).map_err(|_| broken(column))).transpose()
    };
    let call = row.bytes("call")?;
    let buckets = row.text("buckets")?;
    Ok(UsageEvent {
        event: EventId {
            call: Uuid::from_slice(&call).map_err(|_| broken("usage.call"))?,
            attempt: u16::try_from(row.int("attempt")?).map_err(|_| broken("usage.attempt"))?,
        },
        kind: row.text("kind")?,
        corrects: row.text_or("corrects")?,
        at_ms: row.count("at_ms", "usage.at_ms")?,
        tenant: row.text("tenant")?,
        key: row.text("key")?,
        end_user: row.text_or("end_user")?,
        endpoint: row.text("endpoint")?,
        model: row.text("model")?,
        deployment: row.text("deployment")?,
        provider: row.text("provider")?,
        upstream_model: row.text("upstream_model")?,
        region: row.text_or("region")?,
        status: u16::try_from(row.int("status")?).map_err(|_| broken("usage.status"))?,
        outcome: row.text("outcome")?,
        reason: row.text_or("reason")?,
        input_tokens: row.count("input_tokens", "usage.input_tokens")?,
        output_tokens: row.count("output_tokens", "usage.output_tokens")?,
        source: row.text("source")?,
        tier: row.text("tier")?,
        buckets: serde_json::from_str(&buckets).map_err(|_| broken("usage.buckets"))?,
        pricing: row.text("pricing")?,
        cost_nano: row.int("cost_nano")?,
        list_nano: row.int("list_nano")?,
        provider_cost_nano: row.int_or("provider_cost_nano")?,
        price_version: row.text("price_version")?,
        queue_ms: small("usage.queue_ms", row.int_or("queue_ms")?)?,
        first_token_ms: small("usage.first_token_ms", row.int_or("first_token_ms")?)?,
        total_ms: small("usage.total_ms", Some(row.int("total_ms")?))?.unwrap_or(0),
        finish_reason: row.text_or("finish_reason")?,
    })
}
