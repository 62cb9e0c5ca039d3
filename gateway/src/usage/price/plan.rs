//! The price of one model, worked out for each tier and length of prompt before anybody asks. Pure.
//!
//! What a file leaves out is taken from the next plainer bucket, never as free: a cached token without a price of its
//! own costs what a token of its kind costs, a thought what an answer costs. Batch and flex are cheaper than the
//! standard, so without prices of their own the standard ones hold; priority is dearer, so there only its own hold.
//! What is no token (a search, a picture, a second) has a price or is unknown; only a fee per call may be missing, and
//! the own engine's time, which [`super::gpu`] prices.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::amount::{Measure, Ratio, Rounding, common_multiple};
use super::file::{Band, Entry, Moment, Prices, Quote};
use super::{PriceError, Unpriced};
use crate::usage::buckets::{Bucket, Buckets, PerBucket, Side, Tier};

/// Bands that an entry may have: providers have one or two.
const BANDS_MAX: usize = 8;
/// Any other size of picture.
const ANY: &str = "*";

/// The price of a model while it is in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    from_ms: u64,
    /// First moment at which it no longer holds.
    to_ms: u64,
    region: Option<Box<str>>,
    /// Longest prompts first; the last is for every prompt.
    bands: Vec<Tables>,
}

/// What calls with prompts longer than `above` tokens cost.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tables {
    above: Option<u64>,
    standard: Arc<Table>,
    batch: Arc<Table>,
    flex: Arc<Table>,
    priority: Option<Arc<Table>>,
}

/// Prices over one common divisor, so that a call is rounded once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    divisor: i128,
    /// Nano-dollars times the divisor.
    prices: PerBucket<Option<i128>>,
    pictures: BTreeMap<Box<str>, i128>,
}

/// Prices that were read: the layers of a table.
#[derive(Default, Clone)]
struct Layer {
    prices: BTreeMap<Bucket, Ratio>,
    pictures: BTreeMap<Box<str>, Ratio>,
}

/// A sum of money before it is rounded: nano-dollars times the divisor.
#[derive(Debug, Clone, Copy)]
pub struct Sum {
    /// Numerator.
    pub value: i128,
    /// Divisor.
    pub divisor: i128,
}

impl Sum {
    /// Whole nano-dollars of so much of it.
    pub fn nano(self, factor: Ratio, rounding: Rounding) -> Option<i64> {
        let value = self.value.checked_mul(factor.num)?;
        i64::try_from(rounding.divide(value, self.divisor.checked_mul(factor.den)?)?).ok()
    }
}

impl Plan {
    /// The plan of an entry.
    pub fn new(entry: &Entry) -> Result<Self, PriceError> {
        let name = format!("{}/{}", entry.provider, entry.model);
        let mut plan = Self::of(&name, &entry.prices, &entry.tiers, &entry.above)?;
        (plan.from_ms, plan.to_ms) = span(&name, entry.from, entry.to)?;
        plan.region = entry.region.as_deref().map(Into::into);
        Ok(plan)
    }

    /// The plan of prices that hold always and for every tier.
    pub fn always(name: &str, prices: &Prices) -> Result<Self, PriceError> {
        let mut plan = Self::of(name, prices, &BTreeMap::new(), &[])?;
        for band in &mut plan.bands {
            band.priority = Some(Arc::clone(&band.standard));
        }
        Ok(plan)
    }

    fn of(name: &str, prices: &Prices, tiers: &BTreeMap<Tier, Prices>, above: &[Band]) -> Result<Self, PriceError> {
        if prices.0.is_empty() || above.len() > BANDS_MAX {
            return Err(PriceError::Empty(name.to_owned()));
        }
        let base = Layers::read(name, prices, tiers)?;
        let mut bands = vec![base.tables(None, name)?];
        for band in above {
            let long = Layers::read(name, &band.prices, &band.tiers)?;
            bands.push(long.over(&base, band.tokens, name)?);
        }
        bands.sort_by_key(|band| std::cmp::Reverse(band.above));
        let has_twice = |pair: &[Tables]| matches!(pair, [a, b] if a.above == b.above);
        if bands.windows(2).any(has_twice) {
            return Err(PriceError::Twice { entry: name.to_owned() });
        }
        Ok(Self { from_ms: 0, to_ms: u64::MAX, region: None, bands })
    }

    /// Whether it holds then.
    pub const fn is_in_effect(&self, at_ms: u64) -> bool {
        self.from_ms <= at_ms && at_ms < self.to_ms
    }

