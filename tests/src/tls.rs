//! TLS around the plain servers and clients: an authority made for the test, and tunnels that put it on or take it off.
//! Certificates of clients are in [`clients`].

pub mod clients;

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// An authority, and one certificate of it for `localhost` and 127.0.0.1.
pub struct Authority {
    /// The authority's own certificate.
    pub ca_pem: String,
    /// The server's certificate.
    pub cert_pem: String,
    /// Its key.
    pub key_pem: String,
    ca: CertificateDer<'static>,
    cert: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Default for Authority {
    fn default() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let (ca_key, key) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let ca = params.self_signed(&ca_key).expect("a certificate");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf = CertificateParams::new(names).expect("names");
        let issuer = Issuer::new(params, ca_key);
        let cert = leaf.signed_by(&key, &issuer).expect("a certificate");
        Self {
            ca_pem: ca.pem(),
            cert_pem: cert.pem(),
            key_pem: key.serialize_pem(),
            ca: ca.der().clone(),
            cert: cert.der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).expect("a key of our own"),
            issuer,
        }
    }
}

impl Authority {
    /// What a server speaks with this certificate.
    ///
    /// # Panics
    /// Never: the certificate is sound.
    pub fn acceptor(&self, alpn: &[&str]) -> TlsAcceptor {
        let config = ServerConfig::builder().with_no_client_auth();
        let mut config = config.with_single_cert(vec![self.cert.clone()], self.key.clone_key()).expect("a sound pair");
        config.alpn_protocols = protocols(alpn);
        TlsAcceptor::from(Arc::new(config))
    }

    /// What a client speaks that trusts this authority alone.
    ///
    /// # Panics
    /// Never: the certificate is sound.
    pub fn connector(&self, alpn: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).expect("a sound certificate");
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols(alpn);
        TlsConnector::from(Arc::new(config))
    }
}

fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|name| name.as_bytes().to_vec()).collect()
}

/// A port whose connections are passed on to another, with TLS on one side. It ends when this is dropped.
pub struct Tunnel {
    /// Where it listens.
    pub address: SocketAddr,
    _tasks: JoinSet<()>,
}

#[derive(Clone)]
enum Side {
    Into(TlsConnector),
    OutOf(TlsAcceptor),
}

impl Tunnel {
    /// Plain connections go on to `to` with TLS.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn into_tls(connector: TlsConnector, to: SocketAddr) -> Self {
        Self::open(Side::Into(connector), to).await
    }

    /// TLS connections go on to `to` without it.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn out_of_tls(acceptor: TlsAcceptor, to: SocketAddr) -> Self {
        Self::open(Side::OutOf(acceptor), to).await
    }

    async fn open(side: Side, to: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn(carry(side.clone(), near, to));
            }
        });
        Self { address, _tasks: tasks }
    }
}

/// One connection; a side that can't be opened closes the other.
async fn carry(side: Side, near: TcpStream, to: SocketAddr) {
    match side {
        Side::Into(connector) => {
            let name = ServerName::try_from("localhost").expect("a name");
            let Ok(far) = TcpStream::connect(to).await else { return };
            if let Ok(far) = connector.connect(name, far).await {
                pass(near, far).await;
            }
        }
        Side::OutOf(acceptor) => {
            let Ok(near) = acceptor.accept(near).await else { return };
            if let Ok(far) = TcpStream::connect(to).await {
                pass(near, far).await;
            }
        }
    }
}

/// Passes bytes both ways until one side has ended; then both are closed.
async fn pass(mut near: impl AsyncRead + AsyncWrite + Unpin, mut far: impl AsyncRead + AsyncWrite + Unpin) {
    // A side that breaks off shows at the other.
    copy_bidirectional(&mut near, &mut far).await.unwrap_or_default();
}
