//! FOCUS: the cost and usage of the ledger in the columns of the FinOps Open Cost and Usage Specification, versions 1.2
//! and 1.4, with what it has no column for in columns of our own (`x_`).
//!
//! One row is one day (UTC) of one key, model, deployment and tier, as the ledger's sums keep it. The platform bills
//! its tenants, so that it is provider and invoice issuer; who made the model is the publisher and host. Unit prices
//! are
//! left out: a row adds up several prices (prompt, cache, completion), and `x_Tokens` has the counts of each. Start at
//! [`COLUMNS`]; [`sink`] writes rows as CSV and Parquet.

pub mod sink;

use std::collections::BTreeMap;

use crate::finance::calendar;
use crate::limits::window::{CalendarUnit, Span};
use crate::store::usage::UsageSum;

/// Versions of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Version {
    /// 1.2
    #[value(name = "1.2")]
    V1_2,
    /// 1.4
    #[value(name = "1.4")]
    V1_4,
}

/// A row before it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The day, UTC.
    pub day: Span,
    /// Who issues the invoices: the platform.
    pub issuer: String,
    /// Tenant path.
    pub tenant: String,
    /// Key's id.
    pub key: String,
    /// Model as asked for.
    pub model: String,
    /// Model as the deployment knows it.
    pub upstream_model: String,
    /// Provider.
    pub provider: String,
    /// Deployment.
    pub deployment: String,
    /// Tier of the price.
    pub tier: String,
    /// Its sums.
    pub sums: UsageSum,
    /// Counts by bucket.
    pub buckets: BTreeMap<String, u64>,
    /// Number of the statement that has it.
    pub statement: Option<u64>,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Text.
    Text,
    /// A decimal number with up to nine digits behind the point.
    Decimal,
    /// A moment.
    Time,
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// Text.
    Text(String),
    /// Billionths.
    Nano(i128),
    /// Unix milliseconds.
    Time(u64),
}

/// In which versions a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum In {
    Both,
    Only(Version),
}

/// A column.
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub holds: Holds,
    versions: In,
    value: fn(&Charge) -> Value,
}

const NANO: i128 = 1_000_000_000;

const fn text(name: &'static str, value: fn(&Charge) -> Value) -> Column {
    Column { name, holds: Holds::Text, versions: In::Both, value }
}

const fn decimal(name: &'static str, value: fn(&Charge) -> Value) -> Column {
    Column { name, holds: Holds::Decimal, versions: In::Both, value }
}

const fn time(name: &'static str, value: fn(&Charge) -> Value) -> Column {
    Column { name, holds: Holds::Time, versions: In::Both, value }
}

const fn only(version: Version, column: Column) -> Column {
    Column { versions: In::Only(version), ..column }
}

fn null(_: &Charge) -> Value {
    Value::Null
}

fn cost(charge: &Charge) -> Value {
    Value::Nano(charge.sums.cost_nano.into())
}

fn of(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { Value::Text(text.to_owned()) }
}

fn org(charge: &Charge) -> Value {
    of(charge.tenant.split('/').next().unwrap_or(""))
}

fn tenant(charge: &Charge) -> Value {
    of(&charge.tenant)
}

fn tokens(charge: &Charge) -> u64 {
    charge.sums.input_tokens.saturating_add(charge.sums.output_tokens)
}

/// Tokens; of what has none (images, seconds), the requests.
fn quantity(charge: &Charge) -> Value {
    let count = match tokens(charge) {
        0 => charge.sums.attempts,
        tokens => tokens,
    };
    Value::Nano(i128::from(count).saturating_mul(NANO))
}

fn unit(charge: &Charge) -> Value {
    of(if tokens(charge) == 0 { "Requests" } else { "Tokens" })
}

fn count(value: u64) -> Value {
    Value::Nano(i128::from(value).saturating_mul(NANO))
}

fn month(charge: &Charge) -> Span {
    CalendarUnit::Month.span(chrono_tz::Tz::UTC, charge.day.from_ms)
}

fn sku(charge: &Charge) -> Value {
    of(&format!("{}/{}", charge.provider, charge.upstream_model))
}

fn json(map: &impl serde::Serialize) -> Value {
    of(&serde_json::to_string(map).unwrap_or_default())
}

