//! Pydantic's list: providers with models, each of which says what names it fits, with prices by day and length.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Draft, Entry, ImportError, price};
use crate::usage::buckets::{Bucket, Tier};
use crate::usage::price::amount::Ratio;

#[derive(Deserialize)]
struct Provider<'a> {
    id: String,
    #[serde(borrow)]
    models: Vec<Model<'a>>,
}

#[derive(Deserialize)]
struct Model<'a> {
    id: String,
    #[serde(borrow, default)]
    r#match: Option<&'a RawValue>,
    #[serde(borrow)]
    prices: &'a RawValue,
}

/// Prices under a condition.
#[derive(Deserialize)]
struct Conditional<'a> {
    #[serde(default)]
    constraint: Option<Constraint>,
    #[serde(borrow)]
    prices: BTreeMap<String, &'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Constraint {
    start_date: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tiered<'a> {
    #[serde(borrow)]
    base: &'a RawValue,
    #[serde(borrow)]
    tiers: Vec<Step<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step<'a> {
    start: u64,
    #[serde(borrow)]
    price: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Clause {
    Equals(String),
    StartsWith(String),
    Or(Vec<Clause>),
    #[serde(untagged)]
    Other(BTreeMap<String, serde_json::Value>),
}

pub(super) fn read(text: &str, book: &mut Draft<'_>) -> Result<(), ImportError> {
    let providers: Vec<Provider<'_>> = serde_json::from_str(text)?;
    for provider in providers.iter().filter(|provider| !provider.models.is_empty()) {
        if book.wants(&provider.id) {
            provider.models.iter().for_each(|model| take(&provider.id, model, book));
        }
    }
    Ok(())
}

fn take(provider: &str, model: &Model<'_>, book: &mut Draft<'_>) {
    let name = format!("{provider}/{}", model.id);
    let mut names = vec![model.id.clone()];
    if let Some(clause) = model.r#match {
        match serde_json::from_str(clause.get()) {
            Ok(clause) => fits(&clause, &name, &mut names, book),
            Err(_) => book.leave(format_args!("{name}: a condition on names")),
        }
    }
    names.sort();
    names.dedup();
    let spans = match spans(model.prices) {
        Ok(spans) => spans,
        Err(why) => return book.leave(format_args!("{name}: {why}")),
    };
    for (place, (from, prices)) in spans.iter().enumerate() {
        let to = spans.get(place.saturating_add(1)).and_then(|(next, _)| next.clone());
        let (prices, lost) = prices_of(prices);
        if !lost.is_empty() {
            book.leave(format_args!("{name}: {}", lost.join(", ")));
        }
        for model in &names {
            let entry = Entry { provider: provider.to_owned(), model: model.clone(), ..Entry::default() };
            book.take(Entry { from: from.clone(), to: to.clone(), prices: prices.clone(), ..entry });
        }
    }
}

/// The names that a clause fits, as far as a price file can say it.
fn fits(clause: &Clause, name: &str, names: &mut Vec<String>, book: &mut Draft<'_>) {
    match clause {
        Clause::Equals(text) if !text.contains('*') => names.push(text.clone()),
        Clause::StartsWith(text) if !text.contains('*') => names.push(format!("{text}*")),
        Clause::Or(clauses) => clauses.iter().for_each(|clause| fits(clause, name, names, book)),
        Clause::Equals(text) | Clause::StartsWith(text) => book.leave(format_args!("{name}: names like `{text}`")),
        Clause::Other(other) => {
            let keys: Vec<_> = other.keys().map(String::as_str).collect();
            book.leave(format_args!("{name}: names by `{}`", keys.join("`, `")));
        }
    }
}

type Span<'a> = (Option<String>, BTreeMap<String, &'a RawValue>);

/// Prices by the day from which they hold, in order.
fn spans<'a>(raw: &'a RawValue) -> Result<Vec<Span<'a>>, &'static str> {
    if !raw.get().starts_with('[') {
        let prices = serde_json::from_str(raw.get()).map_err(|_| "its prices can't be read")?;
        return Ok(vec![(None, prices)]);
    }
    let conditional: Vec<Conditional<'a>> =
        serde_json::from_str(raw.get()).map_err(|_| "its prices depend on more than the day")?;
    let mut spans: Vec<Span<'a>> = Vec::new();
    for part in conditional {
        spans.push((part.constraint.map(|constraint| constraint.start_date), part.prices));
    }
    let is_in_order = spans.windows(2).all(|pair| matches!(pair, [(a, _), (b, _)] if a < b));
    if is_in_order { Ok(spans) } else { Err("its prices aren't in the order of their days") }
}

fn prices_of(fields: &BTreeMap<String, &RawValue>) -> (BTreeMap<(u64, Tier), super::Prices>, Vec<String>) {
    let mut prices = BTreeMap::<(u64, Tier), super::Prices>::new();
    let mut lost = Vec::new();
    for (key, raw) in fields.iter().filter(|(_, raw)| raw.get() != "null") {
        let mut put = |above: u64, text: &str| {
            let dollars = bucket(key).and_then(|(bucket, units)| {
                let dollars = Ratio::number(text.trim_matches('"'))?.times(Ratio::new(1, units)?)?;
                Some((bucket, price(bucket, dollars)?))
            });
            match dollars {
                Some((bucket, price)) => {
                    prices.entry((above, Tier::Standard)).or_default().insert(bucket, price);
                }
                None => lost.push(format!("`{key}` of {text}")),
            }
        };
        if !raw.get().starts_with('{') {
            put(0, raw.get());
            continue;
        }
        match serde_json::from_str::<Tiered<'_>>(raw.get()) {
            Ok(tiered) => {
                put(0, tiered.base.get());
                tiered.tiers.iter().for_each(|step| put(step.start, step.price.get()));
            }
            Err(_) => lost.push(format!("`{key}`")),
        }
    }
    (prices, lost)
}

fn bucket(key: &str) -> Option<(Bucket, i128)> {
    const MILLION: i128 = 1_000_000;
    Some(match key {
        "input_mtok" => (Bucket::InputText, MILLION),
        "output_mtok" => (Bucket::OutputText, MILLION),
        "cache_read_mtok" => (Bucket::CacheRead, MILLION),
        "cache_write_mtok" | "cache_write_5m_mtok" => (Bucket::CacheWrite5m, MILLION),
        "cache_write_1h_mtok" => (Bucket::CacheWrite1h, MILLION),
        "input_audio_mtok" => (Bucket::InputAudio, MILLION),
        "input_image_mtok" => (Bucket::InputImage, MILLION),
        "input_video_mtok" => (Bucket::InputVideo, MILLION),
        "cache_audio_read_mtok" => (Bucket::CacheReadAudio, MILLION),
        "cache_image_read_mtok" => (Bucket::CacheReadImage, MILLION),
        "output_audio_mtok" => (Bucket::OutputAudio, MILLION),
        "output_image_mtok" => (Bucket::OutputImage, MILLION),
        "output_reasoning_mtok" => (Bucket::Reasoning, MILLION),
        "requests_kcount" => (Bucket::Requests, 1_000),
        "web_searches_kcount" => (Bucket::WebSearches, 1_000),
        _other => return None,
    })
}
