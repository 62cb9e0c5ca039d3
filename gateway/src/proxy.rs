//! THE STORY of one call, from its head to its settlement. Each step says why it stands here and not earlier.
//!
//! Only this file assigns an [`Exchange`]'s members; the steps take the two or three values they need and return an
//! owned result. A step that refuses ends the story; whatever happens, `settle` runs when the exchange is dropped.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use weir_wire::endpoint::{Dialect, Endpoint};
use weir_wire::envelope::Envelope;

use crate::config::settings::DeploymentRule;
use crate::converse::purse::{self, Wish};
use crate::converse::{self, Client, End, Talk};
use crate::exchange::{Exchange, Outcome};
use crate::identity::dpop::challenge;
use crate::identity::keyring::Identified;
use crate::identity::token_endpoint::throttle::Asker;
use crate::identity::{Subject, caller, metadata, scope, token_endpoint};
use crate::limits::estimate::{self, Estimate};
use crate::limits::{Asked, Reservation, Slot, headers};
use crate::origin::Origin;
use crate::policy::decision_log::Kept;
use crate::policy::decision_log::hook::Deciding;
use crate::policy::input::{BudgetInput, CandidateInput, ClientInput};
use crate::policy::{Input, Permit};
use crate::refusal::Refusal;
use crate::routing;
use crate::routing::stored::Place;
use crate::running::Running;
use crate::telemetry::metric;
use crate::usage::end_user::pseudonym;
use crate::usage::price::fare::Fare;
use crate::usage::tokens::Family;
use crate::world::World;
use crate::{catalogue, clock, providers, request, settle};

/// The data plane.
pub struct Gateway {
    /// State that outlives every World.
    pub running: Arc<Running>,
}

/// The story could not go on: what the client is told.
type Told = Result<End, Refusal>;

impl Gateway {
    /// Before a byte of the body is read: may this caller speak at all?
    async fn admit(&self, session: &Session, x: &mut Exchange) -> Result<(), Refusal> {
        // 1. A place in the journal was taken at birth; without one nothing could be recorded, so nothing is served.
        if x.books.journal.is_none() {
            return Err(Refusal::JournalUnavailable);
        }
        // 2. A process that is about to stop takes nothing new; what runs may end.
        if self.running.draining.load(Ordering::Relaxed) {
            return Err(Refusal::Draining);
        }
        let caller = match self.prove(session, x).await {
            Ok(caller) => caller,
            Err(refusal) => return Err(self.of_stranger(x, refusal)),
        };
        x.key = Some(caller.subject.key.clone());
        if let Some(gate) = &caller.gate {
            let endpoint = x.endpoint.map_or("", Endpoint::name);
            gate.admits(&scope::Entry { endpoint, ip: x.origin.ip, environment: x.origin.environment.as_deref() })?;
        }
        // 5. What the head says of the body, before it is paid for with a limit.
        request::check_head(session.req_header(), x.endpoint, x.world.settings.request)?;
        // 6. Rate and concurrency, which need no body: the cheapest place to say no to a caller that is known.
        x.books.slot = Some(self.running.limits.throttle(&x.world.limits, &caller.subject, clock::instant())?);
        x.caller = Some(caller);
        Ok(())
    }

    /// Who calls, from the head alone.
    async fn prove(&self, session: &Session, x: &mut Exchange) -> Result<Identified, Refusal> {
        // 3. The endpoint comes before identity: a wrong path is no secret, and it decides what is read further on.
        x.origin = Origin::of(session, &x.world.settings);
        x.endpoint = Some(request::endpoint(session.req_header())?);
        request::check_framing(session)?;
        // 4. Identity, from the head alone: strangers must not make us read their bodies.
        let (query, witness) = (session.req_header().uri.query(), request::witness(session));
        let presented = caller::presented(&x.world, &witness, query)?;
        x.key = presented.public_id();
        Ok(caller::identify(&self.running, &x.world, &presented, &witness, clock::unix_ms()).await?)
    }

