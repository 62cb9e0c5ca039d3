//! Calls a deployment, passes its reply on, falls back before the first event of a reply and never after.
//!
//! Start at [`converse`]. [`client`] is the near side, [`stream`] and [`whole`] pass the two kinds of reply on.

pub mod client;
pub mod filter;
pub mod inflate;
mod last_words;
pub mod purse;
pub mod status;
pub mod stream;
pub mod vigil;
pub mod whole;

use std::sync::Arc;
use std::time::Duration;

use weir_wire::endpoint::{Dialect, Endpoint, is_plain_id};
use weir_wire::envelope::{CapName, Edits, Envelope};

use crate::clock;
use crate::config::settings::{DeploymentRule, Provider, Secret};
use crate::exchange::{Books, CallId, Live, Outcome, Whose};
use crate::identity::Subject;
use crate::journal::Opening;
use crate::limits::Reservation;
use crate::policy::Permit;
use crate::privacy::Redacted;
use crate::providers::{self, CallFault, CallHead, Edition, Reply, Stage};
use crate::refusal::Refusal;
use crate::routing::Setback;
use crate::routing::queue::{Saturated, Seat};
use crate::routing::stored::Place;
use crate::running::Running;
use crate::telemetry::metric;
use crate::usage::meter::{Held, Meter};
use crate::usage::price::fare::Fare;
use crate::usage::report::Shape;
use crate::usage::tokens::Family;
use crate::usage::tokens::pool::Counted;
use crate::world::World;

pub use client::Client;
use purse::Purse;
pub use vigil::{Cut, Vigil};

/// First wait before the same deployment is tried again; doubled each time, with jitter.
const BACKOFF: Duration = Duration::from_millis(100);
/// Tokens of a chat template, as OpenAI counts them: so many at its end, and for each message one more than the role
/// and the line breaks that are counted with the text.
const TEMPLATE_TOKENS: u64 = 4;

/// What a conversation needs to know of its call.
pub struct Talk<'a> {
    /// State that outlives every World.
    pub running: &'a Running,
    /// The one World of this call.
    pub world: &'a World,
    /// The call.
    pub call: CallId,
    /// Unix milliseconds at its birth.
    pub born_ms: u64,
    /// Pseudonym of the end user.
    pub end_user: Option<Arc<str>>,
    /// Who calls.
    pub subject: &'a Subject,
    /// The request.
    pub envelope: &'a Envelope,
    /// Proof of the decision.
    pub permit: &'a Permit,
    /// Deployments in the order of attempts; never empty.
    pub order: &'a [Arc<DeploymentRule>],
    /// The prompt's tokens.
    pub counted: &'a Counted,
    /// Tokens held.
    pub held: Held,
    /// Output cap per choice to send upstream.
    pub output_cap: u32,
    /// The client's trace context.
    pub traceparent: Option<&'a str>,
    /// The edition of Anthropic's API that it speaks.
    pub edition: &'a Edition,
    /// The query of a question about a stored response.
    pub query: Option<&'a str>,
}

impl Talk<'_> {
    /// At which prices.
    fn fare(&self) -> Fare<'_> {
        Fare::new(&self.world.prices, self.subject.tenant.as_str(), self.born_ms).reading(self.envelope)
    }

    /// What is held for the next attempt.
    fn held_now(&self, books: &Books) -> Held {
        let covered = books.purse.as_ref().map_or(self.held.output, Purse::covered);
        Held { output: covered, ..self.held }
    }

    /// A response was made that the provider keeps: its tenant may come back to it.
    fn keep(&self, id: &str, live: &mut Live) {
        let envelope = self.envelope;
        if envelope.endpoint == Endpoint::Responses && envelope.store && is_plain_id(id) {
            // Nobody who goes on from it already finds it smaller than it may become.
            let tokens = self.held.input.saturating_add(self.held.output);
            let (model, deployment) = (envelope.model.as_str().into(), live.deployment.name.clone());
            let place = Place { model, deployment, tokens };
            live.made = Some(id.into());
            self.running.stored.keep(&self.subject.tenant, id, place);
        }
    }

    /// The attempt is at its end, or nearly: whoever goes on from its response reads so many tokens.
    fn learn(&self, books: &Books) {
        if let Some((id, tokens)) = books.made() {
            self.running.stored.learn(&self.subject.tenant, &id, tokens);
        }
    }

    /// [`Books::set_free`], when it is known how long the conversation has become: the next call may ask at once.
    fn set_free(&self, books: &mut Books) {
        self.learn(books);
        books.set_free();
    }

    /// A stored response was taken away.
    fn forget(&self, live: &mut Live) {
        if let Some(id) = self.envelope.stored_response.as_deref()
            && self.envelope.endpoint == Endpoint::DeleteResponse
        {
            live.took_away = Some(id.into());
            self.running.stored.forget(&self.subject.tenant, id);
        }
    }
}

