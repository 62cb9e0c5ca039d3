//! A client over plain TCP that sees every chunk, and may hang up at any of them. HTTP/2 is in [`h2`].

pub mod h2;

use std::io;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use weir_wire::sse::{Event, SseDecoder};

use crate::clock;
use crate::http1::{Head, Reader};

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// `POST` and its like.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Headers beside `host` and `content-length`.
    pub headers: Vec<(String, String)>,
    /// The body, exactly.
    pub body: Bytes,
}

impl Request {
    /// A JSON body to this path with this key.
    pub fn post(path: &str, key: &str, body: impl Into<Bytes>) -> Self {
        let request = Self { method: "POST".into(), path: path.into(), headers: Vec::new(), body: body.into() };
        request.header("authorization", &format!("Bearer {key}")).header("content-type", "application/json")
    }

    /// A chat request with this key.
    pub fn chat(key: &str, body: &Value) -> Self {
        Self::post("/v1/chat/completions", key, body.to_string())
    }

    /// A request without a body.
    pub fn get(path: &str) -> Self {
        Self { method: "GET".into(), path: path.into(), headers: Vec::new(), body: Bytes::new() }
    }

    /// Sets a header.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        let mut request = self.without(name);
        request.headers.push((name.into(), value.into()));
        request
    }

    /// Leaves a header out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(found, _)| found != name);
        self
    }

    /// Sends it on a connection of its own and gives the whole reply.
    ///
    /// # Panics
    /// There is no whole reply soon.
    pub async fn fetch(&self, address: SocketAddr) -> Fetched {
        let mut reply = self.open(address).await;
        let body = clock::soon("the reply's body", reply.reader.body()).await;
        let body = body.unwrap_or_else(|error| panic!("the reply is cut: {error}; {:?}", reply.head));
        Fetched { status: reply.head.status(), head: reply.head, body }
    }

    /// Sends it on a connection of its own and gives the reply once its head is there.
    ///
    /// # Panics
    /// There is none soon.
    pub async fn open(&self, address: SocketAddr) -> Reply {
        self.send(address).await.reply().await
    }

    /// Sends it on a connection of its own without waiting for a reply.
    ///
    /// # Panics
    /// Nobody listens there.
    pub async fn send(&self, address: SocketAddr) -> Sent {
        let mut socket = TcpStream::connect(address).await.expect("a listening server");
        socket.set_nodelay(true).expect("a live socket");
        let mut text = format!("{} {} HTTP/1.1\r\nhost: {address}\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let is_framed =
            self.headers.iter().any(|(name, _)| matches!(name.as_str(), "transfer-encoding" | "content-length"));
        if !is_framed && (self.method != "GET" || !self.body.is_empty()) {
            text.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        // A server that refuses by the head alone may close before it has read a large body: the reply still counts.
        let written = socket.write_all(&bytes).await;
        Sent { socket, is_whole: written.is_ok() }
    }
}

/// A request that is on its way.
#[derive(Debug)]
pub struct Sent {
    socket: TcpStream,
    /// Whether the server took the whole request.
    pub is_whole: bool,
}

impl Sent {
    /// The reply's head.
    ///
    /// # Panics
    /// There is none soon.
    pub async fn reply(self) -> Reply {
        let mut reader = Reader::new(self.socket, BytesMut::new());
        let head = clock::soon("the reply's head", reader.head(false)).await;
        let head = head.expect("a reply").expect("a reply before the connection ends");
        Reply { head, reader, decoder: SseDecoder::new(2 << 30) }
    }

    /// Closes the connection.
    pub fn hang_up(self) {
        drop(self.socket);
    }
}

/// A whole reply.
#[derive(Debug)]
pub struct Fetched {
    /// The status.
    pub status: u16,
    /// The head.
    pub head: Head,
    /// The body, without its framing.
    pub body: Bytes,
}

impl Fetched {
    /// The body as JSON.
    ///
    /// # Panics
    /// It is none.
    pub fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no json ({error}): {} {text}", self.status))
    }

    /// The `code` of the error.
    ///
    /// # Panics
    /// There is no error with a code.
    pub fn code(&self) -> String {
        let value = self.json();
        value["error"]["code"].as_str().unwrap_or_else(|| panic!("no error code: {value}")).to_owned()
    }
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// With the last chunk.
    Proper,
    /// In the middle.
    Cut,
}

/// A reply whose body is read piece by piece.
#[derive(Debug)]
pub struct Reply {
    /// The head.
    pub head: Head,
    reader: Reader<TcpStream>,
    decoder: SseDecoder,
}

impl Reply {
    /// The status.
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// The next piece of the body as it was framed.
    ///
    /// # Errors
    /// The connection ended in the middle.
    pub async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        self.reader.piece().await
    }

    /// The next event, comments included; None at the end, however it came.
    ///
    /// # Panics
    /// Nothing comes soon.
    pub async fn event(&mut self) -> Result<Event, Close> {
        loop {
            if let Some(event) = self.decoder.next_event().expect("events within bounds") {
                return Ok(event);
            }
            match clock::soon("the next event", self.reader.piece()).await {
                Ok(Some(piece)) => self.decoder.push(&piece),
                Ok(None) => return Err(Close::Proper),
                Err(_) => return Err(Close::Cut),
            }
        }
    }

    /// The payload of the next event that has one.
    ///
    /// # Panics
    /// The stream ends before.
    pub async fn data(&mut self) -> String {
        loop {
            let event = self.event().await.expect("an event before the end");
            if let Some(data) = event.data {
                return String::from_utf8(data.to_vec()).expect("events are utf-8");
            }
        }
    }

    /// Everything up to the end.
    ///
    /// # Panics
    /// The end does not come, with pauses of at most [`clock::SOON`].
    pub async fn rest(mut self) -> Stream {
        let mut events = Vec::new();
        loop {
            match self.event().await {
                Ok(event) => events.push(event),
                Err(close) => return Stream { head: self.head, events, close, tail: self.decoder.finish() },
            }
        }
    }

    /// Closes the connection in the middle.
    pub fn hang_up(self) {
        drop(self.reader);
    }
}

/// A whole stream.
#[derive(Debug)]
pub struct Stream {
    /// The reply's head.
    pub head: Head,
    /// The events in order, comments included.
    pub events: Vec<Event>,
    /// How it ended.
    pub close: Close,
    /// An event without its end.
    pub tail: Option<Event>,
}

impl Stream {
    /// The payloads in order.
    pub fn data(&self) -> Vec<String> {
        let payloads = self.events.iter().filter_map(|event| event.data.as_deref());
        payloads.map(|data| String::from_utf8_lossy(data).into_owned()).collect()
    }

    /// The payloads that are JSON, parsed.
    ///
    /// # Panics
    /// A payload is neither JSON nor the end marker.
    pub fn chunks(&self) -> Vec<Value> {
        let parse = |data: String| serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}"));
        self.data().into_iter().filter(|data| data != "[DONE]").map(parse).collect()
    }

    /// The text of choice 0.
    pub fn content(&self) -> String {
        let text = |chunk: &Value| chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned();
        self.chunks().iter().map(text).collect()
    }

    /// Whether the last payload is the end marker.
    pub fn is_done(&self) -> bool {
        self.data().last().is_some_and(|data| data == "[DONE]")
    }

    /// The code of the error event, where there is one.
    pub fn error_code(&self) -> Option<String> {
        self.chunks().iter().find_map(|chunk| chunk["error"]["code"].as_str().map(str::to_owned))
    }
}
