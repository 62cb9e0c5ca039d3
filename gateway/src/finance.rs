//! Finance: what was used and spent, by any level, model and day; budgets; closed months; what others can read of it.
//!
//! Everything here is computed from the ledger's own sums ([`crate::store::rollup`]) in whole nano-dollars. Refuses
//! questions with more groups than a report may have. Start at [`report`].

pub mod calendar;
pub mod report;
