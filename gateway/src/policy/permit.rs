//! The Permit: proof that a policy allowed one caller one model. Its fields are private and it is made only here,
//! so that code which demands a Permit can't be reached without a decision.
//!
//! [`judge`] reads a decision document and fails closed: whatever it doesn't know is a refusal.

use std::sync::Arc;

use regorus::Value;

/// Bytes of a rule's name or a reason code; a longer one is a wrong shape.
const NAME_BYTES_MAX: usize = 128;
/// Obligations of one decision; more is a wrong shape.
const OBLIGATIONS_MAX: usize = 16;

/// A call was allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    model: Arc<str>,
    rule: Arc<str>,
    reason: Arc<str>,
    obligations: Arc<[Obligation]>,
}

/// What a policy demands of an allowed call. Closed: an unknown one is a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obligation {
    /// Personal data must be redacted before a byte of the prompt leaves.
    Redact,
}

impl Obligation {
    /// Name in a decision's `obligations`.
    pub fn name(self) -> &'static str {
        match self {
            Obligation::Redact => "redact",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Obligation::Redact].into_iter().find(|known| known.name() == name)
    }
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
    pub fn obligations(&self) -> &[Obligation] {
        &self.obligations
    }
    /// Whether the prompt must be redacted first.
    pub fn demands_redaction(&self) -> bool {
        self.obligations.contains(&Obligation::Redact)
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
    /// Details for the operator; never for the caller.
    pub private: Arc<str>,
}

impl Denied {
    /// A refusal that no rule gave: its reason is the cause's own code.
    pub(super) fn without_rule(by: DeniedBy, entrypoint: &str, private: impl Into<Arc<str>>) -> Self {
        Self { by, rule: entrypoint.into(), reason: by.code().into(), private: private.into() }
    }
}

/// A decision and whether its policy lets it be remembered.
pub(super) struct Judged {
    pub(super) verdict: Result<Permit, Denied>,
    /// False where the decision says so, and for everything that no rule decided.
    pub(super) cacheable: bool,
}

/// Reads a decision: `{allow, rule, reason, obligations, cacheable?}` and nothing else.
pub(super) fn judge(decision: &Value, entrypoint: &str, model: &str) -> Judged {
    match read(decision) {
        Ok(decision) => Judged { cacheable: decision.cacheable, verdict: decision.verdict(entrypoint, model) },
        Err(fault) => {
            let by = if *decision == Value::Undefined { DeniedBy::Undefined } else { DeniedBy::Shape };
            Judged { verdict: Err(Denied::without_rule(by, entrypoint, fault)), cacheable: false }
        }
    }
}

struct Decision {
    allow: bool,
    rule: Arc<str>,
    reason: Arc<str>,
    obligations: Vec<Arc<str>>,
    cacheable: bool,
}

impl Decision {
    fn verdict(self, entrypoint: &str, model: &str) -> Result<Permit, Denied> {
        if !self.allow {
            let private = format!("`{entrypoint}` refused model `{model}`");
            return Err(Denied { by: DeniedBy::Rule, rule: self.rule, reason: self.reason, private: private.into() });
        }
        let known: Option<Arc<[Obligation]>> = self.obligations.iter().map(|name| Obligation::parse(name)).collect();
        match known {
            Some(obligations) => Ok(Permit { model: model.into(), rule: self.rule, reason: self.reason, obligations }),
            None => {
                let by = DeniedBy::Obligation;
                let private = format!("one of the obligations {:?} is unknown", self.obligations).into();
                Err(Denied { by, rule: self.rule, reason: by.code().into(), private })
            }
        }
    }
}

/// The decision, or what is wrong with its shape.
fn read(decision: &Value) -> Result<Decision, String> {
    let Value::Object(members) = decision else {
        return Err(format!("the decision is `{}`, not an object", brief(decision)));
    };
    let (mut allow, mut rule, mut reason, mut obligations, mut cacheable) = (None, None, None, None, true);
    for (name, value) in members.iter() {
        match (text(name).as_deref(), value) {
            (Some("allow"), Value::Bool(flag)) => allow = Some(*flag),
            (Some("rule"), value) => rule = text(value),
            (Some("reason"), value) => reason = text(value),
            (Some("obligations"), value) => obligations = names(value),
            (Some("cacheable"), Value::Bool(flag)) => cacheable = *flag,
            (_, value) => return Err(format!("member `{}: {}` is unknown or wrong", brief(name), brief(value))),
        }
    }
    let missing = |name: &str| format!("`{name}` is missing or wrong");
    Ok(Decision {
        allow: allow.ok_or_else(|| missing("allow"))?,
        rule: rule.ok_or_else(|| missing("rule"))?,
        reason: reason.ok_or_else(|| missing("reason"))?,
        obligations: obligations.ok_or_else(|| missing("obligations"))?,
        cacheable,
    })
}

