//! What providers export: OpenAI's costs and usage (JSON of their API, CSV), Anthropic's cost and usage reports (JSON),
//! AWS's cost and usage report (CSV), Azure's cost export (CSV).
//!
//! Costs and tokens of the same day and model may stand in files of their own: their sums are put together. Lines that
//! are about other things than models are left out and counted.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::decimal::{count, nano};
use super::{Bill, Billed};
use crate::finance::calendar;
use crate::limits::window::CalendarUnit;

/// Tier where an export says none.
const STANDARD: &str = "standard";

/// Whose export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Organisation costs or usage, as JSON of the API or as CSV
    Openai,
    /// Cost or usage report of the admin API, as JSON
    Anthropic,
    /// Cost and usage report, as CSV
    AwsCur,
    /// Cost details, as CSV
    Azure,
}

impl Kind {
    /// The provider's name in the ledger.
    pub fn provider(self) -> &'static str {
        match self {
            Kind::Openai => "openai",
            Kind::Anthropic => "anthropic",
            Kind::AwsCur => "bedrock",
            Kind::Azure => "azure",
        }
    }
}

/// An export as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Export {
    /// Its sums.
    pub bill: Bill,
    /// Lines that are about no model.
    pub others: u64,
    /// What these lines cost, in nano-dollars.
    pub others_nano: i128,
}

