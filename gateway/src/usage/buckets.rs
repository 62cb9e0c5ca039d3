//! What a call used, in buckets that never overlap. Pure.
//!
//! Providers count the same token in two or three of their fields (cached tokens inside the prompt's, reasoning inside
//! the completion's). Here each unit is in one bucket, so that sums are sums and each bucket has one price.
//! [`super::report`] makes them from what a provider sends; [`super::price`] prices them.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// Number of buckets.
const COUNT: usize = 27;

/// A kind of unit that has a price of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bucket {
    /// Prompt tokens of text that no cache held, and those of unnamed kind.
    #[serde(alias = "input")]
    InputText,
    /// Prompt tokens of sound.
    InputAudio,
    /// Prompt tokens of pictures.
    InputImage,
    /// Prompt tokens of film.
    InputVideo,
    /// Prompt tokens that the provider's cache held: text, and those of unnamed kind.
    CacheRead,
    /// The same of sound.
    CacheReadAudio,
    /// The same of pictures.
    CacheReadImage,
    /// The same of film.
    CacheReadVideo,
    /// Prompt tokens put into a cache for five minutes (or for as long as the provider's usual).
    #[serde(rename = "cache_write_5m", alias = "cache_write")]
    CacheWrite5m,
    /// Prompt tokens put into a cache for an hour.
    #[serde(rename = "cache_write_1h")]
    CacheWrite1h,
    /// Completion tokens of text that the caller sees.
    #[serde(alias = "output")]
    OutputText,
    /// Completion tokens of sound.
    OutputAudio,
    /// Completion tokens of pictures.
    OutputImage,
    /// Completion tokens that were thought and not said.
    Reasoning,
    /// Searches of the web that the provider ran.
    WebSearches,
    /// Searches of stored files that the provider ran.
    FileSearches,
    /// Sessions of code that the provider ran.
    CodeRuns,
    /// Pictures, where they aren't counted in tokens; their price may depend on size and quality.
    Images,
    /// Sound, in milliseconds, where it isn't counted in tokens.
    AudioMs,
    /// Film, in milliseconds.
    VideoMs,
    /// Characters of text, where a provider counts those.
    Characters,
    /// Pages of documents.
    Pages,
    /// Searches of a reranker, as its provider counts them.
    SearchUnits,
    /// Calls that were answered.
    Requests,
    /// Microseconds of the own engine's machine that read the prompt.
    GpuPrefillUs,
    /// Microseconds of it that made tokens.
    GpuDecodeUs,
    /// Microseconds of it, by the part of all pages that was held; they run beside the other two.
    GpuKvUs,
}

/// Which side of a call a bucket's tokens are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Tokens that went in.
    Input,
    /// Tokens that came out.
    Output,
    /// No tokens.
    Other,
}

impl Bucket {
    /// Every bucket, in order of their index.
    pub const ALL: [Bucket; COUNT] = [
        Bucket::InputText,
        Bucket::InputAudio,
        Bucket::InputImage,
        Bucket::InputVideo,
        Bucket::CacheRead,
        Bucket::CacheReadAudio,
        Bucket::CacheReadImage,
        Bucket::CacheReadVideo,
        Bucket::CacheWrite5m,
        Bucket::CacheWrite1h,
        Bucket::OutputText,
        Bucket::OutputAudio,
        Bucket::OutputImage,
        Bucket::Reasoning,
        Bucket::WebSearches,
        Bucket::FileSearches,
        Bucket::CodeRuns,
        Bucket::Images,
        Bucket::AudioMs,
        Bucket::VideoMs,
        Bucket::Characters,
        Bucket::Pages,
        Bucket::SearchUnits,
        Bucket::Requests,
        Bucket::GpuPrefillUs,
        Bucket::GpuDecodeUs,
        Bucket::GpuKvUs,
    ];

    /// Place in [`Bucket::ALL`].
    pub const fn index(self) -> usize {
        self.row().0
    }

