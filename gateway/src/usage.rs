//! Usage: what each attempt consumed and cost.
//!
//! Owns what is counted ([`buckets`]), how providers count it ([`report`]), prices and the arithmetic of money
//! ([`price`], pure integers). [`query`] asks the ledger; its rows are a projection of the journal, written by the
//! store.

pub mod bill;
pub mod buckets;
pub mod end_user;
pub mod meter;
pub mod price;
pub mod query;
pub mod report;
pub mod reprice;
pub mod tokens;
