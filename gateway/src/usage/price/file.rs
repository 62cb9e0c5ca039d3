//! A price file's shape, as it stands in YAML. [`super::plan`] gives it a meaning.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::usage::buckets::{Bucket, Tier};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Written on each usage row.
    pub version: String,
    /// What to do with a model that has no price.
    #[serde(default)]
    pub unpriced: Fallback,
    /// ISO 4217 code of what the prices are in.
    #[serde(default)]
    pub currency: Option<String>,
    /// What a unit of that currency is worth.
    #[serde(default)]
    pub rates: Vec<Rate>,
    /// What tenants pay less.
    #[serde(default)]
    pub discounts: Vec<Discount>,
    /// The list.
    pub prices: Vec<Entry>,
}

/// What to do with a model that has no price.
#[derive(Deserialize, Default)]
#[serde(untagged)]
pub enum Fallback {
    /// The file says nothing: as `refuse`.
    #[default]
    Unset,
    /// Refuse it.
    Word(Refuse),
    /// Charge more than it can cost.
    Ceiling(Ceiling),
}

/// The word.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refuse {
    /// Refuse.
    Refuse,
}

/// Prices of what has none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ceiling {
    /// The prices.
    pub ceiling: Prices,
}

/// What a unit of the file's currency is worth from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// First moment; the rate holds until that of the next.
    pub from: Moment,
    /// US dollars for one unit, as a decimal number.
    pub usd: String,
}

/// What a tenant pays less.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discount {
    /// The tenant, and all below it; everybody where it is missing.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Of which provider, a name or a beginning and `*`.
    pub provider: String,
    /// Of which models, a name or a beginning and `*`.
    pub model: String,
    /// First moment.
    #[serde(default)]
    pub from: Option<Moment>,
    /// First moment at which it no longer holds.
    #[serde(default)]
    pub to: Option<Moment>,
    /// Percent off the list, with at most two decimals.
    #[serde(default)]
    pub percent: Option<String>,
    /// Or prices in place of the list's.
    #[serde(default)]
    pub prices: Option<Prices>,
}

/// The price of a model, or of all whose names begin alike.
#[derive(Deserialize)]
pub struct Entry {
    /// The provider's name.
    pub provider: String,
    /// The upstream's name of the model, or its beginning and `*`.
    pub model: String,
    /// Other names, or beginnings of names, of the same model.
    #[serde(default)]
    pub also: Vec<String>,
    /// First moment.
    #[serde(default)]
    pub from: Option<Moment>,
    /// First moment at which it no longer holds.
    #[serde(default)]
    pub to: Option<Moment>,
    /// Only there.
    #[serde(default)]
    pub region: Option<String>,
    /// Other prices of other tiers.
    #[serde(default)]
    pub tiers: BTreeMap<Tier, Prices>,
    /// Other prices of long prompts.
    #[serde(default)]
    pub above: Vec<Band>,
    /// Its prices; flattened, so that a key that is none of the above has to be a bucket.
    #[serde(flatten)]
    pub prices: Prices,
}

/// Prices of calls whose prompts are longer than so much.
#[derive(Deserialize)]
pub struct Band {
    /// Prompt tokens, cached ones too, above which the whole call has these prices.
    pub tokens: u64,
    /// Of other tiers.
    #[serde(default)]
    pub tiers: BTreeMap<Tier, Prices>,
    /// What differs.
    #[serde(flatten)]
    pub prices: Prices,
}

/// Prices by bucket.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(transparent)]
pub struct Prices(pub BTreeMap<Bucket, Quote>);

/// A price as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Quote {
    /// Such as `0.15 per 1M`.
    One(String),
    /// By size and quality of a picture; `*` stands for every other.
    BySize(BTreeMap<String, String>),
}

/// A moment in Unix milliseconds; in the file a date (midnight, UTC) or a time with its zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Moment::read(&text).ok_or_else(|| {
            D::Error::custom(format_args!("`{text}` is neither a date such as `2026-01-31` nor a time in RFC 3339"))
        })
    }
}

impl Moment {
    /// Reads a date or a time.
    pub fn read(text: &str) -> Option<Self> {
        let ms = match chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d") {
            Ok(date) => date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis(),
            Err(_) => chrono::DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis(),
        };
        u64::try_from(ms).ok().map(Self)
    }
}
