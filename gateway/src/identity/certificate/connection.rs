//! The certificate that a connection's client presented, and the last verdict about it.
//!
//! It is judged with each call and not with the handshake alone: a resumed session brings a certificate along that no
//! handshake looked at again, and a connection may outlive a certificate, a revocation list or an authority.

use parking_lot::Mutex;
use pingora::tls::CertificateDer;

use super::names::Names;
use super::trust::{self, Trust};
use super::{CertificateFault, DeniedCertificates};

/// Milliseconds for which a verdict about a chain counts, as one about a token does.
const REMEMBER_MS: u64 = 60_000;

/// A chain as presented; the client has proven that it holds the leaf's key.
#[derive(Debug)]
pub struct ClientCertificate {
    /// Position of the listener in the configuration.
    listener: usize,
    chain: Vec<CertificateDer<'static>>,
    names: Result<Names, CertificateFault>,
    last: Mutex<Option<Verdict>>,
}

#[derive(Debug, Clone, Copy)]
struct Verdict {
    /// Of the World whose authorities judged.
    revision: u64,
    until_ms: u64,
    result: Result<(), CertificateFault>,
}

/// What one World says of client certificates.
#[derive(Debug, Clone, Copy)]
pub struct Judges<'a> {
    /// The World's revision.
    pub revision: u64,
    /// Authorities by listener.
    pub trusts: &'a [Option<Trust>],
    /// Certificates that are refused.
    pub denied: &'a DeniedCertificates,
}

impl ClientCertificate {
    /// What a client of that listener presented, leaf first.
    pub fn new(listener: usize, chain: Vec<CertificateDer<'static>>) -> Self {
        let names = chain.first().ok_or(CertificateFault::Malformed).and_then(|leaf| Names::read(leaf));
        Self { listener, chain, names, last: Mutex::new(None) }
    }

    /// Judges it as of now.
    ///
    /// # Errors
    /// The first thing that is wrong: its authority, its time, its revocation, its form.
    pub fn judged(&self, judges: Judges<'_>, now_ms: u64) -> Result<&Names, CertificateFault> {
        self.chain_holds(judges, now_ms)?;
        let names = self.names.as_ref().map_err(|fault| *fault)?;
        names.holds(now_ms)?;
        match judges.denied.names(names) {
            true => Err(CertificateFault::Denied),
            false => Ok(names),
        }
    }

    fn chain_holds(&self, judges: Judges<'_>, now_ms: u64) -> Result<(), CertificateFault> {
        let known = *self.last.lock();
        if let Some(known) = known.filter(|last| last.revision == judges.revision && now_ms < last.until_ms) {
            return known.result;
        }
        let trust = judges.trusts.get(self.listener).and_then(Option::as_ref).ok_or(CertificateFault::Untrusted)?;
        let result = trust.judge(&self.chain, now_ms).map_err(|error| trust::fault(&error));
        let until_ms = now_ms.saturating_add(REMEMBER_MS);
        *self.last.lock() = Some(Verdict { revision: judges.revision, until_ms, result });
        result
    }
}
