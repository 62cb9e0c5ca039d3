//! A decision's document, read member by member. Nothing in it is guessed.

use std::sync::Arc;

use regorus::Value;

use super::DeniedBy;
use crate::policy::obligation::Obligations;

/// Bytes of a rule's name or a reason code; a longer one is a wrong shape.
pub(in crate::policy) const NAME_BYTES_MAX: usize = 128;

/// Why a document is no decision.
pub(super) struct ReadFault {
    pub(super) by: DeniedBy,
    pub(super) code: &'static str,
    pub(super) private: String,
}

fn shape(code: &'static str, private: String) -> ReadFault {
    ReadFault { by: DeniedBy::Shape, code, private }
}

/// A decision, every member of the right kind.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) allow: bool,
    pub(super) rule: Option<Arc<str>>,
    pub(super) reason: Option<Arc<str>>,
    pub(super) obligations: Obligations,
    pub(super) status: Option<u16>,
    pub(super) cacheable: bool,
}

/// Reads `true`, `false`, or `{allow, rule?, reason?, obligations?, deny?, http_status?, cacheable?}`.
pub(super) fn decision(value: &Value) -> Result<Decision, ReadFault> {
    let plain = |allow| Decision {
        allow,
        rule: None,
        reason: None,
        obligations: Obligations::default(),
        status: None,
        cacheable: true,
    };
    let kind = match value {
        Value::Bool(allow) => return Ok(plain(*allow)),
        Value::Object(members) if members.is_empty() => "policy_empty",
        Value::Object(members) => return object(members.iter(), plain(false)),
        Value::Undefined => {
            let private = "the entry point is undefined for this input".to_owned();
            return Err(ReadFault { by: DeniedBy::Undefined, code: DeniedBy::Undefined.code(), private });
        }
        Value::Null => "policy_null",
        Value::Number(_) => "policy_number",
        Value::String(_) => "policy_string",
        Value::Array(items) if items.is_empty() => "policy_empty_array",
        Value::Array(_) => "policy_array",
        Value::Set(_) => "policy_set",
    };
    Err(shape(kind, format!("the decision is `{}`", brief(value))))
}

fn object<'a>(
    members: impl Iterator<Item = (&'a Value, &'a Value)>,
    mut found: Decision,
) -> Result<Decision, ReadFault> {
    let mut allow = None;
    for (name, value) in members {
        let wrong = |code| shape(code, format!("member `{}: {}` is wrong", brief(name), brief(value)));
        match (text(name).as_deref(), value) {
            (Some("allow"), Value::Bool(flag)) => allow = Some(*flag),
            (Some("allow"), _) => return Err(wrong("policy_allow_type")),
            (Some("rule"), value) => found.rule = Some(text(value).ok_or_else(|| wrong("policy_rule_type"))?),
            (Some("reason"), value) => found.reason = Some(text(value).ok_or_else(|| wrong("policy_reason_type"))?),
            (Some("deny"), value) => denials(value).map_err(wrong)?,
            (Some("obligations"), value) => found.obligations = obligations(value)?,
            (Some("http_status"), value) => found.status = Some(status(value).ok_or_else(|| wrong("policy_status"))?),
            (Some("cacheable"), Value::Bool(flag)) => found.cacheable = *flag,
            (Some("cacheable"), _) => return Err(wrong("policy_cacheable_type")),
            (_, _) => return Err(wrong("policy_unknown_member")),
        }
    }
    let allow = allow.ok_or_else(|| shape("policy_allow_missing", "`allow` is missing".to_owned()))?;
    Ok(Decision { allow, ..found })
}

/// `deny` may stand beside `allow` only where it says nothing.
fn denials(value: &Value) -> Result<(), &'static str> {
    let is_empty = if let Value::Array(items) = value {
        items.is_empty()
    } else if let Value::Set(items) = value {
        items.is_empty()
    } else {
        return Err("policy_deny_type");
    };
    if is_empty { Ok(()) } else { Err("policy_deny_entries") }
}

fn obligations(value: &Value) -> Result<Obligations, ReadFault> {
    Obligations::read(value).map_err(|fault| ReadFault {
        by: DeniedBy::Obligation,
        code: fault.code(),
        private: fault.to_string(),
    })
}

/// A status that says it is the caller's doing; others are Weir's own to give.
fn status(value: &Value) -> Option<u16> {
    let status = value.as_u16().ok()?;
    (400..500).contains(&status).then_some(status)
}

/// A text of a name's length.
pub(in crate::policy) fn text(value: &Value) -> Option<Arc<str>> {
    let Value::String(text) = value else { return None };
    (!text.is_empty() && text.len() <= NAME_BYTES_MAX).then(|| Arc::clone(text))
}

/// A value for a message, cut short: a policy's own data may be large.
pub(in crate::policy) fn brief(value: &Value) -> String {
    let text = if *value == Value::Undefined { "undefined".to_owned() } else { format!("{value}") };
    text.chars().take(NAME_BYTES_MAX).collect()
}