/// How a conversation ended.
#[derive(Debug)]
pub enum End {
    /// The whole reply was handed over.
    Completed,
    /// The client went away.
    HungUp,
    /// Nothing was sent to the client yet: the story renders this.
    Refused(Refusal),
    /// A budget was used up, and the stream ended with a finish reason that says so.
    Exhausted,
    /// The upstream's own refusal of the caller's request was passed on, with its status.
    Passed(u16),
    /// The reply had begun; an error event was sent.
    Broken(Outcome, Refusal),
}

/// How one attempt ended.
enum Step {
    /// The conversation is over.
    Over(End),
    /// Another attempt may help; on the same deployment only if this one can't have worked on the request.
    Next { refusal: Refusal, wait: Option<Duration>, repeatable: bool },
}

/// Tries the deployments in order until one replies.
pub async fn converse(talk: &Talk<'_>, books: &mut Books, client: &mut Client<'_>) -> End {
    let retry = talk.world.settings.retry;
    talk.running.retries.earn();
    let mut last = Refusal::NoDeployment { retry_after: None };
    let (mut wait, mut repeatable) = (None, true);
    for number in 0..retry.attempts_max {
        let round = usize::from(number);
        let Some(deployment) = round.checked_rem(talk.order.len()).and_then(|at| talk.order.get(at)) else { break };
        if number > 0 && !talk.running.retries.spend() {
            break;
        }
        if round >= talk.order.len() {
            if !repeatable {
                break;
            }
            let Some(pause) = pause(number, wait, retry.wait_max, talk.call) else { break };
            if let Err(cut) = Vigil::new(talk).guard(client, tokio::time::sleep(pause)).await {
                return cut_end(cut, client).await;
            }
        }
        // What an attempt that failed has cost is no part of what is held for the next one.
        if let Err(refusal) = purse::cover_failed(books).await {
            last = refusal;
            break;
        }
        let renewer = books.reservation.as_ref().and_then(Reservation::renewer);
        match purse::renewing(renewer, attempt(talk, books, client, deployment, number)).await {
            // The head of a stream is out already, so a refusal can only be told inside it.
            Step::Over(End::Refused(refusal)) if client.has_begun() => return broken_off(client, refusal).await,
            Step::Over(end) => return end,
            Step::Next { refusal, wait: hint, repeatable: again } => {
                (last, wait, repeatable) = (refusal, hint, repeatable && again);
            }
        }
    }
    if client.has_begun() {
        return broken_off(client, last).await;
    }
    End::Refused(last)
}

async fn broken_off(client: &mut Client<'_>, refusal: Refusal) -> End {
    client.fail(&refusal).await;
    End::Broken(Outcome::StreamBroken, refusal)
}

/// Wait before the same deployment is tried again; `None` where the upstream asked for more patience than we have.
fn pause(number: u16, hint: Option<Duration>, wait_max: Duration, call: CallId) -> Option<Duration> {
    if let Some(hint) = hint {
        return (hint <= wait_max).then_some(hint);
    }
    let doubled = BACKOFF.saturating_mul(1_u32.checked_shl(u32::from(number)).unwrap_or(u32::MAX));
    // Full jitter (Brooker 2015) from the call id's random bits: no two calls come back in step.
    let dice = u32::try_from(call.0.as_u128() & 0xFFFF).unwrap_or(0);
    Some(doubled.min(wait_max).saturating_mul(dice).checked_div(0x1_0000).unwrap_or(BACKOFF))
}

