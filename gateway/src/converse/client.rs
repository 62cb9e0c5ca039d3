//! The near side: what has been handed to the client, and whether it is still there.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Version;
use pingora::ErrorType;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use weir_wire::endpoint::Dialect;

use crate::clock;
use crate::refusal::Refusal;
use crate::request;

/// Bytes of a next request, sent before this one's reply has ended, that are read to see whether the client is still
/// there; beyond them only writing tells.
const EARLY_BYTES_MAX: usize = 64 << 10;

/// The client can't be written to any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// One client's reply in the making.
pub struct Client<'s> {
    session: &'s mut Session,
    /// Headers that go with every reply: call id, limits.
    headers: request::Headers,
    /// How errors inside a stream look.
    dialect: Dialect,
    status: u16,
    begun: bool,
    ended: bool,
    events: u64,
    early_bytes: usize,
    last_write: Instant,
}

impl<'s> Client<'s> {
    /// A client that got nothing yet.
    pub fn new(session: &'s mut Session, dialect: Dialect, headers: request::Headers, write_stall: Duration) -> Self {
        session.set_write_timeout(Some(write_stall));
        let last_write = clock::instant();
        Self { session, headers, dialect, status: 0, begun: false, ended: false, events: 0, early_bytes: 0, last_write }
    }

    /// Whether the reply's head is out.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether a part of the answer is out: from here on no other deployment can take over.
    pub fn has_events(&self) -> bool {
        self.events > 0
    }

    /// Counts events of the answer that are about to be written.
    pub fn count_events(&mut self, events: u64) {
        self.events = self.events.saturating_add(events);
    }

    /// Status handed to the client; 0 before.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Resolves when the client goes away. Dropping and asking again loses nothing.
    pub async fn gone(&mut self) {
        while self.early_bytes < EARLY_BYTES_MAX {
            match self.session.downstream_session.read_body_or_idle(true).await {
                Ok(Some(_)) => {}
                // A byte after the request's end: a next request that was sent too early, and no hang-up. It is not
                // served; the connection closes after this reply, and the client may repeat it (RFC 9112, 9.3.2).
                Err(error) if *error.etype() == ErrorType::ConnectError => {
                    self.early_bytes = self.early_bytes.saturating_add(1);
                    self.session.set_keepalive(None);
                }
                Ok(None) | Err(_) => return,
            }
        }
        std::future::pending().await
    }

    /// How long the client has heard nothing.
    pub fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_write)
    }

    /// Sends the head of a stream, once.
    pub async fn begin_stream(&mut self) -> Result<(), Gone> {
        if self.begun {
            return Ok(());
        }
        let mut head = self.head(200, "text/event-stream; charset=utf-8").map_err(|_| Gone)?;
        // Without these, intermediaries buffer or recode the stream.
        head.insert_header("cache-control", "no-cache, no-transform").map_err(|_| Gone)?;
        head.insert_header("x-accel-buffering", "no").map_err(|_| Gone)?;
        match self.session.req_header().version {
            Version::HTTP_11 => head.insert_header("transfer-encoding", "chunked").map_err(|_| Gone)?,
            Version::HTTP_2 => {}
            // HTTP/1.0 knows the end of a stream only by the connection's end.
            _ => self.session.set_keepalive(None),
        }
        self.send_head(head).await
    }

    /// Sends a whole reply.
    pub async fn whole(&mut self, status: u16, content_type: &str, body: Bytes) -> Result<(), Gone> {
        let mut head = self.head(status, content_type).map_err(|_| Gone)?;
        head.insert_header("content-length", body.len().to_string()).map_err(|_| Gone)?;
        self.send_head(head).await?;
        self.ended = true;
        self.session.write_response_body(Some(body), true).await.map_err(|_| Gone)
    }

    /// Writes a part of a stream.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.last_write = clock::instant();
        self.session.write_response_body(Some(bytes), false).await.map_err(|_| Gone)
    }

    /// Ends a stream properly.
    pub async fn finish(&mut self) -> Result<(), Gone> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        self.session.write_response_body(None, true).await.map_err(|_| Gone)
    }

    /// Ends a begun stream with an explicit error event. A client that went away meanwhile has nothing to lose.
    pub async fn fail(&mut self, refusal: &Refusal) {
        let event = Bytes::from(refusal.event(self.dialect, self.events));
        if !self.ended && self.write(event).await.is_ok() {
            self.finish().await.unwrap_or(());
        }
        self.session.set_keepalive(None);
    }

    /// Gives a reply up in the middle of a write: the connection closes without the stream's end.
    pub fn abandon(&mut self) {
        self.ended = true;
        self.session.set_keepalive(None);
    }

    fn head(&self, status: u16, content_type: &str) -> pingora::Result<ResponseHeader> {
        let mut head = ResponseHeader::build_no_case(status, Some(16))?;
        head.insert_header("content-type", content_type)?;
        for (name, value) in &self.headers {
            request::add_header(&mut head, name, value)?;
        }
        Ok(head)
    }

    async fn send_head(&mut self, head: ResponseHeader) -> Result<(), Gone> {
        self.begun = true;
        self.status = head.status.as_u16();
        self.last_write = clock::instant();
        self.session.write_response_header(Box::new(head), false).await.map_err(|_| Gone)
    }
}
