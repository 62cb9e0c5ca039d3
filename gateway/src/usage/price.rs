//! Prices, and what tokens cost. Pure: a file's text in, whole nano-dollars out.
//!
//! A price is kept as a ratio (pico-dollars per so many tokens) and the sum of an attempt is rounded once, half to
//! even, so no error builds up. Refuses what has no price: an unknown price is never zero.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

/// The price file that ships with Weir.
pub const BUILTIN: &str = include_str!("../../../config/prices/builtin.yaml");
/// Digits behind the point of an amount: pico-dollars.
const DECIMALS: usize = 12;
/// Digits before the point of an amount.
const WHOLE_DIGITS: usize = 9;
/// Pico-dollars in a nano-dollar.
const PICO_PER_NANO: i128 = 1000;

/// Every price of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceBook {
    version: Arc<str>,
    /// Version that is written where the ceiling was applied.
    ceiling_version: Arc<str>,
    ceiling: Option<Price>,
    exact: BTreeMap<(String, String), Price>,
    /// Longest prefix first.
    prefixes: Vec<(String, String, Price)>,
}

/// Price of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Price {
    input: Rate,
    output: Rate,
}

/// So many pico-dollars per so many tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    pico: i128,
    tokens: i128,
}

/// What an attempt costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// Nano-dollars.
    pub nano: i64,
    /// Version of the price.
    pub version: Arc<str>,
}

/// Why there is no cost. The call is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unpriced {
    /// The file has no price for it.
    #[error("no price for the model `{model}` of `{provider}`")]
    Unknown {
        /// Provider's name in the price file.
        provider: String,
        /// Model's name there.
        model: String,
    },
    /// More than nine billion dollars.
    #[error("the cost is beyond what can be counted")]
    Overflow,
}

