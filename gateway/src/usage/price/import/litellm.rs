//! LiteLLM's list: an object by model, each with a field for each kind of price.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{Draft, Entry, ImportError, price};
use crate::usage::buckets::{Bucket, Tier};
use crate::usage::price::amount::Ratio;

/// The entry that explains the others.
const SAMPLE: &str = "sample_spec";

type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// A price's field, taken apart: `input_cost_per_token_above_272k_tokens_flex`.
struct Field {
    bucket: Bucket,
    tier: Tier,
    above: u64,
    /// Of how many units the price is.
    units: i128,
}

pub(super) fn read(text: &str, book: &mut Draft<'_>) -> Result<(), ImportError> {
    let models: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
    for (name, raw) in models.iter().filter(|(name, _)| *name != SAMPLE) {
        let fields: Fields<'_> = serde_json::from_str(raw.get())?;
        let Some(entry) = named(name, &fields) else {
            book.leave(format_args!("{name}: it has no provider"));
            continue;
        };
        if book.wants(&entry.provider) {
            model(entry, &fields, book);
        }
    }
    Ok(())
}

fn word(fields: &Fields<'_>, key: &str) -> Option<String> {
    serde_json::from_str(fields.get(key)?.get()).ok()
}

/// The provider, the region and the upstream's own name.
fn named(name: &str, fields: &Fields<'_>) -> Option<Entry> {
    let of = word(fields, "litellm_provider")?;
    let provider = match of.as_str() {
        "text-completion-openai" => "openai",
        "bedrock_converse" | "bedrock_mantle" => "bedrock",
        "cohere_chat" => "cohere",
        other if other.starts_with("vertex_ai") => "vertex_ai",
        other => other,
    };
    let rest = |prefix: &str| name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/'));
    let mut model = rest(&of).or_else(|| rest(provider)).unwrap_or(name);
    let mut region = None;
    if let ("bedrock", Some((place, rest))) = (provider, model.split_once('/')) {
        let is_region = place.matches('-').count() >= 2 && place.ends_with(|c: char| c.is_ascii_digit());
        if is_region {
            (region, model) = (Some(place.to_owned()), rest);
        }
    }
    Some(Entry { provider: provider.to_owned(), model: model.to_owned(), region, ..Entry::default() })
}

fn model(mut entry: Entry, fields: &Fields<'_>, book: &mut Draft<'_>) {
    let name = format!("{}/{}", entry.provider, entry.model);
    if entry.model.contains('*') {
        return book.leave(format_args!("{name}: its name has a `*`"));
    }
    let mode = word(fields, "mode").unwrap_or_default();
    let mut lost = Vec::new();
    for (key, raw) in fields.iter().filter(|(key, _)| key.contains("cost") || key.contains("pricing")) {
        let text = raw.get();
        if text == "null" {
            continue;
        }
        if key == "search_context_cost_per_query" {
            match searches(text) {
                Some(price) => {
                    entry.prices.entry((0, Tier::Standard)).or_default().insert(Bucket::WebSearches, price);
                }
                None => lost.push(format!("`{key}` that depends on the size")),
            }
            continue;
        }
        let Some(field) = field(key, &mode) else {
            lost.push(format!("`{key}`"));
            continue;
        };
        let dollars = Ratio::number(text).and_then(|dollars| dollars.times(Ratio::new(1, field.units)?));
        match dollars.and_then(|dollars| price(field.bucket, dollars)) {
            Some(price) => {
                entry.prices.entry((field.above, field.tier)).or_default().insert(field.bucket, price);
            }
            None => lost.push(format!("`{key}` of {text}")),
        }
    }
    if !lost.is_empty() {
        book.leave(format_args!("{name}: {}", lost.join(", ")));
    }
    if entry.prices.contains_key(&(0, Tier::Standard)) {
        book.take(entry);
    } else if lost.is_empty() {
        book.leave(format_args!("{name}: it has no price"));
    }
}

/// The price of a search, where it is the same for every size.
fn searches(text: &str) -> Option<String> {
    let sizes: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    let mut prices = sizes.values().map(|raw| Ratio::number(raw.get()));
    let first = prices.next()??;
    if prices.all(|other| other == Some(first)) { price(Bucket::WebSearches, first) } else { None }
}

/// Takes a field's name apart; none for what a price file can't say.
fn field(key: &str, mode: &str) -> Option<Field> {
    let mut name = key;
    let (mut tier, mut above) = (Tier::Standard, 0);
    let tiers = [("_batches", Tier::Batch), ("_flex", Tier::Flex), ("_priority", Tier::Priority)];
    if let Some((rest, found)) = tiers.iter().find_map(|(end, tier)| Some((name.strip_suffix(end)?, *tier))) {
        (name, tier) = (rest, found);
    }
    if let Some((rest, thousands)) = name.strip_suffix("k_tokens").and_then(|rest| rest.rsplit_once("_above_")) {
        above = thousands.parse::<u64>().ok()?.checked_mul(1000)?;
        name = rest;
    }
    let (bucket, units) = bucket(name, mode)?;
    Some(Field { bucket, tier, above, units })
}

fn bucket(name: &str, mode: &str) -> Option<(Bucket, i128)> {
    let is = |wanted: &str| mode == wanted;
    Some(match name {
        "input_cost_per_token" => (Bucket::InputText, 1),
        "output_cost_per_token" => (Bucket::OutputText, 1),
        "input_cost_per_audio_token" => (Bucket::InputAudio, 1),
        "output_cost_per_audio_token" => (Bucket::OutputAudio, 1),
        "input_cost_per_image_token" => (Bucket::InputImage, 1),
        "output_cost_per_image_token" => (Bucket::OutputImage, 1),
        "input_cost_per_video_token" => (Bucket::InputVideo, 1),
        "output_cost_per_reasoning_token" => (Bucket::Reasoning, 1),
        "cache_read_input_token_cost" => (Bucket::CacheRead, 1),
        "cache_read_input_audio_token_cost" => (Bucket::CacheReadAudio, 1),
        "cache_read_input_image_token_cost" => (Bucket::CacheReadImage, 1),
        "cache_creation_input_token_cost" => (Bucket::CacheWrite5m, 1),
        "cache_creation_input_token_cost_above_1hr" => (Bucket::CacheWrite1h, 1),
        "input_cost_per_second" if is("audio_transcription") => (Bucket::AudioMs, 1_000),
        "output_cost_per_second" if is("video_generation") => (Bucket::VideoMs, 1_000),
        "output_cost_per_image" if is("image_generation") => (Bucket::Images, 1),
        "input_cost_per_query" if is("rerank") => (Bucket::SearchUnits, 1),
        "input_cost_per_character" if is("audio_speech") => (Bucket::Characters, 1),
        "ocr_cost_per_page" => (Bucket::Pages, 1),
        "code_interpreter_cost_per_session" => (Bucket::CodeRuns, 1),
        "file_search_cost_per_1k_calls" => (Bucket::FileSearches, 1_000),
        "input_cost_per_request" => (Bucket::Requests, 1),
        _other => return None,
    })
}