    /// What a stranger is told: what is wrong, or from so many on that it is enough for now, which is not recorded.
    /// Whoever has a credential never counts as one, so that nobody is locked out by a neighbour.
    fn of_stranger(&self, x: &Exchange, refusal: Refusal) -> Refusal {
        let Some(per_minute) = x.world.settings.client.strangers else { return refusal };
        if !refusal.is_of_stranger() {
            return refusal;
        }
        let counted = self.running.strangers.count(Asker::address(x.origin.ip), per_minute, clock::instant());
        counted.err().map_or(refusal, |wait| Refusal::TooManyStrangers { wait })
    }

    /// The call itself.
    async fn tell(&self, session: &mut Session, x: &mut Exchange) -> Told {
        let (Some(endpoint), Some(caller)) = (x.endpoint, x.caller.clone()) else {
            return Err(Refusal::Internal { what: "the call was not admitted".to_owned() });
        };
        if endpoint == Endpoint::Models {
            return self.list_models(session, x, &caller).await;
        }
        let Some(envelope) = self.envelope(session, x, endpoint, &caller).await? else { return Ok(End::HungUp) };
        x.envelope = Some(envelope.clone());
        x.end_user = end_user(&x.world, &caller.subject, &envelope);
        // 9. Who could serve it; a name that nobody serves needs no decision.
        let world = x.world.clone();
        let model = world.model(&envelope.model).ok_or_else(|| unknown(&envelope))?;
        let fare = Fare::new(&world.prices, caller.subject.tenant.as_str(), x.born_ms).reading(&envelope);
        let candidates = world.candidates(model, endpoint, fare)?;
        let (candidates, history) = self.keepers(candidates, &envelope, &caller).await?;
        // 10. What it may use at most, at the dearest candidate: policy may depend on it.
        let families: Vec<Family> = candidates.iter().map(|rule| Family::of(&rule.model)).collect();
        let mut counted = self.running.counting.count(&envelope, &families).await.after(history);
        let estimate = estimate::estimate(&envelope, model, &candidates, fare, &counted)?;
        // 11. The decision: with everything known that a rule may ask for, and before anything is held for the call.
        let permit = decide(session, x, &caller, &envelope, &candidates, &estimate)?;
        // What it demands holds from here on: where the call may go, and how much it may say.
        let candidates = permitted(candidates, &permit)?;
        let asked = asked(x, &envelope);
        // 12. The own engine counts what is to be held exactly: only now, since the prompt may go there now.
        if world.limits.counts_prompts(&caller.subject, &asked) {
            providers::count::ask(&self.running, &permit, &envelope, &candidates, &mut counted).await;
        }
        let estimate = estimate::estimate(&envelope, model, &candidates, fare, &counted)?;
        let estimate = estimate.within(permit.obligations().max_tokens, &candidates, fare);
        // 13. Tokens, on all levels of the tenant path at once: only for calls that are allowed.
        let wish = Wish::new(&caller.subject, &asked, &estimate, &candidates, fare, envelope.stream);
        let (reservation, purse) = purse::hold(&self.running.limits, &world, &wish).await?;
        x.fail_open.extend(reservation.degraded());
        (x.books.reservation, x.books.purse) = (Some(reservation), Some(purse));
        // 14. The order of attempts, by weight and health: last, since health changes by the second.
        let now = clock::instant();
        let dice = dice(x);
        let order = routing::order(&candidates, |name| self.running.health.cooling(name, now), dice);
        // 15. The upstream: it demands the permit, the reservation and the redacted body.
        let traceparent = request::traceparent(session.req_header());
        let edition = request::edition(session.req_header(), endpoint);
        let query = request::stored_query(session.req_header(), endpoint)?;
        let talk = Talk {
            running: &self.running,
            world: &world,
            call: x.call,
            born_ms: x.born_ms,
            end_user: x.end_user.clone(),
            subject: &caller.subject,
            envelope: &envelope,
            permit: &permit,
            order: &order,
            counted: &counted,
            held: estimate.held,
            output_cap: estimate.output_cap,
            traceparent: traceparent.as_deref(),
            edition: &edition,
            query: query.as_deref(),
        };
        let stall = world.settings.stream.write_stall;
        let mut client = Client::new(session, dialect(x), reply_headers(x), stall);
        let end = converse::converse(&talk, &mut x.books, &mut client).await;
        x.status = client.status();
        Ok(end)
    }

