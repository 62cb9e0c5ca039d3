//! The Permit: proof that a policy allowed one caller one model. Its fields are private and it is made only here,
//! so that code which demands a Permit can't be reached without a decision.
//!
//! [`judge`] reads a decision and fails closed: whatever it doesn't know is a refusal, each kind with a code of its
//! own.

mod read;

use std::sync::Arc;

use regorus::Value;

use super::obligation::Obligations;
pub(super) use read::{NAME_BYTES_MAX, brief, text};

/// A call was allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    model: Arc<str>,
    rule: Arc<str>,
    reason: Arc<str>,
    obligations: Arc<Obligations>,
}

impl Permit {
    /// The model alias that may be used.
    pub fn model(&self) -> &Arc<str> {
        &self.model
    }
    /// The rule that allowed it.
    pub fn rule(&self) -> &Arc<str> {
        &self.rule
    }
    /// The rule's reason code.
    pub fn reason(&self) -> &Arc<str> {
        &self.reason
    }
    /// What must be done to the call.
    pub fn obligations(&self) -> &Arc<Obligations> {
        &self.obligations
    }
    /// Whether the prompt must be redacted first.
    pub fn demands_redaction(&self) -> bool {
        self.obligations.redact
    }

    /// Both permits hold: what they demand is joined to the stricter. The first one's rule stays the one that allowed.
    ///
    /// # Errors
    /// Both can't be met at once; the second one's rule, or its entry point, is told.
    pub fn and(self, other: Self, entrypoint: &str) -> Result<Self, Denied> {
        if *other.obligations == Obligations::default() {
            return Ok(self);
        }
        let Some(both) = self.obligations.and(&other.obligations) else {
            let private = "two policies leave no region in common";
            let denied = Denied::without_rule(DeniedBy::Obligation, entrypoint, private);
            return Err(Denied { reason: "policy_obligations_conflict".into(), rule: other.rule, ..denied });
        };
        Ok(Self { obligations: Arc::new(both), ..self })
    }
}

/// Which part of the decision refused a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeniedBy {
    /// A rule said no.
    Rule,
    /// The entry point is undefined for this input.
    Undefined,
    /// The decision has a wrong shape.
    Shape,
    /// The decision demands something that Weir doesn't know.
    Obligation,
    /// The evaluation took too long.
    Timeout,
    /// Rules that may have one value have two.
    Conflict,
    /// The evaluation failed.
    Failure,
}

impl DeniedBy {
    /// Reason code of refusals that no rule gave a reason for.
    pub fn code(self) -> &'static str {
        match self {
            DeniedBy::Rule => "policy_denied",
            DeniedBy::Undefined => "policy_undefined",
            DeniedBy::Shape => "policy_shape",
            DeniedBy::Obligation => "policy_unknown_obligation",
            DeniedBy::Timeout => "policy_timeout",
            DeniedBy::Conflict => "policy_conflict",
            DeniedBy::Failure => "policy_failed",
        }
    }
}

/// A call was refused. `rule` and `reason` may be shown to the caller, `private` is for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule `{rule}` refused the call: {reason}")]
pub struct Denied {
    /// What refused: a rule, or the evaluation itself.
    pub by: DeniedBy,
    /// Name of the rule, or of the entry point where no rule answered.
    pub rule: Arc<str>,
    /// Reason code.
    pub reason: Arc<str>,
    /// Status for the caller, 400 to 499, where the rule names one.
    pub status: Option<u16>,
    /// Details for the operator; never for the caller.
    pub private: Arc<str>,
}

impl Denied {
    /// A refusal that no rule gave: its reason is the cause's own code.
    pub(super) fn without_rule(by: DeniedBy, entrypoint: &str, private: impl Into<Arc<str>>) -> Self {
        let (rule, reason) = (entrypoint.into(), by.code().into());
        Self { by, rule, reason, status: None, private: private.into() }
    }
}

/// A decision and whether its policy lets it be remembered.
pub(super) struct Judged {
    pub(super) verdict: Result<Permit, Denied>,
    /// False where the decision says so, and for everything that no rule decided.
    pub(super) cacheable: bool,
}

/// Reads a decision: `true`, `false`, or an object with `allow` and what may stand beside it.
pub(super) fn judge(decision: &Value, entrypoint: &str, model: &str) -> Judged {
    match read::decision(decision) {
        Ok(decision) => Judged { cacheable: decision.cacheable, verdict: decision.verdict(entrypoint, model) },
        Err(fault) => {
            let denied = Denied::without_rule(fault.by, entrypoint, fault.private);
            Judged { verdict: Err(Denied { reason: fault.code.into(), ..denied }), cacheable: false }
        }
    }
}

impl read::Decision {
    fn verdict(self, entrypoint: &str, model: &str) -> Result<Permit, Denied> {
        let rule = self.rule.unwrap_or_else(|| entrypoint.into());
        if !self.allow {
            let by = DeniedBy::Rule;
            let private = format!("`{entrypoint}` refused model `{model}`").into();
            let reason = self.reason.unwrap_or_else(|| by.code().into());
            return Err(Denied { by, rule, reason, status: self.status, private });
        }
        let reason = self.reason.unwrap_or_else(|| "granted".into());
        Ok(Permit { model: model.into(), rule, reason, obligations: Arc::new(self.obligations) })
    }
}

#[cfg(test)]
mod tests;
