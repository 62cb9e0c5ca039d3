//! Allocation: spreads the cost of a shared tenant over others, by their own cost, their tokens, or fixed parts.
//!
//! The parts of a spread cost are whole nano-dollars and add up exactly: what rounding down leaves over goes to those
//! with the largest remainders, among equals to the first by name. Where nobody has a share, the cost stays where it
//! is.

use std::collections::BTreeMap;

use serde::Serialize;

use super::report::{Level, plus};
use crate::limits::window::Span;
use crate::store::rollup::{Column, RollupFilter};
use crate::store::usage::UsageSum;
use crate::store::{Store, StoreError};

/// What shares are counted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Basis {
    /// Their own cost.
    Cost,
    /// Their tokens.
    Tokens,
    /// Parts that are set, by tenant path.
    Fixed(BTreeMap<String, u64>),
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocationRule {
    /// Whose cost is spread: this tenant path and everything below it.
    pub from: String,
    /// Over whom: each tenant directly below this path, but not `from`; `None`: every organisation.
    pub over: Option<String>,
    /// By what.
    pub basis: Basis,
}

/// What one tenant is charged of a shared cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Allocated {
    /// Whose cost is spread.
    pub from: String,
    /// Who is charged.
    pub to: String,
    /// `cost`, `tokens` or `fixed`.
    pub method: &'static str,
    /// Its share, of `weights`.
    pub weight: u64,
    /// All shares together.
    pub weights: u128,
    /// Nano-dollars.
    pub nano: i64,
}

