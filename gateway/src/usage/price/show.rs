//! What a price book says of a model, for people to read. Pure.

use super::PriceBook;
use super::amount::Ratio;
use super::plan::{Plan, Table, plainer};
use crate::usage::buckets::{Bucket, Side, Tier};

/// Units in which each kind of price is told: tokens by the million, time by the minute, all else by one.
const MILLION: Ratio = Ratio { num: 1_000_000, den: 1 };
const MINUTE: Ratio = Ratio { num: 60_000, den: 1 };

/// The prices of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Of which provider.
    pub provider: String,
    /// The model, or the beginning of its name and `*`.
    pub name: String,
    /// Where it holds.
    pub region: Option<String>,
    /// What it says.
    pub prices: Vec<Price>,
}

/// One price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// Of what; pictures with their size.
    pub bucket: String,
    /// As it stands in a file, such as `0.15 per 1M`.
    pub price: String,
    /// For which tier.
    pub tier: Tier,
    /// For prompts longer than so many tokens.
    pub above: Option<u64>,
}

impl PriceBook {
    /// What is in effect for a model then, by provider; of the names that fit it the most exact.
    pub fn show(&self, provider: Option<&str>, model: &str, at_ms: u64) -> Vec<Shown> {
        let mut shown = Vec::new();
        let mut providers: Vec<_> = self.providers.iter().collect();
        providers.sort_by_key(|(name, _)| (*name).clone());
        for (name, models) in providers {
            if provider.is_some_and(|wanted| *wanted != **name) {
                continue;
            }
            let holds = |plans: &[Plan]| plans.iter().any(|plan| plan.is_in_effect(at_ms));
            let exact = models.exact.get(model).map(|plans| (model.to_owned(), plans));
            let begins = models.prefixes.iter().filter(|(prefix, _)| model.starts_with(&**prefix));
            let mut fitting = exact.into_iter().chain(begins.map(|(prefix, plans)| (format!("{prefix}*"), plans)));
            let Some((pattern, plans)) = fitting.find(|(_, plans)| holds(plans)) else { continue };
            for plan in plans.iter().filter(|plan| plan.is_in_effect(at_ms)) {
                shown.push(Shown {
                    provider: name.to_string(),
                    name: pattern.clone(),
                    region: plan.region().map(str::to_owned),
                    prices: told(plan),
                });
            }
        }
        shown
    }
}

/// Every price of a plan, without those that another tier or length only repeats.
fn told(plan: &Plan) -> Vec<Price> {
    let mut told: Vec<Price> = Vec::new();
    for (above, tier, table) in plan.tables() {
        for (bucket, price) in prices(table) {
            let is_known = |known: &Price| known.bucket == bucket && known.price == price && known.above.is_none();
            let is_plain = above.is_none() && tier == Tier::Standard;
            if is_plain || !told.iter().any(|known| is_known(known) && known.tier == Tier::Standard) {
                told.push(Price { bucket, price, tier, above });
            }
        }
    }
    told
}

fn prices(table: &Table) -> Vec<(String, String)> {
    // A kind that costs what a plainer one costs goes without saying.
    let repeats = |bucket, price| {
        let mut plain = plainer(bucket).iter().filter(|plain| **plain != bucket);
        plain.any(|plain| table.price(*plain) == Some(price))
    };
    let own = table.prices().filter(|(bucket, price)| !repeats(*bucket, *price));
    let of_buckets = own.map(|(bucket, price)| (bucket.name().to_owned(), written(bucket, price)));
    let pictures = table.pictures();
    let of_pictures = pictures.map(|(size, price)| (format!("images {size}"), written(Bucket::Images, price)));
    of_buckets.chain(of_pictures).collect()
}

/// A price, in nano-dollars for one, as a file has it.
fn written(bucket: Bucket, price: Ratio) -> String {
    let (unit, name) = match (bucket.side(), bucket) {
        (Side::Input | Side::Output, _) | (Side::Other, Bucket::Characters) => (MILLION, "1M"),
        (Side::Other, Bucket::AudioMs | Bucket::VideoMs) => (MINUTE, "minute"),
        (Side::Other, _other) => (Ratio::ONE, "1"),
    };
    let dollars = price.times(unit).and_then(Ratio::dollars);
    match dollars.and_then(Ratio::written) {
        Some(text) => format!("{text} per {name}"),
        None => format!("{}/{} nano-dollars per 1", price.num, price.den),
    }
}