/// Why an export can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No JSON of that form.
    #[error("the export is not the JSON that is meant")]
    Json(#[from] serde_json::Error),
    /// No CSV.
    #[error("the export is not CSV")]
    Csv(#[from] csv::Error),
    /// A column that is needed.
    #[error("the export has no column `{0}`")]
    Column(&'static str),
    /// A number that isn't one.
    #[error("`{text}` in line {line} is no number")]
    Number {
        /// As written.
        text: String,
        /// Line or place of the entry, from 1.
        line: usize,
    },
    /// A time that isn't one.
    #[error("`{0}` is no time")]
    Time(String),
    /// Money of another kind.
    #[error("the export is in `{0}`, and only USD is compared")]
    Currency(String),
}

/// Reads an export.
///
/// # Errors
/// It has another form, or a number that is none.
pub fn read(kind: Kind, text: &str) -> Result<Export, ReadError> {
    let is_json = text.trim_start().starts_with(['{', '[']);
    match (kind, is_json) {
        (Kind::Openai, true) => openai_json(text),
        (Kind::Openai, false) => table(text, &OPENAI_CSV),
        (Kind::Anthropic, _) => anthropic(text),
        (Kind::AwsCur, _) => table(text, if text.contains("lineItem/") { &AWS_CUR } else { &AWS_CUR_2 }),
        (Kind::Azure, _) => table(text, &AZURE),
    }
}

impl Export {
    /// Puts another export beside this one.
    pub fn join(&mut self, more: Export) {
        for (place, billed) in &more.bill {
            self.bill.entry(place.clone()).or_default().add(billed);
        }
        self.others = self.others.saturating_add(more.others);
        self.others_nano = self.others_nano.saturating_add(more.others_nano);
    }

    fn add(&mut self, day: String, model: Option<&str>, tier: &str, billed: &Billed) {
        match model.filter(|model| !model.is_empty()) {
            Some(model) => self.bill.entry((day, model.to_owned(), tier.to_owned())).or_default().add(billed),
            None => {
                self.others = self.others.saturating_add(1);
                self.others_nano = self.others_nano.saturating_add(billed.nano.unwrap_or(0));
            }
        }
    }
}

fn money(text: &str, shift: i32, line: usize) -> Result<Billed, ReadError> {
    let read = nano(text, shift).ok_or_else(|| ReadError::Number { text: text.to_owned(), line })?;
    Ok(Billed { nano: Some(read.nano), lines: 1, rounding: read.rounding, tokens: None })
}

fn is_dollars(currency: &str) -> Result<(), ReadError> {
    if currency.is_empty() || currency.eq_ignore_ascii_case("usd") {
        return Ok(());
    }
    Err(ReadError::Currency(currency.to_owned()))
}

/// The day of seconds, of a time or of a date; `MM/DD/YYYY` too.
fn day(text: &str) -> Result<String, ReadError> {
    let wrong = || ReadError::Time(text.to_owned());
    let bytes = text.as_bytes();
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(calendar::name(CalendarUnit::Day, chrono_tz::Tz::UTC, seconds.saturating_mul(1_000)));
    }
    if bytes.get(2) == Some(&b'/') {
        let (month, rest) = text.split_once('/').ok_or_else(wrong)?;
        let (day, year) = rest.split_once('/').ok_or_else(wrong)?;
        return self::day(&format!("{year}-{month}-{day}"));
    }
    let day = text.get(..10).ok_or_else(wrong)?;
    day.parse::<chrono::NaiveDate>().map(|day| day.to_string()).map_err(|_| wrong())
}

#[derive(Deserialize)]
struct Page<R> {
    data: Vec<Bucket<R>>,
}

#[derive(Deserialize)]
struct Bucket<R> {
    #[serde(alias = "starting_at")]
    start_time: Box<RawValue>,
    results: Vec<R>,
}

impl<R> Bucket<R> {
    fn day(&self) -> Result<String, ReadError> {
        day(self.start_time.get().trim_matches('"'))
    }
}

#[derive(Deserialize)]
struct OpenaiResult {
    amount: Option<OpenaiAmount>,
    line_item: Option<String>,
    model: Option<String>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    batch: Option<bool>,
    service_tier: Option<String>,
}

#[derive(Deserialize)]
struct OpenaiAmount {
    value: Box<RawValue>,
    currency: Option<String>,
}

fn openai_json(text: &str) -> Result<Export, ReadError> {
    let page: Page<OpenaiResult> = serde_json::from_str(text)?;
    let mut export = Export::default();
    for bucket in &page.data {
        let day = bucket.day()?;
        for (at, result) in bucket.results.iter().enumerate() {
            let item = result.line_item.as_deref().map(item);
            let tier = match (result.batch, result.service_tier.as_deref(), item) {
                (Some(true), _, _) => "batch",
                (_, Some(tier), _) if tier != "default" => tier,
                (_, _, Some((_, tier))) => tier,
                (_, _, None) => STANDARD,
            };
            let billed = match &result.amount {
                Some(amount) => {
                    is_dollars(amount.currency.as_deref().unwrap_or(""))?;
                    money(amount.value.get().trim_matches('"'), 0, at.saturating_add(1))?
                }
                None => {
                    let tokens = result.input_tokens.unwrap_or(0).saturating_add(result.output_tokens.unwrap_or(0));
                    Billed { tokens: Some(tokens), lines: 1, ..Billed::default() }
                }
            };
            let model = result.model.as_deref().or(item.map(|(model, _)| model));
            export.add(day.clone(), model, tier, &billed);
        }
    }
    Ok(export)
}

/// Model and tier of a line item such as `gpt-4o-2024-08-06, input` or `o3 batch, output`.
fn item(text: &str) -> (&str, &str) {
    let model = text.split(',').next().unwrap_or("").trim();
    let tiers = ["batch", "flex", "priority"];
    let tier = tiers.into_iter().find(|tier| text.split([' ', ',']).any(|word| word.eq_ignore_ascii_case(tier)));
    let model = model.split(' ').next().unwrap_or(model);
    // Line items of tools and storage have a sentence or nothing where a model would stand.
    let is_model = text.contains(',') && model.bytes().any(|byte| byte.is_ascii_digit());
    (if is_model { model } else { "" }, tier.unwrap_or(STANDARD))
}

#[derive(Deserialize)]
struct AnthropicResult {
    amount: Option<Box<RawValue>>,
    currency: Option<String>,
    model: Option<String>,
    service_tier: Option<String>,
    uncached_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation: BTreeMap<String, u64>,
    output_tokens: Option<u64>,
}

/// Amounts are in cents.
fn anthropic(text: &str) -> Result<Export, ReadError> {
    let page: Page<AnthropicResult> = serde_json::from_str(text)?;
    let mut export = Export::default();
    for bucket in &page.data {
        let day = bucket.day()?;
        for (at, result) in bucket.results.iter().enumerate() {
            let billed = match &result.amount {
                Some(amount) => {
                    is_dollars(result.currency.as_deref().unwrap_or(""))?;
                    money(amount.get().trim_matches('"'), -2, at.saturating_add(1))?
                }
                None => {
                    let counts = [result.uncached_input_tokens, result.cache_read_input_tokens, result.output_tokens];
                    let counts = counts.into_iter().flatten().chain(result.cache_creation.values().copied());
                    let tokens = counts.fold(0, u64::saturating_add);
                    Billed { tokens: Some(tokens), lines: 1, ..Billed::default() }
                }
            };
            let tier = result.service_tier.as_deref().unwrap_or(STANDARD);
            export.add(day.clone(), result.model.as_deref(), tier, &billed);
        }
    }
    Ok(export)
}

/// The columns of a table that matter.
struct Table {
    day: &'static str,
    cost: &'static str,
    currency: Option<&'static str>,
    quantity: Option<&'static str>,
    /// Unit of the quantity.
    unit: Option<&'static str>,
    /// Where the model and the tier are read from.
    item: &'static str,
    /// Only lines that have one of these here.
    only: Option<(&'static str, &'static [&'static str])>,
    model: fn(&str) -> (String, &'static str),
}

const OPENAI_CSV: Table = Table {
    day: "start_time",
    cost: "amount_value",
    currency: Some("amount_currency"),
    quantity: None,
    unit: None,
    item: "line_item",
    only: None,
    model: |text| {
        let (model, tier) = item(text);
        (model.to_owned(), ["batch", "flex", "priority"].into_iter().find(|of| *of == tier).unwrap_or(STANDARD))
    },
};

const AWS_CUR: Table = Table {
    day: "lineItem/UsageStartDate",
    cost: "lineItem/UnblendedCost",
    currency: Some("lineItem/CurrencyCode"),
    quantity: Some("lineItem/UsageAmount"),
    unit: Some("pricing/unit"),
    item: "lineItem/UsageType",
    only: Some(("lineItem/ProductCode", &["AmazonBedrock", "AmazonBedrockFoundationModels"])),
    model: aws_model,
};

const AWS_CUR_2: Table = Table {
    day: "line_item_usage_start_date",
    cost: "line_item_unblended_cost",
    currency: Some("line_item_currency_code"),
    quantity: Some("line_item_usage_amount"),
    unit: Some("pricing_unit"),
    item: "line_item_usage_type",
    only: Some(("line_item_product_code", &["AmazonBedrock", "AmazonBedrockFoundationModels"])),
    model: aws_model,
};

const AZURE: Table = Table {
    day: "Date",
    cost: "CostInBillingCurrency",
    currency: Some("BillingCurrency"),
    quantity: Some("Quantity"),
    unit: Some("UnitOfMeasure"),
    item: "MeterName",
    only: Some(("MeterCategory", &["Cognitive Services", "Azure OpenAI Service", "Foundry Models"])),
    model: azure_model,
};

/// `USE1-Claude3Sonnet-input-tokens-batch`: the region before, the kind of token behind.
fn aws_model(text: &str) -> (String, &'static str) {
    let words: Vec<&str> = text.split('-').collect();
    let is_kind = |word: &&&str| {
        let kinds = ["input", "output", "tokens", "token", "count", "batch", "cache", "read", "write", "cacheread"];
        !kinds.iter().any(|kind| word.eq_ignore_ascii_case(kind))
    };
    let model: Vec<&str> = words.iter().skip(1).filter(is_kind).copied().collect();
    let has = |kind: &str| words.iter().any(|word| word.eq_ignore_ascii_case(kind));
    let is_tokens = has("tokens") || has("token") || has("input") || has("output");
    (if is_tokens { model.join("-") } else { String::new() }, if has("batch") { "batch" } else { STANDARD })
}

/// `gpt-4o-0806-Inp-glbl Tokens`, `gpt 4o 0806 Batch Outp regnl Tokens`.
fn azure_model(text: &str) -> (String, &'static str) {
    let words: Vec<&str> = text.split([' ', '-']).filter(|word| !word.is_empty()).collect();
    let kinds = [
        "inp", "input", "outp", "opt", "out", "output", "cached", "cchd", "cd", "glbl", "global", "regnl", "regional",
        "data", "dzone", "zone", "tokens", "token", "batch", "1m", "1k",
    ];
    let is_model = |word: &&&str| !kinds.iter().any(|kind| word.eq_ignore_ascii_case(kind));
    let model: Vec<&str> = words.iter().filter(is_model).copied().collect();
    let has = |kind: &str| words.iter().any(|word| word.eq_ignore_ascii_case(kind));
    let is_tokens = has("tokens") || has("token");
    (
        if is_tokens { model.join("-").to_lowercase() } else { String::new() },
        if has("batch") { "batch" } else { STANDARD },
    )
}

/// How many tokens a unit is: `1K`, `1M tokens`, `1000`, `tokens`.
fn tokens_of(unit: &str) -> u64 {
    let unit = unit.to_ascii_lowercase();
    match unit.split_whitespace().next().unwrap_or("") {
        "1k" | "1000" | "1,000" | "thousand" => 1_000,
        "1m" | "1000000" | "million" => 1_000_000,
        _ if unit.starts_with("1k") => 1_000,
        _ if unit.starts_with("1m") => 1_000_000,
        _ => 1,
    }
}

fn table(text: &str, of: &Table) -> Result<Export, ReadError> {
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let headers = reader.headers()?.clone();
    let find = |name: &str| headers.iter().position(|header| header.trim().eq_ignore_ascii_case(name));
    let needed = |name: &'static str| find(name).ok_or(ReadError::Column(name));
    let (day_at, cost_at, item_at) = (needed(of.day)?, needed(of.cost)?, needed(of.item)?);
    let only = of.only.map(|(name, values)| needed(name).map(|at| (at, values))).transpose()?;
    let (currency, quantity, unit) = (of.currency.and_then(find), of.quantity.and_then(find), of.unit.and_then(find));
    let mut export = Export::default();
    for (at, record) in reader.records().enumerate() {
        let (record, line) = (record?, at.saturating_add(2));
        let field = |at: usize| record.get(at).unwrap_or("").trim();
        let mut billed = money(field(cost_at), 0, line)?;
        let day = day(field(day_at))?;
        if only.is_some_and(|(at, values)| !values.contains(&field(at))) {
            export.add(day, None, STANDARD, &billed);
            continue;
        }
        is_dollars(currency.map_or("", field))?;
        if let Some(amount) = quantity.map(field).filter(|amount| !amount.is_empty()) {
            let times = unit.map_or(1, |at| tokens_of(field(at)));
            let tokens = count(amount, times);
            billed.tokens = Some(tokens.ok_or_else(|| ReadError::Number { text: amount.to_owned(), line })?);
        }
        let (model, tier) = (of.model)(field(item_at));
        export.add(day, Some(&model), tier, &billed);
    }
    Ok(export)
}
