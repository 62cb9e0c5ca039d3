//! What each step of a call costs by itself: `stages --config FILE --data DIR`.
//!
//! Takes the configuration of the gateway that is measured beside it, and a folder of its own for a store with 10,000
//! keys and a journal. Prints a JSON list of steps in the order of the story, each with its microseconds of CPU per
//! call. The time is the whole process's, so that the journal's writer, the usage rows and the audit chain are in
//! `record`.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "a measurement: sums and ratios")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::FutureExt;
use weir::cli::key::{Wanted, issue};
use weir::config::settings::{DeploymentRule, Durability, ModelRule};
use weir::exchange::{Attempt, CallId, Outcome, UsageSource};
use weir::identity::keyring::{Identified, Keyring};
use weir::identity::{KeyId, TenantPath, api_key};
use weir::journal::{Closing, Journal, Opening};
use weir::limits::estimate::{self, Estimate};
use weir::limits::quantity::Amounts;
use weir::limits::{Asked, Limits};
use weir::policy::{Input, Pushed};
use weir::store::Store;
use weir::store::sqlite::Create;
use weir::usage::bill::Bill;
use weir::usage::price::fare::Fare;
use weir::usage::tokens::Family;
use weir::usage::tokens::pool::Counted;
use weir::world::World;
use weir::{clock, config, routing};
use weir_wire::envelope::{CapName, Edits, Envelope};
use weir_wire::fault::Endpoint;

/// CPU time of one step's measurement at least; the kernel counts it in hundredths of a second.
const CPU_US_MIN: u64 = 600_000;
const TICK_US: u64 = 10_000;
const KEYS: usize = 10_000;
/// Calls between two waits for the journal: well below the places in its queue.
const RECORDS_PER_FLUSH: u64 = 256;

/// Everything that the steps need, set up once.
struct Stand {
    world: World,
    model: ModelRule,
    candidates: Vec<Arc<DeploymentRule>>,
    keyring: Keyring,
    key: String,
    caller: Identified,
    limits: Limits,
    journal: Journal,
    body: Bytes,
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let costs = runtime.block_on(async {
        let stand = Stand::new(&flag("--config")?, &flag("--data")?).await?;
        let mut costs = stand.steps()?;
        costs.push(("record", stand.record().await?));
        anyhow::Ok(costs)
    })?;
    println!("{}", serde_json::json!(costs));
    Ok(())
}

fn flag(name: &str) -> Result<PathBuf> {
    let mut args = std::env::args().skip_while(|arg| arg != name).skip(1);
    Ok(args.next().with_context(|| format!("`{name}` is missing"))?.into())
}

