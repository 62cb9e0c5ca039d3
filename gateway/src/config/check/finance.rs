//! Finance: what its words mean together.

use std::collections::BTreeMap;

use super::Check;
use crate::config::fault::Wrong;
use crate::config::shape::Section;
use crate::finance::FinanceSettings;
use crate::finance::allocation::{AllocationRule, Basis};
use crate::identity::TenantPath;

/// Bytes of an issuer's name at most.
const ISSUER_BYTES_MAX: usize = 128;

impl Check<'_> {
    /// The section `finance`.
    pub(super) fn finance(&mut self, root: &Section<'_>) -> FinanceSettings {
        let section = root.section("finance");
        let usual = FinanceSettings::default();
        let issuer = section.text("issuer").map_or(usual.issuer, str::to_owned);
        if issuer.is_empty() || issuer.len() > ISSUER_BYTES_MAX || issuer.chars().any(char::is_control) {
            self.fault(section.at("issuer"), Wrong::Finance("an issuer has 1 to 128 bytes of text"));
        }
        let zone = section.text("zone").map_or(Some(usual.zone), |zone| zone.parse().ok());
        if zone.is_none() {
            self.fault(section.at("zone"), Wrong::Finance("a time zone is named as in `Europe/Berlin`"));
        }
        let allocation = section.sections("allocation").iter().filter_map(|rule| self.allocation(rule)).collect();
        FinanceSettings { issuer, zone: zone.unwrap_or(usual.zone), allocation }
    }

    fn allocation(&mut self, section: &Section<'_>) -> Option<AllocationRule> {
        let path = |check: &mut Self, name: &str| {
            let text = section.text(name)?;
            if let Err(error) = TenantPath::parse(text) {
                check.fault(section.at(name), Wrong::Tenant(error));
            }
            Some(text.to_owned())
        };
        let (from, over) = (path(self, "from"), path(self, "over"));
        let mut parts = BTreeMap::new();
        for (tenant, part) in section.text_map("parts") {
            match (TenantPath::parse(&tenant), part.parse::<u64>()) {
                (Ok(_), Ok(part)) => drop(parts.insert(tenant, part)),
                (_, _) => self.fault(section.at("parts"), Wrong::Finance("parts are tenant paths with whole numbers")),
            }
        }
        let basis = match section.text("by") {
            Some("tokens") => Basis::Tokens,
            Some("fixed") if parts.values().all(|part| *part == 0) => {
                self.fault(section.at("parts"), Wrong::Finance("`fixed` needs `parts`, one of them above 0"));
                Basis::Fixed(parts)
            }
            Some("fixed") => Basis::Fixed(parts),
            _ => Basis::Cost,
        };
        Some(AllocationRule { from: from?, over, basis })
    }
}
