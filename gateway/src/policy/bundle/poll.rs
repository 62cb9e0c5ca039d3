//! Brings bundles: polls their servers and folders, by OPA's bundle protocol.
//!
//! `If-None-Match` asks only for what is new; `Prefer: modes=snapshot;wait=N` lets a server hold a poll until there is
//! something. Whatever goes wrong leaves what decides in place, is told once, and is tried again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};

use super::BundleFault;
use super::archive::{self, ARCHIVE_BYTES_MAX};
use super::rule::{BundleRule, Source};
use super::set::Offered;
use crate::fetch::{FetchFault, Fetcher, Response, Trust};
use crate::policy::active::{Member, Revision};
use crate::running::Running;
use crate::telemetry::metric;
use crate::{clock, journal};

/// Longest transfer of one bundle, beside the time for which its server may hold a poll.
const TRANSFER_MAX: Duration = Duration::from_secs(60);
/// First pause after a failure; it doubles up to the longest pause between two polls.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// Pause after a held poll that came back at once: a server that doesn't wait must not be asked all the time.
const HELD_LEAST: Duration = Duration::from_secs(1);
/// Pause between two looks at which bundle is too old.
const AGES_LOOK: Duration = Duration::from_secs(1);
/// Bytes of a server's tag that are remembered.
const ETAG_BYTES_MAX: usize = 512;
/// What a server that can hold a poll calls its replies.
const HELD_TYPE: &str = "application/vnd.openpolicyagent.bundles";