    /// What is asked; none where the caller went away before all of it was there.
    async fn envelope(
        &self,
        session: &mut Session,
        x: &Exchange,
        endpoint: Endpoint,
        caller: &Identified,
    ) -> Result<Option<Arc<Envelope>>, Refusal> {
        if endpoint.is_about_stored() {
            // It has no body: what it is about was made by an earlier call of the same tenant, or is nobody's.
            return Ok(Some(Arc::new(self.about_stored(session, endpoint, caller).await?)));
        }
        // 7. The body, bounded in size and time: only callers that passed the gate get here.
        let Some(body) = request::body(session, x.world.settings.request).await? else { return Ok(None) };
        // 8. One canonical parse: what is authorised below is what is forwarded.
        Ok(Some(Arc::new(request::parse(body, endpoint).await?)))
    }

    /// The call about a stored response that the path names.
    async fn about_stored(
        &self,
        session: &Session,
        endpoint: Endpoint,
        caller: &Identified,
    ) -> Result<Envelope, Refusal> {
        let id = endpoint.stored_id(session.req_header().uri.path()).unwrap_or_default();
        let place = self.stored(caller, id).await?;
        let place = place.ok_or(Refusal::ResponseUnknown { param: None })?;
        Ok(Envelope::about_stored(endpoint, &place.model, id))
    }

    /// Where a response of the caller's lies.
    async fn stored(&self, caller: &Identified, id: &str) -> Result<Option<Place>, Refusal> {
        let found = self.running.stored.find(&self.running.store, &caller.subject.tenant, id).await;
        found.map_err(|error| {
            tracing::error!(%error, "the places of stored responses can't be read");
            Refusal::JournalUnavailable
        })
    }

    /// The deployment that keeps the response which the call names, or all where it names none; and the tokens of the
    /// conversation that a call goes on from.
    async fn keepers(
        &self,
        mut candidates: Vec<Arc<DeploymentRule>>,
        envelope: &Envelope,
        caller: &Identified,
    ) -> Result<(Vec<Arc<DeploymentRule>>, u64), Refusal> {
        let Some(id) = &envelope.stored_response else { return Ok((candidates, 0)) };
        let param = (!envelope.endpoint.is_about_stored()).then_some("previous_response_id");
        let place = self.stored(caller, id).await?.ok_or(Refusal::ResponseUnknown { param })?;
        candidates.retain(|rule| rule.name == place.deployment);
        match candidates.is_empty() {
            true => Err(Refusal::ResponseUnknown { param }),
            false if envelope.endpoint.is_about_stored() => Ok((candidates, 0)),
            false => Ok((candidates, place.tokens)),
        }
    }

    /// The token endpoint and its documents; false where the path is none of theirs.
    async fn serve_apart(&self, session: &mut Session, x: &mut Exchange) -> bool {
        let world = x.world.clone();
        let path = session.req_header().uri.path().to_owned();
        let Some(route) = metadata::route(world.settings.token_endpoint.as_ref(), &path) else { return false };
        // No call, so no closing: the place in the journal goes back.
        drop(x.books.journal.take());
        let answer = AssertUnwindSafe(token_endpoint::answer(&self.running, &world, session, route));
        if let Err(panic) = answer.catch_unwind().await {
            // Nothing was issued that was not written down; whatever is left of the reply is cut.
            request::after_panic(session, Dialect::OpenAi, panic).await;
            session.set_keepalive(None);
        }
        true
    }

    /// `GET /v1/models`: only what this caller may use.
    async fn list_models(&self, session: &mut Session, x: &mut Exchange, caller: &Identified) -> Told {
        let wanted = request::model_id(session.req_header());
        let http = request::http(session, x.call.0, &[]);
        let body = catalogue::list(x, caller, wanted.as_deref(), http)?;
        let stall = x.world.settings.stream.write_stall;
        let mut client = Client::new(session, dialect(x), reply_headers(x), stall);
        x.books.set_free();
        let end = match client.whole(200, "application/json", Bytes::from(body)).await {
            Ok(()) => End::Completed,
            Err(_) => End::HungUp,
        };
        x.status = client.status();
        Ok(end)
    }

