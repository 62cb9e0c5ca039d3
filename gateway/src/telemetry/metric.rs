//! The table of metrics, and the one place that counts an ended call.

pub mod limits;
pub mod prices;

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use metrics::{Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::RwLock;

use crate::exchange::{Attempt, Outcome, UsageSource};
use crate::journal::Closing;
use crate::running::Running;

/// Calls by endpoint and outcome.
pub const CALLS: &str = "weir_calls_total";
/// Refusals by reason code.
pub const REFUSALS: &str = "weir_refusals_total";
/// Upstream attempts by deployment and outcome.
pub const ATTEMPTS: &str = "weir_attempts_total";
/// Tokens by organisation, deployment and direction.
pub const TOKENS: &str = "weir_tokens_total";
/// Nano-dollars by organisation and deployment.
pub const COST: &str = "weir_cost_nano_dollars_total";
/// Attempts whose counts are estimates.
pub const ESTIMATED: &str = "weir_usage_estimated_total";
/// Thousandths of a budget that are spent, by tenant and budget.
pub const BUDGET_USED: &str = "weir_budget_used_permille";
/// Alerts that budgets gave, by kind.
pub const BUDGET_ALERTS: &str = "weir_budget_alerts_total";
/// Seconds from a call's birth to its end.
pub const CALL_SECONDS: &str = "weir_call_seconds";
/// Seconds from an attempt's start to its first token.
pub const FIRST_TOKEN_SECONDS: &str = "weir_first_token_seconds";
/// Calls that are running.
pub const IN_FLIGHT: &str = "weir_calls_in_flight";
/// Revision of the World that new calls get.
pub const REVISION: &str = "weir_config_revision";
/// Reloads by result.
pub const RELOADS: &str = "weir_config_reloads_total";
/// 1 while the own engine is ready.
pub const ENGINE_READY: &str = "weir_engine_ready";
/// Starts of the own engine.
pub const ENGINE_STARTS: &str = "weir_engine_starts_total";
/// Closings that wait for the journal's writer.
pub const JOURNAL_BACKLOG: &str = "weir_journal_backlog";
/// 1 while the journal refuses calls.
pub const JOURNAL_FAILING: &str = "weir_journal_failing";
/// Tenants, keys and lines of limits that are counted in this process.
pub const LIMITS_COUNTED: &str = "weir_limits_counted";
/// 1 while the store's server is away and the journal keeps what it can't take.
pub const STORE_AWAY: &str = "weir_store_away";
/// Deployments that cool down.
pub const COOLING: &str = "weir_deployments_cooling";
/// Seconds that calls waited for a busy deployment, by deployment and result.
pub const QUEUE_SECONDS: &str = "weir_queue_wait_seconds";
/// Calls that wait for a busy deployment.
pub const QUEUE_WAITING: &str = "weir_queue_waiting";
/// Holds that grew by a slice while their stream ran.
pub const HOLDS_EXTENDED: &str = "weir_limits_holds_extended_total";
/// Prompts for own engines, by how they were counted: exactly by the engine, or by the estimator's bound.
pub const PROMPTS_COUNTED: &str = "weir_prompts_counted_total";
/// Policies that the fast machine may not run, by reason.
pub const POLICY_MACHINE_REFUSED: &str = "weir_policy_vm_refused_total";

/// Questions over OPA's data API, by result.
pub const POLICY_ASKED: &str = "weir_policy_asked_total";
/// Instances of compiled policies that were thrown away, by reason.
pub const POLICY_WASM_DROPPED: &str = "weir_policy_wasm_instances_dropped_total";
/// Polls of policy bundles, by bundle and result.
pub const BUNDLE_POLLS: &str = "weir_policy_bundle_polls_total";
/// Seconds since the source of a policy bundle last confirmed it; -1 before the first time.
pub const BUNDLE_AGE: &str = "weir_policy_bundle_age_seconds";
/// 1 while a policy bundle is older than it may be.
pub const BUNDLE_STALE: &str = "weir_policy_bundle_stale";
/// Calls about which a shadow policy would have decided otherwise, by bundle and its verdict.
pub const SHADOW_FLIPS: &str = "weir_policy_shadow_flips_total";

/// Decisions written to the decision log.
pub const DECISIONS_WRITTEN: &str = "weir_decision_log_written_total";
/// Decisions that were not kept, by reason.
pub const DECISIONS_DROPPED: &str = "weir_decision_log_dropped_total";
/// Decisions that a mask policy changed, or failed to.
pub const DECISIONS_MASKED: &str = "weir_decision_log_masked_total";
/// Posts of decisions, by result.
pub const DECISION_POSTS: &str = "weir_decision_log_posts_total";
/// Bytes of decisions that wait to be sent.
pub const DECISION_SPOOL: &str = "weir_decision_log_spool_bytes";

/// Tokens of issuers that were judged, by issuer and reason; `accepted` is one.
pub const TOKENS_JUDGED: &str = "weir_identity_tokens_judged_total";
/// Fetches of issuers' keys, by issuer and result.
pub const ISSUER_FETCHES: &str = "weir_identity_issuer_fetches_total";

/// Questions to issuers about opaque tokens, by issuer and result.
pub const INTROSPECTIONS: &str = "weir_identity_introspections_total";

/// Requests to Weir's own token endpoint, by grant and result; `issued` is one.
pub const TOKEN_REQUESTS: &str = "weir_identity_token_requests_total";
/// Client certificates that were judged, by rule and reason; `accepted` is one, `handshake` the rule before any.
pub const CERTIFICATES_JUDGED: &str = "weir_identity_certificates_judged_total";
/// Proofs of possession that were judged, by reason; `accepted` is one.
pub const PROOFS_JUDGED: &str = "weir_identity_proofs_judged_total";
/// Attempts to sign in on the finance page, by result; `signed_in` is one.
pub const SIGN_INS: &str = "weir_admin_sign_ins_total";
/// People who are signed in on the finance page.
pub const SESSIONS: &str = "weir_admin_sessions";
/// Used proofs of possession that are remembered.
pub const PROOFS_REMEMBERED: &str = "weir_identity_proofs_remembered";
/// Requests of identity providers by SCIM, by directory and result.
pub const SCIM_REQUESTS: &str = "weir_scim_requests_total";
/// Users that directories were asked about, by directory and result.
pub const DIRECTORY_LOOKUPS: &str = "weir_directory_lookups_total";
/// Questions to LDAP servers, by directory and result.
pub const LDAP_QUESTIONS: &str = "weir_directory_ldap_questions_total";

/// Upper bounds of the latency histograms, in seconds.
const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// The metrics in Prometheus' text format; empty before [`install`].
pub fn render() -> String {
    HANDLE.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// Installs the recorder for this process.
///
/// # Errors
/// Where one is installed already, or the buckets are wrong.
pub fn install() -> Result<(), metrics_exporter_prometheus::BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()?;
    describe_counter!(CALLS, "calls by endpoint and outcome");
    describe_histogram!(QUEUE_SECONDS, "seconds that calls waited for a busy deployment, by deployment and result");
    describe_gauge!(QUEUE_WAITING, "calls that wait for a busy deployment");
    describe_counter!(HOLDS_EXTENDED, "holds that grew by a slice while their stream ran");
    describe_counter!(PROMPTS_COUNTED, "prompts for own engines that were counted, exactly or by a bound");
    describe_counter!(POLICY_MACHINE_REFUSED, "policies that only the interpreter may run, by reason");
    describe_counter!(BUNDLE_POLLS, "polls of policy bundles, by bundle and result");
    describe_gauge!(BUNDLE_AGE, "seconds since a policy bundle was last confirmed; -1 before the first time");
    describe_gauge!(BUNDLE_STALE, "1 while a policy bundle is older than it may be");
    describe_counter!(SHADOW_FLIPS, "calls about which a shadow policy would have decided otherwise");
    describe_counter!(POLICY_ASKED, "questions over OPA's data API, by result");
    describe_counter!(POLICY_WASM_DROPPED, "instances of compiled policies that were thrown away, by reason");
    describe_counter!(REFUSALS, "refused calls by reason code");
    describe_counter!(ATTEMPTS, "upstream attempts by deployment and outcome");
    describe_counter!(TOKENS, "tokens by organisation, deployment and direction");
    describe_counter!(COST, "cost in nano-dollars by organisation and deployment");
    describe_counter!(ESTIMATED, "attempts whose token counts are estimates, by deployment");
    describe_gauge!(BUDGET_USED, "thousandths of a budget that are spent, by tenant and budget");
    describe_counter!(BUDGET_ALERTS, "alerts that budgets gave, by kind");
    describe_histogram!(CALL_SECONDS, "seconds from a call's birth to its end");
    describe_histogram!(FIRST_TOKEN_SECONDS, "seconds from an attempt's start to its first token");
    describe_gauge!(IN_FLIGHT, "calls that are running");
    describe_gauge!(REVISION, "revision of the configuration that new calls get");
    describe_counter!(RELOADS, "reloads of the configuration by result");
    describe_gauge!(ENGINE_READY, "1 while the own engine is ready");
    describe_counter!(ENGINE_STARTS, "starts of the own engine");
    describe_gauge!(JOURNAL_BACKLOG, "closings that wait for the journal's writer");
    describe_gauge!(JOURNAL_FAILING, "1 while the journal can't be written and calls are refused");
    describe_gauge!(STORE_AWAY, "1 while the store's server is away and the journal keeps what it can't take");
    describe_counter!(TOKENS_JUDGED, "issuers' tokens that were judged, by issuer and reason");
    describe_counter!(ISSUER_FETCHES, "fetches of issuers' keys by result");
    describe_counter!(INTROSPECTIONS, "questions to issuers about opaque tokens, by issuer and result");
    describe_counter!(TOKEN_REQUESTS, "requests to Weir's own token endpoint, by grant and result");
    describe_counter!(DECISIONS_WRITTEN, "decisions written to the decision log");
    describe_counter!(DECISIONS_DROPPED, "decisions that were not kept, by reason");
    describe_counter!(DECISIONS_MASKED, "decisions that a mask policy changed, or failed to");
    describe_counter!(DECISION_POSTS, "posts of decisions, by result");
    describe_gauge!(DECISION_SPOOL, "bytes of decisions that wait to be sent");
    describe_counter!(CERTIFICATES_JUDGED, "client certificates that were judged, by rule and reason");
    describe_counter!(PROOFS_JUDGED, "proofs of possession that were judged, by reason");
    describe_counter!(SIGN_INS, "attempts to sign in on the finance page, by result");
    describe_gauge!(SESSIONS, "people who are signed in on the finance page");
    describe_gauge!(PROOFS_REMEMBERED, "used proofs of possession that are remembered");
    describe_counter!(SCIM_REQUESTS, "requests of identity providers by SCIM, by directory and result");
    describe_counter!(DIRECTORY_LOOKUPS, "users that directories were asked about, by directory and result");
    describe_counter!(LDAP_QUESTIONS, "questions to LDAP servers, by directory and result");
    describe_gauge!(LIMITS_COUNTED, "tenants, keys and lines of limits that are counted in this process");
    describe_gauge!(COOLING, "deployments that cool down after failures");
    limits::describe();
    prices::describe();
    HANDLE.set(handle).unwrap_or(());
    Ok(())
}

/// Sets the gauges just before a scrape.
pub fn observe(running: &Running, now: std::time::Instant) {
    let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    gauge!(IN_FLIGHT).set(count(running.in_flight.count()));
    let revision = u32::try_from(running.world.load().revision).unwrap_or(u32::MAX);
    gauge!(REVISION).set(f64::from(revision));
    gauge!(LIMITS_COUNTED).set(count(running.limits.tracked()));
    gauge!(COOLING).set(count(running.health.all_cooling(now).len()));
    gauge!(PROOFS_REMEMBERED).set(count(running.replays.count()));
    gauge!(SESSIONS).set(count(running.sessions.count()));
    gauge!(JOURNAL_BACKLOG).set(count(running.journal.backlog()));
    gauge!(JOURNAL_FAILING).set(if running.journal.admits() { 0.0 } else { 1.0 });
    gauge!(STORE_AWAY).set(if running.journal.is_store_away() { 1.0 } else { 0.0 });
    if let Some(bytes) = running.decisions.spooled() {
        // In steps of a KiB, so that the largest spool fits.
        let kib = u32::try_from(bytes.div_ceil(1_024)).unwrap_or(u32::MAX);
        gauge!(DECISION_SPOOL).set(f64::from(kib) * 1_024.0);
    }
    let ready = running.engine_ready.load(std::sync::atomic::Ordering::Relaxed);
    gauge!(ENGINE_READY).set(if ready { 1.0 } else { 0.0 });
    observe_bundles(running);
    prices::observe(&running.world.load(), crate::clock::unix_ms());
    for (deployment, waiting) in running.queues.waiting() {
        gauge!(QUEUE_WAITING, "deployment" => deployment.to_string()).set(u32::try_from(waiting).unwrap_or(u32::MAX));
    }
}

/// Ages of policy bundles.
fn observe_bundles(running: &Running) {
    let now_ms = crate::clock::unix_ms();
    for member in &running.bundles.snapshot().members {
        let confirmed_ms = member.standing.confirmed_ms.load(std::sync::atomic::Ordering::Relaxed);
        let age = match confirmed_ms {
            0 => -1.0,
            confirmed_ms => Duration::from_millis(now_ms.saturating_sub(confirmed_ms)).as_secs_f64(),
        };
        let name = member.rule.name.to_string();
        gauge!(BUNDLE_AGE, "bundle" => name.clone()).set(age);
        gauge!(BUNDLE_STALE, "bundle" => name).set(if member.is_stale(now_ms) { 1.0 } else { 0.0 });
    }
}

/// Counts a refusal that no record exists of.
pub fn unrecorded(reason: &'static str) {
    counter!(REFUSALS, "reason" => reason).increment(1);
}

/// A call waited for a busy deployment, with a place or without one in the end.
pub fn queued(deployment: &str, waited: Duration, served: bool) {
    let result = if served { "served" } else { "left" };
    histogram!(QUEUE_SECONDS, "deployment" => deployment.to_owned(), "result" => result).record(waited.as_secs_f64());
}

/// A hold grew by a slice.
pub fn hold_extended() {
    counter!(HOLDS_EXTENDED).increment(1);
}

/// A prompt for an own engine was counted, exactly or not.
pub fn prompt_counted(result: &'static str) {
    counter!(PROMPTS_COUNTED, "result" => result).increment(1);
}

/// Counts a token that was judged; one that is remembered is not judged again.
pub fn token_judged(issuer: &str, reason: &'static str) {
    counter!(TOKENS_JUDGED, "issuer" => issuer.to_owned(), "reason" => reason).increment(1);
}

/// Counts a call about which a shadow would have decided otherwise: `to` is its verdict.
pub fn shadow_flipped(bundle: &str, to: &'static str) {
    counter!(SHADOW_FLIPS, "bundle" => bundle.to_owned(), "to" => to).increment(1);
}

/// Counts a poll of a policy bundle.
pub fn bundle_polled(bundle: &str, result: &'static str) {
    counter!(BUNDLE_POLLS, "bundle" => bundle.to_owned(), "result" => result).increment(1);
}

/// Counts a question over OPA's data API.
pub fn policy_asked(result: &'static str) {
    counter!(POLICY_ASKED, "result" => result).increment(1);
}

/// Counts an instance of a compiled policy that is not asked again.
pub fn wasm_dropped(reason: &'static str) {
    counter!(POLICY_WASM_DROPPED, "reason" => reason).increment(1);
}

/// Counts decisions that were written.
pub fn decisions_written(count: u64) {
    counter!(DECISIONS_WRITTEN).increment(count);
}

/// Counts decisions that were not kept.
pub fn decisions_dropped(reason: &'static str, count: u64) {
    counter!(DECISIONS_DROPPED, "reason" => reason).increment(count);
}

/// Counts a decision that was masked, or could not be.
pub fn decisions_masked(result: &'static str) {
    counter!(DECISIONS_MASKED, "result" => result).increment(1);
}

/// Counts a post of decisions.
pub fn decisions_posted(result: &'static str) {
    counter!(DECISION_POSTS, "result" => result).increment(1);
}

/// Counts a question to an issuer about an opaque token.
pub fn introspected(issuer: &str, result: &'static str) {
    counter!(INTROSPECTIONS, "issuer" => issuer.to_owned(), "result" => result).increment(1);
}

/// Counts a request to Weir's own token endpoint.
pub fn token_requested(grant: &'static str, result: &'static str) {
    counter!(TOKEN_REQUESTS, "grant" => grant, "result" => result).increment(1);
}

/// Counts an attempt to sign in.
pub fn signed_in(result: &'static str) {
    counter!(SIGN_INS, "result" => result).increment(1);
}

/// Counts a client certificate that was judged.
pub fn certificate_judged(rule: &str, reason: &'static str) {
    counter!(CERTIFICATES_JUDGED, "rule" => rule.to_owned(), "reason" => reason).increment(1);
}

/// Counts a proof of possession that was judged.
pub fn proof_judged(reason: &'static str) {
    counter!(PROOFS_JUDGED, "reason" => reason).increment(1);
}

/// Counts a request of an identity provider.
pub fn scim_asked(directory: &str, result: &'static str) {
    counter!(SCIM_REQUESTS, "directory" => directory.to_owned(), "result" => result).increment(1);
}

/// Counts a user that a directory was asked about.
pub fn directory_asked(directory: &str, result: &'static str) {
    counter!(DIRECTORY_LOOKUPS, "directory" => directory.to_owned(), "result" => result).increment(1);
}

/// Counts a question to an LDAP server.
pub fn ldap_asked(directory: &str, result: &'static str) {
    counter!(LDAP_QUESTIONS, "directory" => directory.to_owned(), "result" => result).increment(1);
}

/// Counts a fetch of an issuer's keys.
pub fn issuer_fetched(issuer: &str, result: &'static str) {
    counter!(ISSUER_FETCHES, "issuer" => issuer.to_owned(), "result" => result).increment(1);
}

/// Handles by a label's value. As bounded as the labels: endpoints, outcomes, organisations, deployments.
type By<T> = RwLock<HashMap<Box<str>, T>>;

/// Handles of what every call moves, kept because the recorder builds and hashes all labels at each look-up.
#[derive(Default)]
struct Cells {
    /// By endpoint and outcome.
    calls: By<By<OnceLock<Counter>>>,
    /// By deployment and outcome.
    attempts: By<By<OnceLock<Counter>>>,
    /// By organisation and deployment.
    spent: By<By<OnceLock<Spent>>>,
    call_seconds: OnceLock<Histogram>,
    first_token_seconds: OnceLock<Histogram>,
}

/// What an organisation used of a deployment.
struct Spent {
    input: Counter,
    output: Counter,
    cost: Counter,
}

static CELLS: LazyLock<Cells> = LazyLock::new(Cells::default);

fn with<T: Default>(by: &By<T>, value: &str, work: impl FnOnce(&T)) {
    if let Some(found) = by.read().get(value) {
        return work(found);
    }
    work(by.write().entry(value.into()).or_default());
}

/// Counts an ended call.
pub fn call_ended(closing: &Closing, took: Duration) {
    // Without a recorder nobody counts, and a handle taken now would never count.
    if HANDLE.get().is_none() {
        return;
    }
    let (endpoint, outcome) = (&*closing.endpoint, closing.outcome.name());
    let counter = || counter!(CALLS, "endpoint" => endpoint.to_owned(), "outcome" => outcome);
    with(&CELLS.calls, endpoint, |by| with(by, outcome, |cell| cell.get_or_init(counter).increment(1)));
    CELLS.call_seconds.get_or_init(|| histogram!(CALL_SECONDS)).record(took.as_secs_f64());
    if let Some(reason) = closing.reason.as_ref().filter(|_| closing.outcome != Outcome::Completed) {
        counter!(REFUSALS, "reason" => reason.to_string()).increment(1);
    }
    let org = closing.tenant.as_ref().map_or("", |tenant| tenant.org());
    closing.attempts.iter().for_each(|attempt| attempt_ended(attempt, org));
}

fn attempt_ended(attempt: &Attempt, org: &str) {
    let (deployment, outcome) = (&*attempt.deployment, attempt.outcome.name());
    let counter = || counter!(ATTEMPTS, "deployment" => deployment.to_owned(), "outcome" => outcome);
    with(&CELLS.attempts, deployment, |by| with(by, outcome, |cell| cell.get_or_init(counter).increment(1)));
    if attempt.source == UsageSource::None {
        return;
    }
    prices::ended(attempt);
    let cost = u64::try_from(attempt.cost_nano).unwrap_or(0);
    let count = |cell: &OnceLock<Spent>| {
        let spent = cell.get_or_init(|| Spent::new(org, deployment));
        spent.input.increment(attempt.input_tokens);
        spent.output.increment(attempt.output_tokens);
        spent.cost.increment(cost);
    };
    with(&CELLS.spent, org, |by| with(by, deployment, count));
    if attempt.source == UsageSource::Estimated {
        counter!(ESTIMATED, "deployment" => deployment.to_owned()).increment(1);
    }
    if let Some(ms) = attempt.first_token_ms {
        let seconds = CELLS.first_token_seconds.get_or_init(|| histogram!(FIRST_TOKEN_SECONDS));
        seconds.record(f64::from(ms) / 1000.0);
    }
}

impl Spent {
    fn new(org: &str, deployment: &str) -> Self {
        let tokens = |direction: &'static str| {
            let (org, deployment) = (org.to_owned(), deployment.to_owned());
            counter!(TOKENS, "org" => org, "deployment" => deployment, "direction" => direction)
        };
        let cost = counter!(COST, "org" => org.to_owned(), "deployment" => deployment.to_owned());
        Self { input: tokens("input"), output: tokens("output"), cost }
    }
}

/// Shows how many thousandths of a budget are spent. Tenants and budgets are those of the configuration.
pub fn budget_used(tenant: &str, budget: &str, permille: i64) {
    let used = i32::try_from(permille).unwrap_or(i32::MAX);
    gauge!(BUDGET_USED, "tenant" => tenant.to_owned(), "budget" => budget.to_owned()).set(f64::from(used));
}
