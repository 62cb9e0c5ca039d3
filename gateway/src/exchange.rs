//! The spine: what is known of one client call, and how it may end.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use weir_wire::envelope::Envelope;
use weir_wire::fault::Endpoint;

use crate::clock;
use crate::config::settings::{DeploymentRule, Provider};
use crate::converse::purse::Purse;
use crate::identity::keyring::Identified;
use crate::identity::{KeyId, TenantPath};
use crate::journal::JournalPermit;
use crate::limits::quantity::Amounts;
use crate::limits::{Reservation, Slot};
use crate::origin::Origin;
use crate::policy::Active;
use crate::policy::obligation::Obligations;
use crate::refusal::Refusal;
use crate::running::{InFlight, Running};
use crate::settle;
use crate::usage::bill::{Bill, Pricing};
use crate::usage::buckets::{Buckets, Tier};
use crate::usage::meter::{Held, Meter, Reading};
use crate::usage::price::fare::Fare;
use crate::usage::price::{Basis, Cost, PriceOf};
use crate::world::World;

/// A call's id, UUIDv7: the idempotency key of everything written about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CallId(#[serde(with = "uuid_text")] pub uuid::Uuid);

/// Random bytes of one id.
const RANDOM_BYTES: usize = 10;
/// Random bytes that are asked of the system at a time: one system call for 51 ids.
const POOL_BYTES: usize = 512;

thread_local! {
    /// Random bytes that no id has used yet.
    static POOL: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl CallId {
    /// A new id, of this millisecond since the Unix epoch.
    pub fn at(unix_ms: u64) -> Self {
        let random = POOL.with_borrow_mut(|pool| {
            if pool.len() < RANDOM_BYTES {
                pool.resize(POOL_BYTES, 0);
                if getrandom::fill(pool).is_err() {
                    pool.clear();
                }
            }
            let rest = pool.len().checked_sub(RANDOM_BYTES)?;
            let random = pool.get(rest..)?.try_into().ok();
            pool.truncate(rest);
            random
        });
        match random {
            Some(random) => Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid()),
            None => Self(uuid::Uuid::now_v7()),
        }
    }
}

/// An id as its 36 characters of text.
mod uuid_text {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use uuid::Uuid;

    pub(super) fn serialize<S: Serializer>(id: &Uuid, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Uuid, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        Uuid::parse_str(&text).map_err(D::Error::custom)
    }
}

/// How a call ended. Exactly one per call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The whole reply was handed to the client.
    Completed,
    /// Weir refused the call; the reason code says why.
    Refused,
    /// The upstream's own error was passed on (4xx or 5xx before the first byte of a reply).
    UpstreamError,
    /// The upstream failed after the first byte; the client got an explicit error event.
    StreamBroken,
    /// The client went away first.
    HungUp,
    /// The key was revoked while its reply was running.
    Revoked,
    /// A budget of the caller's was used up while its reply was running: the stream was ended.
    BudgetExhausted,
    /// A fault of Weir's own; the client got a 500 or an error event.
    Failed,
    /// Weir died with the call open; written at the next start.
    Interrupted,
}

impl Outcome {
    /// Name in the store, in reports and in metrics; the same as in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::Refused => "refused",
            Outcome::UpstreamError => "upstream_error",
            Outcome::StreamBroken => "stream_broken",
            Outcome::HungUp => "hung_up",
            Outcome::Revoked => "revoked",
            Outcome::BudgetExhausted => "budget_exhausted",
            Outcome::Failed => "failed",
            Outcome::Interrupted => "interrupted",
        }
    }
}

/// Where an attempt's token counts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// Counted by the own engine.
    Exact,
    /// Reported by the provider.
    Provider,
    /// Estimated by Weir: nothing else was known.
    Estimated,
    /// The upstream did no work (it was not reached, or it refused).
    None,
}