/// Why a poll brought nothing.
#[derive(Debug, thiserror::Error)]
enum PollFault {
    #[error(transparent)]
    Fetch(#[from] FetchFault),
    #[error("its server answered with status {0}")]
    Status(u16),
    #[error("its server says that nothing is new, and there is nothing yet")]
    Nothing,
    #[error("its credential can't stand in a header")]
    Token,
    #[error("its check was interrupted")]
    Interrupted,
    #[error(transparent)]
    Bundle(#[from] BundleFault),
}

/// Polls all bundles until `stop` turns true.
pub async fn watch(running: Arc<Running>, fetcher: Fetcher, mut stop: watch::Receiver<bool>) {
    let mut look = tokio::time::interval(AGES_LOOK);
    loop {
        note_loaded(&running);
        let mut polls = JoinSet::new();
        for member in &running.bundles.snapshot().members {
            polls.spawn(follow(running.clone(), fetcher.clone(), member.rule.clone()));
        }
        let stopped = loop {
            tokio::select! {
                () = running.bundles.changed() => break false,
                _ = stop.wait_for(|stop| *stop) => break true,
                _ = look.tick() => tell_ages(&running),
            }
        };
        polls.shutdown().await;
        if stopped {
            return;
        }
    }
}

/// Notes each bundle that became too old, once.
fn tell_ages(running: &Running) {
    let now_ms = clock::unix_ms();
    for member in &running.bundles.snapshot().members {
        let is_stale = member.newest.is_some() && member.is_stale(now_ms);
        if member.standing.told_stale.swap(is_stale, Ordering::Relaxed) || !is_stale {
            continue;
        }
        let confirmed_ms = member.standing.confirmed_ms.load(Ordering::Relaxed);
        tracing::error!(bundle = %member.rule.name, confirmed_ms, "a policy bundle is too old");
        note(running, "policy_bundle_stale", &member.rule, &[("confirmed_ms", confirmed_ms.to_string())]);
    }
}

async fn follow(running: Arc<Running>, fetcher: Fetcher, rule: Arc<BundleRule>) {
    let mut failures = 0_u32;
    let mut told: Option<String> = None;
    loop {
        let begun = clock::instant();
        let polled = poll(&running, &fetcher, &rule).await;
        let pause = match &polled {
            Ok(Held::Yes) => HELD_LEAST.saturating_sub(clock::instant().saturating_duration_since(begun)),
            Ok(Held::No) => between(rule.poll),
            Err(_) => RETRY_FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(rule.poll.1),
        };
        failures = if polled.is_ok() { 0 } else { failures.saturating_add(1) };
        conclude(&running, &rule, polled.err(), &mut told);
        tokio::time::sleep(pause).await;
    }
}

/// Writes down how a poll went; the same fault is told once and not at every poll.
fn conclude(running: &Running, rule: &BundleRule, fault: Option<PollFault>, told: &mut Option<String>) {
    let text = fault.as_ref().map(ToString::to_string);
    if let Some(member) = running.bundles.member(&rule.name) {
        member.standing.polled_ms.store(clock::unix_ms(), Ordering::Relaxed);
        member.standing.fault.lock().clone_from(&text);
    }
    let Some(fault) = fault else {
        *told = None;
        return;
    };
    metric::bundle_polled(&rule.name, if matches!(fault, PollFault::Bundle(_)) { "refused" } else { "unreachable" });
    if *told == text {
        return;
    }
    *told = text;
    tracing::error!(bundle = %rule.name, %fault, "a policy bundle could not be taken; what decided before decides");
    if let PollFault::Bundle(refused) = &fault {
        let detail = [("reason", refused.code().to_owned()), ("fault", refused.to_string())];
        note(running, "policy_bundle_refused", rule, &detail);
    }
}

/// Whether a server held the poll until it had something to say, so that the next may follow at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Yes,
    No,
}

async fn poll(running: &Arc<Running>, fetcher: &Fetcher, rule: &Arc<BundleRule>) -> Result<Held, PollFault> {
    let url = match &rule.source {
        Source::Path(path) => {
            let path = path.clone();
            let bytes = spawn_blocking(move || archive::from_disk(&path)).await;
            offer(running, rule, bytes.map_err(|_| PollFault::Interrupted)??, None).await?;
            return Ok(Held::No);
        }
        Source::Http(url) => url,
    };
    let asked = headers(rule, running.bundles.etag(rule).as_deref())?;
    let time_max = TRANSFER_MAX.saturating_add(rule.long_poll);
    let reply = fetcher.get_within(url, asked, ARCHIVE_BYTES_MAX, Trust::Configured, time_max).await?;
    let held = held(rule, &reply);
    match reply.status.as_u16() {
        200 => {
            let etag = reply.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
            let etag = etag.filter(|tag| tag.len() <= ETAG_BYTES_MAX).map(str::to_owned);
            offer(running, rule, reply.body.to_vec(), etag).await?;
            Ok(held)
        }
        304 if running.bundles.etag(rule).is_some() => {
            let (running, asked) = (running.clone(), rule.clone());
            let confirm = move || running.bundles.confirm(&asked, clock::unix_ms());
            spawn_blocking(confirm).await.map_err(|_| PollFault::Interrupted)?;
            metric::bundle_polled(&rule.name, "unchanged");
            Ok(held)
        }
        304 => Err(PollFault::Nothing),
        status => Err(PollFault::Status(status)),
    }
}

fn held(rule: &BundleRule, reply: &Response) -> Held {
    let is_held = |kind: &HeaderValue| kind.as_bytes() == HELD_TYPE.as_bytes();
    match !rule.long_poll.is_zero() && reply.headers.get(header::CONTENT_TYPE).is_some_and(is_held) {
        true => Held::Yes,
        false => Held::No,
    }
}

fn headers(rule: &BundleRule, etag: Option<&str>) -> Result<HeaderMap, PollFault> {
    let mut headers = HeaderMap::new();
    let wait = rule.long_poll.as_secs();
    let prefer = if wait == 0 { "modes=snapshot".to_owned() } else { format!("modes=snapshot;wait={wait}") };
    let value = |text: &[u8]| HeaderValue::from_bytes(text).map_err(|_| PollFault::Token);
    headers.insert(HeaderName::from_static("prefer"), value(prefer.as_bytes())?);
    if let Some(etag) = etag {
        headers.insert(header::IF_NONE_MATCH, value(etag.as_bytes())?);
    }
    if let Some(token) = &rule.token {
        let mut value = value(&[b"Bearer ", token.expose()].concat())?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(headers)
}

/// Checks, keeps and activates an archive, away from the threads that serve calls.
async fn offer(
    running: &Arc<Running>,
    rule: &Arc<BundleRule>,
    bytes: Vec<u8>,
    etag: Option<String>,
) -> Result<(), PollFault> {
    let (shared, asked) = (running.clone(), rule.clone());
    let offered = move || shared.bundles.offer(&asked, &bytes, etag.as_deref(), clock::unix_ms());
    let result = match spawn_blocking(offered).await.map_err(|_| PollFault::Interrupted)?? {
        Offered::Activated(revision) => {
            if let Some(member) = running.bundles.member(&rule.name) {
                note_revision(running, "policy_bundle_activated", &member, &revision);
            }
            "activated"
        }
        Offered::Unchanged => "unchanged",
        Offered::Held => "held_back",
        Offered::Superseded => "superseded",
    };
    metric::bundle_polled(&rule.name, result);
    Ok(())
}

/// Notes what came into use, on the audit log and in the log.
pub(crate) fn note_revision(running: &Running, event: &str, member: &Member, revision: &Revision) {
    let rule = &member.rule;
    *member.standing.told.lock() = Some(revision.digest.clone());
    let checked = &revision.checked;
    tracing::info!(bundle = %rule.name, revision = revision.name(), event, "a policy bundle decides");
    let detail = [
        ("revision", revision.name().to_owned()),
        ("digest", revision.digest.to_string()),
        ("signed", checked.signed.to_string()),
        ("tests", checked.tests.to_string()),
        ("engine", checked.compiled.engine().to_owned()),
        ("mode", rule.mode.name().to_owned()),
        ("percent", rule.percent.to_string()),
    ];
    note(running, event, rule, &detail);
}

fn note(running: &Running, event: &str, rule: &BundleRule, detail: &[(&str, String)]) {
    let note = journal::note(event, clock::unix_ms()).with("bundle", &rule.name);
    let note = detail.iter().fold(note, |note, (name, value)| note.with(name, value));
    // A full journal refuses calls already, and says so.
    running.journal.note(note).unwrap_or(());
}

/// Notes what came from the disk, at the start or with a reload: nobody polled for it.
fn note_loaded(running: &Running) {
    for member in &running.bundles.snapshot().members {
        let Some(newest) = &member.newest else { continue };
        if member.standing.told.lock().as_ref() != Some(&newest.digest) {
            note_revision(running, "policy_bundle_loaded", member, newest);
        }
    }
}

/// A pause within the range, so that many gateways don't poll at once.
fn between((least, most): (Duration, Duration)) -> Duration {
    let mut random = [0; 4];
    let share = match getrandom::fill(&mut random) {
        Ok(()) => f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    };
    least.saturating_add(most.saturating_sub(least).mul_f64(share))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::rule;
    use super::*;
    use crate::config::settings::Secret;

    #[test]
    fn a_poll_says_what_is_known_and_how_long_it_may_be_held() {
        let plain = headers(&rule("b"), None).unwrap();
        assert_eq!(plain[HeaderName::from_static("prefer")], "modes=snapshot");
        assert!(plain.get(header::IF_NONE_MATCH).is_none() && plain.get(header::AUTHORIZATION).is_none());
        let long = BundleRule { long_poll: Duration::from_secs(30), token: Some(Secret::new(b"secret")), ..rule("b") };
        let long = headers(&long, Some("\"v1\"")).unwrap();
        assert_eq!(long[HeaderName::from_static("prefer")], "modes=snapshot;wait=30");
        assert_eq!(
            (&long[header::IF_NONE_MATCH], &long[header::AUTHORIZATION]),
            (&"\"v1\"".parse().unwrap(), &"Bearer secret".parse().unwrap())
        );
        assert!(!format!("{long:?}").contains("secret"));
    }

    #[test]
    fn pauses_lie_within_their_range_and_differ() {
        let range = (Duration::from_secs(60), Duration::from_secs(120));
        let pauses: Vec<Duration> = (0..100).map(|_| between(range)).collect();
        assert!(pauses.iter().all(|pause| (range.0..=range.1).contains(pause)));
        assert!(pauses.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