/// Why nothing is spread.
#[derive(Debug, thiserror::Error)]
pub enum AllocationError {
    /// A sum beyond what can be counted.
    #[error("a sum is beyond what can be counted")]
    Overflow,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Divides an amount by weights: whole parts that add up to it. `None` where all weights are zero.
pub fn divide(amount: i64, weights: &[u64]) -> Option<Vec<i64>> {
    let all: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
    if all == 0 {
        return None;
    }
    // An amount and a weight are below 2^64 each: their product is below 2^127.
    let mut parts: Vec<(i128, i128)> = Vec::new();
    for weight in weights {
        let product = i128::from(amount).checked_mul(i128::from(*weight))?;
        parts.push((product.checked_div_euclid(all)?, product.checked_rem_euclid(all)?));
    }
    let given: i128 = parts.iter().map(|(part, _)| part).sum();
    let over = usize::try_from(i128::from(amount).checked_sub(given)?).ok()?;
    let mut order: Vec<usize> = (0..parts.len()).collect();
    let remainder = |at: &usize| parts.get(*at).map(|(_, remainder)| std::cmp::Reverse(*remainder));
    order.sort_by_key(|at| (remainder(at), *at));
    let more: std::collections::BTreeSet<usize> = order.into_iter().take(over).collect();
    let whole =
        |(at, (part, _)): (usize, &(i128, i128))| i64::try_from(part.checked_add(i128::from(more.contains(&at)))?).ok();
    parts.iter().enumerate().map(whole).collect()
}

/// What every rule spreads within a span.
///
/// # Errors
/// The store fails.
pub async fn allocate(store: &Store, rules: &[AllocationRule], span: Span) -> Result<Vec<Allocated>, AllocationError> {
    let mut sums: BTreeMap<String, UsageSum> = BTreeMap::new();
    for mut part in store.rollups(&[Column::Tenant], &[span], &RollupFilter::default()).await? {
        let of = sums.entry(part.columns.pop().unwrap_or_default()).or_default();
        *of = plus(std::mem::take(of), &part.sums).ok_or(AllocationError::Overflow)?;
    }
    let spread = rules.iter().map(|rule| spread(rule, &sums));
    Ok(spread.collect::<Option<Vec<_>>>().ok_or(AllocationError::Overflow)?.into_iter().flatten().collect())
}

fn below(path: &str, above: &str) -> bool {
    path == above || path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

/// One rule, over sums by tenant path. `None` beyond what can be counted.
fn spread(rule: &AllocationRule, sums: &BTreeMap<String, UsageSum>) -> Option<Vec<Allocated>> {
    let shared = sums.iter().filter(|(path, _)| below(path, &rule.from));
    let shared: i128 = shared.map(|(_, sum)| i128::from(sum.cost_nano)).sum();
    let shared = i64::try_from(shared).ok()?;
    let mut weights: BTreeMap<String, u64> = BTreeMap::new();
    match &rule.basis {
        Basis::Fixed(parts) => weights.clone_from(parts),
        Basis::Cost | Basis::Tokens => {
            for (path, sum) in sums.iter().filter(|(path, _)| !below(path, &rule.from)) {
                let Some(to) = target(rule.over.as_deref(), path) else { continue };
                let weight = match rule.basis {
                    Basis::Cost => u64::try_from(sum.cost_nano).unwrap_or(0),
                    Basis::Tokens | Basis::Fixed(_) => sum.input_tokens.checked_add(sum.output_tokens)?,
                };
                let of = weights.entry(to.to_owned()).or_default();
                *of = of.checked_add(weight)?;
            }
        }
    }
    let method = match rule.basis {
        Basis::Cost => "cost",
        Basis::Tokens => "tokens",
        Basis::Fixed(_) => "fixed",
    };
    let shares: Vec<u64> = weights.values().copied().collect();
    let all: u128 = shares.iter().map(|weight| u128::from(*weight)).sum();
    if all == 0 {
        return Some(Vec::new());
    }
    let parts = divide(shared, &shares)?;
    let one = |((to, weight), nano): ((String, u64), i64)| Allocated {
        from: rule.from.clone(),
        to,
        method,
        weight,
        weights: all,
        nano,
    };
    Some(weights.into_iter().zip(parts).map(one).collect())
}

/// The tenant directly below `over` that a path belongs to.
fn target<'p>(over: Option<&str>, path: &'p str) -> Option<&'p str> {
    let Some(over) = over else { return Some(Level::Org.of(path)) };
    let level = match over.matches('/').count() {
        0 => Level::Team,
        1 => Level::Project,
        _ => Level::User,
    };
    (path != over && below(path, over)).then(|| level.of(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_last_nano_dollar() {
        assert_eq!(divide(100, &[1, 1, 1]), Some(vec![34, 33, 33]));
        assert_eq!(divide(1, &[0, 5, 5]), Some(vec![0, 1, 0]));
        assert_eq!(divide(-100, &[1, 1, 1]), Some(vec![-33, -33, -34]));
        assert_eq!(divide(7, &[]), None);
        assert_eq!(divide(7, &[0, 0]), None);
        let mut seed = 1_u64;
        for _ in 0..2_000 {
            let mut next = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                seed
            };
            let amount = i64::from_ne_bytes(next().to_ne_bytes());
            let weights: Vec<u64> = (0..next() % 9 + 1).map(|_| next()).collect();
            let parts = divide(amount, &weights).unwrap();
            assert_eq!(parts.iter().map(|part| i128::from(*part)).sum::<i128>(), i128::from(amount), "{weights:?}");
        }
    }

    #[test]
    fn a_shared_tenant_is_spread_over_its_neighbours() {
        let sum = |cost_nano, input_tokens| UsageSum { cost_nano, input_tokens, ..UsageSum::default() };
        let sums = BTreeMap::from([
            ("acme/platform/x".to_owned(), sum(100, 9)),
            ("acme/a/p1".to_owned(), sum(10, 1)),
            ("acme/a/p2".to_owned(), sum(20, 1)),
            ("acme/b".to_owned(), sum(30, 7)),
            ("other/c".to_owned(), sum(1_000, 1_000)),
        ]);
        let rule = |basis| AllocationRule { from: "acme/platform".to_owned(), over: Some("acme".to_owned()), basis };
        let told = |basis| {
            let parts = spread(&rule(basis), &sums).unwrap();
            parts.into_iter().map(|part| (part.to, part.nano)).collect::<Vec<_>>()
        };
        let want = |a, b| vec![("acme/a".to_owned(), a), ("acme/b".to_owned(), b)];
        assert_eq!(told(Basis::Cost), want(50, 50));
        assert_eq!(told(Basis::Tokens), want(22, 78));
        let parts = [("acme/a".to_owned(), 3), ("acme/b".to_owned(), 1)];
        assert_eq!(told(Basis::Fixed(parts.into())), want(75, 25));
    }
}
