//! Prices, and what a call costs. Pure: a file's text in, whole nano-dollars out.
//!
//! A price is kept as a fraction and the sum of an attempt is rounded once, half to even, so no error builds up.
//! Refuses what has no price: an unknown price is never zero. Start at [`PriceBook::price`]; [`file`] is the shape of
//! the YAML, [`plan`] what it means for each tier and length of prompt, [`discount`] what tenants pay less, [`fare`]
//! what a call may cost.

pub mod amount;
pub mod discount;
pub mod fare;
pub mod file;
pub mod gpu;
pub mod import;
pub mod plan;
pub mod show;

use std::collections::HashMap;
use std::sync::Arc;

use self::amount::{Ratio, Rounding};
use self::discount::{Discount, Pays};
use self::file::{Ceiling, Entry, Fallback, File, Refuse};
use self::plan::{Kinds, Plan, Sum};
use super::buckets::{Buckets, Tier};

/// The price file that ships with Weir.
pub const BUILTIN: &str = include_str!("../../../config/prices/builtin.yaml");
/// Characters of a version.
const VERSION_MAX: usize = 64;
/// The currency of nano-dollars.
const DOLLAR: &str = "USD";
/// A moment after every change that a file announces.
pub const LATEST_MS: u64 = u64::MAX - 1;

/// Every price of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceBook {
    version: Arc<str>,
    /// Version that is written where the ceiling was applied.
    ceiling_version: Arc<str>,
    ceiling: Option<Plan>,
    providers: HashMap<Box<str>, Models>,
    discounts: Vec<Discount>,
    /// Dollars for one unit of the file's currency, latest first; empty for dollars.
    rates: Vec<(u64, Ratio)>,
}

/// What the gateway's own configuration says of prices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// What tenants pay less.
    pub discounts: Vec<file::Discount>,
    /// ISO 4217 code of what the price file's amounts are in.
    pub currency: Option<String>,
    /// Dollars for a unit of it.
    pub rates: Vec<file::Rate>,
}

/// The prices of one provider.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Models {
    exact: HashMap<Box<str>, Vec<Plan>>,
    /// Longest first.
    prefixes: Vec<(Box<str>, Vec<Plan>)>,
}

/// What is to be priced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceOf<'a> {
    /// Provider's name in the price file.
    pub provider: &'a str,
    /// The upstream's name of the model.
    pub model: &'a str,
    /// Where it ran, where prices differ by place.
    pub region: Option<&'a str>,
    /// How urgently.
    pub tier: Tier,
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// Whose prices: the path of a tenant; none for the list's.
    pub tenant: Option<&'a str>,
    /// Size and quality of pictures, such as `1024x1024/high`, where they aren't counted in tokens.
    pub picture: Option<&'a str>,
}

impl<'a> PriceOf<'a> {
    /// A call at the list's standard price.
    pub const fn new(provider: &'a str, model: &'a str, at_ms: u64) -> Self {
        Self { provider, model, region: None, tier: Tier::Standard, at_ms, tenant: None, picture: None }
    }
}

/// Whether a cost is a price or a guess that is too high.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The price of the file.
    Priced,
    /// The file's ceiling for what has no price.
    Ceiling,
}

/// What an attempt costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// Nano-dollars that the tenant pays.
    pub nano: i64,
    /// Nano-dollars of the list, before discounts.
    pub list_nano: i64,
    /// Version of the price.
    pub version: Arc<str>,
    /// Where the price is from.
    pub basis: Basis,
}