/// One upstream attempt: one usage row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Position in the call, from 0.
    pub attempt: u16,
    /// Deployment's name in the configuration.
    pub deployment: Arc<str>,
    /// Provider's name: `engine`, `openai`.
    pub provider: Arc<str>,
    /// Model as the deployment knows it.
    pub model: Arc<str>,
    /// HTTP status of the upstream; 0 where it gave none.
    pub status: u16,
    /// How this attempt ended.
    pub outcome: Outcome,
    /// A short reason code where it failed: `connect_timeout`, `status_503`.
    pub reason: Option<Arc<str>>,
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Completion tokens.
    pub output_tokens: u64,
    /// Where the counts come from.
    pub source: UsageSource,
    /// Cost in nano-dollars.
    pub cost_nano: i64,
    /// Version of the price that was applied; empty where nothing was priced.
    pub price_version: Arc<str>,
    /// Milliseconds from the start of the attempt to its first token; `None` if there was none.
    pub first_token_ms: Option<u32>,
    /// Milliseconds from the start of the attempt to its end.
    pub total_ms: u32,
    /// The model's own finish reason.
    pub finish_reason: Option<Arc<str>>,
    /// What it is charged by.
    #[serde(default)]
    pub bill: Bill,
}

/// One client call, its members in the order in which they become known. Only `proxy.rs` assigns them.
pub struct Exchange {
    /// State that outlives every World.
    pub running: Arc<Running>,
    /// The one World of this call.
    pub world: Arc<World>,
    /// The bundles that decide about this call beside its World's own policy.
    pub policy: Arc<Active>,
    /// The call.
    pub call: CallId,
    /// When it was born.
    pub born: Instant,
    /// Unix milliseconds at its birth.
    pub born_ms: u64,
    /// Counts the call as running until it is settled.
    pub guard: InFlight,
    /// Where it comes from.
    pub origin: Origin,
    /// The endpoint.
    pub endpoint: Option<Endpoint>,
    /// Public id of the key that was presented, also where it was refused.
    pub key: Option<KeyId>,
    /// Who calls, and what the key alone says.
    pub caller: Option<Identified>,
    /// The request.
    pub envelope: Option<Arc<Envelope>>,
    /// Pseudonym of the end user that the request names.
    pub end_user: Option<Arc<str>>,
    /// The decision's rule.
    pub rule: Option<Arc<str>>,
    /// The decision's obligations: their names for the record, and headers for the reply.
    pub obligations: Option<Arc<Obligations>>,
    /// Settings that let the call go on where something failed, for the record.
    pub fail_open: Vec<&'static str>,
    /// What has to be settled.
    pub books: Books,
    /// Why the call ended early.
    pub refusal: Option<Refusal>,
    /// Status handed to the client; 0 where none was.
    pub status: u16,
    /// How the call ended; `None` after a panic.
    pub outcome: Option<Outcome>,
}

impl Exchange {
    /// A call that has just arrived: it takes its place in the journal now, so that settling never waits.
    pub fn born(running: Arc<Running>) -> Self {
        let world = running.world.load_full();
        let policy = world.bundles.load_full();
        let guard = running.in_flight.enter();
        let journal = running.journal.permit().ok();
        let books = Books::new(Arc::clone(&world), journal);
        let born_ms = clock::unix_ms();
        Self {
            world,
            policy,
            call: CallId::at(born_ms),
            born: clock::instant(),
            born_ms,
            guard,
            origin: Origin::default(),
            endpoint: None,
            key: None,
            caller: None,
            envelope: None,
            end_user: None,
            rule: None,
            obligations: None,
            fail_open: Vec::new(),
            books,
            refusal: None,
            status: 0,
            outcome: None,
            running,
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        settle::settle(self);
    }
}

/// What has to be settled whatever happens: the journal's place, the caller's place, the tokens held, the attempts.
pub struct Books {
    /// The one World of the call: its prices.
    world: Arc<World>,
    /// The place in the journal; taken at birth, used up by the closing.
    pub journal: Option<JournalPermit>,
    /// Request rate and concurrency.
    pub slot: Option<Slot>,
    /// Tokens held.
    pub reservation: Option<Reservation>,
    /// What of the reply is covered by what is held.
    pub purse: Option<Purse>,
    /// Attempts that ended.
    pub attempts: Vec<Attempt>,
    /// The attempt that is running.
    pub live: Option<Live>,
}

/// An attempt that is running.
pub struct Live {
    /// Who serves it.
    pub deployment: Arc<DeploymentRule>,
    /// Position in the call.
    pub number: u16,
    /// When it began.
    pub started: Instant,
    /// What it has used so far.
    pub meter: Meter,
    /// When the first part of the answer came.
    pub first_token: Option<Instant>,
    /// The upstream's status; 0 before its reply.
    pub status: u16,
    /// Milliseconds that it waited in front of the deployment, where that takes only so many calls.
    pub queue_ms: Option<u32>,
    held: Held,
    whose: Whose,
    /// False once it is known that the upstream did no work.
    worked: bool,
    /// The response that it made and that its provider keeps.
    pub made: Option<Arc<str>>,
    /// The stored response that it took away.
    pub took_away: Option<Arc<str>>,
}

/// Nano-dollars of one attempt that are believed, a million dollars: beyond it the report is wrong, and what was held
/// is charged.
const COST_NANO_MAX: i64 = 1_000_000_000_000_000;

/// Whose prices apply to an attempt.
#[derive(Debug, Clone)]
pub struct Whose {
    /// Who pays.
    pub tenant: TenantPath,
    /// Unix milliseconds at the call's birth: a price that changes meanwhile changes nothing for it.
    pub at_ms: u64,
}

impl Live {
    /// An attempt that is about to be sent.
    pub fn new(
        deployment: Arc<DeploymentRule>,
        number: u16,
        held: Held,
        meter: Meter,
        whose: Whose,
        now: Instant,
    ) -> Self {
        Self {
            deployment,
            number,
            started: now,
            meter,
            first_token: None,
            status: 0,
            queue_ms: None,
            held,
            whose,
            worked: true,
            made: None,
            took_away: None,
        }
    }