    /// Where it holds; everywhere for none.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// Whether both hold at some moment in the same region.
    pub fn clashes(&self, other: &Plan) -> bool {
        self.region == other.region && self.from_ms < other.to_ms && other.from_ms < self.to_ms
    }

    /// The prices of a call of that tier and with so many prompt tokens; none where they aren't known.
    pub fn table(&self, tier: Tier, input_tokens: u64) -> Option<&Table> {
        self.bands.iter().find(|band| band.holds(input_tokens))?.table(tier)
    }

    /// Whether some length of prompt has prices of that tier.
    pub fn has(&self, tier: Tier) -> bool {
        self.bands.iter().any(|band| band.table(tier).is_some())
    }

    /// Every table, the plainest first.
    pub fn tables(&self) -> impl Iterator<Item = (Option<u64>, Tier, &Table)> {
        self.bands
            .iter()
            .rev()
            .flat_map(|band| Tier::ALL.into_iter().filter_map(move |tier| Some((band.above, tier, band.table(tier)?))))
    }

    /// All prices that a call may have that turns out to be of that tier or of the standard one, and whose prompt has
    /// at most so many tokens.
    pub fn may_apply(&self, tier: Tier, input_tokens: u64) -> impl Iterator<Item = &Table> {
        let bands = self.bands.iter().filter(move |band| band.holds(input_tokens));
        bands.flat_map(move |band| [band.table(tier), band.table(Tier::Standard)].into_iter().flatten())
    }
}

impl Tables {
    fn holds(&self, input_tokens: u64) -> bool {
        self.above.is_none_or(|above| input_tokens > above)
    }

    fn table(&self, tier: Tier) -> Option<&Table> {
        match tier {
            Tier::Standard => Some(&self.standard),
            Tier::Batch => Some(&self.batch),
            Tier::Flex => Some(&self.flex),
            Tier::Priority => self.priority.as_deref(),
        }
    }
}

impl Table {
    /// What so much costs; the bucket that has no price where one has none.
    pub fn sum(&self, buckets: &Buckets, picture: Option<&str>) -> Result<Sum, Missing> {
        let mut value = 0_i128;
        for (bucket, amount) in buckets.used() {
            let price = if bucket == Bucket::Images { self.picture(picture) } else { self.prices.get(bucket) };
            // A fee for each call is what few providers take; the own engine's time is another way to count its tokens.
            let is_beside =
                matches!(bucket, Bucket::Requests | Bucket::GpuPrefillUs | Bucket::GpuDecodeUs | Bucket::GpuKvUs);
            let price = price.or(is_beside.then_some(0));
            let part = price.ok_or(Missing::Bucket(bucket))?.checked_mul(amount.into()).ok_or(Missing::Overflow)?;
            value = value.checked_add(part).ok_or(Missing::Overflow)?;
        }
        Ok(Sum { value, divisor: self.divisor })
    }

    /// What so many tokens can cost at most, whatever kind they turn out to be of.
    pub fn most(&self, input: u64, output: u64, kinds: Kinds) -> Result<Sum, Missing> {
        let mut value = self.prices.get(Bucket::Requests).unwrap_or(0);
        for (side, amount, plain) in
            [(Side::Input, input, Bucket::InputText), (Side::Output, output, Bucket::OutputText)]
        {
            let dearest = self.prices.iter().filter(|(bucket, _)| bucket.side() == side && kinds.has(*bucket));
            let dearest = dearest.filter_map(|(_, price)| price).max();
            if amount > 0 {
                let price = dearest.ok_or(Missing::Bucket(plain))?;
                let part = price.checked_mul(amount.into()).ok_or(Missing::Overflow)?;
                value = value.checked_add(part).ok_or(Missing::Overflow)?;
            }
        }
        Ok(Sum { value, divisor: self.divisor })
    }

    fn picture(&self, size: Option<&str>) -> Option<i128> {
        let of_size = size.and_then(|size| self.pictures.get(size));
        of_size.or_else(|| self.pictures.get(ANY)).copied()
    }

    /// The price of a bucket, in nano-dollars for one.
    pub fn price(&self, bucket: Bucket) -> Option<Ratio> {
        Ratio::new(self.prices.get(bucket)?, self.divisor)
    }