/// Why a text is no price file.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    /// Not the YAML that is meant.
    #[error("the price file can't be read: {0}")]
    Syntax(#[from] serde_yaml_ng::Error),
    /// Not an amount.
    #[error("`{text}` for `{provider}/{model}` is no price: write it like `0.15 per 1M`")]
    Amount {
        /// As written.
        text: String,
        /// The entry.
        provider: String,
        /// The entry.
        model: String,
    },
    /// The same model twice.
    #[error("`{provider}/{model}` has two prices")]
    Twice {
        /// The entry.
        provider: String,
        /// The entry.
        model: String,
    },
    /// A `*` that is not at the end.
    #[error("`{0}` is no model name: `*` may only stand at its end")]
    Pattern(String),
    /// No version.
    #[error("the price file needs a `version` of 1 to 64 characters")]
    Version,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    #[serde(default)]
    unpriced: Fallback,
    prices: Vec<Entry>,
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Fallback {
    #[default]
    Unset,
    Word(Refuse),
    Ceiling(Ceiling),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Refuse {
    Refuse,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ceiling {
    ceiling: Amounts,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Amounts {
    input: String,
    output: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    provider: String,
    model: String,
    input: String,
    output: String,
}

impl PriceBook {
    /// Reads a price file.
    pub fn parse(text: &str) -> Result<Self, PriceError> {
        let file: File = serde_yaml_ng::from_str(text)?;
        if file.version.is_empty() || file.version.len() > 64 {
            return Err(PriceError::Version);
        }
        let ceiling = match &file.unpriced {
            Fallback::Unset | Fallback::Word(Refuse::Refuse) => None,
            Fallback::Ceiling(Ceiling { ceiling }) => Some(price(&ceiling.input, &ceiling.output, "*", "*")?),
        };
        let mut book = Self {
            ceiling_version: format!("{}+ceiling", file.version).into(),
            version: file.version.into(),
            ceiling,
            exact: BTreeMap::new(),
            prefixes: Vec::new(),
        };
        for entry in file.prices {
            book.add(entry)?;
        }
        book.prefixes.sort_by_key(|(_, prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(book)
    }

    /// Version of the file.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    fn add(&mut self, entry: Entry) -> Result<(), PriceError> {
        let price = price(&entry.input, &entry.output, &entry.provider, &entry.model)?;
        let twice = || PriceError::Twice { provider: entry.provider.clone(), model: entry.model.clone() };
        match entry.model.strip_suffix('*') {
            Some(prefix) if prefix.contains('*') => Err(PriceError::Pattern(entry.model)),
            Some(prefix) => {
                if self.prefixes.iter().any(|(provider, known, _)| *provider == entry.provider && known == prefix) {
                    return Err(twice());
                }
                self.prefixes.push((entry.provider, prefix.to_owned(), price));
                Ok(())
            }
            None if entry.model.contains('*') => Err(PriceError::Pattern(entry.model)),
            None => match self.exact.insert((entry.provider.clone(), entry.model.clone()), price) {
                Some(_) => Err(twice()),
                None => Ok(()),
            },
        }
    }

    /// What so many tokens cost, to the nano-dollar, half to even.
    pub fn cost(&self, provider: &str, model: &str, input: u64, output: u64) -> Result<Cost, Unpriced> {
        let (price, version) = self.find(provider, model)?;
        let nano = price.nano(input, output, half_even).ok_or(Unpriced::Overflow)?;
        Ok(Cost { nano, version })
    }

    /// What so many tokens cost at most: never less than [`PriceBook::cost`] of as many or fewer.
    pub fn hold(&self, provider: &str, model: &str, input: u64, output: u64) -> Result<Cost, Unpriced> {
        let (price, version) = self.find(provider, model)?;
        let nano = price.nano(input, output, up).ok_or(Unpriced::Overflow)?;
        Ok(Cost { nano, version })
    }

    fn find(&self, provider: &str, model: &str) -> Result<(Price, Arc<str>), Unpriced> {
        let exact = self.exact.get(&(provider.to_owned(), model.to_owned()));
        let found = exact.or_else(|| {
            let fits =
                |(of, prefix, _): &&(String, String, Price)| of == provider && model.starts_with(prefix.as_str());
            self.prefixes.iter().find(fits).map(|(_, _, price)| price)
        });
        match (found, self.ceiling) {
            (Some(price), _) => Ok((*price, Arc::clone(&self.version))),
            (None, Some(ceiling)) => Ok((ceiling, Arc::clone(&self.ceiling_version))),
            (None, None) => Err(Unpriced::Unknown { provider: provider.to_owned(), model: model.to_owned() }),
        }
    }
}

impl Price {
    /// Both products over one common divisor, rounded once.
    fn nano(&self, input: u64, output: u64, round: fn(i128, i128) -> Option<i128>) -> Option<i64> {
        let input = self.input.pico.checked_mul(input.into())?.checked_mul(self.output.tokens)?;
        let output = self.output.pico.checked_mul(output.into())?.checked_mul(self.input.tokens)?;
        let divisor = self.input.tokens.checked_mul(self.output.tokens)?.checked_mul(PICO_PER_NANO)?;
        i64::try_from(round(input.checked_add(output)?, divisor)?).ok()
    }
}

/// Nearest whole number; of two equally near ones the even.
fn half_even(value: i128, divisor: i128) -> Option<i128> {
    let whole = value.checked_div_euclid(divisor)?;
    let twice = value.checked_rem_euclid(divisor)?.checked_mul(2)?;
    let is_odd = whole.checked_rem_euclid(2)? == 1;
    if twice > divisor || (twice == divisor && is_odd) { whole.checked_add(1) } else { Some(whole) }
}

fn up(value: i128, divisor: i128) -> Option<i128> {
    let whole = value.checked_div_euclid(divisor)?;
    if value.checked_rem_euclid(divisor)? == 0 { Some(whole) } else { whole.checked_add(1) }
}

fn price(input: &str, output: &str, provider: &str, model: &str) -> Result<Price, PriceError> {
    let read = |text: &str| {
        rate(text).ok_or_else(|| PriceError::Amount {
            text: text.to_owned(),
            provider: provider.to_owned(),
            model: model.to_owned(),
        })
    };
    Ok(Price { input: read(input)?, output: read(output)? })
}

/// Reads `0.15 per 1M`; the unit is `1`, `1K` or `1M`.
fn rate(text: &str) -> Option<Rate> {
    let (amount, unit) = text.split_once(" per ")?;
    let tokens = match unit {
        "1" => 1,
        "1K" => 1_000,
        "1M" => 1_000_000,
        _ => return None,
    };
    Some(Rate { pico: pico(amount)?, tokens })
}

/// Reads a decimal number of dollars as pico-dollars, exactly.
fn pico(amount: &str) -> Option<i128> {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, "0"));
    let is_number = |digits: &str, max: usize| {
        !digits.is_empty() && digits.len() <= max && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !is_number(whole, WHOLE_DIGITS) || !is_number(fraction, DECIMALS) {
        return None;
    }
    format!("{whole}{fraction:0<DECIMALS$}").parse().ok()
}

#[cfg(test)]
mod tests;