    /// So many completion tokens are held for it now.
    pub fn cover(&mut self, output: u64) {
        self.held.output = output;
    }

    /// What is held for it.
    pub fn held(&self) -> Held {
        self.held
    }

    /// What `reading` costs and by what; none where no work was done.
    fn priced(&self, world: &World, reading: &Reading) -> Option<(Cost, Pricing)> {
        if reading.source == UsageSource::None {
            return None;
        }
        let fare = Fare::new(&world.prices, self.whose.tenant.as_str(), self.whose.at_ms);
        if let Some(gpu) = fare.by_time(&self.deployment) {
            let (nano, is_most) = gpu.charge(&self.gpu_time(), reading.input, reading.output)?;
            let (basis, pricing) = match is_most {
                true => (Basis::Ceiling, Pricing::Ceiling),
                false => (Basis::Priced, Pricing::Priced),
            };
            return Some((Cost { nano, list_nano: nano, version: Arc::clone(gpu.version()), basis }, pricing));
        }
        let of = fare.of(&self.deployment, reading.tier.unwrap_or_default());
        let cost = world.prices.price(&of, &reading.buckets);
        if let Ok(cost) = cost
            && cost.nano <= COST_NANO_MAX
        {
            let pricing = match cost.basis {
                Basis::Ceiling => Pricing::Ceiling,
                Basis::Priced if reading.is_inconsistent => Pricing::Inconsistent,
                Basis::Priced => Pricing::Priced,
            };
            return Some((cost, pricing));
        }
        // A tier or a kind of unit without a price is never free: its tokens, or those held, cost the dearest there is.
        let text = PriceOf { tier: Tier::Standard, ..of };
        let held = (self.held.input, self.held.output);
        let stated = if (reading.input, reading.output) == (0, 0) { held } else { (reading.input, reading.output) };
        let most = |(input, output)| {
            let dearest = world.prices.hold(&text, input, output);
            dearest.or_else(|_| world.prices.hold_text(&text, input, output)).ok()
        };
        let dearest = most(stated).filter(|cost| cost.nano <= COST_NANO_MAX).or_else(|| most(held))?;
        Some((dearest, Pricing::Ceiling))
    }

    /// The own engine's time for it; nobody else's word is taken for that.
    fn gpu_time(&self) -> Buckets {
        match self.deployment.provider {
            Provider::Engine if self.worked => self.meter.gpu_time(),
            Provider::Engine | Provider::OpenAi | Provider::Anthropic => Buckets::NONE,
        }
    }

