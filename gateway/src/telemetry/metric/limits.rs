//! Metrics of the counter that several gateways share.

use metrics::{counter, describe_counter, describe_gauge, gauge};

/// 1 while the shared counter isn't asked.
pub const DEGRADED: &str = "weir_limits_degraded";
/// Questions to the shared counter, by outcome.
pub const REDIS: &str = "weir_limits_redis_total";
/// Calls that the shared counter could not be asked about, by what became of them: `refuse`, `local`, `allow`.
pub const FALLBACK: &str = "weir_limits_fallback_total";
/// Settlements that the shared counter isn't told yet.
pub const SETTLEMENTS_WAITING: &str = "weir_limits_settlements_waiting";
/// Settlements that the shared counter was never told; what was held stays charged.
pub const SETTLEMENTS_DROPPED: &str = "weir_limits_settlements_dropped_total";

/// Holds of an earlier run that were settled at start, by what the ledger knew of them: `used`, `unused`.
pub const RECOVERED: &str = "weir_limits_holds_recovered_total";

/// What happened with slices of budgets that this gateway takes from the shared counter in advance: `taken`, `refused`,
/// `told` (what of one was used).
pub const LEASES: &str = "weir_limits_leases_total";
/// Such slices that calls may draw from.
pub const LEASED: &str = "weir_limits_leases_open";

/// Says what each is.
pub(super) fn describe() {
    describe_gauge!(DEGRADED, "1 while the shared counter of limits isn't asked");
    describe_counter!(REDIS, "questions to the shared counter of limits, by outcome");
    describe_counter!(FALLBACK, "calls without the shared counter of limits, by what became of them");
    describe_gauge!(SETTLEMENTS_WAITING, "settlements that the shared counter of limits isn't told yet");
    describe_counter!(LEASES, "slices of budgets taken from the shared counter in advance, by what happened");
    describe_gauge!(LEASED, "slices of budgets that calls may draw from here");
    describe_counter!(RECOVERED, "holds of an earlier run that were settled at start, by what the ledger knew");
    describe_counter!(SETTLEMENTS_DROPPED, "settlements that the shared counter of limits was never told");
}

/// Whether the shared counter isn't asked.
pub fn degraded(is_degraded: bool) {
    gauge!(DEGRADED).set(if is_degraded { 1.0 } else { 0.0 });
}

/// Counts a question to the shared counter.
pub fn asked(outcome: &'static str) {
    counter!(REDIS, "outcome" => outcome).increment(1);
}

/// Counts a call that the shared counter could not be asked about.
pub fn fallback(rule: &'static str) {
    counter!(FALLBACK, "rule" => rule).increment(1);
}

/// How many settlements wait.
pub fn settlements_waiting(count: usize) {
    gauge!(SETTLEMENTS_WAITING).set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
}

/// Counts what happened with a lease.
pub fn lease(outcome: &'static str) {
    counter!(LEASES, "outcome" => outcome).increment(1);
}

/// How many leases calls may draw from.
pub fn leases(count: usize) {
    gauge!(LEASED).set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
}

/// Counts a hold of an earlier run that is settled now.
pub fn recovered(is_used: bool) {
    counter!(RECOVERED, "as" => if is_used { "used" } else { "unused" }).increment(1);
}

/// Counts settlements that are never told.
pub fn settlements_dropped(count: u64) {
    counter!(SETTLEMENTS_DROPPED).increment(count);
}