    /// Writes down how the story ended, and tells the client where nobody has yet.
    async fn conclude(&self, session: &mut Session, x: &mut Exchange, told: Told) {
        let (outcome, refusal) = match told {
            Ok(End::Completed) => (Outcome::Completed, None),
            Ok(End::HungUp) => (Outcome::HungUp, None),
            Ok(End::Exhausted) => (Outcome::BudgetExhausted, None),
            Ok(End::Passed(_)) => (Outcome::UpstreamError, None),
            Ok(End::Broken(outcome, refusal)) => (outcome, Some(refusal)),
            Ok(End::Refused(refusal)) | Err(refusal) => {
                x.status = refusal.face().status;
                let outcome = refusal.outcome();
                let mut headers = reply_headers(x);
                let proofs = x.world.settings.dpop.as_ref();
                let asked = proofs.map(|rule| challenge::headers(rule, &refusal, clock::unix_ms() / 1_000));
                headers.extend(asked.into_iter().flatten().map(|(name, value)| (name.into(), value)));
                x.books.set_free();
                let metadata = x.world.settings.token_endpoint.as_ref().map(metadata::resource_address);
                request::refuse(session, &refusal, dialect(x), &headers, metadata.as_deref()).await;
                (outcome, Some(refusal))
            }
        };
        if outcome == Outcome::HungUp {
            session.set_keepalive(None);
        }
        if let Some(reason) = refusal.as_ref().and_then(Refusal::unrecorded) {
            metric::unrecorded(reason);
            drop(x.books.journal.take());
        }
        x.outcome = Some(outcome);
        x.refusal = refusal;
    }
}

/// The deployments that the permit leaves.
fn permitted(mut candidates: Vec<Arc<DeploymentRule>>, permit: &Permit) -> Result<Vec<Arc<DeploymentRule>>, Refusal> {
    let route = &permit.obligations().route;
    candidates.retain(|rule| route.permits(&rule.name, rule.provider.name(), rule.region.as_deref()));
    match candidates.is_empty() {
        true => Err(Refusal::NoPermittedDeployment { rule: permit.rule().clone() }),
        false => Ok(candidates),
    }
}

fn decide(
    session: &Session,
    x: &mut Exchange,
    caller: &Identified,
    envelope: &Envelope,
    candidates: &[Arc<DeploymentRule>],
    estimate: &Estimate,
) -> Result<Permit, Refusal> {
    let candidates: Vec<CandidateInput<'_>> = candidates
        .iter()
        .map(|rule| CandidateInput {
            deployment: &rule.name,
            provider: rule.provider.name(),
            region: rule.region.as_deref(),
            owner: rule.owner.as_deref(),
            data_class: rule.data_class.as_deref(),
        })
        .collect();
    let mut input = Input::of_call(caller, envelope, &envelope.model, &candidates, estimate);
    if x.policy.reads_all(&x.world.policy, &caller.subject) || x.running.decisions.is_on() {
        // Only a policy that reads more than who asks for which model can read this; the decision log keeps it too.
        let left = x.running.limits.remaining(&x.world.limits, &caller.subject, &asked(x, envelope));
        let user_agent = request::user_agent(session.req_header());
        input.client = ClientInput { ip: x.origin.ip, geo: x.origin.geo.as_deref(), user_agent };
        input.request.environment = x.origin.environment.as_deref();
        input.http = Some(request::http(session, x.call.0, envelope.body()));
        input.now_ms = x.born_ms;
        input.budget = BudgetInput { tokens_remaining: left.tokens.map(|standing| standing.remaining) };
    }
    let deciding = Deciding::begin();
    let verdict = x.policy.decide(&x.world.policy, &input, x.born_ms);
    if x.running.decisions.decided(deciding, x, &input, &verdict)? == Kept::Dropped {
        x.fail_open.push("policy.decision_log.full");
    }
    match verdict {
        Ok(permit) => {
            x.rule = Some(permit.rule().clone());
            x.obligations = Some(permit.obligations().clone());
            Ok(permit)
        }
        Err(denied) => {
            x.rule = Some(denied.rule.clone());
            Err(denied.into())
        }
    }
}