    /// The prices it states, over [`Table::divisor`], for people to read.
    pub fn prices(&self) -> impl Iterator<Item = (Bucket, Ratio)> + '_ {
        let priced = self.prices.iter().filter_map(|(bucket, price)| Some((bucket, price?)));
        priced.filter_map(|(bucket, num)| Some((bucket, Ratio::new(num, self.divisor)?)))
    }

    /// The prices of pictures by size.
    pub fn pictures(&self) -> impl Iterator<Item = (&str, Ratio)> {
        self.pictures.iter().filter_map(|(size, num)| Some((&**size, Ratio::new(*num, self.divisor)?)))
    }
}

/// Kinds of tokens that a call may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    /// Any.
    Every,
    /// Text, thoughts and caches.
    Text,
}

impl Kinds {
    const fn has(self, bucket: Bucket) -> bool {
        let is_text = matches!(
            bucket,
            Bucket::InputText
                | Bucket::CacheRead
                | Bucket::CacheWrite5m
                | Bucket::CacheWrite1h
                | Bucket::OutputText
                | Bucket::Reasoning
        );
        is_text || matches!(self, Kinds::Every)
    }
}

/// Why a table has no sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// No price for it.
    Bucket(Bucket),
    /// Beyond what can be counted.
    Overflow,
}

impl Missing {
    /// Said of a model.
    pub fn of(self, provider: &str, model: &str) -> Unpriced {
        match self {
            Missing::Bucket(bucket) => {
                Unpriced::Bucket { provider: provider.to_owned(), model: model.to_owned(), bucket: bucket.name() }
            }
            Missing::Overflow => Unpriced::Overflow,
        }
    }
}

/// What an entry or a band states, by tier.
struct Layers {
    standard: Layer,
    tiers: BTreeMap<Tier, Layer>,
}

impl Layers {
    fn read(name: &str, prices: &Prices, tiers: &BTreeMap<Tier, Prices>) -> Result<Self, PriceError> {
        let of_tier = |(tier, prices): (&Tier, &Prices)| Ok::<_, PriceError>((*tier, Layer::read(name, prices)?));
        let tiers: BTreeMap<Tier, Layer> = tiers.iter().map(of_tier).collect::<Result<_, _>>()?;
        if tiers.contains_key(&Tier::Standard) {
            return Err(PriceError::Twice { entry: name.to_owned() });
        }
        Ok(Self { standard: Layer::read(name, prices)?, tiers })
    }

    fn tables(&self, above: Option<u64>, name: &str) -> Result<Tables, PriceError> {
        let cheaper = |tier| -> Result<_, PriceError> {
            self.tiers.get(&tier).map(|own| table(&[own, &self.standard], None, name)).transpose()
        };
        let standard = Arc::new(table(&[&self.standard], None, name)?);
        let priority = self.tiers.get(&Tier::Priority).map(|own| table(&[own], Some(&self.standard), name));
        Ok(Tables {
            above,
            batch: cheaper(Tier::Batch)?.map_or_else(|| Arc::clone(&standard), Arc::new),
            flex: cheaper(Tier::Flex)?.map_or_else(|| Arc::clone(&standard), Arc::new),
            priority: priority.transpose()?.map(Arc::new),
            standard,
        })
    }

    fn over(&self, base: &Layers, above: u64, name: &str) -> Result<Tables, PriceError> {
        let none = Layer::default();
        let cheaper = |tier| -> Result<_, PriceError> {
            let [own, plain] = [self, base].map(|layers| layers.tiers.get(&tier).unwrap_or(&none));
            Ok(Arc::new(table(&[own, &self.standard, plain, &base.standard], None, name)?))
        };
        let priority = self.tiers.get(&Tier::Priority).map(|own| table(&[own], Some(&base.standard), name));
        Ok(Tables {
            above: Some(above),
            standard: Arc::new(table(&[&self.standard, &base.standard], None, name)?),
            batch: cheaper(Tier::Batch)?,
            flex: cheaper(Tier::Flex)?,
            priority: priority.transpose()?.map(Arc::new),
        })
    }
}

impl Layer {
    fn read(name: &str, prices: &Prices) -> Result<Self, PriceError> {
        let mut layer = Self::default();
        for (bucket, quote) in &prices.0 {
            let is_time = matches!(bucket, Bucket::AudioMs | Bucket::VideoMs);
            let measure = if is_time { Measure::Time } else { Measure::Count };
            let read = |text: &str| {
                let amount = || PriceError::Amount { text: text.to_owned(), entry: name.to_owned() };
                Ratio::price(text, measure).ok_or_else(amount)
            };
            match (bucket, quote) {
                (Bucket::Images, Quote::One(text)) => {
                    layer.pictures.insert(ANY.into(), read(text)?);
                }
                (Bucket::Images, Quote::BySize(sizes)) => {
                    for (size, text) in sizes {
                        layer.pictures.insert(size.as_str().into(), read(text)?);
                    }
                }
                (_, Quote::One(text)) => {
                    layer.prices.insert(*bucket, read(text)?);
                }
                (_, Quote::BySize(_)) => {
                    return Err(PriceError::Sizes { entry: name.to_owned(), bucket: bucket.name() });
                }
            }
        }
        Ok(layer)
    }
}

