//! One decision as the call hands it over: owned, and cheap to make. The document is built from it elsewhere.

use std::net::IpAddr;
use std::sync::Arc;

use regorus::Value;
use uuid::Uuid;

use super::rules::Rules;
use crate::identity::Subject;
use crate::policy::input::{BudgetInput, CandidateInput, ClientInput, EstimateInput, Input, RequestInput};
use crate::policy::obligation::LogLevel;
use crate::policy::{Active, Denied, Permit};

/// One decision.
#[derive(Debug, Clone)]
pub struct Record {
    /// The call's id.
    pub id: Uuid,
    /// Nanoseconds since the Unix epoch, when it was decided.
    pub at_ns: i64,
    /// Nanoseconds that the decision took.
    pub took_ns: u64,
    /// What `time.now_ns` was, where the policy asked.
    pub now_ns: Option<i64>,
    /// The decision.
    pub verdict: Result<Permit, Denied>,
    /// Masks, labels and names of the call's own revision.
    pub rules: Arc<Rules>,
    /// The bundles that decided beside the World's own policy.
    pub active: Arc<Active>,
    question: Question,
}

/// [`Input`], owned.
#[derive(Debug, Clone)]
struct Question {
    subject: Subject,
    key_models: Option<Box<[String]>>,
    endpoint: Box<str>,
    model: Box<str>,
    stream: bool,
    max_tokens: Option<u64>,
    n: u32,
    tools: Box<[String]>,
    has_media: bool,
    environment: Option<Box<str>>,
    candidates: Box<[Candidate]>,
    ip: Option<IpAddr>,
    geo: Option<Box<str>>,
    user_agent: Option<Box<str>>,
    now_ms: u64,
    estimate: EstimateInput,
    budget: BudgetInput,
}

#[derive(Debug, Clone)]
struct Candidate {
    deployment: Box<str>,
    provider: Box<str>,
    region: Option<Box<str>>,
    owner: Option<Box<str>>,
    data_class: Option<Box<str>>,
}

/// What a call knows of its decision beside input and verdict.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// The call's id.
    pub id: Uuid,
    /// Nanoseconds since the Unix epoch, when it was decided.
    pub at_ns: i64,
    /// Nanoseconds that the decision took.
    pub took_ns: u64,
    /// What `time.now_ns` was, where the policy asked.
    pub now_ns: Option<i64>,
}

impl Record {
    /// Of a decision that was just made; `None` where its obligation says that nothing is kept.
    pub fn of(
        circumstances: Circumstances,
        input: &Input<'_>,
        verdict: &Result<Permit, Denied>,
        rules: &Arc<Rules>,
        active: &Arc<Active>,
    ) -> Option<Self> {
        let Circumstances { id, at_ns, took_ns, now_ns } = circumstances;
        if level(verdict) == LogLevel::None {
            return None;
        }
        let (verdict, rules, active) = (verdict.clone(), Arc::clone(rules), Arc::clone(active));
        Some(Self { id, at_ns, took_ns, now_ns, verdict, rules, active, question: Question::of(input) })
    }

    /// Who called.
    pub fn subject(&self) -> &Subject {
        &self.question.subject
    }

    /// What may be kept of it.
    pub fn level(&self) -> LogLevel {
        level(&self.verdict)
    }

    /// The document `input`.
    pub fn input(&self) -> Value {
        self.question.to_value()
    }

    /// Where the call came from.
    pub fn client(&self) -> Option<IpAddr> {
        self.question.ip
    }
}

fn level(verdict: &Result<Permit, Denied>) -> LogLevel {
    verdict.as_ref().map_or(LogLevel::Full, |permit| permit.obligations().log)
}

impl Question {
    fn of(input: &Input<'_>) -> Self {
        let request = &input.request;
        Self {
            subject: input.subject.clone(),
            key_models: input.key_models.map(Into::into),
            endpoint: request.endpoint.into(),
            model: request.model.into(),
            stream: request.stream,
            max_tokens: request.max_tokens,
            n: request.n,
            tools: request.tools.into(),
            has_media: request.has_media,
            environment: request.environment.map(Into::into),
            candidates: input.candidates.iter().map(Candidate::of).collect(),
            ip: input.client.ip,
            geo: input.client.geo.map(Into::into),
            user_agent: input.client.user_agent.map(Into::into),
            now_ms: input.now_ms,
            estimate: input.estimate,
            budget: input.budget,
        }
    }

    fn to_value(&self) -> Value {
        let candidates: Vec<CandidateInput<'_>> = self.candidates.iter().map(Candidate::borrowed).collect();
        Input {
            subject: &self.subject,
            key_models: self.key_models.as_deref(),
            request: RequestInput {
                endpoint: &self.endpoint,
                model: &self.model,
                stream: self.stream,
                max_tokens: self.max_tokens,
                n: self.n,
                tools: &self.tools,
                has_media: self.has_media,
                environment: self.environment.as_deref(),
            },
            candidates: &candidates,
            client: ClientInput { ip: self.ip, geo: self.geo.as_deref(), user_agent: self.user_agent.as_deref() },
            now_ms: self.now_ms,
            estimate: self.estimate,
            budget: self.budget,
            // Envoy's document has the body in it: it is never kept.
            http: None,
        }
        .to_value()
    }
}

impl Candidate {
    fn of(input: &CandidateInput<'_>) -> Self {
        Self {
            deployment: input.deployment.into(),
            provider: input.provider.into(),
            region: input.region.map(Into::into),
            owner: input.owner.map(Into::into),
            data_class: input.data_class.map(Into::into),
        }
    }

    fn borrowed(&self) -> CandidateInput<'_> {
        CandidateInput {
            deployment: &self.deployment,
            provider: &self.provider,
            region: self.region.as_deref(),
            owner: self.owner.as_deref(),
            data_class: self.data_class.as_deref(),
        }
    }
}
