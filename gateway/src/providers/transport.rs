//! One attempt over Pingora's pooled connector: connect, send, wait for the head, read the body, give back.
//!
//! Owns the pool, the cache of looked-up names and the waits. Follows no redirects.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, RetryType};
use tokio::time::timeout;

use crate::clock;
use crate::config::settings::{Address, DeploymentRule};

/// How long a looked-up name is believed.
const NAME_TTL: Duration = Duration::from_secs(30);
/// How long an idle connection is kept.
const POOL_IDLE: Duration = Duration::from_secs(90);
/// Idle connections kept in all.
const POOL_SIZE: usize = 4096;

/// Interim replies (1xx) before the reply itself.
const INTERIM_MAX: usize = 8;

/// How far an attempt came before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing reached the upstream: it can't have worked.
    Before,
    /// The request may have reached it, no reply came.
    Sent,
}

/// Why an attempt gave no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct CallFault {
    /// How far it came.
    pub stage: Stage,
    /// Short reason code.
    pub why: &'static str,
    /// Whether time ran out.
    pub timed_out: bool,
}

impl CallFault {
    /// A fault before anything was sent.
    pub const fn before(why: &'static str) -> Self {
        Self { stage: Stage::Before, why, timed_out: false }
    }
}

/// The reply of an upstream: its head was read, its body is read chunk by chunk.
pub struct Reply {
    session: HttpSession<()>,
    peer: Arc<HttpPeer>,
}

impl Reply {
    /// The reply's head.
    pub fn head(&self) -> Option<&ResponseHeader> {
        self.session.response_header()
    }

    /// Next part of the body; `None` at its proper end. A body that was cut short is an error.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Box<Error>> {
        self.session.read_response_body().await
    }
}

/// The pool and the names.
pub struct Transport {
    connector: Connector,
    peers: Mutex<HashMap<Address, (Arc<HttpPeer>, Instant)>>,
}

impl Transport {
    /// A pool that trusts the system's authorities, or only those of `ca_file` (PEM) where one is given.
    pub fn new(ca_file: Option<String>) -> Self {
        let mut options = ConnectorOptions::new(POOL_SIZE);
        options.ca_file = ca_file;
        Self { connector: Connector::new(Some(options)), peers: Mutex::new(HashMap::new()) }
    }

    /// Sends `request` and `body`; returns once the reply's head is there. `again` makes the same head once more.
    pub async fn send(
        &self,
        rule: &DeploymentRule,
        request: Box<RequestHeader>,
        again: impl Fn() -> Result<Box<RequestHeader>, CallFault>,
        body: &Bytes,
    ) -> Result<Reply, CallFault> {
        let (mut reply, reused) = self.connect(rule).await?;
        match Self::exchange(&mut reply, rule, request, body, reused).await {
            // A pooled connection that the server closed just before: nothing was processed, so one more try is safe.
            Err(fault) if reused && fault.stage == Stage::Before => {
                let (mut fresh, _) = self.connect(rule).await?;
                Self::exchange(&mut fresh, rule, again()?, body, false).await?;
                Ok(fresh)
            }
            Err(fault) => Err(fault),
            Ok(()) => Ok(reply),
        }
    }

    /// Gives the connection of a wholly read reply back to the pool.
    pub async fn release(&self, reply: Reply) {
        self.connector.release_http_session(reply.session, &*reply.peer, Some(POOL_IDLE)).await;
    }

    async fn connect(&self, rule: &DeploymentRule) -> Result<(Reply, bool), CallFault> {
        let peer = self.peer(rule).await?;
        let connecting = self.connector.get_http_session(&*peer);
        match timeout(rule.timeouts.connect, connecting).await {
            Err(_) => Err(CallFault { stage: Stage::Before, why: "connect_timeout", timed_out: true }),
            Ok(Err(error)) => Err(CallFault::before(connect_reason(&error))),
            Ok(Ok((session, reused))) => Ok((Reply { session, peer }, reused)),
        }
    }

