//! Passes a streamed reply on, event by event: nothing is held back longer than the rest of its own event.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use tokio::time::timeout;
use weir_wire::delta::BUDGET_EXHAUSTED;
use weir_wire::ending::Ending;
use weir_wire::endpoint::Dialect;
use weir_wire::sse::{Event, SseDecoder, SseFault};

use super::filter::{Reader, Verdict, Wants};
use super::inflate::Inflate;
use super::last_words::{self, Heard};
use super::whole::leaks;
use super::{Client, Cut, End, Failed, Talk, Vigil, cut_end, purse};
use crate::clock;
use crate::exchange::{Books, Outcome, UsageSource};
use crate::providers::Reply;
use crate::refusal::Refusal;
use crate::usage::meter::Reading;

/// Longest wait for the end of a body after its end marker.
const TAIL_MAX: Duration = Duration::from_millis(50);
/// Bytes that are gathered for one write; one chunk may be larger.
const GATHER_BYTES_MAX: usize = 16 << 10;

/// What reading the reply gives: a part, its proper end, or a break.
type Read = Result<Option<Bytes>, Box<pingora::Error>>;

/// What one chunk of the upstream's stream amounts to.
#[derive(Default)]
struct Piece {
    out: BytesMut,
    single: Option<Bytes>,
    answers: u64,
    /// Some event had data.
    data: bool,
    /// The upstream's own error event.
    error: Option<Event>,
}

impl Piece {
    fn add(&mut self, bytes: Bytes) {
        // The common case is one event a chunk: it passes without a copy.
        if self.single.is_none() && self.out.is_empty() {
            self.single = Some(bytes);
            return;
        }
        if let Some(first) = self.single.take() {
            self.out.extend_from_slice(&first);
        }
        self.out.extend_from_slice(&bytes);
    }

    /// Whether the upstream sent more than comments.
    fn is_progress(&self) -> bool {
        self.data
    }

    fn take(&mut self) -> Option<Bytes> {
        let all = self.single.take().unwrap_or_else(|| self.out.split().freeze());
        (!all.is_empty()).then_some(all)
    }
}

/// The state of one stream.
struct Stream {
    decoder: SseDecoder,
    inflate: Inflate,
    reader: Reader,
    done: bool,
    /// Data of the first event that was passed on.
    first: Option<Bytes>,
    /// Events that were passed on.
    passed: u64,
}

impl Stream {
    fn read(&mut self, chunk: Bytes, books: &mut Books) -> Result<Piece, &'static str> {
        let plain = self.inflate.push(chunk).map_err(|_| "gzip")?;
        self.decoder.push(&plain);
        let mut piece = Piece::default();
        let Some(live) = books.live.as_mut() else { return Ok(piece) };
        while let Some(event) = self.decoder.next_event().map_err(|_: SseFault| "event_too_large")? {
            let verdict = self.reader.judge(&event, &mut live.meter);
            // A ping keeps a connection alive as a comment does.
            piece.data |= event.data.is_some() && !matches!(verdict, Verdict::Aside(_));
            if matches!(verdict, Verdict::Answer(_) | Verdict::Frame(_)) {
                self.passed = self.passed.saturating_add(1);
                self.first = self.first.take().or_else(|| event.data.clone());
            }
            match verdict {
                Verdict::Answer(bytes) => {
                    live.first_token.get_or_insert_with(clock::instant);
                    piece.answers = piece.answers.saturating_add(1);
                    piece.add(bytes);
                }
                Verdict::Frame(bytes) => {
                    piece.answers = piece.answers.saturating_add(1);
                    piece.add(bytes);
                }
                Verdict::Aside(bytes) => piece.add(bytes),
                Verdict::Done(bytes) => {
                    self.done = true;
                    piece.add(bytes);
                    break;
                }
                Verdict::Drop => {}
                Verdict::Error(_) => {
                    piece.error = Some(event);
                    break;
                }
            }
        }
        Ok(piece)
    }
}

impl Stream {
    /// Meters a chunk that goes nowhere; `None` is the body's end.
    fn hear(&mut self, chunk: Option<Bytes>, books: &mut Books) -> Heard {
        let Some(chunk) = chunk else { return Heard::Part };
        match self.read(chunk, books) {
            Ok(piece) if piece.error.is_none() && !self.done => Heard::Part,
            Ok(_) | Err(_) => Heard::All,
        }
    }
}

