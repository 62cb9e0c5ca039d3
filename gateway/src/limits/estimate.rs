//! What a call may use at most: prompt tokens as they were counted (by the own engine exactly, where it was asked),
//! completion tokens by the cap, money at the dearest candidate. Pure. The estimate only decides what is held; what is
//! charged is what was used.

use std::sync::Arc;

use weir_wire::envelope::Envelope;
use weir_wire::fault::Endpoint;

use super::quantity::Amounts;
use crate::config::settings::{DeploymentRule, ModelRule, Provider};
use crate::refusal::Refusal;
use crate::usage::meter::Held;
use crate::usage::price::fare::Fare;
use crate::usage::tokens::Family;
use crate::usage::tokens::pool::Counted;

/// Tokens that a chat template adds to each message at most.
const TOKENS_PER_MESSAGE: u64 = 6;
/// Tokens that an image or another part without text is taken for.
const TOKENS_PER_MEDIA_PART: u64 = 1_000;

/// What a call may use at most.
#[derive(Debug, Clone, Copy)]
pub struct Estimate {
    /// Tokens to hold.
    pub held: Held,
    /// Output cap per choice that goes upstream.
    pub output_cap: u32,
    /// Nano-dollars at the dearest candidate.
    pub nano: i64,
}

impl Estimate {
    /// What limits hold for it.
    pub fn amounts(&self) -> Amounts {
        Amounts {
            requests: 1,
            input_tokens: self.held.input,
            output_tokens: self.held.output,
            nano: u64::try_from(self.nano).unwrap_or(0),
        }
    }

    /// The same for what a policy left of it: these candidates, and at most `most` output tokens for a choice.
    #[must_use]
    pub fn within(self, most: Option<u32>, candidates: &[Arc<DeploymentRule>], fare: Fare<'_>) -> Self {
        let output_cap = most.unwrap_or(u32::MAX).min(self.output_cap);
        // What is held is the cap times the choices.
        let choices = self.held.output.checked_div(u64::from(self.output_cap)).unwrap_or(1);
        let held = Held { output: u64::from(output_cap).saturating_mul(choices), ..self.held };
        if held == Held::default() {
            return self;
        }
        let nano = fare.dearest(candidates, held.input, held.output);
        Self { held, output_cap, nano: i64::try_from(nano).unwrap_or(i64::MAX) }
    }
}

/// Estimates a call.
///
/// # Errors
/// Where it asks for more output than the model's rule allows.
pub fn estimate(
    envelope: &Envelope,
    model: &ModelRule,
    candidates: &[Arc<DeploymentRule>],
    fare: Fare<'_>,
    counted: &Counted,
) -> Result<Estimate, Refusal> {
    let most = model.output_tokens_max.get();
    let output_cap = envelope.output_tokens_max.unwrap_or_else(|| model.output_tokens_default.get().min(most));
    if output_cap > most {
        return Err(Refusal::Malformed {
            message: format!("`{output_cap}` output tokens are more than the {most} that this model may give"),
            param: envelope.cap_name.map(|name| name.name().to_owned()),
            code: "output_tokens_over_limit",
        });
    }
    if !envelope.endpoint.is_charged() {
        return Ok(Estimate { held: Held::default(), output_cap, nano: 0 });
    }
    let output_cap = if envelope.endpoint.generates() { output_cap } else { 0 };
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let beside = count(envelope.prompt_items)
        .saturating_mul(TOKENS_PER_MESSAGE)
        .saturating_add(count(envelope.media_parts).saturating_mul(TOKENS_PER_MEDIA_PART));
    let input = candidates.iter().map(|rule| match counted.own(&rule.model) {
        Some(exact) if rule.provider == Provider::Engine => exact,
        Some(_) | None => counted.most(Family::of(&rule.model)).saturating_add(beside),
    });
    let input = input.max().unwrap_or(0);
    let prompts = if envelope.endpoint == Endpoint::Completions { count(envelope.prompt_items.max(1)) } else { 1 };
    let choices = u64::from(envelope.choices.max(envelope.best_of.unwrap_or(1))).saturating_mul(prompts);
    let held = Held { input, output: u64::from(output_cap).saturating_mul(choices) };
    let nano = fare.dearest(candidates, held.input, held.output);
    Ok(Estimate { held, output_cap, nano: i64::try_from(nano).unwrap_or(i64::MAX) })
}
