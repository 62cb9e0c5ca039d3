//! Certificates of clients, good ones and all others.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    CertificateParams, CertificateRevocationListParams, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use ring::digest::{SHA256, digest};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{Authority, protocols};

/// A certificate and its key.
pub struct ClientCertificate {
    /// In PEM.
    pub pem: String,
    cert: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl ClientCertificate {
    /// SHA-256 of the certificate as in `cnf.x5t#S256`.
    pub fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, &self.cert).as_ref())
    }
}

/// A name among the alternative ones, by its kind.
///
/// # Panics
/// The text is no ASCII, or the kind none of `uri`, `dns` and `email`.
pub fn name(kind: &str, text: &str) -> SanType {
    let text = text.try_into().expect("names are ascii");
    match kind {
        "uri" => SanType::URI(text),
        "dns" => SanType::DnsName(text),
        "email" => SanType::Rfc822Name(text),
        other => panic!("no kind of name: {other}"),
    }
}

impl Authority {
    /// A certificate with these names.
    ///
    /// # Panics
    /// The parameters contradict each other.
    pub fn client(&self, names: Vec<SanType>, change: impl FnOnce(&mut CertificateParams)) -> ClientCertificate {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.subject_alt_names = names;
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        ClientCertificate {
            pem: cert.pem(),
            cert: cert.der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).expect("a key of our own"),
        }
    }

    /// A list of the certificates that this authority took back.
    ///
    /// # Panics
    /// Never: the list is sound.
    pub fn revokes(&self, serials: &[u64]) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2999, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).expect("a list").pem().expect("a list in pem")
    }

    /// What a client speaks that trusts this authority alone and presents that certificate.
    ///
    /// # Panics
    /// Never: the certificates are sound.
    pub fn connector_of(&self, client: &ClientCertificate, alpn: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).expect("a sound certificate");
        let config = ClientConfig::builder().with_root_certificates(roots);
        let config = config.with_client_auth_cert(vec![client.cert.clone()], client.key.clone_key());
        let mut config = config.expect("a sound pair");
        config.alpn_protocols = protocols(alpn);
        TlsConnector::from(Arc::new(config))
    }
}
