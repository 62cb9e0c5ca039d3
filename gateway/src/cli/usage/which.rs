//! Which rows of the ledger a command is about.

use crate::cli::when::When;
use crate::identity::TenantPath;
use crate::store::usage::UsageFilter;

/// Which rows of the ledger.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Only this tenant and below
    #[arg(long, value_name = "PATH", value_parser = TenantPath::parse)]
    pub tenant: Option<TenantPath>,
    /// Only calls from then on: a date, a time (UTC), or an age such as 24h
    #[arg(long, value_name = "WHEN")]
    pub since: Option<When>,
    /// Only calls before then
    #[arg(long, value_name = "WHEN")]
    pub until: Option<When>,
}

impl Which {
    /// As the store is asked; `now_ms` is Unix time, which ages count from.
    pub(super) fn filter(&self, now_ms: u64) -> UsageFilter {
        UsageFilter {
            since_ms: self.since.map(|when| when.ms(now_ms)),
            until_ms: self.until.map(|when| when.ms(now_ms)),
            tenant: self.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()),
        }
    }
}