    /// Name in price files, usage rows and reports.
    pub const fn name(self) -> &'static str {
        self.row().1
    }

    /// Which side of the call its tokens are on.
    pub const fn side(self) -> Side {
        self.row().2
    }

    const fn row(self) -> (usize, &'static str, Side) {
        match self {
            Bucket::InputText => (0, "input_text", Side::Input),
            Bucket::InputAudio => (1, "input_audio", Side::Input),
            Bucket::InputImage => (2, "input_image", Side::Input),
            Bucket::InputVideo => (3, "input_video", Side::Input),
            Bucket::CacheRead => (4, "cache_read", Side::Input),
            Bucket::CacheReadAudio => (5, "cache_read_audio", Side::Input),
            Bucket::CacheReadImage => (6, "cache_read_image", Side::Input),
            Bucket::CacheReadVideo => (7, "cache_read_video", Side::Input),
            Bucket::CacheWrite5m => (8, "cache_write_5m", Side::Input),
            Bucket::CacheWrite1h => (9, "cache_write_1h", Side::Input),
            Bucket::OutputText => (10, "output_text", Side::Output),
            Bucket::OutputAudio => (11, "output_audio", Side::Output),
            Bucket::OutputImage => (12, "output_image", Side::Output),
            Bucket::Reasoning => (13, "reasoning", Side::Output),
            Bucket::WebSearches => (14, "web_searches", Side::Other),
            Bucket::FileSearches => (15, "file_searches", Side::Other),
            Bucket::CodeRuns => (16, "code_runs", Side::Other),
            Bucket::Images => (17, "images", Side::Other),
            Bucket::AudioMs => (18, "audio_ms", Side::Other),
            Bucket::VideoMs => (19, "video_ms", Side::Other),
            Bucket::Characters => (20, "characters", Side::Other),
            Bucket::Pages => (21, "pages", Side::Other),
            Bucket::SearchUnits => (22, "search_units", Side::Other),
            Bucket::Requests => (23, "requests", Side::Other),
            Bucket::GpuPrefillUs => (24, "gpu_prefill_us", Side::Other),
            Bucket::GpuDecodeUs => (25, "gpu_decode_us", Side::Other),
            Bucket::GpuKvUs => (26, "gpu_kv_us", Side::Other),
        }
    }
}

/// One value for each bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerBucket<T>([T; COUNT]);

impl<T: Copy> PerBucket<T> {
    /// The same value everywhere.
    pub const fn all(value: T) -> Self {
        Self([value; COUNT])
    }

    /// The value of a bucket.
    #[expect(clippy::indexing_slicing, reason = "an index is below the count of all: a test walks them")]
    pub const fn get(&self, bucket: Bucket) -> T {
        self.0[bucket.index()]
    }

    /// Sets the value of a bucket.
    #[expect(clippy::indexing_slicing, reason = "an index is below the count of all: a test walks them")]
    pub const fn set(&mut self, bucket: Bucket, value: T) {
        self.0[bucket.index()] = value;
    }

    /// Every bucket with its value.
    pub fn iter(&self) -> impl Iterator<Item = (Bucket, T)> + '_ {
        Bucket::ALL.into_iter().zip(self.0.iter().copied())
    }
}

/// How much of each bucket a call used. In JSON a map of those above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buckets(PerBucket<u64>);

impl Default for Buckets {
    fn default() -> Self {
        Self::NONE
    }
}

impl Buckets {
    /// Nothing at all.
    pub const NONE: Buckets = Buckets(PerBucket::all(0));

    /// Text in and text out, and nothing else.
    pub const fn text(input: u64, output: u64) -> Self {
        Self::NONE.with(Bucket::InputText, input).with(Bucket::OutputText, output)
    }

    /// The same with so much in `bucket`.
    #[must_use]
    pub const fn with(mut self, bucket: Bucket, amount: u64) -> Self {
        self.0.set(bucket, amount);
        self
    }

    /// What is in a bucket.
    pub const fn get(&self, bucket: Bucket) -> u64 {
        self.0.get(bucket)
    }

    /// Puts more into a bucket, up to the largest number there is.
    pub const fn add(&mut self, bucket: Bucket, more: u64) {
        self.0.set(bucket, self.get(bucket).saturating_add(more));
    }