/// Pseudonym of the end user whom the application names: limits and the ledger see no more of it.
fn end_user(world: &World, subject: &Subject, envelope: &Envelope) -> Option<Arc<str>> {
    let organisation = subject.tenant.as_str().split('/').next().unwrap_or_default();
    Some(pseudonym(&world.peppers.end_users()?, organisation, envelope.end_user.as_deref()?))
}

/// What limits may count the call by.
fn asked<'a>(x: &'a Exchange, envelope: &'a Envelope) -> Asked<'a> {
    let (endpoint, end_user) = (envelope.endpoint.name(), x.end_user.as_deref());
    Asked { call: x.call, model: &envelope.model, endpoint, end_user, born_ms: x.born_ms }
}

fn unknown(envelope: &Envelope) -> Refusal {
    Refusal::ModelUnknown { model: envelope.model.as_str().into() }
}

/// The random half of the call's id.
fn dice(x: &Exchange) -> u64 {
    u64::try_from(x.call.0.as_u128() & u128::from(u64::MAX)).unwrap_or(0)
}

/// How the client is spoken to.
fn dialect(x: &Exchange) -> Dialect {
    x.endpoint.map_or(Dialect::OpenAi, Endpoint::dialect)
}

/// Headers of every reply: the call's id, and what is left of the caller's limits.
fn reply_headers(x: &Exchange) -> request::Headers {
    let requests = x.books.slot.as_ref().and_then(Slot::requests);
    let tokens = x.books.reservation.as_ref().and_then(Reservation::standing_tokens);
    let id = x.call.0.to_string();
    // Anthropic's clients read the id under a name of its own.
    let anthropic = (dialect(x) == Dialect::Anthropic).then(|| ("request-id", id.clone()));
    let own = [("x-request-id", id.clone()), ("x-weir-call-id", id)];
    let own = headers::quota(requests, tokens).into_iter().chain(own).chain(anthropic);
    let demanded = x.obligations.iter().flat_map(|obligations| obligations.headers.iter().cloned());
    let demanded = demanded.map(|(name, value)| (name.into(), value));
    own.map(|(name, value)| (name.into(), value)).chain(demanded).collect()
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::born(self.running.clone())
    }

    /// No modules: nothing may recode or buffer a stream.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, x: &mut Exchange) -> pingora::Result<()> {
        // Tokens and documents about them are no calls: they have a handler of their own.
        if metadata::route(x.world.settings.token_endpoint.as_ref(), session.req_header().uri.path()).is_some() {
            return Ok(());
        }
        let Err(refusal) = self.admit(session, x).await else { return Ok(()) };
        // This hook can only fail; `fail_to_proxy` renders what is stored here.
        x.refusal = Some(refusal);
        Err(Error::new(ErrorType::new("Refused")))
    }

    async fn request_filter(&self, session: &mut Session, x: &mut Exchange) -> pingora::Result<bool> {
        if self.serve_apart(session, x).await {
            return Ok(true);
        }
        let told = match AssertUnwindSafe(self.tell(session, x)).catch_unwind().await {
            Ok(told) => told,
            Err(panic) => Ok(request::after_panic(session, dialect(x), panic).await),
        };
        self.conclude(session, x, told).await;
        Ok(true)
    }

    async fn upstream_peer(&self, _session: &mut Session, _x: &mut Exchange) -> pingora::Result<Box<HttpPeer>> {
        // Every endpoint takes the converse road; nothing is forwarded natively.
        Err(Error::new(ErrorType::InternalError))
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, x: &mut Exchange) -> FailToProxy {
        let refusal = x.refusal.take().unwrap_or_else(|| Refusal::Internal { what: error.etype().as_str().to_owned() });
        let error_code = refusal.face().status;
        self.conclude(session, x, Err(refusal)).await;
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, _session: &mut Session, _error: Option<&Error>, x: &mut Exchange) {
        settle::settle(x);
    }

    /// The default holds the whole URI with its query, where keys may stand.
    fn request_summary(&self, _session: &Session, x: &Exchange) -> String {
        format!("call {}", x.call.0)
    }

    /// Refusals are on the audit record; a line of log each would let strangers fill the disk.
    fn suppress_error_log(&self, _session: &Session, _x: &Exchange, _error: &Error) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
