//! What a provider says that a call used, made into buckets that never overlap. Pure.
//!
//! Each provider counts in its own way: cached tokens inside the prompt's or beside them, thoughts inside the
//! completion's or beside them, pictures in two fields at once. A report whose numbers don't add up to its own totals
//! is marked and never mended. Start at [`Seen::report`]; each family of providers has a file.

mod anthropic;
mod bedrock;
mod cohere;
mod gemini;
mod leaves;
mod openai;

use self::leaves::Leaves;
use super::buckets::{Bucket, Buckets, Tier};
use super::price::amount::{Ratio, Rounding};

/// xAI's ticks in a nano-dollar.
const TICKS_PER_NANO: i128 = 10;
/// Nano-dollars in a dollar.
const NANO_PER_DOLLAR: i128 = 1_000_000_000;

/// In which way a provider counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `prompt_tokens` and `completion_tokens`: OpenAI's chat, completions and embeddings, and all who copied them.
    OpenAiChat,
    /// `input_tokens` with `input_tokens_details`: OpenAI's responses, realtime and transcriptions.
    OpenAiResponses,
    /// The same of OpenAI's pictures: what comes out are a picture's tokens unless details say otherwise.
    OpenAiImages,
    /// `input_tokens` beside `cache_read_input_tokens`: Anthropic's messages, also on Bedrock and Vertex.
    Anthropic,
    /// `promptTokenCount`: Gemini and Vertex.
    Gemini,
    /// `inputTokens`: Bedrock's converse.
    Bedrock,
    /// `billed_units`: Cohere's chat, embeddings and reranking.
    Cohere,
}

/// How far a report can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its numbers add up.
    Complete,
    /// Output without any input: half a report, so that the call has to be estimated.
    Partial,
    /// Nothing was reported.
    Absent,
    /// Its numbers don't add up; the buckets hold its totals as plain text, and no price is right for them.
    Inconsistent(Fault),
}

/// What doesn't add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No JSON object of numbers.
    #[error("the usage is no object of whole numbers")]
    Malformed,
    /// Kinds of input that are more or fewer than the input.
    #[error("the parts of the input don't add up to it")]
    Input,
    /// Kinds of output that are more or fewer than the output.
    #[error("the parts of the output don't add up to it")]
    Output,
    /// Input and output that aren't the total.
    #[error("input and output don't add up to the total")]
    Total,
    /// What was written to caches isn't what was written for five minutes and for an hour.
    #[error("the parts of what was written to caches don't add up to it")]
    CacheWrite,
}

/// What a call used, by its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// How much of what.
    pub buckets: Buckets,
    /// The tier, where the usage names it.
    pub tier: Option<Tier>,
    /// What the provider itself asks for it, in nano-dollars.
    pub provider_cost_nano: Option<i64>,
    /// How far it can be believed.
    pub state: State,
}

/// All usage objects of one call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    leaves: Leaves,
    is_malformed: bool,
}

impl Seen {
    /// The usage object of a call that sent one.
    pub fn one(json: &str) -> Self {
        let mut seen = Self::default();
        seen.see(json);
        seen
    }

    /// Takes a usage object, the first or a later one of the same call; `null` says nothing.
    pub fn see(&mut self, json: &str) {
        self.is_malformed |= self.leaves.see(json).is_err();
    }

    /// The shape that the fields have; Anthropic's for those that all have.
    pub fn shape(&self, model: &str) -> Shape {
        let has = |path| self.leaves.has(path);
        if has("promptTokenCount") || has("totalTokenCount") || has("candidatesTokenCount") {
            Shape::Gemini
        } else if has("inputTokens") || has("outputTokens") {
            Shape::Bedrock
        } else if has("billed_units") {
            Shape::Cohere
        } else if has("prompt_tokens") || has("completion_tokens") {
            Shape::OpenAiChat
        } else if model.contains("gpt-image") {
            Shape::OpenAiImages
        } else if has("cache_read_input_tokens") || has("cache_creation_input_tokens") || has("server_tool_use") {
            Shape::Anthropic
        } else if has("total_tokens") || has("input_tokens_details") || has("input_token_details") || has("seconds") {
            Shape::OpenAiResponses
        } else {
            Shape::Anthropic
        }
    }

