//! Finance: what was used and spent, by any level, model and day; budgets; closed months; what others can read of it.
//!
//! Everything here is computed from the ledger's own sums ([`crate::store::rollup`]) in whole nano-dollars. Refuses
//! questions with more groups than a report may have. Start at [`report`]; [`budget`] says what budgets have left,
//! [`close`] freezes months, [`export`] writes the ledger in the columns of [`focus`], [`allocation`] spreads shared
//! cost, [`reconcile`] compares with what a provider bills, [`reprice`] holds rows against other prices.

pub mod allocation;
pub mod budget;
pub mod calendar;
pub mod canonical;
pub mod close;
pub mod export;
pub mod focus;
pub mod forecast;
pub mod reconcile;
pub mod report;
pub mod reprice;
pub mod statement;
pub mod watch;

use chrono_tz::Tz;

use allocation::AllocationRule;

/// What the configuration says of finance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinanceSettings {
    /// Who issues statements and, in exports, invoices.
    pub issuer: String,
    /// Whose months are closed.
    pub zone: Tz,
    /// Shared costs, and over whom they are spread.
    pub allocation: Vec<AllocationRule>,
}

impl Default for FinanceSettings {
    fn default() -> Self {
        Self { issuer: "Weir".to_owned(), zone: Tz::UTC, allocation: Vec::new() }
    }
}
