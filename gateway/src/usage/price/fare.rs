//! What a call may cost at the deployments that could serve it: the prices of its tenant, as of its birth. Everything
//! that holds money for a call or writes down what it holds asks here, so that none of it can differ. Pure.

use std::sync::Arc;

use weir_wire::envelope::Envelope;

use super::gpu::GpuRule;
use super::{Basis, PriceBook, PriceOf, Unpriced};
use crate::config::settings::DeploymentRule;
use crate::usage::buckets::Tier;

/// The prices of one call.
#[derive(Debug, Clone, Copy)]
pub struct Fare<'a> {
    /// All prices.
    pub book: &'a PriceBook,
    /// Who pays: a tenant's path.
    pub tenant: &'a str,
    /// Unix milliseconds at the call's birth: a price that changes meanwhile changes nothing for it.
    pub at_ms: u64,
    /// Whether its prompt has more than text, so that tokens may turn out to be of any kind.
    pub has_media: bool,
}

impl<'a> Fare<'a> {
    /// Of a call of text.
    pub const fn new(book: &'a PriceBook, tenant: &'a str, at_ms: u64) -> Self {
        Self { book, tenant, at_ms, has_media: false }
    }

    /// Of a call that reads what the request holds.
    #[must_use]
    pub const fn reading(self, envelope: &Envelope) -> Self {
        Self { has_media: envelope.media_parts > 0, ..self }
    }

    /// What is asked of the book for an attempt at a deployment.
    pub fn of<'b>(&self, rule: &'b DeploymentRule, tier: Tier) -> PriceOf<'b>
    where
        'a: 'b,
    {
        PriceOf {
            region: rule.region.as_deref(),
            tier,
            tenant: Some(self.tenant),
            ..PriceOf::new(&rule.price_provider, &rule.model, self.at_ms)
        }
    }

    /// Nano-dollars that so many tokens cost at most there: of the tiers that a request may ask for, of the kinds that
    /// tokens may turn out to be of.
    ///
    /// # Errors
    /// There is no price.
    pub fn most(&self, rule: &DeploymentRule, input: u64, output: u64) -> Result<u64, Unpriced> {
        if let Some(gpu) = self.by_time(rule) {
            return gpu.most(input, output).and_then(|nano| u64::try_from(nano).ok()).ok_or(Unpriced::Overflow);
        }
        let hold = |tier| match self.has_media {
            true => self.book.hold(&self.of(rule, tier), input, output),
            false => self.book.hold_text(&self.of(rule, tier), input, output),
        };
        let standard = hold(Tier::Standard)?;
        // Not every model can be had at once, at a price.
        let dearest = hold(Tier::Priority).map_or(standard.nano, |cost| cost.nano.max(standard.nano));
        Ok(u64::try_from(dearest).unwrap_or(0))
    }

    /// The rule by which calls to an own engine are charged by its time: where its machine has a price and its model's
    /// tokens have none.
    pub fn by_time<'b>(&self, rule: &'b DeploymentRule) -> Option<&'b GpuRule> {
        let gpu = rule.gpu.as_ref()?;
        let tokens = self.book.hold_text(&self.of(rule, Tier::Standard), 1, 1);
        match tokens {
            Ok(cost) if cost.basis == Basis::Priced => None,
            Ok(_) | Err(_) => Some(gpu),
        }
    }

    /// The same at the dearest of several; those without a price are never called.
    pub fn dearest(&self, rules: &[Arc<DeploymentRule>], input: u64, output: u64) -> u64 {
        rules.iter().filter_map(|rule| self.most(rule, input, output).ok()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