fn text(value: &Value) -> Option<Arc<str>> {
    let Value::String(text) = value else { return None };
    (!text.is_empty() && text.len() <= NAME_BYTES_MAX).then(|| Arc::clone(text))
}

fn names(value: &Value) -> Option<Vec<Arc<str>>> {
    let names: Vec<_> = if let Value::Array(items) = value {
        items.iter().take(OBLIGATIONS_MAX.saturating_add(1)).map(text).collect::<Option<_>>()?
    } else if let Value::Set(items) = value {
        items.iter().take(OBLIGATIONS_MAX.saturating_add(1)).map(text).collect::<Option<_>>()?
    } else {
        return None;
    };
    (names.len() <= OBLIGATIONS_MAX).then_some(names)
}

/// A value for a message, cut short: a policy's own data may be large.
fn brief(value: &Value) -> String {
    let text = if *value == Value::Undefined { "undefined".to_owned() } else { format!("{value}") };
    text.chars().take(NAME_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(json: &str) -> Result<Permit, Denied> {
        judge(&Value::from_json_str(json).unwrap(), "data.x.decision", "small").verdict
    }

    #[test]
    fn an_allow_is_a_permit_for_that_model() {
        let permit = verdict(r#"{"allow":true,"rule":"r","reason":"ok","obligations":[]}"#).unwrap();
        assert_eq!((&**permit.model(), &**permit.rule(), &**permit.reason()), ("small", "r", "ok"));
        assert!(!permit.demands_redaction());
        let permit = verdict(r#"{"allow":true,"rule":"r","reason":"ok","obligations":["redact"]}"#).unwrap();
        assert!(permit.demands_redaction());
    }

    #[test]
    fn whatever_is_not_a_whole_decision_is_a_refusal() {
        let bad = [
            r#"true"#,
            r#"{}"#,
            r#"{"allow":"true","rule":"r","reason":"ok","obligations":[]}"#,
            r#"{"allow":1,"rule":"r","reason":"ok","obligations":[]}"#,
            r#"{"allow":true,"reason":"ok","obligations":[]}"#,
            r#"{"allow":true,"rule":"","reason":"ok","obligations":[]}"#,
            r#"{"allow":true,"rule":"r","reason":"ok"}"#,
            r#"{"allow":true,"rule":"r","reason":"ok","obligations":{"redact":true}}"#,
            r#"{"allow":true,"rule":"r","reason":"ok","obligations":[7]}"#,
            r#"{"allow":true,"rule":"r","reason":"ok","obligations":[],"obligation":["redact"]}"#,
            r#"{"allow":true,"rule":"r","reason":"ok","obligations":[],"cacheable":"no"}"#,
        ];
        for json in bad {
            assert_eq!(verdict(json).unwrap_err().by, DeniedBy::Shape, "{json}");
        }
        let undefined = judge(&Value::Undefined, "data.x.decision", "small").verdict.unwrap_err();
        assert_eq!((undefined.by, &*undefined.rule), (DeniedBy::Undefined, "data.x.decision"));
    }

    #[test]
    fn an_unknown_obligation_is_a_refusal() {
        let denied =
            verdict(r#"{"allow":true,"rule":"r","reason":"ok","obligations":["redact","dance"]}"#).unwrap_err();
        assert_eq!((denied.by, &*denied.reason), (DeniedBy::Obligation, "policy_unknown_obligation"));
    }

    #[test]
    fn a_deny_carries_the_rules_name_and_reason() {
        let denied = verdict(r#"{"allow":false,"rule":"r","reason":"no","obligations":[]}"#).unwrap_err();
        assert_eq!((denied.by, &*denied.rule, &*denied.reason), (DeniedBy::Rule, "r", "no"));
    }
}
