//! What is always done at the end of a call: also after refusals, panics and hang-ups. Never waits.

use std::sync::Arc;

use crate::clock;
use crate::exchange::{Exchange, Outcome};
use crate::journal::Closing;
use crate::refusal::Refusal;
use crate::telemetry::metric;

/// Settles a call once: the running attempt's row, the reservation, the journal's closing (of which the usage rows and
/// the audit record are made), the metrics. A second call does nothing.
pub fn settle(x: &mut Exchange) {
    let Some(journal) = x.books.journal.take() else { return };
    let outcome = x.outcome.unwrap_or(Outcome::Failed);
    // Still running here means: the future was dropped or it panicked.
    x.books.end_live(&x.world, outcome, Some("abandoned"));
    x.books.set_free();
    let closing = Closing {
        call: x.call,
        at_ms: x.born_ms,
        ended_ms: clock::unix_ms(),
        tenant: x.caller.as_ref().map(|caller| caller.subject.tenant.clone()),
        key: x.caller.as_ref().map(|caller| caller.subject.key.clone()).or_else(|| x.key.take()),
        endpoint: x.endpoint.map_or("", |endpoint| endpoint.path()).into(),
        model: x.envelope.as_ref().map(|envelope| envelope.model.as_str().into()),
        end_user: x.end_user.take(),
        stream: x.envelope.as_ref().is_some_and(|envelope| envelope.stream),
        outcome,
        status: x.status,
        reason: reason(x, outcome),
        rule: x.rule.take(),
        obligations: x.obligations.take().map_or_else(Vec::new, |all| all.names().into_iter().map(Arc::from).collect()),
        revision: x.world.revision,
        fail_open: x.fail_open.drain(..).map(Arc::from).collect(),
        attempts: std::mem::take(&mut x.books.attempts),
    };
    metric::call_ended(&closing, clock::instant().saturating_duration_since(x.born));
    journal.close(closing);
}

fn reason(x: &Exchange, outcome: Outcome) -> Option<Arc<str>> {
    let refused = x.refusal.as_ref().map(|refusal| Arc::from(audit_code(refusal)));
    refused.or(match outcome {
        Outcome::HungUp => Some("client_hung_up".into()),
        Outcome::Failed => Some("internal_error".into()),
        Outcome::Completed
        | Outcome::Refused
        | Outcome::UpstreamError
        | Outcome::StreamBroken
        | Outcome::Revoked
        | Outcome::BudgetExhausted
        | Outcome::Interrupted => None,
    })
}

/// The audit log knows more than the caller: why exactly a key was refused.
#[allow(clippy::wildcard_enum_match_arm, reason = "only these know more than their code")]
fn audit_code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::InvalidKey { why }
        | Refusal::InvalidToken { why }
        | Refusal::InvalidCertificate { why }
        | Refusal::IssuerUnavailable { why } => why,
        Refusal::InvalidProof(fault) => fault.code(),
        other => other.code(),
    }
}
