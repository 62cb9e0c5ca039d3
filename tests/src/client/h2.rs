//! The same over HTTP/2 with prior knowledge.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Request;
use crate::clock;

/// One connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _tasks: JoinSet<()>,
}

impl Connection {
    /// Connects.
    ///
    /// # Panics
    /// Nobody speaks HTTP/2 there.
    pub async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("a listening server");
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.expect("a server that speaks h2");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // The connection's end shows in the replies.
            connection.await.unwrap_or_default();
        });
        Self { sender, _tasks: tasks }
    }

    /// Sends a request; gives the reply once its head is there.
    ///
    /// # Panics
    /// There is none soon.
    pub async fn send(&mut self, address: SocketAddr, request: &Request) -> H2Reply {
        let uri = format!("http://{address}{}", request.path);
        let mut builder = http::Request::builder().method(request.method.as_str()).uri(uri);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let whole = builder.body(Full::new(request.body.clone())).expect("a well-formed request");
        let response = clock::soon("the reply's head", self.sender.send_request(whole)).await.expect("a reply");
        H2Reply { status: response.status().as_u16(), body: response.into_body() }
    }
}

/// A reply whose body is read piece by piece.
#[derive(Debug)]
pub struct H2Reply {
    /// The status.
    pub status: u16,
    body: hyper::body::Incoming,
}

impl H2Reply {
    /// The next data frame; None at the end.
    ///
    /// # Panics
    /// The stream is reset.
    pub async fn piece(&mut self) -> Option<Bytes> {
        loop {
            let frame = clock::soon("the next frame", self.body.frame()).await?.expect("a whole stream");
            if let Ok(data) = frame.into_data() {
                return Some(data);
            }
        }
    }

    /// All that is left.
    ///
    /// # Panics
    /// The stream is reset.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece().await {
            whole.extend_from_slice(&piece);
        }
        whole
    }
}
