//! Sends what lies in the spool, batch by batch, as OPA sends its decision log: a `POST` of a gzipped JSON array.
//!
//! A batch counts as sent once the server said 2xx; how far that is lies beside the files, so that a restart goes on
//! there. After a crash between the two a batch is sent twice, and none is left out. The same task notes on the audit
//! log that decisions are being dropped.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::watch;
use url::Url;

use super::files::{self, Position};
use super::{DecisionLog, Shared};
use crate::config::settings::{DecisionSink, Secret};
use crate::fetch::{Fetcher, Trust};
use crate::running::Running;
use crate::telemetry::metric;
use crate::{clock, journal};

/// Pause while there is nothing to send.
const POLL: Duration = Duration::from_millis(200);
/// First pause after a failure; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest pause after a failure.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Bytes of a reply, of which only the status counts.
const REPLY_BYTES_MAX: usize = 1 << 20;
/// Shortest time between two notes of dropped decisions.
const NOTE_PAUSE: Duration = Duration::from_secs(10);
/// Longest time for the last batches when the gateway ends; the rest waits on the disk.
const LAST_MAX: Duration = Duration::from_secs(2);
/// The file that says how far batches were sent.
const SENT_FILE: &str = "sent";

/// Why a batch was not sent. It stays.
#[derive(Debug, thiserror::Error)]
enum ShipFault {
    /// The spool can't be read, or its mark not be written.
    #[error("the spool")]
    Spool(#[from] io::Error),
    /// No reply.
    #[error("the server of decisions")]
    Fetch(#[from] crate::fetch::FetchFault),
    /// A reply that is no yes.
    #[error("the server of decisions answered {0}")]
    Status(StatusCode),
}

/// Sends until `stop` turns true, and notes what is dropped.
pub async fn watch(running: Arc<Running>, mut stop: watch::Receiver<bool>) {
    let fetcher = Fetcher::new(running.world.load().settings.upstream_ca.as_deref());
    let mut shipper = Shipper::of(&running.decisions, fetcher);
    let mut notes = Notes { noted: 0, at: None };
    let mut pause = PAUSE_MIN;
    loop {
        let wait = match &mut shipper {
            None => POLL,
            Some(shipper) => match shipper.next().await {
                Ok(true) => Duration::ZERO,
                Ok(false) => POLL,
                Err(fault) => {
                    tracing::warn!(error = &fault as &dyn std::error::Error, "decisions could not be sent");
                    metric::decisions_posted("failed");
                    pause = pause.saturating_mul(2).min(PAUSE_MAX);
                    pause
                }
            },
        };
        if wait <= POLL {
            pause = PAUSE_MIN;
        }
        notes.look(&running);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Ends the log: writes what is in the queue, and sends what can be sent at once.
pub async fn finish(running: Arc<Running>) {
    let ending = running.clone();
    if tokio::task::spawn_blocking(move || ending.decisions.end()).await.is_err() {
        tracing::error!("the decision log could not be ended");
    }
    Notes { noted: 0, at: None }.look(&running);
    let fetcher = Fetcher::new(running.world.load().settings.upstream_ca.as_deref());
    let Some(mut shipper) = Shipper::of(&running.decisions, fetcher) else { return };
    let all = async { while shipper.next().await.is_ok_and(|sent| sent) {} };
    if tokio::time::timeout(LAST_MAX, all).await.is_err() {
        tracing::info!("decisions wait on the disk for the next start");
    }
}

/// Notes on the audit log that decisions were dropped.
struct Notes {
    noted: u64,
    at: Option<std::time::Instant>,
}

impl Notes {
    fn look(&mut self, running: &Running) {
        let (dropped, now) = (running.decisions.dropped(), clock::instant());
        let is_soon = self.at.is_some_and(|at| now.saturating_duration_since(at) < NOTE_PAUSE);
        if dropped == self.noted || is_soon {
            return;
        }
        tracing::error!(dropped, "decisions are dropped: the decision log is full");
        let note = journal::note("decisions_dropped", clock::unix_ms()).with("dropped", &dropped);
        // A full journal refuses calls already; the next look tries again.
        if running.journal.note(note).is_ok() {
            (self.noted, self.at) = (dropped, Some(now));
        }
    }
}

struct Shipper {
    shared: Arc<Shared>,
    fetcher: Fetcher,
    url: Url,
    token: Option<Secret>,
    batch_bytes: usize,
    /// Smaller than the setting while the server finds batches too large.
    bytes_now: usize,
    sent: Position,
}

/// A batch, ready to go.
struct Batch {
    body: Bytes,
    /// Behind its last line.
    behind: Position,
    lines: usize,
}

impl Shipper {
    fn of(log: &DecisionLog, fetcher: Fetcher) -> Option<Self> {
        let shared = log.open.as_ref()?.shared.clone();
        let DecisionSink::Http { url, token, batch_bytes_max, .. } = &shared.sink else { return None };
        let (url, token, batch_bytes) = (url.clone(), token.clone(), *batch_bytes_max);
        let sent = read_sent(shared.files.lock().folder());
        Some(Self { shared, fetcher, url, token, batch_bytes, bytes_now: batch_bytes, sent })
    }

    /// Sends one batch; `false` where there is none.
    async fn next(&mut self) -> Result<bool, ShipFault> {
        let (shared, sent, most) = (self.shared.clone(), self.sent, self.bytes_now);
        let read = tokio::task::spawn_blocking(move || next_batch(&shared, sent, most)).await;
        let Some(batch) = read.map_err(io::Error::other)?? else { return Ok(false) };
        let reply = self.fetcher.post(&self.url, self.headers(), batch.body, REPLY_BYTES_MAX, Trust::Configured);
        match reply.await?.status {
            status if status.is_success() => {
                metric::decisions_posted("sent");
                self.bytes_now = self.batch_bytes;
            }
            StatusCode::PAYLOAD_TOO_LARGE if batch.lines > 1 => {
                self.bytes_now = self.bytes_now.div_euclid(2).max(1);
                return Ok(true);
            }
            StatusCode::PAYLOAD_TOO_LARGE => {
                tracing::error!("a decision is too large for the server: it is dropped");
                metric::decisions_dropped("too_large", 1);
            }
            status => return Err(ShipFault::Status(status)),
        }
        self.sent = batch.behind;
        write_sent(self.shared.files.lock().folder(), self.sent)?;
        Ok(true)
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let bearer = self.token.as_ref().map(|token| [b"Bearer ", token.expose()].concat());
        // The configuration has seen to it that it fits.
        if let Some(mut value) = bearer.and_then(|bearer| HeaderValue::from_bytes(&bearer).ok()) {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        headers
    }
}

/// The next lines behind `sent`; files that were sent whole are removed.
fn next_batch(shared: &Shared, sent: Position, bytes_max: usize) -> io::Result<Option<Batch>> {
    let (folder, end) = {
        let files = shared.files.lock();
        (files.folder().to_owned(), files.end())
    };
    for number in files::numbers(&folder)?.into_iter().filter(|number| *number <= end.file) {
        if number < sent.file {
            shared.files.lock().remove(number)?;
            continue;
        }
        let from = if number == sent.file { sent } else { Position { file: number, offset: 0 } };
        let lines = files::read(&folder, from, end, bytes_max)?;
        if lines.is_empty() {
            shared.files.lock().remove(number)?;
            continue;
        }
        let length = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        let behind = Position { file: number, offset: from.offset.saturating_add(length) };
        let (body, lines) = array(&lines)?;
        return Ok(Some(Batch { body, behind, lines }));
    }
    Ok(None)
}

/// Lines as one gzipped JSON array, and how many there are.
fn array(lines: &[u8]) -> io::Result<(Bytes, usize)> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let mut count = 0_usize;
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        gzip.write_all(if count == 0 { b"[" } else { b"," })?;
        gzip.write_all(line)?;
        count = count.saturating_add(1);
    }
    gzip.write_all(b"]")?;
    Ok((gzip.finish()?.into(), count))
}

/// How far batches were sent; the beginning where nothing says so.
fn read_sent(folder: &Path) -> Position {
    let text = std::fs::read_to_string(folder.join(SENT_FILE)).unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|number| number.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(file), Some(offset)) => Position { file, offset },
        (Some(_) | None, Some(_) | None) => Position::default(),
    }
}

fn write_sent(folder: &Path, sent: Position) -> io::Result<()> {
    let draft = folder.join("sent.new");
    std::fs::write(&draft, format!("{} {}\n", sent.file, sent.offset))?;
    std::fs::rename(draft, folder.join(SENT_FILE))
}
