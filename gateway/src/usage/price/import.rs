//! Price files made of public lists. Pure: a list's text in, a file's text out.
//!
//! What a price file can't say is named, entry by entry, and left out; nothing is rounded and nothing is guessed.
//! Numbers are read as they are written, never as binary fractions.

mod genai;
mod litellm;

use std::collections::BTreeMap;

use super::amount::Ratio;
use crate::usage::buckets::{Bucket, Side, Tier};

/// Which list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Source {
    /// LiteLLM's `model_prices_and_context_window.json`
    Litellm,
    /// Pydantic's `genai-prices`, its `data.json`
    GenaiPrices,
}

/// Why a text is no such list.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Not the JSON that is meant.
    #[error("that is no such list: {0}")]
    Syntax(#[from] serde_json::Error),
}

/// A price file, and what isn't in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The file.
    pub yaml: String,
    /// How many entries it has.
    pub entries: usize,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

/// Prices of one tier and one length of prompt.
type Prices = BTreeMap<Bucket, String>;

/// One entry of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Entry {
    provider: String,
    model: String,
    region: Option<String>,
    from: Option<String>,
    to: Option<String>,
    /// By length of prompt (zero for every) and tier.
    prices: BTreeMap<(u64, Tier), Prices>,
}

/// Makes a price file of a list; of all providers where none is named.
pub fn import(source: Source, text: &str, version: &str, providers: &[String]) -> Result<Imported, ImportError> {
    let mut book = Draft { wanted: providers, entries: Vec::new(), left_out: Vec::new() };
    match source {
        Source::Litellm => litellm::read(text, &mut book)?,
        Source::GenaiPrices => genai::read(text, &mut book)?,
    }
    Ok(book.finish(version))
}

/// A file that grows.
struct Draft<'a> {
    wanted: &'a [String],
    entries: Vec<Entry>,
    left_out: Vec<String>,
}

impl Draft<'_> {
    fn wants(&self, provider: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|wanted| wanted == provider)
    }

    fn leave(&mut self, what: impl std::fmt::Display) {
        self.left_out.push(what.to_string());
    }

    /// Takes an entry that has a price; one for free is no price.
    fn take(&mut self, entry: Entry) {
        let name = format!("{}/{}", entry.provider, entry.model);
        let mut all = entry.prices.values().flat_map(BTreeMap::values);
        if all.all(|price| price.starts_with("0 per ")) {
            return self.leave(format_args!("{name}: it has no price above zero"));
        }
        let is_same = |known: &Entry| {
            (&known.provider, &known.model, &known.region) == (&entry.provider, &entry.model, &entry.region)
        };
        match self.entries.iter().find(|known| is_same(known) && known.from == entry.from) {
            Some(known) if known.prices == entry.prices => {}
            Some(_) => self.leave(format_args!("{name}: it stands there twice with other prices")),
            None => self.entries.push(entry),
        }
    }

    fn finish(mut self, version: &str) -> Imported {
        let key =
            |entry: &Entry| (entry.provider.clone(), entry.model.clone(), entry.region.clone(), entry.from.clone());
        self.entries.sort_by_key(key);
        let mut yaml = format!("version: {}\nunpriced: refuse\nprices:\n", quoted(version));
        for entry in &self.entries {
            entry.write(&mut yaml);
        }
        if self.entries.is_empty() {
            yaml = format!("version: {}\nunpriced: refuse\nprices: []\n", quoted(version));
        }
        Imported { yaml, entries: self.entries.len(), left_out: self.left_out }
    }
}

impl Entry {
    fn write(&self, yaml: &mut String) {
        let mut line = |text: String| yaml.push_str(&format!("{text}\n"));
        line(format!("  - provider: {}", quoted(&self.provider)));
        line(format!("    model: {}", quoted(&self.model)));
        let texts = [("region", &self.region), ("from", &self.from), ("to", &self.to)];
        for (key, text) in texts.into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?))) {
            line(format!("    {key}: {}", quoted(text)));
        }
        let empty = Prices::new();
        for (bucket, price) in self.prices.get(&(0, Tier::Standard)).unwrap_or(&empty) {
            line(format!("    {}: {price}", bucket.name()));
        }
        let tiers = |above: u64| {
            let of = self.prices.iter().filter(move |((length, tier), _)| *length == above && *tier != Tier::Standard);
            of.map(|((_, tier), prices)| format!("{}: {}", tier.name(), flow(prices))).collect::<Vec<_>>().join(", ")
        };
        if !tiers(0).is_empty() {
            line(format!("    tiers: {{{}}}", tiers(0)));
        }
        let mut lengths: Vec<u64> =
            self.prices.keys().map(|(length, _)| *length).filter(|length| *length > 0).collect();
        lengths.dedup();
        if !lengths.is_empty() {
            line("    above:".to_owned());
        }
        for length in lengths {
            line(format!("      - tokens: {length}"));
            for (bucket, price) in self.prices.get(&(length, Tier::Standard)).unwrap_or(&empty) {
                line(format!("        {}: {price}", bucket.name()));
            }
            if !tiers(length).is_empty() {
                line(format!("        tiers: {{{}}}", tiers(length)));
            }
        }
    }
}

fn flow(prices: &Prices) -> String {
    let told: Vec<_> = prices.iter().map(|(bucket, price)| format!("{}: {price}", bucket.name())).collect();
    format!("{{{}}}", told.join(", "))
}

/// A YAML text in double quotes, which JSON's are too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Dollars for one unit as a price file writes it; none where it takes more digits than a file has.
fn price(bucket: Bucket, dollars: Ratio) -> Option<String> {
    let units: &[(i128, &str)] = match (bucket.side(), bucket) {
        (Side::Input | Side::Output, _) => &[(1_000_000, "1M")],
        // Dollars for one millisecond.
        (Side::Other, Bucket::AudioMs | Bucket::VideoMs) => {
            &[(1_000, "second"), (60_000, "minute"), (3_600_000, "hour")]
        }
        (Side::Other, _other) => &[(1, "1"), (1_000, "1K"), (1_000_000, "1M")],
    };
    units.iter().find_map(|(units, name)| {
        let text = dollars.times(Ratio::new(*units, 1)?)?.written()?;
        Some(format!("{text} per {name}"))
    })
}

#[cfg(test)]
mod tests;
