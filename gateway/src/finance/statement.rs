//! What a statement says: its form as JSON, and sums that are added and taken away line by line. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::store::rollup::Column;
use crate::store::statement::AuditHead;

/// Version of the statements' form.
pub const FORM: u64 = 1;
/// What a statement's lines are told apart by.
pub const LINE: [Column; 4] = [Column::Tenant, Column::Provider, Column::Model, Column::Tier];

/// Sums of a line.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Upstream attempts.
    pub attempts: i64,
    /// Counts by bucket, without the zeros.
    pub buckets: BTreeMap<String, i64>,
    /// Calls.
    pub calls: i64,
    /// Nano-dollars.
    pub cost_nano: i64,
    /// Prompt tokens.
    pub input_tokens: i64,
    /// Nano-dollars by list price.
    pub list_nano: i64,
    /// Completion tokens.
    pub output_tokens: i64,
}

/// What a line is about: tenant, provider, model, tier.
pub type LineKey = [String; LINE.len()];
/// Lines of one month.
pub type Lines = BTreeMap<LineKey, Sums>;

/// One line of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Tenant path.
    pub tenant: String,
    /// Provider.
    pub provider: String,
    /// Model as asked for.
    pub model: String,
    /// Tier of the price.
    pub tier: String,
    /// Its sums; those of a correction are differences.
    #[serde(flatten)]
    pub sums: Sums,
}

/// What came late for a month that was closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    /// Number of the statement that it corrects.
    pub statement: u64,
    /// Its month.
    pub month: String,
    /// The differences.
    pub lines: Vec<Line>,
}

/// What a statement says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Version of this form.
    pub form: u64,
    /// Counts up from 1 without a gap.
    pub number: u64,
    /// Who issues it.
    pub issuer: String,
    /// Tenant path; empty: the whole deployment.
    pub tenant: String,
    /// `2026-11`.
    pub month: String,
    /// Whose month.
    pub zone: String,
    /// Unix milliseconds, inclusive.
    pub from_ms: u64,
    /// Unix milliseconds, exclusive.
    pub to_ms: u64,
    /// Unix milliseconds at the closing.
    pub closed_ms: u64,
    /// Currency of the sums; amounts are billionths of it.
    pub currency: String,
    /// Lines of the month.
    pub lines: Vec<Line>,
    /// What came late for earlier months.
    pub corrections: Vec<Correction>,
    /// Sum of all lines, corrections included, in nano-dollars.
    pub total_nano: i64,
    /// Versions of the prices that were applied in the month.
    pub price_versions: Vec<String>,
    /// Digest of the statement before this one; empty for the first.
    pub previous: String,
    /// Where the audit logs were.
    pub audit: Vec<StatedHead>,
}

/// Where a gateway's audit log was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatedHead {
    /// The gateway; empty where one alone uses the store.
    pub node: String,
    /// Number of its last line.
    pub seq: u64,
    /// Hash of that line.
    pub hash: String,
}

impl From<AuditHead> for StatedHead {
    fn from(AuditHead { node, seq, hash }: AuditHead) -> Self {
        Self { node, seq, hash }
    }
}

/// The lines as they are written.
pub fn written(lines: Lines) -> Vec<Line> {
    let line = |([tenant, provider, model, tier], sums): (LineKey, Sums)| Line { tenant, provider, model, tier, sums };
    lines.into_iter().map(line).collect()
}

/// Adds lines; `None` beyond what can be counted.
pub fn add(to: &mut Lines, lines: &[Line]) -> Option<()> {
    for line in lines {
        let key = [&line.tenant, &line.provider, &line.model, &line.tier].map(String::clone);
        to.entry(key).or_default().combine(&line.sums, i64::checked_add)?;
    }
    Some(())
}

/// The differences that are not zero; `None` beyond what can be counted.
pub fn minus(mut now: Lines, said: Lines) -> Option<Lines> {
    for (key, sums) in said {
        now.entry(key).or_default().combine(&sums, i64::checked_sub)?;
    }
    now.retain(|_, sums| *sums != Sums::default());
    Some(now)
}

impl Sums {
    fn combine(&mut self, other: &Sums, with: fn(i64, i64) -> Option<i64>) -> Option<()> {
        self.attempts = with(self.attempts, other.attempts)?;
        self.calls = with(self.calls, other.calls)?;
        self.cost_nano = with(self.cost_nano, other.cost_nano)?;
        self.input_tokens = with(self.input_tokens, other.input_tokens)?;
        self.list_nano = with(self.list_nano, other.list_nano)?;
        self.output_tokens = with(self.output_tokens, other.output_tokens)?;
        for (bucket, count) in &other.buckets {
            let of = self.buckets.entry(bucket.clone()).or_default();
            *of = with(*of, *count)?;
        }
        self.buckets.retain(|_, count| *count != 0);
        Some(())
    }
}