/// The table of layers, the first of which that has a price wins; `others` is for what is no token.
fn table(layers: &[&Layer], others: Option<&Layer>, name: &str) -> Result<Table, PriceError> {
    let too_fine = || PriceError::TooFine(name.to_owned());
    let mut found = BTreeMap::new();
    for bucket in Bucket::ALL {
        let others = others.filter(|_| bucket.side() == Side::Other);
        let states = |wanted: &Bucket| layers.iter().copied().chain(others).find_map(|layer| layer.prices.get(wanted));
        if let Some(price) = plainer(bucket).iter().find_map(states) {
            found.insert(bucket, *price);
        }
    }
    let mut pictures = BTreeMap::new();
    for layer in layers.iter().copied().chain(others) {
        for (size, price) in &layer.pictures {
            pictures.entry(size.clone()).or_insert(*price);
        }
    }
    let mut divisor = 1;
    for price in found.values().chain(pictures.values()) {
        divisor = common_multiple(divisor, price.den).ok_or_else(too_fine)?;
    }
    let scaled = |price: &Ratio| divisor.checked_div(price.den)?.checked_mul(price.num);
    let mut prices = PerBucket::all(None);
    for (bucket, price) in &found {
        prices.set(*bucket, Some(scaled(price).ok_or_else(too_fine)?));
    }
    let pictures = pictures.iter().map(|(size, price)| Ok((size.clone(), scaled(price).ok_or_else(too_fine)?)));
    Ok(Table { divisor, prices, pictures: pictures.collect::<Result<_, PriceError>>()? })
}

/// The bucket, and then those whose price is its own where it has none.
pub(super) fn plainer(bucket: Bucket) -> &'static [Bucket] {
    use Bucket as B;
    match bucket {
        B::InputText => &[B::InputText],
        B::InputAudio => &[B::InputAudio, B::InputText],
        B::InputImage => &[B::InputImage, B::InputText],
        B::InputVideo => &[B::InputVideo, B::InputText],
        B::CacheRead => &[B::CacheRead, B::InputText],
        B::CacheReadAudio => &[B::CacheReadAudio, B::InputAudio, B::CacheRead, B::InputText],
        B::CacheReadImage => &[B::CacheReadImage, B::InputImage, B::CacheRead, B::InputText],
        B::CacheReadVideo => &[B::CacheReadVideo, B::InputVideo, B::CacheRead, B::InputText],
        B::CacheWrite5m => &[B::CacheWrite5m, B::InputText],
        B::CacheWrite1h => &[B::CacheWrite1h, B::CacheWrite5m, B::InputText],
        B::OutputText => &[B::OutputText],
        B::OutputAudio => &[B::OutputAudio, B::OutputText],
        B::OutputImage => &[B::OutputImage, B::OutputText],
        B::Reasoning => &[B::Reasoning, B::OutputText],
        B::WebSearches => &[B::WebSearches],
        B::FileSearches => &[B::FileSearches],
        B::CodeRuns => &[B::CodeRuns],
        B::Images => &[B::Images],
        B::AudioMs => &[B::AudioMs],
        B::VideoMs => &[B::VideoMs],
        B::Characters => &[B::Characters],
        B::Pages => &[B::Pages],
        B::SearchUnits => &[B::SearchUnits],
        B::Requests => &[B::Requests],
        B::GpuPrefillUs => &[B::GpuPrefillUs],
        B::GpuDecodeUs => &[B::GpuDecodeUs],
        B::GpuKvUs => &[B::GpuKvUs],
    }
}

/// The moments between which something holds.
pub fn span(name: &str, from: Option<Moment>, to: Option<Moment>) -> Result<(u64, u64), PriceError> {
    let (from, to) = (from.map_or(0, |from| from.0), to.map_or(u64::MAX, |to| to.0));
    if from < to { Ok((from, to)) } else { Err(PriceError::Span(name.to_owned())) }
}
