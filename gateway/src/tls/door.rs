//! A TLS listener: its certificate, and whether it asks clients for theirs.
//!
//! A listener that requires certificates ends the handshake of a client without a good one: strangers never get to
//! speak HTTP. One that takes them optionally lets the client in and judges with each call, so that a refusal is an
//! answer with a reason and a line of the audit log. Both judge by the World of that moment.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::listeners::TlsAccept;
use pingora::listeners::tls::TlsSettings;
use pingora::protocols::tls::TlsRef;
use pingora::tls::{
    CertificateDer, CertificateError, ClientCertVerified, ClientCertVerifier, DigitallySignedStruct,
    HandshakeSignatureValid, RusTlsError, SignatureScheme, UnixTime,
};
use tokio_rustls::rustls::DistinguishedName;

use crate::clock;
use crate::config::settings::{ClientAuth, TlsFiles};
use crate::identity::certificate::ClientCertificate;
use crate::identity::certificate::trust::{self, Trust};
use crate::running::Running;
use crate::telemetry::metric;

/// What Pingora needs to open the listener at that position of the configuration.
///
/// # Errors
/// A file can't be used.
pub fn settings(listener: usize, files: &TlsFiles, running: &Arc<Running>) -> Result<TlsSettings, String> {
    let (cert, key) = (files.cert.display().to_string(), files.key.display().to_string());
    let fault = |error: Box<pingora::Error>| error.to_string();
    let Some(auth) = files.clients else {
        let mut tls = TlsSettings::intermediate(&cert, &key).map_err(fault)?;
        tls.enable_h2();
        return Ok(tls);
    };
    let first = running.world.load().trusts.get(listener).cloned().flatten();
    let first = first.ok_or("no authority for client certificates")?;
    let mut tls = TlsSettings::with_callbacks(Box::new(Keeper { listener })).map_err(fault)?;
    tls.set_certificate_chain_file(&cert).map_err(fault)?;
    tls.set_private_key_file(&key).map_err(fault)?;
    tls.set_client_cert_verifier(Arc::new(Door { listener, auth, signatures: first, running: running.clone() }));
    tls.enable_h2();
    Ok(tls)
}

/// Keeps what the client presented with the connection.
struct Keeper {
    listener: usize,
}

#[async_trait]
impl TlsAccept for Keeper {
    async fn handshake_complete_callback(&self, tls: &TlsRef) -> Option<Arc<dyn Any + Send + Sync>> {
        let chain = tls.peer_cert_chain_der()?.to_vec();
        Some(Arc::new(ClientCertificate::new(self.listener, chain)))
    }
}

/// Asks clients for certificates, and judges them in the handshake where they are required.
struct Door {
    listener: usize,
    auth: ClientAuth,
    /// Proves signatures, whoever the authorities are meanwhile.
    signatures: Trust,
    running: Arc<Running>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("listener", &self.listener).field("auth", &self.auth).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for Door {
    fn client_auth_mandatory(&self) -> bool {
        self.auth == ClientAuth::Required
    }

    /// None: authorities may change while the listener stays, and clients then send what they have.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, RusTlsError> {
        if self.auth == ClientAuth::Optional {
            return Ok(ClientCertVerified::assertion());
        }
        let chain: Vec<_> = std::iter::once(leaf).chain(above).map(|one| CertificateDer::from(one.as_ref())).collect();
        let world = self.running.world.load();
        let trust = world.trusts.get(self.listener).and_then(Option::as_ref);
        let trust = trust.ok_or(RusTlsError::InvalidCertificate(CertificateError::UnknownIssuer))?;
        match trust.judge(&chain, clock::unix_ms()) {
            Ok(()) => Ok(ClientCertVerified::assertion()),
            Err(error) => {
                let reason = trust::fault(&error).code();
                metric::certificate_judged("handshake", reason);
                tracing::info!(listener = self.listener, reason, "a client's certificate was refused");
                Err(error)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RusTlsError> {
        self.signatures.signatures().verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RusTlsError> {
        self.signatures.signatures().verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.signatures().supported_verify_schemes()
    }
}
