//! What an attempt is charged by, beside its two sums of tokens: tier, buckets, and what else is known of its price.
//!
//! It crosses a restart inside a closing, so names are text and whatever is missing in an older one has a default.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How a row came by its cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pricing {
    /// By the price book's entry.
    #[default]
    Priced,
    /// The provider's report contradicts itself: priced by its totals, for somebody to look at.
    Inconsistent,
    /// The book has no entry: its ceiling applies.
    Ceiling,
    /// Nothing was priced: the upstream did no work.
    None,
}

impl Pricing {
    /// Its name in the store and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Pricing::Priced => "priced",
            Pricing::Inconsistent => "inconsistent",
            Pricing::Ceiling => "ceiling",
            Pricing::None => "none",
        }
    }
}

/// What an attempt is charged by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bill {
    /// `standard`, `batch`, `flex`, `priority`.
    pub tier: Arc<str>,
    /// Quantities by disjoint bucket, without the zeros.
    pub buckets: BTreeMap<Arc<str>, u64>,
    /// How the cost came about.
    pub pricing: Pricing,
    /// Nano-dollars by the list price, before a tenant's discount.
    pub list_nano: i64,
    /// Nano-dollars that the provider itself states, where it does.
    pub provider_cost_nano: Option<i64>,
    /// Where the deployment stands.
    pub region: Option<Arc<str>>,
    /// Arm of an experiment.
    pub arm: Option<Arc<str>>,
    /// Milliseconds that the call waited in front of its deployment.
    pub queue_ms: Option<u32>,
    /// The id of the row that this one corrects; none for a row of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrects: Option<Arc<str>>,
    /// The id of the response that it made and that its provider keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made: Option<Arc<str>>,
    /// The id of the stored response that it took away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_away: Option<Arc<str>>,
}

impl Default for Bill {
    fn default() -> Self {
        Self {
            tier: "standard".into(),
            buckets: BTreeMap::new(),
            pricing: Pricing::default(),
            list_nano: 0,
            provider_cost_nano: None,
            region: None,
            arm: None,
            queue_ms: None,
            corrects: None,
            made: None,
            took_away: None,
        }
    }
}

impl Bill {
    /// Sum of the buckets whose name begins so.
    pub fn sum(&self, prefix: &str) -> u64 {
        let fits = self.buckets.iter().filter(|(name, _)| name.starts_with(prefix));
        fits.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}
