//! Fetches of small documents from other servers: keys, metadata, introspection. Over hyper, with rustls on ring.
//!
//! Bounded in size and time, follows no redirects, keeps no connection. An address that a remote document supplied may
//! not lead into the own network: names are resolved here, and the address that was checked is the one that is dialled.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

/// From the first packet to the last byte of a reply.
const FETCH_TIME_MAX: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Why a document could not be had. Says nothing that the other side sent.
#[derive(Debug, thiserror::Error)]
pub enum FetchFault {
    /// Not http or https, or with a credential in it.
    #[error("the address is no plain http or https URL")]
    Url,
    /// The name leads into the own network, and whoever supplied it may not send us there.
    #[error("the address is loopback, private or link-local and is not named in the configuration")]
    Private,
    /// The name has no address.
    #[error("the name can't be resolved")]
    Resolve(#[source] std::io::Error),
    /// No connection.
    #[error("can't connect")]
    Connect(#[source] std::io::Error),
    /// HTTP failed.
    #[error("the exchange failed")]
    Http(#[from] hyper::Error),
    /// Not made: a header or the target is malformed.
    #[error("the request can't be made")]
    Request(#[from] http::Error),
    /// Over its bound.
    #[error("the reply is longer than {0} bytes")]
    TooLong(usize),
    /// Over its time.
    #[error("the reply did not come in time")]
    Timeout,
}

/// Who supplied an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The configuration: it may lead anywhere.
    Configured,
    /// A tenant or a remote document: it may not lead into the own network.
    Remote,
}

/// A reply.
#[derive(Debug)]
pub struct Response {
    /// Its status; redirects are not followed.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
}

/// Makes the fetches. Cloning shares the trusted authorities.
#[derive(Clone)]
pub struct Fetcher {
    tls: Arc<ClientConfig>,
}

impl Fetcher {
    /// Trusts the authorities of a PEM file, or the system's.
    pub fn new(ca: Option<&Path>) -> Self {
        Self { tls: client_tls(ca) }
    }

    /// `GET`, with what the reply may be of bytes.
    ///
    /// # Errors
    /// See [`FetchFault`]. A status other than 200 is none.
    pub async fn get(
        &self,
        url: &Url,
        headers: HeaderMap,
        bytes_max: usize,
        trust: Trust,
    ) -> Result<Response, FetchFault> {
        self.get_within(url, headers, bytes_max, trust, FETCH_TIME_MAX).await
    }

    /// [`get`](Self::get) with a time limit of one's own, for what is large or held back by its server.
    ///
    /// # Errors
    /// As there.
    pub async fn get_within(
        &self,
        url: &Url,
        headers: HeaderMap,
        bytes_max: usize,
        trust: Trust,
        time_max: Duration,
    ) -> Result<Response, FetchFault> {
        let exchange = self.send(request(Method::GET, url, headers, Bytes::new())?, url, bytes_max, trust);
        timeout(time_max, exchange).await.map_err(|_| FetchFault::Timeout)?
    }

    /// `POST` of a body.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
        bytes_max: usize,
        trust: Trust,
    ) -> Result<Response, FetchFault> {
        let exchange = self.send(request(Method::POST, url, headers, body)?, url, bytes_max, trust);
        timeout(FETCH_TIME_MAX, exchange).await.map_err(|_| FetchFault::Timeout)?
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        url: &Url,
        bytes_max: usize,
        trust: Trust,
    ) -> Result<Response, FetchFault> {
        let stream = connect(url, trust).await?;
        match url.scheme() {
            "https" => {
                let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
                let name = ServerName::try_from(name).map_err(|_| FetchFault::Url)?;
                let connector = TlsConnector::from(Arc::clone(&self.tls));
                let stream = connector.connect(name, stream).await.map_err(FetchFault::Connect)?;
                exchange(stream, request, bytes_max).await
            }
            _ => exchange(stream, request, bytes_max).await,
        }
    }
}

/// TLS of a client that trusts the authorities of a PEM file, or the system's.
pub fn client_tls(ca: Option<&Path>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let certificates = CertificateDer::pem_file_iter(path).into_iter().flatten().flatten();
            roots.add_parsable_certificates(certificates);
        }
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    // Ring has every version that is safe, so there is no other case; without trust nothing connects anyway.
    let config = builder.map(|builder| builder.with_root_certificates(roots).with_no_client_auth());
    Arc::new(config.unwrap_or_else(|_| unreachable_tls()))
}

/// A client that trusts nobody: every connection over TLS fails.
fn unreachable_tls() -> ClientConfig {
    ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth()
}

fn request(method: Method, url: &Url, headers: HeaderMap, body: Bytes) -> Result<Request<Full<Bytes>>, FetchFault> {
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return Err(FetchFault::Url);
    }
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let host = url.host_str().ok_or(FetchFault::Url)?;
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let mut request = Request::builder().method(method).uri(target).header("host", host).body(Full::new(body))?;
    request.headers_mut().extend(headers);
    Ok(request)
}

