//! What a policy sees of a call: the document `input`. Pure; built straight as Rego values, without JSON text between.
//!
//! Never holds prompt text, credentials or anything that the client could forge about itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use regorus::Value;

use weir_wire::envelope::Envelope;

use crate::identity::Subject;
use crate::identity::keyring::Identified;
use crate::limits::estimate::Estimate;

/// Names of the levels of the tenant path, outermost first, as members of `input.subject`.
const LEVEL_NAMES: [&str; crate::identity::tenant::LEVELS_MAX] = ["org", "team", "project", "user"];

/// One question to the policy, borrowed from what the call already knows.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Who calls.
    pub subject: &'a Subject,
    /// The key's own list of models, where it has one.
    pub key_models: Option<&'a [String]>,
    /// What is asked for.
    pub request: RequestInput<'a>,
    /// Deployments that could serve it.
    pub candidates: &'a [CandidateInput<'a>],
    /// What it may cost at most.
    pub estimate: EstimateInput,
    /// What is left to spend.
    pub budget: BudgetInput,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestInput<'a> {
    /// Short name of the endpoint: `chat`, `completions`, `models`.
    pub endpoint: &'a str,
    /// The model alias that the call names.
    pub model: &'a str,
    /// Whether the reply is streamed.
    pub stream: bool,
    /// Completion tokens asked for, where the call names a number.
    pub max_tokens: Option<u64>,
    /// Choices asked for.
    pub n: u32,
    /// Whether the call offers tools.
    pub has_tools: bool,
}

/// A deployment that could serve the call.
#[derive(Debug, Clone, Copy)]
pub struct CandidateInput<'a> {
    /// Deployment's name.
    pub deployment: &'a str,
    /// Provider's name.
    pub provider: &'a str,
    /// Region, where the configuration names one.
    pub region: Option<&'a str>,
}

/// What a call may use at most.
#[derive(Debug, Clone, Copy, Default)]
pub struct EstimateInput {
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Completion tokens of all choices.
    pub output_tokens: u64,
    /// Cost at the dearest candidate, in nano-dollars.
    pub nano: i64,
}

/// What is left to the caller; `None` means no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct BudgetInput {
    /// Tokens left of this minute's quota, at the tightest level.
    pub tokens_remaining: Option<u64>,
}

impl<'a> Input<'a> {
    /// The question that `GET /v1/models` asks of each alias: may this caller use it at all?
    pub fn visible(subject: &'a Subject, key_models: Option<&'a [String]>, model: &'a str) -> Self {
        Self {
            subject,
            key_models,
            request: RequestInput { endpoint: "models", model, n: 1, ..RequestInput::default() },
            candidates: &[],
            estimate: EstimateInput::default(),
            budget: BudgetInput::default(),
        }
    }

    /// The question that a call asks.
    pub fn of_call(
        caller: &'a Identified,
        envelope: &'a Envelope,
        model: &'a str,
        candidates: &'a [CandidateInput<'a>],
        estimate: &Estimate,
    ) -> Self {
        Self {
            subject: &caller.subject,
            key_models: caller.key_models.as_deref(),
            request: RequestInput {
                endpoint: envelope.endpoint.name(),
                model,
                stream: envelope.stream,
                max_tokens: envelope.output_tokens_max.map(u64::from),
                n: envelope.choices,
                has_tools: envelope.has_tools,
            },
            candidates,
            estimate: EstimateInput {
                input_tokens: estimate.held.input,
                output_tokens: estimate.held.output,
                nano: estimate.nano,
            },
            budget: BudgetInput::default(),
        }
    }

    /// The document `input`.
    pub fn to_value(&self) -> Value {
        object([
            ("subject", self.subject_value()),
            ("request", self.request.to_value()),
            ("candidates", array(self.candidates.iter().map(|candidate| candidate.to_value()))),
            (
                "estimate",
                object([
                    ("input_tokens", self.estimate.input_tokens.into()),
                    ("output_tokens", self.estimate.output_tokens.into()),
                    ("nano", self.estimate.nano.into()),
                ]),
            ),
            ("budget", object(self.budget.tokens_remaining.map(|left| ("tokens_remaining", left.into())))),
        ])
    }

    fn subject_value(&self) -> Value {
        let subject = self.subject;
        let names = LEVEL_NAMES.into_iter().zip(subject.tenant.as_str().split('/').map(Value::from));
        let attributes = subject.attributes.iter().map(|(name, text)| (name.as_str(), Value::from(text.as_str())));
        let fixed = [
            ("tenant", subject.tenant.as_str().into()),
            ("levels", array(subject.tenant.prefixes().map(Value::from))),
            ("key", Value::String(Arc::clone(&subject.key.0))),
            ("credential", subject.credential.name().into()),
            ("roles", array(subject.roles.iter().map(|role| Value::String(Arc::clone(role))))),
            ("attributes", object(attributes)),
        ];
        let models = self.key_models.map(|models| ("models", array(models.iter().map(|model| model.as_str().into()))));
        object(fixed.into_iter().chain(names).chain(models))
    }
}