/// Why there is no cost. The call is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unpriced {
    /// The file has no price for it.
    #[error("no price for the model `{model}` of `{provider}`")]
    Unknown {
        /// Provider's name in the price file.
        provider: String,
        /// Model's name there.
        model: String,
    },
    /// The file has none for that tier.
    #[error("no {tier} price for the model `{model}` of `{provider}`")]
    Tier {
        /// Provider's name in the price file.
        provider: String,
        /// Model's name there.
        model: String,
        /// Which tier.
        tier: &'static str,
    },
    /// The file has a price for the model, but none for something that was used.
    #[error("no price for `{bucket}` of the model `{model}` of `{provider}`")]
    Bucket {
        /// Provider's name in the price file.
        provider: String,
        /// Model's name there.
        model: String,
        /// What was used.
        bucket: &'static str,
    },
    /// The file says nothing of its currency's worth then.
    #[error("no exchange rate is in effect at that time")]
    Rate,
    /// More than nine billion dollars.
    #[error("the cost is beyond what can be counted")]
    Overflow,
}

/// Why a text is no price file.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    /// Not the YAML that is meant.
    #[error("the price file can't be read: {0}")]
    Syntax(#[from] serde_yaml_ng::Error),
    /// Not an amount.
    #[error("`{text}` for `{entry}` is no price: write it like `0.15 per 1M`, or `0.006 per minute` for time")]
    Amount {
        /// As written.
        text: String,
        /// The entry.
        entry: String,
    },
    /// The same twice.
    #[error("`{entry}` has two prices at the same time")]
    Twice {
        /// The entry.
        entry: String,
    },
    /// A `*` that is not at the end.
    #[error("`{0}` is no name: `*` may only stand at its end")]
    Pattern(String),
    /// No version.
    #[error("the price file needs a `version` of 1 to 64 characters")]
    Version,
    /// No price in an entry, or too many bands.
    #[error("`{0}` needs at least one price and at most eight lengths of prompts")]
    Empty(String),
    /// Sizes of what has none.
    #[error("`{bucket}` of `{entry}` has one price; only `images` have sizes")]
    Sizes {
        /// The entry.
        entry: String,
        /// The bucket.
        bucket: &'static str,
    },
    /// Too many digits.
    #[error("the prices of `{0}` have too many digits")]
    TooFine(String),
    /// Ends before it begins.
    #[error("`{0}` ends before it begins")]
    Span(String),
    /// Neither a percentage nor prices.
    #[error("the {0} needs either a `percent` from 0 to 100 with at most two decimals or `prices`")]
    Percent(String),
    /// Another currency without its worth, or dollars with one.
    #[error("`rates` belong to a `currency` other than USD: a decimal number of dollars from a date on")]
    Currency,
}

impl PriceBook {
    /// The same with what the gateway's own configuration says of prices: its discounts win over the file's for the
    /// same tenant, and its currency and rates take the place of the file's.
    ///
    /// # Errors
    /// A discount or a rate means nothing.
    pub fn with(mut self, terms: &Terms) -> Result<Self, PriceError> {
        let mut discounts = terms.discounts.iter().map(Discount::new).collect::<Result<Vec<_>, _>>()?;
        discounts.append(&mut self.discounts);
        self.discounts = discounts;
        if terms.currency.is_some() || !terms.rates.is_empty() {
            self.rates = rates(terms.currency.as_deref(), &terms.rates)?;
        }
        Ok(self)
    }

    /// Reads a price file.
    pub fn parse(text: &str) -> Result<Self, PriceError> {
        let file: File = serde_yaml_ng::from_str(text)?;
        if file.version.is_empty() || file.version.len() > VERSION_MAX {
            return Err(PriceError::Version);
        }
        let ceiling = match &file.unpriced {
            Fallback::Unset | Fallback::Word(Refuse::Refuse) => None,
            Fallback::Ceiling(Ceiling { ceiling }) => Some(Plan::always("ceiling", ceiling)?),
        };
        let mut book = Self {
            ceiling_version: format!("{}+ceiling", file.version).into(),
            rates: rates(file.currency.as_deref(), &file.rates)?,
            version: file.version.into(),
            ceiling,
            providers: HashMap::new(),
            discounts: file.discounts.iter().map(Discount::new).collect::<Result<_, _>>()?,
        };
        for entry in &file.prices {
            book.add(entry)?;
        }
        for models in book.providers.values_mut() {
            models.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        }
        Ok(book)
    }