/// Connects to one of the addresses that may be dialled.
async fn connect(url: &Url, trust: Trust) -> Result<TcpStream, FetchFault> {
    let port = url.port_or_known_default().ok_or(FetchFault::Url)?;
    let found: Vec<SocketAddr> = match url.host().ok_or(FetchFault::Url)? {
        Host::Ipv4(address) => vec![(address, port).into()],
        Host::Ipv6(address) => vec![(address, port).into()],
        Host::Domain(name) => {
            tokio::net::lookup_host((name, port)).await.map_err(FetchFault::Resolve)?.take(ADDRESSES_MAX).collect()
        }
    };
    let may_dial = |address: &SocketAddr| trust == Trust::Configured || is_public(address.ip());
    let mut last = FetchFault::Private;
    for address in found.into_iter().filter(may_dial) {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(FetchFault::Connect)?;
                return Ok(stream);
            }
            Err(fault) => last = FetchFault::Connect(fault),
        }
    }
    Err(last)
}

/// Whether an address is one of the open network. IPv4 within IPv6 counts as what it stands for.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let special = v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_documentation()
                || v4.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b));
            !special
        }
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            let embedded = matches!(segments, [0, 0, 0, 0, 0, 0xffff | 0, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _]);
            if embedded {
                let [.., a, b, c, d] = v6.octets();
                return is_public(IpAddr::from([a, b, c, d]));
            }
            let first = segments.first().copied().unwrap_or(0);
            // Only global unicast (2000::/3), without documentation and tunnels that carry IPv4.
            (0x2000..0x4000).contains(&first)
                && first != 0x2002
                && !v6.to_string().starts_with("2001:db8")
                && !(first == 0x2001 && segments.get(1) == Some(&0))
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>, bytes_max: usize) -> Result<Response, FetchFault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let reply = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = read(body, bytes_max).await?;
        Ok(Response { status: head.status, headers: head.headers, body })
    };
    tokio::pin!(connection, reply);
    // The connection moves the bytes; it ends with the exchange.
    tokio::select! {
        biased;
        done = &mut reply => done,
        ended = &mut connection => {
            ended?;
            reply.await
        }
    }
}

async fn read(mut body: Incoming, bytes_max: usize) -> Result<Bytes, FetchFault> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if all.len().saturating_add(data.len()) > bytes_max {
                return Err(FetchFault::TooLong(bytes_max));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_network_is_told_from_the_open_one() {
        let public = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"];
        let own = [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "192.0.0.1",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "ff02::1",
        ];
        for text in public {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
        for text in own {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[tokio::test]
    async fn a_remote_document_can_not_send_us_into_the_own_network() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let fetcher = Fetcher::new(None);
        for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"] {
            let url = Url::parse(&format!("http://{host}:{port}/")).unwrap();
            let fault = fetcher.get(&url, HeaderMap::new(), 100, Trust::Remote).await.unwrap_err();
            assert!(matches!(fault, FetchFault::Private), "{host}: {fault:?}");
        }
        for text in ["ftp://a/", "file:///etc/passwd", "http://user:pw@127.0.0.1/"] {
            let url = Url::parse(text).unwrap();
            let fault = fetcher.get(&url, HeaderMap::new(), 100, Trust::Configured).await.unwrap_err();
            assert!(matches!(fault, FetchFault::Url), "{text}: {fault:?}");
        }
    }
}
