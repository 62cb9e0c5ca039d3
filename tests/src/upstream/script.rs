//! What to answer, step by step.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::Semaphore;

use super::Received;
use crate::say;

/// Opened by the test, passed by a script once for each opening.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }
}

impl Gate {
    /// Lets one script pass.
    pub fn open(&self) {
        self.0.add_permits(1);
    }

    pub(super) async fn pass(&self) {
        self.0.acquire().await.expect("a gate is never closed for good").forget();
    }
}

/// One step of an answer.
#[derive(Debug, Clone)]
pub enum Step {
    /// These bytes, written and flushed.
    Send(Bytes),
    /// These bytes many times over, for what is too large to hold.
    Fill(Bytes, usize),
    /// Nothing for this long.
    Wait(Duration),
    /// Nothing until the test opens the gate.
    Pass(Gate),
    /// Nothing ever again, with the connection open.
    Hold,
    /// The connection is closed, in the middle of whatever this is.
    Cut,
    /// The connection is reset.
    Reset,
}

/// How the body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// One chunk per send.
    Chunked,
    /// One body with its length.
    Length,
    /// The test writes every byte itself.
    Raw,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Script {
    status: u16,
    headers: Vec<(String, String)>,
    framing: Framing,
    before: Vec<Step>,
    body: Vec<Step>,
}

impl Script {
    fn new(status: u16, content_type: &str, framing: Framing) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { status, headers, framing, before: Vec::new(), body: Vec::new() }
    }

    /// A stream; its events are added with [`Script::send`].
    pub fn stream() -> Self {
        Self::new(200, "text/event-stream", Framing::Chunked)
    }

    /// A whole stream that says these words and states usage.
    pub fn words(words: &[&str], prompt: u64, completion: u64) -> Self {
        let deltas = words.iter().map(|word| say::event(say::delta(word)));
        let ends = [say::event(say::finish("stop")), say::event(say::usage(prompt, completion)), say::done()];
        deltas.chain(ends).fold(Self::stream(), Self::send)
    }

    /// A whole stream of named events.
    pub fn named(events: &[serde_json::Value]) -> Self {
        events.iter().fold(Self::stream(), |script, event| script.send(say::dialects::named(event)))
    }

    /// A JSON body.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, "application/json", Framing::Length).send(body.into())
    }

    /// Exactly these bytes, head and all.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::new(0, "", Framing::Raw).send(bytes.into())
    }

    /// What a plain provider would answer to this request.
    pub fn plain(received: &Received) -> Self {
        let request = received.json();
        let path = received.path();
        if request["stream"] != true {
            return Self::json(200, say::dialects::answer(path, 7, 3));
        }
        if matches!(path, "/v1/messages" | "/v1/responses") {
            return Self::named(&say::dialects::events(path, &["a", " b", " c"], 7, 3));
        }
        if request["stream_options"]["include_usage"] == true {
            return Self::words(&["a", " b", " c"], 7, 3);
        }
        let deltas = ["a", " b", " c"].map(|word| say::event(say::delta(word)));
        deltas.into_iter().chain([say::event(say::finish("stop")), say::done()]).fold(Self::stream(), Self::send)
    }

    /// Adds bytes to the body.
    #[must_use]
    pub fn send(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Step::Send(bytes.into()))
    }

    /// Adds an event.
    #[must_use]
    pub fn event(self, data: impl AsRef<str>) -> Self {
        self.send(say::event(data))
    }

    /// Adds a step to the body.
    #[must_use]
    pub fn then(mut self, step: Step) -> Self {
        self.body.push(step);
        self
    }

    /// Adds a step before the first byte of the head.
    #[must_use]
    pub fn first(mut self, step: Step) -> Self {
        self.before.push(step);
        self
    }

    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(found, _)| found != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves a header out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(found, _)| found != name);
        self
    }

    /// The same body in sends of `size` bytes; waits and cuts keep their places.
    #[must_use]
    pub fn split(mut self, size: usize) -> Self {
        let cut = |step: Step| {
            let Step::Send(bytes) = &step else { return vec![step] };
            bytes.chunks(size).map(|part| Step::Send(Bytes::copy_from_slice(part))).collect()
        };
        self.body = self.body.into_iter().flat_map(cut).collect();
        self
    }

    /// The same body, compressed as one gzip stream that is flushed at each send.
    ///
    /// # Panics
    /// Never: memory takes every write.
    #[must_use]
    pub fn gzip(mut self) -> Self {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for step in &mut self.body {
            if let Step::Send(bytes) = step {
                encoder.write_all(bytes).expect("memory takes every write");
                encoder.flush().expect("memory takes every write");
                *bytes = Bytes::from(std::mem::take(encoder.get_mut()));
            }
        }
        self.body.push(Step::Send(Bytes::from(encoder.finish().expect("memory takes every write"))));
        self.header("content-encoding", "gzip")
    }

    /// The steps on the socket, head and framing included.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = self.before.clone();
        if self.framing == Framing::Raw {
            steps.extend(self.body.iter().cloned());
            return steps;
        }
        steps.push(Step::Send(self.head()));
        let is_chunked = self.framing == Framing::Chunked;
        let frame = |step: &Step| {
            if !is_chunked {
                return step.clone();
            }
            match step {
                Step::Send(bytes) => Step::Send(chunk(bytes)),
                Step::Fill(bytes, count) => Step::Fill(chunk(bytes), *count),
                Step::Wait(_) | Step::Pass(_) | Step::Hold | Step::Cut | Step::Reset => step.clone(),
            }
        };
        steps.extend(self.body.iter().map(frame));
        if is_chunked {
            steps.push(Step::Send(Bytes::from_static(b"0\r\n\r\n")));
        }
        steps
    }

    fn head(&self) -> Bytes {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let sent = |step: &Step| if let Step::Send(bytes) = step { bytes.len() } else { 0 };
        match self.framing {
            Framing::Chunked => head.push_str("transfer-encoding: chunked\r\n\r\n"),
            Framing::Length | Framing::Raw => {
                let length: usize = self.body.iter().map(sent).sum();
                head.push_str(&format!("content-length: {length}\r\n\r\n"));
            }
        }
        Bytes::from(head)
    }
}

/// One chunk of a chunked body; an empty one would end it, so there is none.
fn chunk(bytes: &Bytes) -> Bytes {
    let mut framed = BytesMut::new();
    if !bytes.is_empty() {
        framed.put_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
        framed.put_slice(bytes);
        framed.put_slice(b"\r\n");
    }
    framed.freeze()
}