    /// The row of the attempt if it ended now, priced by `world`.
    fn attempt(&self, world: &World, outcome: Outcome, reason: Option<&str>) -> Attempt {
        let rule = &self.deployment;
        let reported = match rule.provider {
            Provider::Engine => UsageSource::Exact,
            Provider::OpenAi | Provider::Anthropic => UsageSource::Provider,
        };
        let reading = if self.worked { self.meter.reading(self.held, reported) } else { Reading::NONE };
        let priced = self.priced(world, &reading);
        let bill = bill(&reading, &self.gpu_time(), rule, priced.as_ref());
        let (made, took_away) = (self.made.clone(), self.took_away.clone());
        let bill = Bill { made, took_away, queue_ms: self.queue_ms, ..bill };
        let price = priced.map(|(cost, _)| cost);
        let since = |from: Instant, to: Instant| {
            u32::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u32::MAX)
        };
        Attempt {
            attempt: self.number,
            deployment: rule.name.clone(),
            provider: rule.provider.name().into(),
            model: rule.model.clone(),
            status: self.status,
            outcome,
            reason: reason.map(Arc::from),
            input_tokens: reading.input,
            output_tokens: reading.output,
            source: reading.source,
            cost_nano: price.as_ref().map_or(0, |price| price.nano),
            price_version: price.map_or_else(|| "".into(), |price| price.version),
            first_token_ms: self.first_token.map(|at| since(self.started, at)),
            total_ms: since(self.started, clock::instant()),
            finish_reason: self.meter.finish_reason.clone(),
            bill,
        }
    }

    /// Completion tokens so far: as stated, or as counted where nobody states them.
    pub fn output_so_far(&self) -> u64 {
        match self.meter.events {
            0 => 0,
            _ => self.meter.reading(self.held, UsageSource::Estimated).output,
        }
    }
}

impl Attempt {
    /// Tokens of the conversation up to its end: what the next call reads that goes on from its response.
    pub fn history(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// What limits count of it, beside the call itself.
    pub fn amounts(&self) -> Amounts {
        Amounts {
            requests: 0,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            nano: u64::try_from(self.cost_nano).unwrap_or(0),
        }
    }
}

impl Books {
    /// Books of a call that has just arrived.
    fn new(world: Arc<World>, journal: Option<JournalPermit>) -> Self {
        Self { world, journal, slot: None, reservation: None, purse: None, attempts: Vec::new(), live: None }
    }

    /// An attempt begins.
    pub fn begin(&mut self, live: Live) {
        self.live = Some(live);
    }

    /// The upstream replied with `status`.
    pub fn replied(&mut self, status: u16) {
        if let Some(live) = self.live.as_mut() {
            live.status = status;
        }
    }

    /// The upstream did no work for the running attempt.
    pub fn not_reached(&mut self) {
        if let Some(live) = self.live.as_mut() {
            live.worked = false;
        }
    }

    /// The running attempt ends: it becomes a row, priced by `world`.
    pub fn end_live(&mut self, world: &World, outcome: Outcome, reason: Option<&str>) {
        if let Some(live) = self.live.take() {
            self.attempts.push(live.attempt(world, outcome, reason));
        }
    }

    /// The response that the running attempt makes, and the tokens of its conversation so far.
    pub fn made(&self) -> Option<(Arc<str>, u64)> {
        let live = self.live.as_ref()?;
        let id = live.made.clone()?;
        Some((id, live.attempt(&self.world, Outcome::Completed, None).history()))
    }

    /// Gives the place and the held tokens back, at what is used so far. Done just before the last bytes of a reply, so
    /// that a caller's next call never meets this one; what was given back is not given twice.
    pub fn set_free(&mut self) {
        let running = self.live.as_ref().map(|live| live.attempt(&self.world, Outcome::Completed, None));
        let is_called = running.is_some() || !self.attempts.is_empty();
        let call = Amounts { requests: u64::from(is_called), ..Amounts::default() };
        let all = self.attempts.iter().chain(&running);
        let used = all.fold(call, |sum, attempt| sum.plus(&attempt.amounts()));
        if let Some(reservation) = self.reservation.take() {
            reservation.settle(used);
        }
        drop(self.slot.take());
    }
}

/// What the reading is charged by.
fn bill(reading: &Reading, time: &Buckets, rule: &DeploymentRule, priced: Option<&(Cost, Pricing)>) -> Bill {
    let buckets = reading.buckets.plus(time);
    Bill {
        tier: reading.tier.unwrap_or_default().name().into(),
        buckets: buckets.used().map(|(bucket, amount)| (bucket.name().into(), amount)).collect(),
        pricing: priced.map_or(Pricing::None, |(_, pricing)| *pricing),
        list_nano: priced.map_or(0, |(cost, _)| cost.list_nano),
        // What the own machine cost stands where a provider's word of its cost does.
        provider_cost_nano: rule.gpu.as_ref().map_or(reading.provider_cost_nano, |gpu| gpu.cost(time)),
        region: rule.region.clone(),
        ..Bill::default()
    }
}
