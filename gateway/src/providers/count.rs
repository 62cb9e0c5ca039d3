//! Prompts counted by the own engines that may serve the call, before anything is held for it.
//!
//! Only after the decision, because a prompt may not go where the permit doesn't let it. A count is bounded in time and
//! is never needed: what no engine counted is held by the estimator's bound, which is not below it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;
use weir_wire::endpoint::Endpoint;
use weir_wire::envelope::{Edits, Envelope};

use super::control;
use crate::clock;
use crate::config::settings::{DeploymentRule, Provider};
use crate::policy::Permit;
use crate::privacy::Redacted;
use crate::running::Running;
use crate::telemetry::metric;
use crate::usage::tokens::pool::Counted;

/// Longest wait for a count. An engine tokenises some megabytes in it; one that is slower is held by the bound.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Models of own engines that are asked for one call: each has a vocabulary of its own.
const MODELS_MAX: usize = 4;

/// Asks the own engines among `candidates`, one for each of their models, and adds what they say to `counted`.
pub async fn ask(
    running: &Running,
    permit: &Permit,
    envelope: &Envelope,
    candidates: &[Arc<DeploymentRule>],
    counted: &mut Counted,
) {
    let path = match envelope.endpoint {
        Endpoint::ChatCompletions => "/weir/count/chat",
        Endpoint::Completions => "/weir/count/completions",
        Endpoint::Messages
        | Endpoint::CountTokens
        | Endpoint::Responses
        | Endpoint::ReadResponse
        | Endpoint::ResponseItems
        | Endpoint::DeleteResponse
        | Endpoint::Embeddings
        | Endpoint::Rerank
        | Endpoint::Models => return,
    };
    let asked = engines(running, candidates);
    let counts = join_all(asked.iter().map(|rule| one(running, permit, envelope, rule, path))).await;
    for (rule, tokens) in asked.iter().zip(counts) {
        metric::prompt_counted(if tokens.is_some() { "exact" } else { "bound" });
        if let Some(tokens) = tokens {
            counted.learn(&rule.model, tokens);
        }
    }
}

/// One own engine for each model that any serves; none that has just failed, since the call itself avoids it too.
fn engines<'a>(running: &Running, candidates: &'a [Arc<DeploymentRule>]) -> Vec<&'a Arc<DeploymentRule>> {
    let now = clock::instant();
    let mut found: Vec<&Arc<DeploymentRule>> = Vec::new();
    for rule in candidates.iter().filter(|rule| rule.provider == Provider::Engine) {
        let is_known = found.iter().any(|known| known.model == rule.model);
        if !is_known && found.len() < MODELS_MAX && running.health.cooling(&rule.name, now).is_none() {
            found.push(rule);
        }
    }
    found
}

async fn one(
    running: &Running,
    permit: &Permit,
    envelope: &Envelope,
    rule: &DeploymentRule,
    path: &'static str,
) -> Option<u64> {
    let body = envelope.splice(Edits { model: Some(&rule.model), ..Edits::default() });
    // What must not leave unredacted is not counted either; the call itself is refused then.
    let body = Redacted::unchanged(body, permit).ok()?;
    match timeout(WAIT_MAX, control::count(&running.transport, permit, &body, rule, path)).await {
        Ok(Ok(tokens)) => Some(tokens),
        Ok(Err(fault)) => {
            tracing::debug!(deployment = &*rule.name, %fault, "a prompt was not counted");
            None
        }
        Err(_) => {
            tracing::warn!(deployment = &*rule.name, "the engine took too long to count a prompt");
            None
        }
    }
}