/// Every column, in the order in which it is written.
pub const COLUMNS: &[Column] = &[
    only(Version::V1_4, text("AllocatedMethodDetails", null)),
    only(Version::V1_4, text("AllocatedMethodId", null)),
    only(Version::V1_4, text("AllocatedResourceId", null)),
    only(Version::V1_4, text("AllocatedResourceName", null)),
    only(Version::V1_4, text("AllocatedTags", null)),
    text("AvailabilityZone", null),
    decimal("BilledCost", cost),
    text("BillingAccountId", org),
    text("BillingAccountName", org),
    text("BillingAccountType", |_| of("Organization")),
    text("BillingCurrency", |_| of("USD")),
    time("BillingPeriodEnd", |charge| Value::Time(month(charge).to_ms)),
    time("BillingPeriodStart", |charge| Value::Time(month(charge).from_ms)),
    text("CapacityReservationId", null),
    text("CapacityReservationStatus", null),
    text("ChargeCategory", |_| of("Usage")),
    // A group that only corrections have touched; one that has calls too isn't told apart by the sums.
    text("ChargeClass", |charge| {
        of(if charge.sums.attempts == 0 && charge.sums.corrections > 0 { "Correction" } else { "" })
    }),
    text("ChargeDescription", |charge| {
        of(&format!("{} of {}, tier {}", charge.upstream_model, charge.provider, charge.tier))
    }),
    text("ChargeFrequency", |_| of("Usage-Based")),
    time("ChargePeriodEnd", |charge| Value::Time(charge.day.to_ms)),
    time("ChargePeriodStart", |charge| Value::Time(charge.day.from_ms)),
    text("CommitmentDiscountCategory", null),
    text("CommitmentDiscountId", null),
    text("CommitmentDiscountName", null),
    decimal("CommitmentDiscountQuantity", null),
    text("CommitmentDiscountStatus", null),
    text("CommitmentDiscountType", null),
    text("CommitmentDiscountUnit", null),
    only(Version::V1_4, text("CommitmentProgramEligibilityDetails", null)),
    decimal("ConsumedQuantity", quantity),
    text("ConsumedUnit", unit),
    only(Version::V1_4, text("ContractApplied", null)),
    decimal("ContractedCost", cost),
    decimal("ContractedUnitPrice", null),
    decimal("EffectiveCost", cost),
    only(Version::V1_4, text("HostProviderName", |charge| of(&charge.provider))),
    only(
        Version::V1_4,
        text("InvoiceDetailId", |charge| {
            of(&charge.statement.map(|number| format!("{number}/{}", charge.tenant)).unwrap_or_default())
        }),
    ),
    text("InvoiceId", |charge| of(&charge.statement.map(|number| number.to_string()).unwrap_or_default())),
    text("InvoiceIssuerName", |charge| of(&charge.issuer)),
    decimal("ListCost", |charge| Value::Nano(charge.sums.list_nano.into())),
    decimal("ListUnitPrice", null),
    text("PricingCategory", |_| of("Standard")),
    text("PricingCurrency", |_| of("USD")),
    decimal("PricingCurrencyContractedUnitPrice", null),
    decimal("PricingCurrencyEffectiveCost", cost),
    decimal("PricingCurrencyListUnitPrice", null),
    decimal("PricingQuantity", quantity),
    text("PricingUnit", unit),
    only(Version::V1_2, text("ProviderName", |charge| of(&charge.issuer))),
    only(Version::V1_2, text("PublisherName", |charge| of(&charge.provider))),
    text("RegionId", null),
    text("RegionName", null),
    text("ResourceId", |charge| of(&charge.deployment)),
    text("ResourceName", |charge| of(&charge.deployment)),
    text("ResourceType", |_| of("Model Deployment")),
    text("ServiceCategory", |_| of("AI and Machine Learning")),
    text("ServiceName", |charge| of(&charge.model)),
    only(Version::V1_4, text("ServiceProviderName", |charge| of(&charge.issuer))),
    text("ServiceSubcategory", |_| of("Generative AI")),
    text("SkuId", null),
    text("SkuMeter", null),
    text("SkuPriceDetails", null),
    text("SkuPriceId", null),
    text("SubAccountId", tenant),
    text("SubAccountName", tenant),
    text("SubAccountType", |_| of("Tenant")),
    text("Tags", |charge| json(&BTreeMap::from([("tenant", &charge.tenant)]))),
    decimal("x_CacheReadTokens", |charge| count(charge.sums.cache_read_tokens)),
    decimal("x_CacheWriteTokens", |charge| count(charge.sums.cache_write_tokens)),
    decimal("x_Calls", |charge| count(charge.sums.calls)),
    text("x_ConsumerId", null),
    text("x_CredentialId", |charge| of(&charge.key)),
    decimal("x_InputTokens", |charge| count(charge.sums.input_tokens)),
    text("x_Model", |charge| of(&charge.model)),
    decimal("x_OutputTokens", |charge| count(charge.sums.output_tokens)),
    text("x_PrincipalId", |charge| of(if charge.tenant.matches('/').count() == 3 { &charge.tenant } else { "" })),
    decimal("x_ReasoningTokens", |charge| count(charge.sums.reasoning_tokens)),
    text("x_SkuId", sku),
    text("x_Tier", |charge| of(&charge.tier)),
    text("x_Tokens", |charge| json(&charge.buckets)),
];

/// The columns of a version.
pub fn columns(version: Version) -> impl Iterator<Item = &'static Column> {
    COLUMNS.iter().filter(move |column| match column.versions {
        In::Both => true,
        In::Only(only) => only == version,
    })
}

impl Column {
    /// What a row has here.
    pub fn of(&self, charge: &Charge) -> Value {
        (self.value)(charge)
    }
}

/// A decimal number: no digit is lost. It always has a point, so that whoever guesses types takes it for a decimal.
pub fn decimal_text(nano: i128) -> String {
    let sign = if nano < 0 { "-" } else { "" };
    let whole = nano.unsigned_abs();
    let (whole, fraction) = (whole.checked_div(NANO.unsigned_abs()), whole.checked_rem(NANO.unsigned_abs()));
    let (whole, fraction) = (whole.unwrap_or(0), fraction.unwrap_or(0));
    let text = format!("{sign}{whole}.{fraction:09}");
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

/// A moment as the specification writes it: `2026-11-25T00:00:00Z`.
pub fn time_text(at_ms: u64) -> String {
    let utc = chrono_tz::Tz::UTC;
    let hour = calendar::name(CalendarUnit::Hour, utc, at_ms);
    let hour = hour.strip_suffix(":00+00:00").unwrap_or(&hour);
    let rest = at_ms.checked_rem(3_600_000).unwrap_or(0).checked_div(1_000).unwrap_or(0);
    let (minute, second) = (rest.checked_div(60).unwrap_or(0), rest.checked_rem(60).unwrap_or(0));
    format!("{hour}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests;
