//! Which authorities a listener's clients are vouched for by, and which of their certificates are revoked.
//!
//! Part of a World: a reload brings new authorities and revocation lists, also for connections that are open. The
//! chain itself is judged by webpki.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pingora::tls::{
    CertificateDer, CertificateError, ClientCertVerifier, RootCertStore, RusTlsError, UnixTime, WebPkiClientVerifier,
    install_default_crypto_provider,
};
use tokio_rustls::rustls::pki_types::CertificateRevocationListDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::CertificateFault;
use crate::config::settings::ClientTrust;

/// Authorities, ready to judge.
#[derive(Clone)]
pub struct Trust(Arc<dyn ClientCertVerifier>);

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust(..)")
    }
}

impl Trust {
    /// Reads the authorities and the revocation lists.
    ///
    /// # Errors
    /// A file holds none, or one that can't be used; the text says which.
    pub fn new(files: &ClientTrust) -> Result<Self, String> {
        install_default_crypto_provider();
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(&files.ca) {
            let authority = authority.map_err(|error| format!("client_ca: {error}"))?;
            roots.add(authority).map_err(|error| format!("client_ca: {error}"))?;
        }
        if roots.is_empty() {
            return Err("client_ca: the file holds no PEM block `CERTIFICATE`".to_owned());
        }
        let mut builder = WebPkiClientVerifier::builder(Arc::new(roots));
        if let Some(lists) = &files.crl {
            let lists = CertificateRevocationListDer::pem_slice_iter(lists).collect::<Result<Vec<_>, _>>();
            let lists = lists.map_err(|error| format!("client_crl: {error}"))?;
            if lists.is_empty() {
                return Err("client_crl: the file holds no PEM block `X509 CRL`".to_owned());
            }
            // Every certificate of the chain must be covered, by a list that is not out of date.
            builder = builder.with_crls(lists).enforce_revocation_expiration();
        }
        builder.build().map(Self).map_err(|error| format!("client_crl: {error}"))
    }

    /// Judges a chain, leaf first.
    ///
    /// # Errors
    /// As rustls says it.
    pub fn judge(&self, chain: &[CertificateDer<'_>], now_ms: u64) -> Result<(), RusTlsError> {
        let (leaf, above) =
            chain.split_first().ok_or(RusTlsError::InvalidCertificate(CertificateError::BadEncoding))?;
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
        self.0.verify_client_cert(leaf, above, now).map(|_| ())
    }

    /// What proves the possession of a certificate's key in a handshake; it is the same for every authority.
    pub fn signatures(&self) -> &Arc<dyn ClientCertVerifier> {
        &self.0
    }
}

/// What rustls found wrong with a chain, in our words.
#[allow(clippy::wildcard_enum_match_arm, reason = "rustls may name more reasons; each is a refusal")]
pub fn fault(error: &RusTlsError) -> CertificateFault {
    use CertificateError as Wrong;
    let RusTlsError::InvalidCertificate(wrong) = error else { return CertificateFault::Untrusted };
    match wrong {
        Wrong::BadEncoding => CertificateFault::Malformed,
        Wrong::Expired | Wrong::ExpiredContext { .. } => CertificateFault::Expired,
        Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => CertificateFault::NotYet,
        Wrong::Revoked => CertificateFault::Revoked,
        Wrong::UnknownRevocationStatus | Wrong::ExpiredRevocationList | Wrong::ExpiredRevocationListContext { .. } => {
            CertificateFault::RevocationUnknown
        }
        Wrong::InvalidPurpose | Wrong::InvalidPurposeContext { .. } => CertificateFault::Purpose,
        _ => CertificateFault::Untrusted,
    }
}
