//! Draws the next token from a row of logits.
//!
//! The order is vLLM's: bias, penalties, temperature, min-p, top-k, top-p, draw. A choice's draws depend only on its
//! seed and on how many tokens it made, so a seeded request repeats itself alone, in a batch and after preemption.
//! Log-probabilities come from the raw logits. Refuses rows without a finite logit: that is the executor's fault.
//! Start at [`Sampler::next`].

#![allow(clippy::as_conversions)] // token ids and counts to floats; all far below 2^53

use crate::core::{Sampling, Scored, TokenId, TokenScores};
use std::cmp::Ordering;
use std::collections::HashMap;

#[cfg(test)]
mod tests;

/// What an impossible token's log-probability is shown as.
const LOGPROB_MIN: f32 = -9999.0;

/// A row that no token can be drawn from: the executor's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no logit of the row is finite")]
pub struct NoFiniteLogit;

/// The draws of one choice.
#[derive(Debug)]
pub struct Sampler {
    rules: Sampling,
    draws: Draws,
    /// Times that each token was made; for presence and frequency penalties.
    made: HashMap<TokenId, u32>,
    /// Tokens of the prompt, each once; for the repetition penalty.
    prompt: Vec<TokenId>,
}

impl Sampler {
    /// A sampler for choice number `choice` of a call.
    pub fn new(rules: &Sampling, choice: usize, prompt: &[TokenId]) -> Self {
        let mut seen = Vec::new();
        if is_on(rules.repetition_penalty - 1.0) {
            seen = prompt.to_vec();
            seen.sort_unstable();
            seen.dedup();
        }
        let draws = Draws::new(rules.seed, u64::try_from(choice).unwrap_or(u64::MAX));
        Self { rules: rules.clone(), draws, made: HashMap::new(), prompt: seen }
    }

    /// Draws a token and remembers it.
    ///
    /// # Errors
    /// [`NoFiniteLogit`] when nothing can be drawn.
    pub fn next(&mut self, row: &mut [f32]) -> Result<TokenId, NoFiniteLogit> {
        self.shift(row);
        let token = if is_on(self.rules.temperature) { self.draw(row)? } else { likeliest(row)? };
        if self.remembers() {
            let count = self.made.entry(token).or_default();
            *count = count.saturating_add(1);
        }
        Ok(token)
    }

    fn remembers(&self) -> bool {
        let rules = &self.rules;
        is_on(rules.presence_penalty) || is_on(rules.frequency_penalty) || is_on(rules.repetition_penalty - 1.0)
    }

    /// Bias and penalties.
    fn shift(&self, row: &mut [f32]) {
        let rules = &self.rules;
        for (token, bias) in &rules.logit_bias {
            if let Some(logit) = row.get_mut(slot(*token)) {
                *logit += bias;
            }
        }
        if is_on(rules.repetition_penalty - 1.0) {
            let again = self.made.keys().filter(|token| self.prompt.binary_search(token).is_err());
            for token in self.prompt.iter().chain(again) {
                if let Some(logit) = row.get_mut(slot(*token)) {
                    *logit = if *logit > 0.0 {
                        *logit / rules.repetition_penalty
                    } else {
                        *logit * rules.repetition_penalty
                    };
                }
            }
        }
        for (token, count) in &self.made {
            if let Some(logit) = row.get_mut(slot(*token)) {
                *logit -= rules.presence_penalty + rules.frequency_penalty * (*count as f32);
            }
        }
    }

    fn draw(&mut self, row: &[f32]) -> Result<TokenId, NoFiniteLogit> {
        let rules = &self.rules;
        let best = row.iter().copied().filter(|logit| logit.is_finite()).fold(f32::NEG_INFINITY, f32::max);
        if !best.is_finite() {
            return Err(NoFiniteLogit);
        }
        let weight = |logit: f32| f64::from((logit - best) / rules.temperature).exp();
        let floor = f64::from(rules.min_p);
        let mut kept: Vec<(TokenId, f64)> = (0..)
            .zip(row)
            .filter(|(_, logit)| logit.is_finite())
            .map(|(token, logit)| (token, weight(*logit)))
            .filter(|(_, weight)| *weight >= floor)
            .collect();
        if rules.top_k > 0 && rules.top_k < kept.len() {
            kept.select_nth_unstable_by(rules.top_k, likelier_first);
            kept.truncate(rules.top_k);
            kept.sort_unstable_by_key(|(token, _)| *token);
        }
        if rules.top_p < 1.0 {
            nucleus(&mut kept, f64::from(rules.top_p));
        }
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        let mut point = self.draws.next_unit() * total;
        for (token, weight) in &kept {
            point -= weight;
            if point < 0.0 {
                return Ok(*token);
            }
        }
        kept.last().map(|(token, _)| *token).ok_or(NoFiniteLogit)
    }
}

