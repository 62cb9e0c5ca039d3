//! A provider that speaks HTTP/2, with prior knowledge: plain answers only.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::say;

/// A running provider. It ends when this is dropped.
pub struct H2Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    /// Connections that were opened so far.
    pub connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl H2Upstream {
    /// Listens on a free port of the loopback.
    ///
    /// # Panics
    /// There is none.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (mut tasks, connections) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        let opened = connections.clone();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::Relaxed);
                let served = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(socket), service_fn(answer));
                open.spawn(async move {
                    // Its end shows at the peer.
                    served.await.unwrap_or_default();
                });
            }
        });
        Self { address, connections, _tasks: tasks }
    }
}

/// Says how long the prompt was.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let length = asked["messages"][0]["content"].as_str().map_or(0, str::len).to_string();
    let (kind, text) = if asked["stream"] == true {
        let events = [say::event(say::delta(&length)), say::event(say::finish("stop")), say::done()];
        ("text/event-stream", Bytes::from(events.concat()))
    } else {
        ("application/json", say::answer(&length, 7, 3))
    };
    let response = Response::builder().header("content-type", kind).body(Full::new(text));
    Ok(response.expect("a well-formed response"))
}