async fn attempt(
    talk: &Talk<'_>,
    books: &mut Books,
    client: &mut Client<'_>,
    deployment: &Arc<DeploymentRule>,
    number: u16,
) -> Step {
    let body = match Redacted::unchanged(talk.envelope.splice(edits(talk, deployment)), talk.permit) {
        Ok(body) => body,
        Err(refusal) => return Step::Over(End::Refused(refusal)),
    };
    // A place at the deployment, before anything is written of the attempt: who waits costs nothing yet.
    let (_seat, waited) = match seat(talk, books, client, deployment).await {
        Ok(seat) => seat.unzip(),
        Err(step) => return step,
    };
    // The opening is in the kernel's hands before a byte leaves: a crash from here on is charged and recorded.
    if let Err(refusal) = open(talk, books, deployment, number).await {
        return Step::Over(End::Refused(refusal));
    }
    let whose = Whose { tenant: talk.subject.tenant.clone(), at_ms: talk.born_ms };
    let held = talk.held_now(books);
    let mut live = Live::new(deployment.clone(), number, held, meter(talk, deployment), whose, clock::instant());
    live.queue_ms = waited.map(|waited| u32::try_from(waited.as_millis()).unwrap_or(u32::MAX));
    books.begin(live);
    let own = match tenant_key(talk, deployment) {
        Ok(own) => own,
        Err(why) => return unanswered(talk, books, deployment, CallFault::before(why)),
    };
    let head = CallHead {
        call: talk.call,
        credential: own.as_ref().or(deployment.api_key.as_ref()),
        endpoint: talk.envelope.endpoint,
        stream: talk.envelope.stream,
        allowance: held.output,
        output_tokens: talk.output_cap,
        traceparent: talk.traceparent,
        edition: talk.edition,
        stored: talk.envelope.stored_response.as_deref(),
        query: talk.query,
    };
    let Some(reservation) = books.reservation.as_mut() else {
        return Step::Over(End::Refused(Refusal::Internal { what: "no reservation".to_owned() }));
    };
    let sent = {
        let sending = providers::call(&talk.running.transport, talk.permit, reservation, &body, deployment, &head);
        tokio::pin!(sending);
        match Vigil::new(talk).guard(client, sending.as_mut()).await {
            Ok(done) => Ok(done),
            Err(cut) => Err((cut, last_words::head(talk, deployment, sending).await)),
        }
    };
    let reply = match sent {
        Ok(Ok(reply)) => reply,
        Ok(Err(fault)) => return unanswered(talk, books, deployment, fault),
        Err((cut, reply)) => {
            last_words::unheard(talk, books, reply).await;
            books.end_live(talk.world, cut.outcome(), Some(cut.reason()));
            return Step::Over(cut_end(cut, client).await);
        }
    };
    answered(talk, books, client, deployment, reply).await
}

/// A place among the calls that the deployment takes at once, and how long it was waited for; none is needed where it
/// takes any number.
async fn seat(
    talk: &Talk<'_>,
    books: &mut Books,
    client: &mut Client<'_>,
    deployment: &DeploymentRule,
) -> Result<Option<(Seat, Duration)>, Step> {
    let Some(rule) = &deployment.queue else { return Ok(None) };
    let claim = talk.world.claim(&talk.subject.tenant, talk.held.input.saturating_add(talk.held.output));
    let (queue, asked) = (talk.running.queues.of(&deployment.name), clock::instant());
    let entered = Vigil::new(talk).guard(client, queue.enter(&claim, rule)).await;
    let waited = clock::instant().saturating_duration_since(asked);
    metric::queued(&deployment.name, waited, matches!(entered, Ok(Ok(_))));
    match entered {
        Ok(Ok(seat)) => Ok(Some((seat, waited))),
        Ok(Err(Saturated { retry_after })) => {
            let refusal = Refusal::Saturated { retry_after };
            Err(Step::Next { refusal, wait: None, repeatable: false })
        }
        Err(cut) => {
            books.end_live(talk.world, cut.outcome(), Some(cut.reason()));
            Err(Step::Over(cut_end(cut, client).await))
        }
    }
}

