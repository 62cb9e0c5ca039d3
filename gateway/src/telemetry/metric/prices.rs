//! Metrics of prices.

use metrics::{counter, describe_counter, describe_gauge, gauge};
use parking_lot::Mutex;
use std::sync::Arc;

use crate::exchange::Attempt;
use crate::usage::bill::Pricing;
use crate::world::World;

/// Calls refused because no deployment of their model has a price, by model.
pub const UNKNOWN: &str = "weir_price_unknown_total";
/// Deployments that are never called, because no price is known for them.
pub const UNPRICED: &str = "weir_deployments_unpriced";
/// Attempts that were charged a ceiling, by deployment.
pub const CEILING: &str = "weir_price_ceiling_total";
/// Attempts whose provider's report contradicts itself, by deployment.
pub const INCONSISTENT: &str = "weir_usage_inconsistent_total";
/// 1 for the version of the price book that new calls get.
pub const BOOK: &str = "weir_price_book_info";
/// Seconds since the price file was last written; none for the one that ships with Weir.
pub const BOOK_AGE: &str = "weir_price_book_age_seconds";

/// The version that was shown last: it is shown as 0 once another holds.
static SHOWN: Mutex<Option<Arc<str>>> = Mutex::new(None);

/// Tells the recorder what they mean.
pub fn describe() {
    describe_counter!(UNKNOWN, "calls refused because no deployment of their model has a price, by model");
    describe_gauge!(UNPRICED, "deployments that are never called, because no price is known for them");
    describe_counter!(CEILING, "attempts that were charged a ceiling in the place of a price, by deployment");
    describe_counter!(INCONSISTENT, "attempts whose provider's report contradicts itself, by deployment");
    describe_gauge!(BOOK, "1 for the version of the price book that new calls get");
    describe_gauge!(BOOK_AGE, "seconds since the price file was last written");
}

/// Counts a call whose model nobody can serve at a price. The model is one of the configuration's.
pub fn unknown(model: &str) {
    counter!(UNKNOWN, "model" => model.to_owned()).increment(1);
}

/// Counts an attempt by how it was priced.
pub fn ended(attempt: &Attempt) {
    let name = match attempt.bill.pricing {
        Pricing::Ceiling => CEILING,
        Pricing::Inconsistent => INCONSISTENT,
        Pricing::Priced | Pricing::None => return,
    };
    counter!(name, "deployment" => attempt.deployment.to_string()).increment(1);
}

/// Shows the book that new calls get.
pub fn observe(world: &World, now_ms: u64) {
    let version = world.prices.version();
    let mut shown = SHOWN.lock();
    if let Some(old) = shown.as_ref().filter(|old| *old != version) {
        gauge!(BOOK, "version" => old.to_string()).set(0.0);
    }
    gauge!(BOOK, "version" => version.to_string()).set(1.0);
    *shown = Some(Arc::clone(version));
    drop(shown);
    gauge!(UNPRICED).set(f64::from(u32::try_from(world.unpriced().len()).unwrap_or(u32::MAX)));
    if let Some(written_ms) = world.prices_written_ms {
        let seconds = now_ms.saturating_sub(written_ms).checked_div(1_000).unwrap_or(0);
        gauge!(BOOK_AGE).set(f64::from(u32::try_from(seconds).unwrap_or(u32::MAX)));
    }
}