    /// The buckets that hold something.
    pub fn used(&self) -> impl Iterator<Item = (Bucket, u64)> + '_ {
        self.0.iter().filter(|(_, amount)| *amount > 0)
    }

    /// Whether nothing was used.
    pub fn is_empty(&self) -> bool {
        self.used().next().is_none()
    }

    /// All tokens that went in, cached ones too: what providers and OpenTelemetry call the input's tokens.
    pub fn input_tokens(&self) -> u64 {
        self.on(Side::Input)
    }

    /// All tokens that came out, thoughts too.
    pub fn output_tokens(&self) -> u64 {
        self.on(Side::Output)
    }

    /// Tokens that a cache held, of every kind; part of [`Buckets::input_tokens`].
    pub const fn cache_read_tokens(&self) -> u64 {
        self.get(Bucket::CacheRead)
            .saturating_add(self.get(Bucket::CacheReadAudio))
            .saturating_add(self.get(Bucket::CacheReadImage))
            .saturating_add(self.get(Bucket::CacheReadVideo))
    }

    /// Tokens that were put into a cache; part of [`Buckets::input_tokens`].
    pub const fn cache_write_tokens(&self) -> u64 {
        self.get(Bucket::CacheWrite5m).saturating_add(self.get(Bucket::CacheWrite1h))
    }

    /// Both together.
    #[must_use]
    pub fn plus(mut self, other: &Buckets) -> Self {
        for (bucket, amount) in other.used() {
            self.add(bucket, amount);
        }
        self
    }

    fn on(&self, side: Side) -> u64 {
        let of_side = self.0.iter().filter(|(bucket, _)| bucket.side() == side);
        of_side.fold(0, |sum, (_, amount)| sum.saturating_add(amount))
    }
}

impl Serialize for Buckets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (bucket, amount) in self.used() {
            map.serialize_entry(bucket.name(), &amount)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Buckets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Buckets;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a map from the names of buckets to whole numbers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Buckets, A::Error> {
        let mut buckets = Buckets::NONE;
        while let Some((bucket, amount)) = map.next_entry::<Bucket, u64>()? {
            if buckets.get(bucket) > 0 {
                return Err(A::Error::custom(format_args!("`{}` twice", bucket.name())));
            }
            buckets = buckets.with(bucket, amount);
        }
        Ok(buckets)
    }
}

/// How urgently a provider worked, which changes its prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// At once.
    #[default]
    Standard,
    /// Within a day.
    Batch,
    /// When there is room.
    Flex,
    /// Before others.
    Priority,
}

impl Tier {
    /// Every tier.
    pub const ALL: [Tier; 4] = [Tier::Standard, Tier::Batch, Tier::Flex, Tier::Priority];

    /// Name in price files and usage rows.
    pub const fn name(self) -> &'static str {
        match self {
            Tier::Standard => "standard",
            Tier::Batch => "batch",
            Tier::Flex => "flex",
            Tier::Priority => "priority",
        }
    }

    /// The tier that a provider or a caller names, in any of their words; none for a word that nobody knows.
    pub fn named(word: &str) -> Option<Tier> {
        Some(match word {
            "" | "auto" | "default" | "standard" | "standard_only" | "scale" | "on_demand" => Tier::Standard,
            "batch" => Tier::Batch,
            "flex" => Tier::Flex,
            "priority" => Tier::Priority,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_has_its_own_place_and_the_name_that_json_has() {
        for (place, bucket) in Bucket::ALL.into_iter().enumerate() {
            assert_eq!(bucket.index(), place, "{bucket:?}");
            assert_eq!(serde_json::to_value(bucket).unwrap(), bucket.name());
        }
        for tier in Tier::ALL {
            assert_eq!(serde_json::to_value(tier).unwrap(), tier.name());
            assert_eq!(Tier::named(tier.name()), Some(tier));
        }
    }

    #[test]
    fn json_holds_what_was_used_and_reads_back() {
        let buckets = Buckets::text(5, 7).with(Bucket::CacheRead, 3).with(Bucket::Reasoning, 2);
        let text = serde_json::to_string(&buckets).unwrap();
        assert_eq!(text, r#"{"input_text":5,"cache_read":3,"output_text":7,"reasoning":2}"#);
        assert_eq!(serde_json::from_str::<Buckets>(&text).unwrap(), buckets);
        assert_eq!(serde_json::to_string(&Buckets::NONE).unwrap(), "{}");
        for bad in [r#"{"tokens":1}"#, r#"{"reasoning":-1}"#, r#"{"reasoning":1,"reasoning":1}"#] {
            assert!(serde_json::from_str::<Buckets>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sums_take_every_bucket_of_a_side_once() {
        let each = Bucket::ALL.into_iter().fold(Buckets::NONE, |buckets, bucket| buckets.with(bucket, 1));
        assert_eq!((each.input_tokens(), each.output_tokens()), (10, 4));
        assert_eq!((each.cache_read_tokens(), each.cache_write_tokens()), (4, 2));
        assert_eq!(each.plus(&each).input_tokens(), 20);
    }
}
