//! OpenAI's ways of counting, and those of all who copied them (DeepSeek, Moonshot, OpenRouter, Perplexity, xAI): the
//! cached tokens are inside the input's, the thoughts inside the output's, or, at xAI, beside it.

use super::leaves::Leaves;
use super::{Broken, Cached, Fault, Kinds, input, rest};
use crate::usage::buckets::{Bucket, Buckets};
use crate::usage::price::amount::{Ratio, Rounding};

/// Milliseconds in a second.
const MS: i128 = 1000;

/// Where the numbers stand.
struct Paths {
    input: &'static str,
    output: &'static str,
    input_details: &'static [&'static str],
    output_details: &'static [&'static str],
    /// What output is that no detail names.
    plain: Bucket,
}

/// Chat, completions, embeddings.
pub(super) fn chat(leaves: &Leaves) -> Result<Buckets, Broken> {
    let paths = Paths {
        input: "prompt_tokens",
        output: "completion_tokens",
        input_details: &["prompt_tokens_details"],
        output_details: &["completion_tokens_details"],
        plain: Bucket::OutputText,
    };
    let mut buckets = tokens(leaves, &paths)?;
    let searches = leaves.first(&["num_search_queries", "num_sources_used", "server_tool_use.web_search_requests"])?;
    buckets.add(Bucket::WebSearches, searches.unwrap_or(0));
    Ok(buckets)
}

/// Responses, realtime, transcriptions and pictures; `plain` is what output is that no detail names.
pub(super) fn responses(leaves: &Leaves, plain: Bucket) -> Result<Buckets, Broken> {
    let paths = Paths {
        input: "input_tokens",
        output: "output_tokens",
        input_details: &["input_tokens_details", "input_token_details"],
        output_details: &["output_tokens_details", "output_token_details"],
        plain,
    };
    let mut buckets = tokens(leaves, &paths)?;
    if let Some(seconds) = leaves.number("seconds") {
        let seconds = Ratio::number(&seconds).ok_or(Fault::Malformed)?;
        let ms = seconds.num.checked_mul(MS).and_then(|ms| Rounding::Up.divide(ms, seconds.den));
        buckets.add(Bucket::AudioMs, ms.and_then(|ms| u64::try_from(ms).ok()).ok_or(Fault::Malformed)?);
    }
    Ok(buckets)
}

fn tokens(leaves: &Leaves, paths: &Paths) -> Result<Buckets, Broken> {
    let (prompt, completion) = (leaves.count(paths.input)?, leaves.count(paths.output)?);
    let total = leaves.count("total_tokens")?.filter(|total| *total > 0);
    let completion = completion.unwrap_or(0);
    // Who embeds may say the total alone.
    let prompt = match (prompt, total) {
        (Some(prompt), _) => prompt,
        (None, Some(total)) => rest(total, &[completion], Fault::Total)?,
        (None, None) => 0,
    };
    let thoughts = leaves.first(&[&detail(leaves, paths.output_details, "reasoning_tokens"), "reasoning_tokens"])?;
    let thoughts = thoughts.unwrap_or(0);
    let inside = prompt.checked_add(completion).ok_or(Fault::Total)?;
    let beside = inside.checked_add(thoughts).ok_or(Fault::Total)?;
    let output = match total {
        None => completion,
        Some(total) if total == inside => completion,
        Some(total) if total == beside => completion.saturating_add(thoughts),
        Some(_) => return Err(Broken { totals: Some((prompt, completion)), fault: Fault::Total }),
    };
    let mut buckets = Buckets::NONE;
    let parts = inputs(leaves, paths, prompt, &mut buckets)
        .and_then(|()| outputs(leaves, paths, output, thoughts, &mut buckets));
    parts.map_err(|fault| Broken { totals: Some((prompt, output)), fault })?;
    Ok(buckets)
}

fn inputs(leaves: &Leaves, paths: &Paths, prompt: u64, buckets: &mut Buckets) -> Result<(), Fault> {
    let at = |name: &str| leaves.count(&detail(leaves, paths.input_details, name));
    let zero = |name: &str| Ok::<_, Fault>(at(name)?.unwrap_or(0));
    let (audio, image, video) = (zero("audio_tokens")?, zero("image_tokens")?, zero("video_tokens")?);
    let written = at("cache_write_tokens")?.or(at("cache_creation_tokens")?).unwrap_or(0);
    // DeepSeek and Moonshot put it beside the details.
    let cached = match at("cached_tokens")? {
        Some(cached) => cached,
        None => leaves.first(&["prompt_cache_hit_tokens", "cached_tokens"])?.unwrap_or(0),
    };
    let text = rest(prompt, &[audio, image, video], Fault::Input)?;
    let is_apart = match at("text_tokens")? {
        None => false,
        Some(said) if said == text => false,
        // Text that neither a cache held nor was put into one.
        Some(said) if rest(text, &[cached, written], Fault::Input) == Ok(said) => true,
        Some(_) => return Err(Fault::Input),
    };
    let kinds = Kinds { text: rest(text, &[written], Fault::Input)?, image, video, audio };
    buckets.add(Bucket::CacheWrite5m, written);
    let by_kind = |name: &str| at(&format!("cached_tokens_details.{name}"));
    let (of_text, of_image) = (by_kind("text_tokens")?, by_kind("image_tokens")?);
    let of_audio = by_kind("audio_tokens")?;
    if of_text.or(of_image).or(of_audio).is_some() {
        let (image, audio) = (of_image.unwrap_or(0), of_audio.unwrap_or(0));
        let text = rest(cached, &[image, audio], Fault::Input)?;
        if of_text.is_some_and(|said| said != text) {
            return Err(Fault::Input);
        }
        return input(kinds, &Cached::ByKind(Kinds { text, image, video: 0, audio }), buckets);
    }
    if is_apart {
        return input(kinds, &Cached::ByKind(Kinds { text: cached, ..Kinds::default() }), buckets);
    }
    input(kinds, &Cached::Unsaid(cached), buckets)
}

fn outputs(leaves: &Leaves, paths: &Paths, output: u64, thoughts: u64, buckets: &mut Buckets) -> Result<(), Fault> {
    let at = |name: &str| leaves.count(&detail(leaves, paths.output_details, name));
    let (text, audio, image) = (at("text_tokens")?, at("audio_tokens")?.unwrap_or(0), at("image_tokens")?);
    let plain = rest(output, &[thoughts, audio, image.unwrap_or(0)], Fault::Output)?;
    // The text's count may hold the thoughts.
    let with_thoughts = plain.checked_add(thoughts).ok_or(Fault::Output)?;
    if text.is_some_and(|text| text > 0 && text != plain && text != with_thoughts) {
        return Err(Fault::Output);
    }
    buckets.add(Bucket::Reasoning, thoughts);
    buckets.add(Bucket::OutputAudio, audio);
    buckets.add(Bucket::OutputImage, image.unwrap_or(0));
    let is_named = text.or(image).is_some();
    buckets.add(if is_named { Bucket::OutputText } else { paths.plain }, plain);
    Ok(())
}

/// The path of a detail below the first of these objects that is there.
fn detail(leaves: &Leaves, objects: &[&str], name: &str) -> String {
    let object = objects.iter().find(|object| leaves.has(object)).or(objects.first()).copied().unwrap_or_default();
    format!("{object}.{name}")
}
