//! What tenants pay less than the list. Pure.
//!
//! The discount of the deepest tenant holds; among those of one tenant the first that the file names.

use super::amount::Ratio;
use super::file;
use super::plan::{Plan, span};
use super::{PriceError, PriceOf};

/// Basis points in the whole.
const WHOLE: i128 = 10_000;

/// One discount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discount {
    tenant: Option<Box<str>>,
    provider: Pattern,
    model: Pattern,
    from_ms: u64,
    to_ms: u64,
    /// What is paid.
    pub pays: Pays,
}

/// What is paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pays {
    /// So much of the list's sum.
    Part(Ratio),
    /// Prices of its own.
    Prices(Plan),
}

/// A name, or the beginning of names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exact(Box<str>),
    Prefix(Box<str>),
}

impl Pattern {
    fn read(text: &str) -> Result<Self, PriceError> {
        match text.strip_suffix('*') {
            Some(prefix) if !prefix.contains('*') => Ok(Self::Prefix(prefix.into())),
            None if !text.contains('*') => Ok(Self::Exact(text.into())),
            Some(_) | None => Err(PriceError::Pattern(text.to_owned())),
        }
    }

    fn fits(&self, name: &str) -> bool {
        match self {
            Pattern::Exact(exact) => **exact == *name,
            Pattern::Prefix(prefix) => name.starts_with(&**prefix),
        }
    }
}

impl Discount {
    /// Reads one of a file's.
    pub fn new(file: &file::Discount) -> Result<Self, PriceError> {
        let name =
            format!("discount of {} on {}/{}", file.tenant.as_deref().unwrap_or("all"), file.provider, file.model);
        let (from_ms, to_ms) = span(&name, file.from, file.to)?;
        let pays = match (&file.percent, &file.prices) {
            (Some(percent), None) => Pays::Part(part(percent).ok_or(PriceError::Percent(name))?),
            (None, Some(prices)) => Pays::Prices(Plan::always(&name, prices)?),
            (Some(_), Some(_)) | (None, None) => return Err(PriceError::Percent(name)),
        };
        let tenant = file.tenant.as_deref().map(Into::into);
        let [provider, model] = [&file.provider, &file.model].map(|text| Pattern::read(text));
        Ok(Self { tenant, provider: provider?, model: model?, from_ms, to_ms, pays })
    }

    fn fits(&self, of: &PriceOf<'_>) -> bool {
        let is_in_effect = self.from_ms <= of.at_ms && of.at_ms < self.to_ms;
        let is_below = |top: &str| {
            let rest = of.tenant.and_then(|tenant| tenant.strip_prefix(top));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        is_in_effect
            && self.tenant.as_deref().is_none_or(is_below)
            && self.provider.fits(of.provider)
            && self.model.fits(of.model)
    }
}

/// The discount that holds.
pub fn find<'a>(discounts: &'a [Discount], of: &PriceOf<'_>) -> Option<&'a Discount> {
    let depth = |discount: &Discount| discount.tenant.as_deref().map_or(0, str::len);
    // The first of the longest: `max_by_key` would take the last.
    discounts.iter().filter(|discount| discount.fits(of)).min_by_key(|discount| std::cmp::Reverse(depth(discount)))
}

/// What is left of the whole after so many percent, in basis points.
fn part(percent: &str) -> Option<Ratio> {
    let off = Ratio::decimal(percent)?.times(Ratio::new(100, 1)?)?;
    if off.den != 1 || off.num > WHOLE {
        return None;
    }
    Ratio::new(WHOLE.checked_sub(off.num)?, WHOLE)
}