    /// Version of the file.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    fn add(&mut self, entry: &Entry) -> Result<(), PriceError> {
        let plan = Plan::new(entry)?;
        let models = self.providers.entry(entry.provider.as_str().into()).or_default();
        for name in std::iter::once(&entry.model).chain(&entry.also) {
            let plans = match name.strip_suffix('*') {
                Some(prefix) if !prefix.contains('*') => models.prefix(prefix),
                None if !name.contains('*') => models.exact.entry(name.as_str().into()).or_default(),
                Some(_) | None => return Err(PriceError::Pattern(name.clone())),
            };
            if plans.iter().any(|known| known.clashes(&plan)) {
                return Err(PriceError::Twice { entry: format!("{}/{name}", entry.provider) });
            }
            plans.push(plan.clone());
        }
        Ok(())
    }

    /// What a call costs that used so much, to the nano-dollar, half to even.
    pub fn price(&self, of: &PriceOf<'_>, used: &Buckets) -> Result<Cost, Unpriced> {
        let sum = |plan: &Plan| {
            let table = plan.table(of.tier, used.input_tokens()).ok_or_else(|| no_tier(of))?;
            table.sum(used, of.picture).map_err(|missing| missing.of(of.provider, of.model))
        };
        self.cost_by(of, sum, Rounding::HalfEven)
    }

    /// What so many tokens of text cost at the list's latest standard price: whether there is one at all.
    pub fn cost(&self, provider: &str, model: &str, input: u64, output: u64) -> Result<Cost, Unpriced> {
        self.price(&PriceOf::new(provider, model, LATEST_MS), &Buckets::text(input, output))
    }

    /// What a call can cost at most that has so many prompt tokens and gives at most so many tokens, whatever kinds
    /// they turn out to be of: never less than [`PriceBook::price`] of as many or fewer.
    pub fn hold(&self, of: &PriceOf<'_>, input: u64, output: u64) -> Result<Cost, Unpriced> {
        self.hold_of(of, input, output, Kinds::Every)
    }

    /// The same for calls that can only use text, thoughts and caches.
    pub fn hold_text(&self, of: &PriceOf<'_>, input: u64, output: u64) -> Result<Cost, Unpriced> {
        self.hold_of(of, input, output, Kinds::Text)
    }

    fn hold_of(&self, of: &PriceOf<'_>, input: u64, output: u64, kinds: Kinds) -> Result<Cost, Unpriced> {
        let most = |plan: &Plan| {
            // The provider may count more or less than was estimated: a tier that only some lengths have may apply.
            if !plan.has(of.tier) {
                return Err(no_tier(of));
            }
            let mut dearest = None;
            for table in plan.may_apply(of.tier, input) {
                let sum = table.most(input, output, kinds).map_err(|missing| missing.of(of.provider, of.model))?;
                let nano = sum.nano(Ratio::ONE, Rounding::Up).ok_or(Unpriced::Overflow)?;
                if dearest.is_none_or(|(most, _)| nano > most) {
                    dearest = Some((nano, sum));
                }
            }
            dearest.map(|(_, sum)| sum).ok_or_else(|| no_tier(of))
        };
        self.cost_by(of, most, Rounding::Up)
    }

    fn cost_by(
        &self,
        of: &PriceOf<'_>,
        sum: impl Fn(&Plan) -> Result<Sum, Unpriced>,
        rounding: Rounding,
    ) -> Result<Cost, Unpriced> {
        let rate = self.rate(of.at_ms)?;
        let nano = |sum: Sum, part: Ratio| {
            let factor = part.times(rate).ok_or(Unpriced::Overflow)?;
            sum.nano(factor, rounding).ok_or(Unpriced::Overflow)
        };
        let list = self.find(of).ok_or_else(|| unknown(of)).and_then(&sum);
        let discount = discount::find(&self.discounts, of).map(|discount| &discount.pays);
        let (list, paid, basis) = match (list, discount) {
            (Err(Unpriced::Overflow), _) => return Err(Unpriced::Overflow),
            (Ok(list), None) => (list, nano(list, Ratio::ONE)?, Basis::Priced),
            (Ok(list), Some(Pays::Part(part))) => (list, nano(list, *part)?, Basis::Priced),
            (Ok(list), Some(Pays::Prices(plan))) => (list, nano(sum(plan)?, Ratio::ONE)?, Basis::Priced),
            (Err(_), Some(Pays::Prices(plan))) => {
                let own = sum(plan)?;
                (own, nano(own, Ratio::ONE)?, Basis::Priced)
            }
            (Err(why), None | Some(Pays::Part(_))) => {
                let most = sum(self.ceiling.as_ref().ok_or(why)?)?;
                (most, nano(most, Ratio::ONE)?, Basis::Ceiling)
            }
        };
        let version = match basis {
            Basis::Priced => &self.version,
            Basis::Ceiling => &self.ceiling_version,
        };
        Ok(Cost { nano: paid, list_nano: nano(list, Ratio::ONE)?, version: Arc::clone(version), basis })
    }

    fn rate(&self, at_ms: u64) -> Result<Ratio, Unpriced> {
        if self.rates.is_empty() {
            return Ok(Ratio::ONE);
        }
        let in_effect = self.rates.iter().find(|(from_ms, _)| *from_ms <= at_ms);
        in_effect.map(|(_, rate)| *rate).ok_or(Unpriced::Rate)
    }

    fn find(&self, of: &PriceOf<'_>) -> Option<&Plan> {
        let models = self.providers.get(of.provider)?;
        let exact = models.exact.get(of.model).and_then(|plans| in_effect(plans, of));
        exact.or_else(|| {
            let fitting = models.prefixes.iter().filter(|(prefix, _)| of.model.starts_with(&**prefix));
            fitting.map(|(_, plans)| plans).find_map(|plans| in_effect(plans, of))
        })
    }
}