/// Passes `reply` on until its end.
///
/// # Errors
/// [`Failed`] as long as no event of the answer reached the client: another deployment may take over.
pub(super) async fn pass(
    talk: &Talk<'_>,
    books: &mut Books,
    client: &mut Client<'_>,
    mut reply: Reply,
) -> Result<End, Failed> {
    let mut stream = open(talk, &reply)?;
    let mut vigil = Vigil::over_stream(talk);
    let idle = books.live.as_ref().map(|live| live.deployment.timeouts);
    let mut progress = clock::instant();
    let mut early = None;
    loop {
        let read = match early.take() {
            Some(read) => Ok(read),
            None => vigil.guard(client, reply.chunk()).await,
        };
        let chunk = match read {
            Ok(Ok(Some(first))) => gather(&mut reply, first, &mut early),
            Ok(Ok(None)) => return ended(talk, books, client, stream, reply).await,
            Ok(Err(error)) if *error.etype() == pingora::ErrorType::ReadTimedout => {
                return broken(client, stream.done, "idle_timeout").await;
            }
            Ok(Err(_)) => return broken(client, stream.done, "cut").await,
            Err(cut) => {
                let end = cut_end(cut, client).await;
                return Ok(leave(talk, books, stream, reply, end).await);
            }
        };
        let mut piece = match stream.read(chunk, books) {
            Ok(piece) => piece,
            Err(why) => return broken(client, stream.done, why).await,
        };
        // Before the client can know it: what it asks next may be about this answer.
        if let (Some(id), Some(live)) = (stream.reader.take_id(), books.live.as_mut()) {
            talk.keep(&id, live);
        }
        // A stream that never makes Weir wait would otherwise never be looked at.
        let now = clock::instant();
        if let Err(cut) = vigil.keep(client, now).await {
            let end = cut_end(cut, client).await;
            return Ok(leave(talk, books, stream, reply, end).await);
        }
        // Comments keep a connection alive and are no progress: a provider that only sends those is idle.
        if piece.is_progress() {
            progress = now;
        } else if idle.is_some_and(|waits| now.saturating_duration_since(progress) > waits.silence(client.has_events()))
        {
            return broken(client, stream.done, "idle_timeout").await;
        }
        if piece.error.is_some() && !client.has_events() && piece.answers == 0 {
            return Err(failed("error_event"));
        }
        if stream.done {
            talk.set_free(books);
        }
        if let Some(end) = written(&mut vigil, client, &mut piece).await {
            return Ok(leave(talk, books, stream, reply, end).await);
        }
        if let Some(event) = piece.error {
            return Ok(error_event(talk, client, event).await);
        }
        if stream.done {
            return Ok(done(talk, client, reply).await);
        }
        if purse::keep(talk, books).await.is_err() {
            return Ok(exhausted(talk, books, client, &stream).await);
        }
    }
}

/// A budget has no more: the stream ends here, with a finish reason of its own, and the upstream is left.
async fn exhausted(talk: &Talk<'_>, books: &mut Books, client: &mut Client<'_>, stream: &Stream) -> End {
    let reading = books.live.as_mut().map(|live| {
        live.meter.is_cut_short = true;
        live.meter.end(BUDGET_EXHAUSTED);
        live.meter.reading(live.held(), UsageSource::Estimated)
    });
    let reading = reading.unwrap_or(Reading::NONE);
    let ending = Ending {
        endpoint: talk.envelope.endpoint,
        choices: talk.envelope.choices,
        first: stream.first.as_deref(),
        passed: stream.passed,
        input_tokens: reading.input,
        output_tokens: reading.output,
        wants_usage: talk.envelope.include_usage,
    };
    talk.set_free(books);
    if client.write(Bytes::from(ending.bytes())).await.is_ok() && client.finish().await.is_ok() {
        return End::Exhausted;
    }
    End::HungUp
}

/// Leaves a stream that nobody listens to any more; the books hear its end where that is worth it.
async fn leave(talk: &Talk<'_>, books: &mut Books, mut stream: Stream, reply: Reply, end: End) -> End {
    if !stream.done {
        last_words::rest(talk, books, reply, |chunk, books| stream.hear(chunk, books)).await;
    }
    end
}

/// A stream whose client left before its head came.
pub(super) async fn unheard(talk: &Talk<'_>, books: &mut Books, reply: Reply) {
    if let Ok(mut stream) = open(talk, &reply) {
        last_words::rest(talk, books, reply, |chunk, books| stream.hear(chunk, books)).await;
    }
}

/// Adds what has arrived already, so that it leaves with one write. Waits for nothing; a read that is no part of the
/// body is kept in `early` for the next turn.
fn gather(reply: &mut Reply, first: Bytes, early: &mut Option<Read>) -> Bytes {
    let mut all = None;
    while all.as_ref().map_or(first.len(), BytesMut::len) < GATHER_BYTES_MAX {
        match reply.chunk().now_or_never() {
            None => break,
            Some(Ok(Some(more))) => all.get_or_insert_with(|| BytesMut::from(&*first)).extend_from_slice(&more),
            Some(end) => {
                *early = Some(end);
                break;
            }
        }
    }
    all.map_or(first, BytesMut::freeze)
}

