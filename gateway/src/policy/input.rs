//! What a policy sees of a call: the document `input`, version 1. Pure; built straight as Rego values, without JSON
//! text between. Described with an example in `docs/policy-input.md`, which a test holds against this file.
//!
//! Never holds prompt text, credentials or anything that the client could forge about itself.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

use regorus::Value;

use weir_wire::endpoint::{Dialect, Endpoint};
use weir_wire::envelope::Envelope;

use super::envoy::HttpInput;
use crate::identity::Subject;
use crate::identity::keyring::Identified;
use crate::limits::estimate::Estimate;

/// Version of the document: a member is never given another meaning within one.
const VERSION: u64 = 1;

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
    /// Where the call comes from.
    pub client: ClientInput<'a>,
    /// Milliseconds since 1970, UTC.
    pub now_ms: u64,
    /// What it may cost at most.
    pub estimate: EstimateInput,
    /// What is left to spend.
    pub budget: BudgetInput,
    /// The request itself, for policies that know Envoy's questions; never in Weir's own document.
    pub http: Option<HttpInput<'a>>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestInput<'a> {
    /// Short name of the endpoint: `chat_completions`, `completions`, `models`.
    pub endpoint: &'a str,
    /// The model alias that the call names.
    pub model: &'a str,
    /// Whether the reply is streamed.
    pub stream: bool,
    /// Completion tokens asked for, where the call names a number.
    pub max_tokens: Option<u64>,
    /// Choices asked for.
    pub n: u32,
    /// Names of the tools that the call offers.
    pub tools: &'a [String],
    /// Whether the call brings images, sound or files.
    pub has_media: bool,
    /// The environment of the listener that took it.
    pub environment: Option<&'a str>,
}

/// Where a call comes from.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientInput<'a> {
    /// The client's address; a proxy's where one stands between that isn't trusted.
    pub ip: Option<IpAddr>,
    /// Its country, where a trusted proxy tells it.
    pub geo: Option<&'a str>,
    /// What the client says of itself, cut short.
    pub user_agent: Option<&'a str>,
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
    /// Whose machines it runs on.
    pub owner: Option<&'a str>,
    /// The class of data that may be sent there.
    pub data_class: Option<&'a str>,
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
            client: ClientInput::default(),
            now_ms: 0,
            estimate: EstimateInput::default(),
            budget: BudgetInput::default(),
            http: None,
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
                tools: &envelope.tools,
                has_media: envelope.media_parts > 0,
                environment: None,
            },
            candidates,
            client: ClientInput::default(),
            now_ms: 0,
            estimate: EstimateInput {
                input_tokens: estimate.held.input,
                output_tokens: estimate.held.output,
                nano: estimate.nano,
            },
            budget: BudgetInput::default(),
            http: None,
        }
    }

    /// The moment, as most rules want it.
    pub(super) fn moment(&self) -> Moment {
        Moment::at(self.now_ms)
    }

    /// The document `input`.
    pub fn to_value(&self) -> Value {
        object([
            ("version", VERSION.into()),
            ("subject", self.subject_value()),
            ("request", self.request.to_value()),
            ("resource", self.resource_value()),
            // Personal data that was found in the prompt, by type; nobody looks for any yet.
            ("findings", object([])),
            ("client", self.client.to_value()),
            ("time", time_value(self.now_ms)),
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

    fn resource_value(&self) -> Value {
        let candidates = array(self.candidates.iter().map(|candidate| candidate.to_value()));
        object([("alias", self.request.model.into()), ("candidates", candidates)])
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
        let modality = ["text"].into_iter().chain(self.has_media.then_some("media"));
        let fixed = [
            ("dialect", dialect(self.endpoint).into()),
            ("endpoint", self.endpoint.into()),
            ("model", self.model.into()),
            ("stream", self.stream.into()),
            ("n", self.n.into()),
            ("tools", array(self.tools.iter().map(|name| name.as_str().into()))),
            ("modality", array(modality.map(Value::from))),
        ];
        let max_tokens = self.max_tokens.map(|tokens| ("max_tokens", tokens.into()));
        let environment = self.environment.map(|name| ("environment", name.into()));
        object(fixed.into_iter().chain(max_tokens).chain(environment))
    }
}

/// What is spoken on an endpoint.
fn dialect(endpoint: &str) -> &'static str {
    Endpoint::from_name(endpoint).map_or(Dialect::OpenAi, Endpoint::dialect).name()
}

impl CandidateInput<'_> {
    fn to_value(self) -> Value {
        let fixed = [("deployment", self.deployment.into()), ("provider", self.provider.into())];
        let known = [("region", self.region), ("owner", self.owner), ("data_class", self.data_class)];
        let known = known.into_iter().filter_map(|(name, text)| Some((name, text?.into())));
        object(fixed.into_iter().chain(known))
    }
}