/// Keeps the smallest set of likeliest tokens whose share reaches `mass`.
fn nucleus(kept: &mut Vec<(TokenId, f64)>, mass: f64) {
    let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
    // A token below total × (1 − mass) / count can't be in the set: all such tokens together weigh less than the rest
    // that is cut. It spares sorting the whole vocabulary.
    let floor = total * (1.0 - mass) / (kept.len() as f64);
    kept.retain(|(_, weight)| *weight >= floor);
    kept.sort_unstable_by(likelier_first);
    let mut sum = 0.0;
    let wanted = total * mass;
    let size = kept
        .iter()
        .take_while(|(_, weight)| {
            let before = sum;
            sum += weight;
            before < wanted
        })
        .count();
    kept.truncate(size.max(1));
}

/// The scores of a token from the raw row, with the `top` likeliest.
pub fn scores(row: &[f32], token: TokenId, top: usize) -> TokenScores {
    let best = row.iter().copied().filter(|logit| logit.is_finite()).fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|logit| f64::from(*logit - best).exp()).filter(|part| part.is_finite()).sum();
    let norm = f64::from(best) + sum.ln();
    // JSON has no infinity; the bound also swallows a logit that is no number.
    let scored =
        |token: TokenId, logit: f32| Scored { token, logprob: ((f64::from(logit) - norm) as f32).max(LOGPROB_MIN) };
    let mut ranked: Vec<(TokenId, f64)> =
        if top == 0 { Vec::new() } else { (0..).zip(row.iter().map(|logit| f64::from(logit.max(f32::MIN)))).collect() };
    if top < ranked.len() {
        ranked.select_nth_unstable_by(top, likelier_first);
        ranked.truncate(top);
    }
    ranked.sort_unstable_by(likelier_first);
    TokenScores {
        chosen: scored(token, row.get(slot(token)).copied().unwrap_or(f32::NEG_INFINITY)),
        top: ranked.into_iter().map(|(token, logit)| scored(token, logit as f32)).collect(),
    }
}

/// The likeliest token; of equals the first.
fn likeliest(row: &[f32]) -> Result<TokenId, NoFiniteLogit> {
    let mut best: Option<(TokenId, f32)> = None;
    for (token, logit) in (0..).zip(row) {
        if logit.is_finite() && best.is_none_or(|(_, top)| *logit > top) {
            best = Some((token, *logit));
        }
    }
    best.map(|(token, _)| token).ok_or(NoFiniteLogit)
}

fn likelier_first(left: &(TokenId, f64), right: &(TokenId, f64)) -> Ordering {
    right.1.total_cmp(&left.1).then(left.0.cmp(&right.0))
}

/// Whether a rule that is off at zero is on.
fn is_on(value: f32) -> bool {
    value.abs() > 1e-6
}

fn slot(token: TokenId) -> usize {
    usize::try_from(token).unwrap_or(usize::MAX)
}

/// SplitMix64: small, well mixed, and the same on every machine. Not for secrets.
#[derive(Debug)]
struct Draws {
    state: u64,
}

impl Draws {
    fn new(seed: u64, choice: u64) -> Self {
        let mut first = Self { state: seed };
        let mixed = first.next_word();
        Self { state: mixed ^ choice.wrapping_mul(0xD1B5_4A32_D192_ED03) }
    }

    fn next_word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// In [0, 1).
    fn next_unit(&mut self) -> f64 {
        ((self.next_word() >> 11) as f64) * (1.0 / 9_007_199_254_740_992.0)
    }
}