fn open(talk: &Talk<'_>, reply: &Reply) -> Result<Stream, Failed> {
    let header =
        |name: &str| reply.head().and_then(|head| head.headers.get(name)).and_then(|value| value.to_str().ok());
    // SSE is UTF-8 whatever the charset parameter says or leaves out.
    let is_stream = header("content-type").is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or(kind).trim();
        kind.eq_ignore_ascii_case("text/event-stream")
    });
    if !is_stream {
        return Err(Failed::invalid("not_a_stream"));
    }
    let inflate = Inflate::new(header("content-encoding")).ok_or(Failed::invalid("content_encoding"))?;
    Ok(Stream {
        decoder: SseDecoder::new(talk.world.settings.stream.event_bytes_max),
        inflate,
        reader: Reader::new(
            talk.envelope.endpoint,
            Wants { usage: talk.envelope.include_usage, continuous: talk.envelope.continuous_usage },
        ),
        done: false,
        first: None,
        passed: 0,
    })
}

/// Hands a piece over; the end, where that was the last that could be written.
async fn written(vigil: &mut Vigil<'_>, client: &mut Client<'_>, piece: &mut Piece) -> Option<End> {
    match vigil.guard_write(hand_over(client, piece)).await {
        Ok(Ok(())) => None,
        Ok(Err(_)) => Some(cut_end(Cut::HungUp, client).await),
        // The write was left in its middle, so nothing can follow it.
        Err(_) => {
            client.abandon();
            Some(End::Broken(Outcome::Revoked, Refusal::KeyRevoked))
        }
    }
}

async fn hand_over(client: &mut Client<'_>, piece: &mut Piece) -> Result<(), super::client::Gone> {
    let Some(bytes) = piece.take() else { return Ok(()) };
    client.begin_stream().await?;
    client.count_events(piece.answers);
    client.write(bytes).await
}

/// The upstream says in its stream that it failed: in its own words, unless they name a credential of Weir's.
async fn error_event(talk: &Talk<'_>, client: &mut Client<'_>, event: Event) -> End {
    let refusal = Refusal::UpstreamDisconnected { why: "error_event" };
    if event.data.as_ref().is_some_and(|data| leaks(data, talk)) {
        client.fail(&refusal).await;
    } else if client.write(event.raw).await.is_ok() {
        client.finish().await.unwrap_or(());
    }
    End::Broken(Outcome::StreamBroken, refusal)
}

/// The end marker is out: the client gets its end now, however long the upstream keeps its connection open.
async fn done(talk: &Talk<'_>, client: &mut Client<'_>, mut reply: Reply) -> End {
    let end = if client.finish().await.is_ok() { End::Completed } else { End::HungUp };
    // The end of the body mostly came with the marker; only a connection that was read to it can be used again.
    let tail = async {
        while let Some(_more) = reply.chunk().await? {}
        Ok::<_, Box<pingora::Error>>(())
    };
    if let Ok(Ok(())) = timeout(TAIL_MAX, tail).await {
        talk.running.transport.release(reply).await;
    }
    end
}

/// The upstream's body came to its proper end.
async fn ended(
    talk: &Talk<'_>,
    books: &mut Books,
    client: &mut Client<'_>,
    stream: Stream,
    reply: Reply,
) -> Result<End, Failed> {
    let finished = books.live.as_ref().is_some_and(|live| live.meter.finished >= talk.envelope.choices);
    if !stream.done && !finished {
        return broken(client, false, "ended_early").await;
    }
    talk.running.transport.release(reply).await;
    talk.set_free(books);
    let close = async {
        client.begin_stream().await?;
        if !stream.done {
            // Every choice gave its own finish reason, so only the marker is missing.
            client.write(Bytes::from_static(end_marker(talk.envelope.endpoint.dialect()))).await?;
        }
        client.finish().await
    };
    match close.await {
        Ok(()) => Ok(End::Completed),
        Err(_) => Ok(End::HungUp),
    }
}

/// What ends a stream. A response's last event holds all of it and can't be made up; its stream has no other finish.
fn end_marker(dialect: Dialect) -> &'static [u8] {
    match dialect {
        Dialect::OpenAi => b"data: [DONE]\n\n",
        Dialect::Anthropic => b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        Dialect::Responses => b"",
    }
}

/// The upstream's stream broke off. Never silently: an error event says so, unless the answer was complete.
async fn broken(client: &mut Client<'_>, done: bool, why: &'static str) -> Result<End, Failed> {
    if done {
        return Ok(if client.finish().await.is_ok() { End::Completed } else { End::HungUp });
    }
    if !client.has_events() {
        return Err(failed(why));
    }
    let refusal = Refusal::UpstreamDisconnected { why };
    client.fail(&refusal).await;
    Ok(End::Broken(Outcome::StreamBroken, refusal))
}

fn failed(why: &'static str) -> Failed {
    Failed { refusal: Refusal::UpstreamDisconnected { why }, setback: crate::routing::Setback::Capacity(None) }
}