impl ClientInput<'_> {
    fn to_value(self) -> Value {
        let ip = self.ip.map(|ip| ("ip", ip.to_canonical().to_string().into()));
        let agent = self.user_agent.map(|agent| ("user_agent", agent.into()));
        let geo = self.geo.map(|geo| ("geo", geo.into()));
        object(ip.into_iter().chain(geo).chain(agent))
    }
}

/// What most rules want of a moment, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// 1 is Monday.
    pub(super) weekday: u64,
    /// 0 to 23.
    pub(super) hour: u64,
}

impl Moment {
    fn at(now_ms: u64) -> Self {
        let hours = now_ms / 3_600_000;
        // 1970 began on a Thursday.
        let weekday = (hours / 24).saturating_add(3) % 7;
        Self { weekday: weekday.saturating_add(1), hour: hours % 24 }
    }
}

fn time_value(now_ms: u64) -> Value {
    let Moment { weekday, hour } = Moment::at(now_ms);
    object([("ns", now_ms.saturating_mul(1_000_000).into()), ("weekday", weekday.into()), ("hour", hour.into())])
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
            vouchers: Arc::default(),
            roles: roles.iter().map(|role| Arc::from(*role)).collect(),
            attributes: Arc::new(BTreeMap::from([("environment".to_owned(), "production".to_owned())])),
            user: None,
        }
    }

    /// The example of the documentation is what a policy gets.
    #[test]
    fn the_document_is_the_one_that_is_documented() {
        let subject = subject("acme/research", &["developer"]);
        let key_models = ["small*".to_owned()];
        let tools = ["get_weather".to_owned()];
        let request = RequestInput {
            endpoint: "chat_completions",
            max_tokens: Some(64),
            stream: true,
            tools: &tools,
            environment: Some("production"),
            ..Input::visible(&subject, None, "small").request
        };
        let candidate = CandidateInput {
            deployment: "own",
            provider: "engine",
            region: Some("eu"),
            owner: Some("acme"),
            data_class: Some("internal"),
        };
        let input = Input {
            request,
            candidates: &[candidate],
            client: ClientInput { ip: Some([192, 0, 2, 7].into()), geo: Some("DE"), user_agent: Some("openai-python") },
            now_ms: 1_790_000_000_000,
            estimate: EstimateInput { input_tokens: 3, output_tokens: 64, nano: 1_500 },
            budget: BudgetInput { tokens_remaining: Some(900) },
            ..Input::visible(&subject, Some(&key_models), "small")
        };
        let page = include_str!("../../../docs/policy-input.md");
        let example = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let expected: serde_json::Value = serde_json::from_str(example).unwrap();
        let json: serde_json::Value = serde_json::from_str(&input.to_value().to_json_str().unwrap()).unwrap();
        assert_eq!(json, expected, "{}", serde_json::to_string_pretty(&json).unwrap());
    }

    #[test]
    fn weekday_and_hour_are_those_of_the_moment() {
        let at = |ms: u64| {
            let value = time_value(ms).to_json_str().unwrap();
            let json: serde_json::Value = serde_json::from_str(&value).unwrap();
            (json["weekday"].as_u64().unwrap(), json["hour"].as_u64().unwrap())
        };
        assert_eq!(at(0), (4, 0));
        // 2026-11-25 13:59:59 was a Wednesday.
        assert_eq!(at(1_795_615_199_000), (3, 13));
        assert_eq!(at(4 * 86_400_000 - 1), (7, 23));
    }
}