/// The secret of the caller's tenant that the deployment asks for. What can't be opened is not replaced by another.
fn tenant_key(talk: &Talk<'_>, deployment: &DeploymentRule) -> Result<Option<Secret>, &'static str> {
    let Some(name) = &deployment.tenant_key else { return Ok(None) };
    let found = talk.running.keyring.secret(&talk.world.master_keys, &talk.subject.tenant, name);
    match found {
        Ok(None) if deployment.api_key.is_none() => Err("tenant_key_missing"),
        Ok(found) => Ok(found),
        Err(fault) => {
            tracing::error!(tenant = %talk.subject.tenant, name = &**name, %fault, "a tenant's key can't be opened");
            Err("tenant_key_unreadable")
        }
    }
}

/// Counts what nobody else counts: as the deployment's model would.
fn meter(talk: &Talk<'_>, deployment: &DeploymentRule) -> Meter {
    let (envelope, family) = (talk.envelope, Family::of(&deployment.model));
    let template = match envelope.endpoint {
        Endpoint::ChatCompletions | Endpoint::Messages | Endpoint::Responses => {
            u64::try_from(envelope.prompt_items).unwrap_or(0).saturating_add(TEMPLATE_TOKENS)
        }
        Endpoint::Completions
        | Endpoint::CountTokens
        | Endpoint::ReadResponse
        | Endpoint::ResponseItems
        | Endpoint::DeleteResponse
        | Endpoint::Embeddings
        | Endpoint::Rerank
        | Endpoint::Models => 0,
    };
    // OpenAI's older shape is told by its names, and so is whatever else its imitators send.
    let shape = match envelope.endpoint {
        Endpoint::Messages | Endpoint::CountTokens => Some(Shape::Anthropic),
        Endpoint::Responses | Endpoint::ReadResponse | Endpoint::ResponseItems | Endpoint::DeleteResponse => {
            Some(Shape::OpenAiResponses)
        }
        Endpoint::ChatCompletions
        | Endpoint::Completions
        | Endpoint::Embeddings
        | Endpoint::Rerank
        | Endpoint::Models => None,
    };
    let own = talk.counted.own(&deployment.model).filter(|_| deployment.provider == Provider::Engine);
    let prompt = own.unwrap_or_else(|| talk.counted.likely(family).saturating_add(template));
    let choices = envelope.choices.max(envelope.best_of.unwrap_or(1));
    let mut meter = Meter::of(family, choices, prompt, shape);
    meter.most = Some(talk.held.output);
    meter
}

/// What Weir itself sets in the client's bytes.
fn edits<'a>(talk: &Talk<'_>, deployment: &'a DeploymentRule) -> Edits<'a> {
    if talk.envelope.endpoint.is_about_stored() {
        return Edits::default();
    }
    let states_usage = talk.envelope.stream && talk.envelope.endpoint.dialect() == Dialect::OpenAi;
    Edits {
        model: Some(&deployment.model),
        include_usage: states_usage,
        continuous_usage: states_usage && deployment.provider == Provider::Engine,
        output_cap: cap_name(talk, deployment).map(|name| (name, talk.output_cap)),
    }
}

/// The member that caps the output where the client names none; its own choice stays.
///
/// Newer chat models refuse `max_tokens`; the older endpoint knows nothing else. The own engine is told by a header:
/// there the cap gives way to the end of the context, where a member that does not fit is an error.
fn cap_name(talk: &Talk<'_>, deployment: &DeploymentRule) -> Option<CapName> {
    if deployment.provider == Provider::Engine {
        return talk.envelope.cap_name;
    }
    match talk.envelope.endpoint {
        Endpoint::ChatCompletions => Some(CapName::MaxCompletionTokens),
        Endpoint::Completions | Endpoint::Messages => Some(CapName::MaxTokens),
        Endpoint::Responses => Some(CapName::MaxOutputTokens),
        Endpoint::CountTokens
        | Endpoint::ReadResponse
        | Endpoint::ResponseItems
        | Endpoint::DeleteResponse
        | Endpoint::Embeddings
        | Endpoint::Rerank
        | Endpoint::Models => None,
    }
}

async fn open(talk: &Talk<'_>, books: &mut Books, deployment: &DeploymentRule, number: u16) -> Result<(), Refusal> {
    let held = talk.held_now(books);
    let nano = talk.fare().most(deployment, held.input, held.output).map_err(|_| Refusal::Unpriced)?;
    let opening = Opening {
        call: talk.call,
        attempt: number,
        at_ms: talk.born_ms,
        tenant: talk.subject.tenant.clone(),
        key: talk.subject.key.clone(),
        endpoint: talk.envelope.endpoint.path().into(),
        model: talk.envelope.model.as_str().into(),
        deployment: deployment.name.clone(),
        provider: deployment.provider.name().into(),
        upstream_model: deployment.model.clone(),
        held_input_tokens: held.input,
        held_output_tokens: held.output,
        end_user: talk.end_user.clone(),
        held_nano: i64::try_from(nano).unwrap_or(i64::MAX),
    };
    let journal = books.journal.as_mut().ok_or(Refusal::JournalUnavailable)?;
    // What earlier attempts came to is known: a crash from here on must not charge them at what was held.
    journal.know(&books.attempts).map_err(|_| Refusal::JournalUnavailable)?;
    journal.open(&opening).await.map_err(|_| Refusal::JournalUnavailable)
}

/// The attempt gave no reply.
fn unanswered(talk: &Talk<'_>, books: &mut Books, deployment: &Arc<DeploymentRule>, fault: CallFault) -> Step {
    if fault.stage == Stage::Before {
        books.not_reached();
    }
    books.end_live(talk.world, Outcome::UpstreamError, Some(fault.why));
    cool(talk, deployment, Setback::Capacity(None));
    let refusal = match fault.timed_out {
        true => Refusal::UpstreamTimeout { why: fault.why },
        false => Refusal::UpstreamUnreachable { why: fault.why },
    };
    // A request that was sent may have been worked on: another deployment may take over, the same must not run it
    // twice.
    Step::Next { refusal, wait: None, repeatable: fault.stage == Stage::Before }
}

async fn answered(
    talk: &Talk<'_>,
    books: &mut Books,
    client: &mut Client<'_>,
    deployment: &Arc<DeploymentRule>,
    reply: Reply,
) -> Step {
    let status = reply.head().map_or(0, |head| head.status.as_u16());
    books.replied(status);
    // Of a stored response a 404 says that it is not there; of a model, that Weir's configuration is wrong.
    let class = match status == 404 && talk.envelope.endpoint.is_about_stored() {
        true => status::Class::CallerFault,
        false => status::classify(status, reply.head(), clock::unix_ms()),
    };
    let passed = match class {
        status::Class::Success => {
            if talk.envelope.stream {
                stream::pass(talk, books, client, reply).await
            } else {
                whole::pass(talk, books, client, reply).await
            }
        }
        status::Class::CallerFault => whole::pass_error(talk, books, client, reply, status).await,
        status::Class::Account => {
            books.not_reached();
            Err(Failed { refusal: Refusal::UpstreamAccount { status }, setback: Setback::Account })
        }
        status::Class::Capacity(retry_after) => {
            books.not_reached();
            let refusal = Refusal::UpstreamFailed { status, retry_after };
            Err(Failed { refusal, setback: Setback::Capacity(retry_after) })
        }
    };
    match passed {
        Ok(end) => {
            let end = purse::ended(books, end);
            settle_attempt(talk, books, deployment, &end);
            Step::Over(end)
        }
        Err(failed) => {
            books.end_live(talk.world, Outcome::UpstreamError, Some(failed.refusal.code()));
            cool(talk, deployment, failed.setback);
            let wait = failed.refusal.face().retry_after;
            // A status says that it did not serve; a reply that broke off was worked on, and must not be run twice.
            let repeatable = matches!(failed.setback, Setback::Account) || is_status(&failed.refusal);
            Step::Next { refusal: failed.refusal, wait, repeatable }
        }
    }
}

fn is_status(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::UpstreamFailed { .. })
}

