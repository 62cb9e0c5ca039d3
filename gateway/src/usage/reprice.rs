//! What a row of the ledger should have cost, and the correction that brings it there. Pure.
//!
//! A row is never changed: its correction is a row of its own that holds the difference, so that a month that was
//! closed stays as it was closed. A row that was corrected before is held against the sum of both.

use std::sync::Arc;

use crate::exchange::{Attempt, CallId, Outcome, UsageSource};
use crate::identity::{KeyId, TenantPath};
use crate::journal::Closing;
use crate::store::usage_event::UsageEvent;
use crate::usage::bill::{Bill, Pricing};
use crate::usage::buckets::{Bucket, Buckets, Tier};
use crate::usage::price::gpu::VERSION_PREFIX;
use crate::usage::price::{Basis, PriceBook, PriceOf, Unpriced};

/// Price version of rows that were charged at what was held, since nothing else was ever known.
const HELD: &str = "held";

/// What was charged for a row so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Charged {
    /// Nano-dollars.
    pub cost_nano: i64,
    /// Nano-dollars by list price.
    pub list_nano: i64,
    /// How many corrections are in it.
    pub corrections: u64,
}

impl Charged {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Charged) -> Charged {
        Charged {
            cost_nano: self.cost_nano.saturating_add(other.cost_nano),
            list_nano: self.list_nano.saturating_add(other.list_nano),
            corrections: self.corrections.saturating_add(other.corrections),
        }
    }

    fn minus(self, other: Charged) -> Charged {
        Charged {
            cost_nano: self.cost_nano.saturating_sub(other.cost_nano),
            list_nano: self.list_nano.saturating_sub(other.list_nano),
            corrections: 0,
        }
    }
}

/// What the book says of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was charged so.
    Right,
    /// It was charged otherwise.
    Off {
        /// What is missing, or too much where negative.
        difference: Charged,
        /// Version of the price.
        version: Arc<str>,
        /// How it came about.
        pricing: Pricing,
    },
    /// There is nothing to price: no work was done, or what was held was charged.
    Apart,
    /// The book has no price for it.
    Unpriced(Unpriced),
}

/// Which prices apply to a row.
#[derive(Debug, Clone, Copy)]
pub struct Rating<'a> {
    /// The prices.
    pub book: &'a PriceBook,
    /// Provider's name in them.
    pub provider: &'a str,
    /// In force when, in Unix milliseconds; none: at the call's own time.
    pub as_of_ms: Option<u64>,
}

/// Holds a row against the book, given what was charged for it with all its corrections.
pub fn judge(event: &UsageEvent, charged: Charged, rating: Rating<'_>) -> Verdict {
    // What was charged by the machine's time has no price in a book.
    if event.price_version.starts_with(VERSION_PREFIX) {
        return Verdict::Apart;
    }
    if event.source == "none" || event.price_version == HELD || event.kind != "usage" {
        return Verdict::Apart;
    }
    let of = PriceOf {
        region: event.region.as_deref(),
        tier: Tier::named(&event.tier).unwrap_or_default(),
        tenant: Some(&event.tenant),
        ..PriceOf::new(rating.provider, &event.upstream_model, rating.as_of_ms.unwrap_or(event.at_ms))
    };
    let Some(buckets) = buckets(event) else { return Verdict::Apart };
    let cost = match rating.book.price(&of, &buckets) {
        Ok(cost) => cost,
        Err(unpriced) => return Verdict::Unpriced(unpriced),
    };
    let difference = Charged { cost_nano: cost.nano, list_nano: cost.list_nano, corrections: 0 }.minus(charged);
    if difference == Charged::default() {
        return Verdict::Right;
    }
    let pricing = match cost.basis {
        Basis::Priced => Pricing::Priced,
        Basis::Ceiling => Pricing::Ceiling,
    };
    Verdict::Off { difference, version: cost.version, pricing }
}

/// The row's buckets; none where one of them has a name that this program doesn't know.
fn buckets(event: &UsageEvent) -> Option<Buckets> {
    event.buckets.iter().try_fold(Buckets::NONE, |buckets, (name, amount)| {
        let bucket = Bucket::ALL.into_iter().find(|bucket| bucket.name() == name)?;
        Some(buckets.with(bucket, *amount))
    })
}

/// The correction's id: made from what it corrects and how often that was corrected before, so that two who correct at
/// once write one row, and who goes back to an earlier price writes another; beside the row's own id in their order.
fn id(event: &UsageEvent, charged: Charged) -> CallId {
    let mut hasher = blake3::Hasher::new();
    for part in [event.event.to_string(), charged.corrections.to_string()] {
        hasher.update(part.as_bytes());
        hasher.update(b"\n");
    }
    let mut random = [0_u8; 10];
    for (to, from) in random.iter_mut().zip(hasher.finalize().as_bytes()) {
        *to = *from;
    }
    let made_ms = u64::try_from(event.event.call.as_u128().checked_shr(80).unwrap_or(0)).unwrap_or(0);
    CallId(uuid::Builder::from_unix_timestamp_millis(made_ms, &random).into_uuid())
}

/// The correction as the ledger takes it. `charged` is what was charged before it; none where the row's own words can't
/// be read as a tenant's path.
pub fn correction(event: &UsageEvent, charged: Charged, verdict: &Verdict, now_ms: u64) -> Option<Closing> {
    let Verdict::Off { difference, version, pricing } = verdict else { return None };
    let call = id(event, charged);
    let attempt = Attempt {
        attempt: 0,
        deployment: event.deployment.as_str().into(),
        provider: event.provider.as_str().into(),
        model: event.upstream_model.as_str().into(),
        status: event.status,
        outcome: Outcome::Completed,
        reason: Some("repriced".into()),
        input_tokens: 0,
        output_tokens: 0,
        source: UsageSource::None,
        cost_nano: difference.cost_nano,
        price_version: Arc::clone(version),
        first_token_ms: None,
        total_ms: 0,
        finish_reason: None,
        bill: Bill {
            tier: event.tier.as_str().into(),
            pricing: *pricing,
            list_nano: difference.list_nano,
            region: event.region.as_deref().map(Arc::from),
            corrects: Some(event.event.to_string().into()),
            ..Bill::default()
        },
    };
    Some(Closing {
        call,
        at_ms: now_ms,
        ended_ms: now_ms,
        tenant: Some(TenantPath::parse(&event.tenant).ok()?),
        key: Some(KeyId(event.key.as_str().into())),
        endpoint: event.endpoint.as_str().into(),
        model: Some(event.model.as_str().into()),
        end_user: event.end_user.as_deref().map(Arc::from),
        stream: false,
        outcome: Outcome::Completed,
        status: event.status,
        reason: None,
        rule: None,
        obligations: Vec::new(),
        revision: 0,
        fail_open: Vec::new(),
        attempts: vec![attempt],
    })
}

#[cfg(test)]
mod tests;