    /// What they say together.
    pub fn report(&self, shape: Shape) -> Report {
        let read = match shape {
            Shape::OpenAiChat => openai::chat(&self.leaves),
            Shape::OpenAiResponses => openai::responses(&self.leaves, Bucket::OutputText),
            Shape::OpenAiImages => openai::responses(&self.leaves, Bucket::OutputImage),
            Shape::Anthropic => anthropic::messages(&self.leaves),
            Shape::Gemini => gemini::generate(&self.leaves),
            Shape::Bedrock => bedrock::converse(&self.leaves),
            Shape::Cohere => cohere::billed(&self.leaves),
        };
        let read = if self.is_malformed { Err(Broken { totals: None, fault: Fault::Malformed }) } else { read };
        let (buckets, state) = match read {
            Ok(buckets) if buckets.is_empty() => (buckets, State::Absent),
            Ok(buckets) if buckets.output_tokens() > 0 && buckets.input_tokens() == 0 && !is_sound(&buckets) => {
                (buckets, State::Partial)
            }
            Ok(buckets) => (buckets, State::Complete),
            Err(Broken { totals, fault }) => {
                let (input, output) = totals.unwrap_or_default();
                (Buckets::text(input, output), State::Inconsistent(fault))
            }
        };
        Report { buckets, tier: self.tier(), provider_cost_nano: self.provider_cost(), state }
    }

    /// The own engine's time for the call; nothing where it stated none, or what can't be read.
    pub fn gpu_time(&self) -> Buckets {
        let of = |kind: &str| self.leaves.count(&format!("gpu_time_us.{kind}")).ok().flatten().unwrap_or(0);
        Buckets::NONE
            .with(Bucket::GpuPrefillUs, of("prefill"))
            .with(Bucket::GpuDecodeUs, of("decode"))
            .with(Bucket::GpuKvUs, of("kv"))
    }

    fn tier(&self) -> Option<Tier> {
        let words = ["service_tier", "serviceTier", "serviceTier.type", "trafficType"];
        let word = words.iter().find_map(|path| self.leaves.word(path))?.to_ascii_lowercase();
        let word = word.strip_prefix("on_demand_").unwrap_or(&word);
        // Throughput that was bought beforehand has no price by the token of its own.
        if word == "provisioned_throughput" { Some(Tier::Standard) } else { Tier::named(word) }
    }

    fn provider_cost(&self) -> Option<i64> {
        let ticks = self.leaves.count("cost_in_usd_ticks").ok().flatten();
        if let Some(ticks) = ticks {
            return Rounding::HalfEven.divide(ticks.into(), TICKS_PER_NANO).and_then(|nano| nano.try_into().ok());
        }
        let dollars = ["cost", "cost.total_cost"].iter().find_map(|path| self.leaves.number(path))?;
        let Ratio { num, den } = Ratio::number(&dollars)?;
        let nano = Rounding::HalfEven.divide(num.checked_mul(NANO_PER_DOLLAR)?, den)?;
        nano.try_into().ok()
    }
}

/// Sound goes in by the second and comes out as text.
fn is_sound(buckets: &Buckets) -> bool {
    buckets.get(Bucket::AudioMs) > 0 || buckets.get(Bucket::Images) > 0
}

/// A report that doesn't add up, and its totals as far as they are known.
struct Broken {
    totals: Option<(u64, u64)>,
    fault: Fault,
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self { totals: None, fault }
    }
}

/// What is left of a whole when parts are taken away; the fault where they are more.
fn rest(whole: u64, parts: &[u64], fault: Fault) -> Result<u64, Fault> {
    parts.iter().try_fold(whole, |left, part| left.checked_sub(*part)).ok_or(fault)
}

/// Puts tokens of each kind into the buckets, the cached ones of them apart. Where it isn't said of which kind the
/// cached ones are, they are text's as far as there is text, then pictures', film's and sound's.
fn input(kinds: Kinds, cached: &Cached, buckets: &mut Buckets) -> Result<(), Fault> {
    let cached = match cached {
        Cached::ByKind(cached) => *cached,
        Cached::Unsaid(cached) => {
            let mut left = *cached;
            let mut take = |of: u64| {
                let taken = of.min(left);
                left = left.saturating_sub(taken);
                taken
            };
            let [text, image, video, audio] = [kinds.text, kinds.image, kinds.video, kinds.audio].map(&mut take);
            if left > 0 {
                return Err(Fault::Input);
            }
            Kinds { text, image, video, audio }
        }
    };
    buckets.add(Bucket::InputText, rest(kinds.text, &[cached.text], Fault::Input)?);
    buckets.add(Bucket::InputImage, rest(kinds.image, &[cached.image], Fault::Input)?);
    buckets.add(Bucket::InputVideo, rest(kinds.video, &[cached.video], Fault::Input)?);
    buckets.add(Bucket::InputAudio, rest(kinds.audio, &[cached.audio], Fault::Input)?);
    buckets.add(Bucket::CacheRead, cached.text);
    buckets.add(Bucket::CacheReadImage, cached.image);
    buckets.add(Bucket::CacheReadVideo, cached.video);
    buckets.add(Bucket::CacheReadAudio, cached.audio);
    Ok(())
}

/// Tokens by kind.
#[derive(Debug, Clone, Copy, Default)]
struct Kinds {
    text: u64,
    image: u64,
    video: u64,
    audio: u64,
}

/// Of which kinds the cached tokens are.
enum Cached {
    ByKind(Kinds),
    Unsaid(u64),
}

#[cfg(test)]
mod tests;