/// A reply that failed before its first event reached the client.
pub(crate) struct Failed {
    pub(crate) refusal: Refusal,
    pub(crate) setback: Setback,
}

impl Failed {
    pub(crate) fn invalid(why: &'static str) -> Self {
        Self { refusal: Refusal::UpstreamInvalid { why }, setback: Setback::Capacity(None) }
    }
}

fn settle_attempt(talk: &Talk<'_>, books: &mut Books, deployment: &Arc<DeploymentRule>, end: &End) {
    let (outcome, reason) = match end {
        End::Completed => (Outcome::Completed, None),
        End::Exhausted => (Outcome::BudgetExhausted, Some("budget_exhausted")),
        End::HungUp => (Outcome::HungUp, Some("client_hung_up")),
        End::Refused(refusal) => (Outcome::UpstreamError, Some(refusal.code())),
        End::Passed(_) => (Outcome::UpstreamError, Some("caller_fault")),
        End::Broken(outcome, refusal) => (*outcome, Some(refusal.code())),
    };
    talk.learn(books);
    books.end_live(talk.world, outcome, reason);
    match outcome {
        Outcome::StreamBroken => cool(talk, deployment, Setback::Capacity(None)),
        Outcome::Completed => talk.running.health.succeeded(&deployment.name),
        Outcome::Refused
        | Outcome::UpstreamError
        | Outcome::HungUp
        | Outcome::Revoked
        | Outcome::BudgetExhausted
        | Outcome::Failed
        | Outcome::Interrupted => {}
    }
}

fn cool(talk: &Talk<'_>, deployment: &Arc<DeploymentRule>, setback: Setback) {
    let cooldown = talk.world.settings.retry.cooldown;
    talk.running.health.failed(&deployment.name, setback, cooldown, clock::instant());
}

/// The end of a conversation that the client or a revocation cut.
pub(crate) async fn cut_end(cut: Cut, client: &mut Client<'_>) -> End {
    match cut {
        Cut::HungUp => End::HungUp,
        Cut::Revoked if client.has_begun() => {
            client.fail(&Refusal::KeyRevoked).await;
            End::Broken(Outcome::Revoked, Refusal::KeyRevoked)
        }
        Cut::Revoked => End::Refused(Refusal::KeyRevoked),
    }
}