impl Stand {
    async fn new(config: &Path, data: &Path) -> Result<Self> {
        let world = World::build(config::load(config)?.settings, &Pushed::default(), 1)?;
        let model = world.settings.models.first().context("the configuration has no model")?.clone();
        let candidates =
            world.candidates(&model, Endpoint::ChatCompletions, Fare::new(&world.prices, "acme", clock::unix_ms()))?;
        let (keyring, key) = keys(&world, data).await?;
        let presented = api_key::parse(&key)?;
        let caller = keyring.identify(&presented, &world.peppers, &world.tenants, clock::unix_ms())?;
        let (journal, _) = Journal::open(data, Durability::Window).await?;
        let text = "Compare the water levels of the northern rivers with last year's. ".repeat(28);
        let body = serde_json::json!({
            "model": &*model.name, "temperature": 0.7, "max_tokens": 256, "stream": true,
            "messages": [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": text}],
        });
        let limits = Limits::new(clock::instant());
        Ok(Self { model, candidates, keyring, key, caller, limits, journal, body: body.to_string().into(), world })
    }

    /// The steps that wait for nothing, in the order of the story.
    fn steps(&self) -> Result<Vec<(&'static str, f64)>> {
        let Self { world, model, candidates, limits, .. } = self;
        let subject = &self.caller.subject;
        let envelope = Envelope::parse(self.body.clone(), Endpoint::ChatCompletions)?;
        let estimate = self.estimate(&envelope)?;
        let amounts = estimate.amounts();
        let identify = measure(|_| {
            let presented = api_key::parse(&self.key)?;
            self.keyring.identify(&presented, &world.peppers, &world.tenants, clock::unix_ms())?;
            Ok(())
        })?;
        let throttle = measure(|_| Ok(drop(limits.throttle(&world.limits, subject, clock::instant())?)))?;
        let parse = measure(|_| Ok(drop(Envelope::parse(self.body.clone(), Endpoint::ChatCompletions)?)))?;
        let price = measure(|_| self.estimate(&envelope).map(drop))?;
        let known = measure(|_| {
            world.policy.decide(&Input::of_call(&self.caller, &envelope, &model.name, &[], &estimate))?;
            Ok(())
        })?;
        let mut stranger = self.caller.clone();
        let evaluated = measure(|turn| {
            stranger.subject.key = KeyId(format!("{turn:08}").into());
            world.policy.decide(&Input::of_call(&stranger, &envelope, &model.name, &[], &estimate))?;
            Ok(())
        })?;
        let reserve = measure(|_| {
            let asked = Asked {
                call: CallId::at(clock::unix_ms()),
                model: &model.name,
                endpoint: "/v1/chat/completions",
                end_user: None,
                born_ms: clock::unix_ms(),
            };
            // A counter of this process never waits.
            let reserving = limits.reserve(&world.limits, subject, &asked, amounts, amounts).now_or_never();
            let mut reservation = reserving.context("the counter waited")??;
            reservation.mark_called();
            reservation.settle(Amounts { requests: 1, input_tokens: 30, output_tokens: 400, nano: 1_000 });
            Ok(())
        })?;
        let route = measure(|turn| Ok(drop(routing::order(candidates, |_| None, turn))))?;
        let edits = Edits {
            include_usage: true,
            output_cap: Some((CapName::MaxTokens, estimate.output_cap)),
            ..Edits::default()
        };
        let splice = measure(|_| Ok(drop(envelope.splice(edits))))?;
        Ok(vec![
            ("identify", identify),
            ("throttle", throttle),
            ("parse", parse),
            ("estimate and price", price),
            ("policy, decision known", known),
            ("policy, evaluated", evaluated),
            ("reserve and settle", reserve),
            ("route", route),
            ("splice", splice),
        ])
    }

    fn estimate(&self, envelope: &Envelope) -> Result<Estimate> {
        let families: Vec<Family> = self.candidates.iter().map(|rule| Family::of(&rule.model)).collect();
        let counted = Counted::now(envelope, &families);
        let fare = Fare::new(&self.world.prices, self.caller.subject.tenant.as_str(), clock::unix_ms());
        Ok(estimate::estimate(envelope, &self.model, &self.candidates, fare, &counted)?)
    }

    /// One opening and one closing per call, with the usage row and the audit record that come of them.
    async fn record(&self) -> Result<f64> {
        let (opening, closing) = self.entries()?;
        let (before, mut calls) = (cpu_us(), 0_u64);
        while cpu_us() - before < 2 * CPU_US_MIN {
            for _ in 0..RECORDS_PER_FLUSH {
                let call = CallId(uuid::Uuid::now_v7());
                let mut permit = self.journal.permit()?;
                permit.open(&Opening { call, ..opening.clone() }).await?;
                permit.close(Closing { call, ..closing.clone() });
            }
            calls += RECORDS_PER_FLUSH;
            self.journal.flush(Duration::from_secs(10)).await?;
        }
        Ok((cpu_us() - before) as f64 / calls as f64)
    }

    fn entries(&self) -> Result<(Opening, Closing)> {
        let subject = &self.caller.subject;
        let deployment = self.candidates.first().context("the model has no deployment")?;
        let (call, at_ms) = (CallId(uuid::Uuid::now_v7()), clock::unix_ms());
        let endpoint: Arc<str> = "/v1/chat/completions".into();
        let provider: Arc<str> = deployment.provider.name().into();
        let opening = Opening {
            call,
            attempt: 0,
            at_ms,
            tenant: subject.tenant.clone(),
            key: subject.key.clone(),
            endpoint: endpoint.clone(),
            model: self.model.name.clone(),
            deployment: deployment.name.clone(),
            provider: provider.clone(),
            upstream_model: deployment.model.clone(),
            held_input_tokens: 640,
            held_output_tokens: 256,
            held_nano: 250_000,
            end_user: None,
        };
        let attempt = Attempt {
            attempt: 0,
            deployment: deployment.name.clone(),
            provider,
            model: deployment.model.clone(),
            status: 200,
            outcome: Outcome::Completed,
            reason: None,
            input_tokens: 412,
            output_tokens: 18,
            source: UsageSource::Provider,
            cost_nano: 72_600,
            price_version: "bench".into(),
            first_token_ms: Some(3),
            total_ms: 9,
            finish_reason: Some("stop".into()),
            bill: Bill::default(),
        };
        let closing = Closing {
            call,
            at_ms,
            ended_ms: at_ms + 9,
            tenant: Some(subject.tenant.clone()),
            key: Some(subject.key.clone()),
            endpoint,
            model: Some(self.model.name.clone()),
            end_user: None,
            stream: true,
            outcome: Outcome::Completed,
            status: 200,
            reason: None,
            rule: Some("models".into()),
            obligations: Vec::new(),
            revision: 1,
            fail_open: Vec::new(),
            attempts: vec![attempt],
        };
        Ok((opening, closing))
    }
}

/// A store full of keys, and one of them.
async fn keys(world: &World, data: &Path) -> Result<(Keyring, String)> {
    let store = Store::open(&data.join(weir::store::STORE_FILE), Create::IfMissing).await?;
    let tenant = world.settings.tenants.last().context("the configuration has no tenant")?.path.clone();
    let tenant = TenantPath::parse(tenant.as_str())?;
    let wanted = Wanted {
        tenant: Some(&tenant),
        name: "",
        roles: &[],
        models: None,
        expires_ms: None,
        kind: weir::identity::scope::KeyKind::User,
        scopes: &weir::identity::scope::Scopes::default(),
        replaces: None,
    };
    let (key, row) = issue(&store, &world.peppers, &wanted, clock::unix_ms()).await?;
    for number in 1..KEYS {
        let id = format!("{number:08}");
        store.key_insert(&weir::store::KeyRow { id, ..row.clone() }).await?;
    }
    let keyring = Keyring::new();
    keyring.refresh(&store, clock::unix_ms()).await?;
    store.close().await;
    Ok((keyring, key.reveal().to_owned()))
}

/// Microseconds of CPU that one turn of a step takes.
fn measure(mut step: impl FnMut(u64) -> Result<()>) -> Result<f64> {
    let (before, mut turns) = (cpu_us(), 0_u64);
    while cpu_us() - before < CPU_US_MIN {
        // Reading the clock costs a system call: it is spread over many turns.
        for _ in 0..4096 {
            step(turns)?;
            turns += 1;
        }
    }
    Ok((cpu_us() - before) as f64 / turns as f64)
}

/// User and system time of this process: fields 14 and 15 of its stat line, after the name in brackets.
fn cpu_us() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * TICK_US
}
