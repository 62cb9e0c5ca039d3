//! What was used of a limit before it was counted: read from the ledger's sums, or from its rows where a limit asks for
//! more than sums are kept by.

use async_trait::async_trait;
use weir_wire::endpoint::Endpoint;

use super::either::{Cells, on, row, rows};
use super::rollup::{Column, RollupFilter};
use super::{Store, StoreError, to_sql};
use crate::exchange::CallId;
use crate::limits::counter::{Line, NotGranted, Spent, UsedBy};
use crate::limits::quantity::{Amounts, Quantity};
use crate::limits::rule::counts_model;
use crate::limits::window::Span;
use crate::store::usage::UsageSum;

/// The step of the schema, in both dialects: the rows of one end-user, which are few among very many.
pub(super) const END_USERS: &str = "CREATE INDEX usage_end_user ON usage (end_user, at_ms);";

/// One text for each kind of question, since a plan that must suit all of them reads every row of the window.
macro_rules! sums_of_rows {
    ($more:literal) => {
        concat!(
            "SELECT model, endpoint, count(*) FILTER (WHERE attempt = 0 AND kind = 'usage'), ",
            "CAST(coalesce(sum(input_tokens), 0) AS BIGINT), CAST(coalesce(sum(output_tokens), 0) AS BIGINT), ",
            "CAST(coalesce(sum(cost_nano), 0) AS BIGINT) FROM usage WHERE at_ms >= $1 AND at_ms < $2 ",
            "AND (tenant = $3 OR substr(tenant, 1, length($3) + 1) = $3 || '/') AND ($4 IS NULL OR key = $4)",
            $more,
            " GROUP BY model, endpoint"
        )
    };
}
/// Whoever the end-user is.
const OF_ANY: &str = sums_of_rows!("");
/// Of one end-user.
const OF_END_USER: &str = sums_of_rows!(" AND end_user = $5");
/// Of calls that name none, which count together.
const OF_UNNAMED: &str = sums_of_rows!(" AND end_user IS NULL");

const CALL: &str = "SELECT count(*) FILTER (WHERE kind = 'usage'), \
     CAST(coalesce(sum(input_tokens), 0) AS BIGINT), CAST(coalesce(sum(output_tokens), 0) AS BIGINT), \
     CAST(coalesce(sum(cost_nano), 0) AS BIGINT) FROM usage WHERE call = $1";

#[async_trait]
impl UsedBy for Store {
    async fn used_by(&self, call: CallId) -> Result<Amounts, NotGranted> {
        let sums = row!(&self.pools, of_call, CALL, call.0.as_bytes().as_slice());
        sums.map(Option::unwrap_or_default).map_err(|error| {
            tracing::error!(%error, "what a call used can't be read");
            NotGranted::Unavailable { why: "ledger_unreadable" }
        })
    }
}

fn of_call<R: Cells>(row: &R) -> Result<Amounts, StoreError> {
    Ok(Amounts {
        requests: row.count(0, "usage.call")?.min(1),
        input_tokens: row.count(1, "usage.input_tokens")?,
        output_tokens: row.count(2, "usage.output_tokens")?,
        nano: u64::try_from(row.int(3)?).unwrap_or(0),
    })
}

#[async_trait]
impl Spent for Store {
    async fn spent(&self, line: &Line, span: Span) -> Result<u64, NotGranted> {
        let read = match line.scope.endpoints.is_empty() && line.scope.end_user.is_none() {
            true => self.spent_of_sums(line, span).await,
            false => self.spent_of_rows(line, span).await,
        };
        read.map_err(|error| {
            tracing::error!(%error, limit = &*line.id, "what was used of a limit can't be read");
            NotGranted::Unavailable { why: "ledger_unreadable" }
        })
    }
}

impl Store {
    async fn spent_of_sums(&self, line: &Line, span: Span) -> Result<u64, StoreError> {
        let filter = RollupFilter {
            tenant: Some(line.scope.tenant.to_string()),
            key: line.scope.key.as_ref().map(ToString::to_string),
            ..RollupFilter::default()
        };
        let mut used = 0_u64;
        for rolled in self.rollups(&[Column::Model], &[span], &filter).await? {
            let model = rolled.columns.first().map_or("", String::as_str);
            if counts_model(&line.scope.models, model) {
                used = used.saturating_add(count(line.quantity, &rolled.sums));
            }
        }
        Ok(used)
    }

    /// The rows of one scope: an end-user's or an endpoint's part is not among the sums.
    async fn spent_of_rows(&self, line: &Line, span: Span) -> Result<u64, StoreError> {
        let (key, end_user) = (line.scope.key.as_deref(), line.scope.end_user.as_deref());
        let (from, to) = (to_sql(span.from_ms), to_sql(span.to_ms));
        let tenant = &*line.scope.tenant;
        let parts = match end_user {
            None => rows!(&self.pools, part, OF_ANY, from, to, tenant, key)?,
            Some("") => rows!(&self.pools, part, OF_UNNAMED, from, to, tenant, key)?,
            Some(end_user) => rows!(&self.pools, part, OF_END_USER, from, to, tenant, key, end_user)?,
        };
        let is_meant = |path: &str| {
            let name = Endpoint::ALL.into_iter().find(|known| known.path() == path).map_or("", Endpoint::name);
            line.scope.endpoints.is_empty() || line.scope.endpoints.iter().any(|endpoint| **endpoint == *name)
        };
        let meant =
            parts.iter().filter(|part| counts_model(&line.scope.models, &part.model) && is_meant(&part.endpoint));
        Ok(meant.fold(0, |used, part| used.saturating_add(count(line.quantity, &part.sums))))
    }
}

/// Sums of the rows of one model at one endpoint.
struct Part {
    model: String,
    endpoint: String,
    sums: UsageSum,
}

fn part<R: Cells>(row: &R) -> Result<Part, StoreError> {
    let sums = UsageSum {
        calls: row.count(2, "usage.call")?,
        input_tokens: row.count(3, "usage.input_tokens")?,
        output_tokens: row.count(4, "usage.output_tokens")?,
        cost_nano: row.int(5)?,
        ..UsageSum::default()
    };
    Ok(Part { model: row.text(0)?, endpoint: row.text(1)?, sums })
}

fn count(quantity: Quantity, sums: &UsageSum) -> u64 {
    match quantity {
        Quantity::Requests | Quantity::Concurrency => sums.calls,
        Quantity::InputTokens => sums.input_tokens,
        Quantity::OutputTokens => sums.output_tokens,
        Quantity::Tokens => sums.input_tokens.saturating_add(sums.output_tokens),
        Quantity::Money => u64::try_from(sums.cost_nano).unwrap_or(0),
    }
}

#[cfg(test)]
pub(super) mod tests;