impl Models {
    fn prefix(&mut self, prefix: &str) -> &mut Vec<Plan> {
        let place = self.prefixes.iter().position(|(known, _)| **known == *prefix);
        let place = place.unwrap_or_else(|| {
            self.prefixes.push((prefix.into(), Vec::new()));
            self.prefixes.len().saturating_sub(1)
        });
        #[expect(clippy::indexing_slicing, reason = "the place was found or made just now")]
        &mut self.prefixes[place].1
    }
}

/// The plan that holds then and there; one for the region wins over one for all.
fn in_effect<'a>(plans: &'a [Plan], of: &PriceOf<'_>) -> Option<&'a Plan> {
    let holds = |region: Option<&str>| plans.iter().find(|plan| plan.is_in_effect(of.at_ms) && plan.region() == region);
    of.region.and_then(|region| holds(Some(region))).or_else(|| holds(None))
}

fn unknown(of: &PriceOf<'_>) -> Unpriced {
    Unpriced::Unknown { provider: of.provider.to_owned(), model: of.model.to_owned() }
}

fn no_tier(of: &PriceOf<'_>) -> Unpriced {
    Unpriced::Tier { provider: of.provider.to_owned(), model: of.model.to_owned(), tier: of.tier.name() }
}

/// Dollars for one unit of the file's currency, latest first.
fn rates(currency: Option<&str>, stated: &[file::Rate]) -> Result<Vec<(u64, Ratio)>, PriceError> {
    let is_dollar = currency.is_none_or(|currency| currency == DOLLAR);
    if is_dollar != stated.is_empty() {
        return Err(PriceError::Currency);
    }
    let read =
        |rate: &file::Rate| Ratio::decimal(&rate.usd).filter(|ratio| ratio.num > 0).map(|usd| (rate.from.0, usd));
    let rates: Option<Vec<_>> = stated.iter().map(read).collect();
    let mut rates = rates.ok_or(PriceError::Currency)?;
    rates.sort_by_key(|(from_ms, _)| std::cmp::Reverse(*from_ms));
    Ok(rates)
}

#[cfg(test)]
mod tests;