    async fn exchange(
        reply: &mut Reply,
        rule: &DeploymentRule,
        request: Box<RequestHeader>,
        body: &Bytes,
        reused: bool,
    ) -> Result<(), CallFault> {
        let session = &mut reply.session;
        session.set_write_timeout(Some(rule.timeouts.first_byte));
        session.set_read_timeout(Some(rule.timeouts.first_byte));
        let write = async {
            session.write_request_header(request).await?;
            session.write_request_body(body.clone(), true).await?;
            session.finish_request_body().await
        };
        // Where the request's own bytes could not be written, the server can't have worked on all of it.
        write.await.map_err(|_: Box<Error>| CallFault::before("write_failed"))?;
        match timeout(rule.timeouts.first_byte, final_head(session)).await {
            Err(_) => return Err(CallFault { stage: Stage::Sent, why: "first_byte_timeout", timed_out: true }),
            Ok(Err(error)) if *error.etype() == ErrorType::ReadTimedout => {
                return Err(CallFault { stage: Stage::Sent, why: "first_byte_timeout", timed_out: true });
            }
            Ok(Err(error)) => return Err(read_fault(&error, reused)),
            Ok(Ok(())) => {}
        }
        session.set_read_timeout(Some(rule.timeouts.idle));
        Ok(())
    }

    /// The peer of a deployment; names are looked up anew every [`NAME_TTL`].
    async fn peer(&self, rule: &DeploymentRule) -> Result<Arc<HttpPeer>, CallFault> {
        let now = clock::instant();
        if let Some((peer, until)) = self.peers.lock().get(&rule.address)
            && *until > now
        {
            return Ok(peer.clone());
        }
        let peer = Arc::new(look_up(&rule.address, rule.timeouts.connect).await?);
        let until = now.checked_add(NAME_TTL).unwrap_or(now);
        self.peers.lock().insert(rule.address.clone(), (peer.clone(), until));
        Ok(peer)
    }
}

async fn look_up(address: &Address, wait: Duration) -> Result<HttpPeer, CallFault> {
    let mut peer = match address {
        Address::Unix(path) => {
            let path = path.to_str().ok_or(CallFault::before("socket_path"))?;
            HttpPeer::new_uds(path, false, String::new()).map_err(|_| CallFault::before("socket_path"))?
        }
        Address::Tcp { host, port, tls, http2 } => {
            let to = resolve(host, *port, wait).await?;
            let mut peer = HttpPeer::new(to, *tls, host.to_string());
            match (http2, tls) {
                (true, true) => peer.options.set_http_version(2, 1),
                (true, false) => peer.options.set_http_version(2, 2),
                (false, _) => peer.options.set_http_version(1, 1),
            }
            peer
        }
    };
    peer.options.connection_timeout = Some(wait);
    peer.options.total_connection_timeout = Some(wait);
    Ok(peer)
}

async fn resolve(host: &str, port: u16, wait: Duration) -> Result<SocketAddr, CallFault> {
    if let Ok(ip) = host.parse() {
        return Ok(SocketAddr::new(ip, port));
    }
    match timeout(wait, tokio::net::lookup_host((host, port))).await {
        Err(_) => Err(CallFault { stage: Stage::Before, why: "dns_timeout", timed_out: true }),
        Ok(found) => found.ok().and_then(|mut all| all.next()).ok_or(CallFault::before("dns_failed")),
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the list is Pingora's")]
fn connect_reason(error: &Error) -> &'static str {
    match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => "connect_timeout",
        ErrorType::ConnectRefused => "connect_refused",
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError => "tls_failed",
        _ => "connect_failed",
    }
}

/// Reads heads until one is not interim (RFC 9110, section 15.2).
async fn final_head(session: &mut HttpSession<()>) -> Result<(), Box<Error>> {
    for _ in 0..INTERIM_MAX {
        session.read_response_header().await?;
        let status = session.response_header().map_or(0, |head| head.status.as_u16());
        if !(100..200).contains(&status) {
            return Ok(());
        }
    }
    Err(Error::explain(ErrorType::InvalidHTTPHeader, "too many interim replies"))
}

/// A reply's head that never came.
///
/// HTTP/2 says when a stream was not processed at all (RFC 9113, section 8.7). A pooled HTTP/1.1 connection that ends
/// without a byte was closed before our request arrived; a reset is ambiguous, so it is not repeated.
#[allow(clippy::wildcard_enum_match_arm, reason = "the list is Pingora's")]
fn read_fault(error: &Error, reused: bool) -> CallFault {
    let unprocessed = match error.etype() {
        ErrorType::H2Error | ErrorType::H2Downgrade => matches!(error.retry, RetryType::Decided(true)),
        ErrorType::ConnectionClosed => reused && matches!(error.retry, RetryType::ReusedOnly),
        _ => false,
    };
    match unprocessed {
        true => CallFault::before("refused_unprocessed"),
        false => CallFault { stage: Stage::Sent, why: "closed_before_reply", timed_out: false },
    }
}