impl RequestInput<'_> {
    fn to_value(self) -> Value {
        let fixed = [
            ("endpoint", self.endpoint.into()),
            ("model", self.model.into()),
            ("stream", self.stream.into()),
            ("n", self.n.into()),
            ("has_tools", self.has_tools.into()),
        ];
        object(fixed.into_iter().chain(self.max_tokens.map(|tokens| ("max_tokens", tokens.into()))))
    }
}

impl CandidateInput<'_> {
    fn to_value(self) -> Value {
        let fixed = [("deployment", self.deployment.into()), ("provider", self.provider.into())];
        object(fixed.into_iter().chain(self.region.map(|region| ("region", region.into()))))
    }
}

fn object<'a>(members: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::from(members.into_iter().map(|(name, value)| (Value::from(name), value)).collect::<BTreeMap<_, _>>())
}

fn array(items: impl Iterator<Item = Value>) -> Value {
    Value::from(items.collect::<Vec<_>>())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::identity::{CredentialKind, KeyId, TenantPath};

    /// A caller for tests.
    pub fn subject(tenant: &str, roles: &[&str]) -> Subject {
        Subject {
            tenant: TenantPath::parse(tenant).unwrap(),
            key: KeyId("k3y00001".into()),
            key_epoch: 1,
            credential: CredentialKind::ApiKey,
            roles: roles.iter().map(|role| Arc::from(*role)).collect(),
            attributes: Arc::new(BTreeMap::from([("environment".to_owned(), "production".to_owned())])),
        }
    }

    #[test]
    fn the_document_has_the_documented_members_and_no_others() {
        let subject = subject("acme/research", &["developer"]);
        let key_models = ["small*".to_owned()];
        let input = Input {
            request: RequestInput { max_tokens: Some(64), stream: true, ..Input::visible(&subject, None, "m").request },
            candidates: &[CandidateInput { deployment: "own", provider: "engine", region: Some("eu") }],
            estimate: EstimateInput { input_tokens: 3, output_tokens: 64, nano: 1_500 },
            budget: BudgetInput { tokens_remaining: Some(900) },
            ..Input::visible(&subject, Some(&key_models), "m")
        };
        let text = input.to_value().to_json_str().unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "subject": {
                    "tenant": "acme/research", "org": "acme", "team": "research", "levels": ["acme", "acme/research"],
                    "key": "k3y00001", "credential": "api_key", "roles": ["developer"], "attributes": {"environment": "production"},
                    "models": ["small*"],
                },
                "request": {
                    "endpoint": "models", "model": "m", "stream": true, "n": 1, "has_tools": false, "max_tokens": 64,
                },
                "candidates": [{"deployment": "own", "provider": "engine", "region": "eu"}],
                "estimate": {"input_tokens": 3, "output_tokens": 64, "nano": 1500},
                "budget": {"tokens_remaining": 900},
            })
        );
    }
}
