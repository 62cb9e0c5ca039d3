//! Client certificates as identities (RFC 8705, SPIFFE X509-SVID): who a certificate speaks for, by rules.
//!
//! A certificate counts for nothing before it is judged: [`connection`] holds what a client presented, [`trust`] says
//! whether its chain holds, [`names`] what it is called. A rule then maps one kind of name to a tenant. Refuses a
//! certificate of which two names stand for different callers. Start at [`caller`].

pub mod connection;
pub mod names;
pub mod pattern;
pub mod trust;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use connection::ClientCertificate;
use names::Names;
use pattern::{Captures, NameKind, Pattern, filled};

use super::{KeyId, TenantPath};

/// Why a certificate isn't accepted. Each has a code of its own; clients learn only that the certificate is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CertificateFault {
    /// It is no X.509 certificate, or its extensions contradict each other.
    #[error("the certificate is malformed")]
    Malformed,
    /// No authority of the listener vouches for it.
    #[error("no trusted authority vouches for the certificate")]
    Untrusted,
    /// It, or a certificate above it, has ended.
    #[error("the certificate is expired")]
    Expired,
    /// It, or a certificate above it, has not begun.
    #[error("the certificate is not valid yet")]
    NotYet,
    /// A revocation list names it.
    #[error("the certificate is on a revocation list")]
    Revoked,
    /// Revocation lists are configured and none of them, or only an old one, speaks of it.
    #[error("no current revocation list covers the certificate")]
    RevocationUnknown,
    /// It is for something else than clients.
    #[error("the certificate is not for clients")]
    Purpose,
    /// `identity.denied_certificates` names it.
    #[error("the certificate is denied by configuration")]
    Denied,
    /// A SPIFFE ID beside another URI: which one counts nobody can say.
    #[error("a certificate with a SPIFFE ID must have exactly one URI")]
    ManyUris,
    /// A SPIFFE ID that is none.
    #[error("the certificate's SPIFFE ID is malformed")]
    SpiffeId,
    /// A SPIFFE ID on an authority's certificate.
    #[error("a certificate that may sign others is nobody's identity")]
    SpiffeAuthority,
    /// No rule takes it.
    #[error("no rule takes the certificate's names")]
    NoRule,
    /// Two of its names stand for different callers.
    #[error("the certificate's names stand for different callers")]
    Ambiguous,
    /// What its name gives is no tenant path.
    #[error("the certificate's name gives no tenant")]
    Tenant,
}

impl CertificateFault {
    /// Reason code for the audit record, metrics and `weir token check`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "certificate_malformed",
            Self::Untrusted => "certificate_untrusted",
            Self::Expired => "certificate_expired",
            Self::NotYet => "certificate_not_yet_valid",
            Self::Revoked => "certificate_revoked",
            Self::RevocationUnknown => "certificate_revocation_unknown",
            Self::Purpose => "certificate_purpose",
            Self::Denied => "certificate_denied",
            Self::ManyUris => "certificate_many_uris",
            Self::SpiffeId => "certificate_spiffe_id",
            Self::SpiffeAuthority => "certificate_spiffe_authority",
            Self::NoRule => "certificate_unknown",
            Self::Ambiguous => "certificate_ambiguous",
            Self::Tenant => "certificate_tenant",
        }
    }
}

/// Which certificates stand for which caller, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRule {
    /// Name in metrics, audit and key ids.
    pub name: Arc<str>,
    /// The names that it takes.
    pub pattern: Pattern,
    /// The tenant path; `{part}` stands for what the pattern caught there.
    pub tenant: String,
    /// Roles of these callers.
    pub roles: Vec<Arc<str>>,
    /// Attributes for policy; `{part}` as in the tenant.
    pub attributes: BTreeMap<String, String>,
}

/// Certificates that are refused whatever their authority says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeniedCertificates {
    /// Serial numbers as lower-case hex without leading zeros.
    pub serials: HashSet<String>,
    /// SHA-256 of the whole certificate.
    pub hashes: HashSet<[u8; 32]>,
}

impl DeniedCertificates {
    /// Whether the list names this one.
    pub fn names(&self, certificate: &Names) -> bool {
        self.serials.contains(&certificate.serial) || self.hashes.contains(&certificate.sha256)
    }
}

/// Who a certificate speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    /// The rule that took it.
    pub rule: Arc<str>,
    /// The tenant path.
    pub tenant: TenantPath,
    /// Stands for the name without telling it.
    pub key: KeyId,
    /// Weir's roles.
    pub roles: Vec<Arc<str>>,
    /// Attributes for policy.
    pub attributes: BTreeMap<String, String>,
}

/// Who a certificate that was judged good speaks for: the first rule that takes one of its names decides.
///
/// # Errors
/// No rule does, or the rule takes two names that stand for different callers.
pub fn caller(rules: &[Arc<CertificateRule>], names: &Names) -> Result<Spoken, CertificateFault> {
    for rule in rules {
        let mut found: Option<Spoken> = None;
        for name in candidates(names, rule.pattern.kind()) {
            let Some(captures) = rule.pattern.captures(name) else { continue };
            let spoken = spoken(rule, name, &captures)?;
            // One caller with two names is one caller; its key id is that of the first.
            match &found {
                Some(other) if other.tenant != spoken.tenant || other.attributes != spoken.attributes => {
                    return Err(CertificateFault::Ambiguous);
                }
                Some(_) => {}
                None => found = Some(spoken),
            }
        }
        if let Some(found) = found {
            return Ok(found);
        }
    }
    Err(CertificateFault::NoRule)
}

/// The names of one kind. A certificate with a SPIFFE ID is that identity and no other.
fn candidates(names: &Names, kind: NameKind) -> Vec<&str> {
    match (kind, &names.spiffe) {
        (NameKind::Spiffe, Some(id)) => vec![id],
        (NameKind::Dns, None) => names.dns.iter().map(String::as_str).collect(),
        (NameKind::Email, None) => names.emails.iter().map(String::as_str).collect(),
        (NameKind::CommonName, None) => names.common_name.iter().map(String::as_str).collect(),
        (NameKind::Spiffe, None) | (NameKind::Dns | NameKind::Email | NameKind::CommonName, Some(_)) => Vec::new(),
    }
}

fn spoken(rule: &CertificateRule, name: &str, captures: &Captures<'_>) -> Result<Spoken, CertificateFault> {
    // A part is one level: it can't leave its level or skip one.
    if captures.values().any(|part| part.contains('/')) {
        return Err(CertificateFault::Tenant);
    }
    let tenant = TenantPath::parse(&filled(&rule.tenant, captures)).map_err(|_| CertificateFault::Tenant)?;
    let attributes = rule.attributes.iter().map(|(name, text)| (name.clone(), filled(text, captures))).collect();
    Ok(Spoken { rule: rule.name.clone(), tenant, key: key_id(&rule.name, name), roles: rule.roles.clone(), attributes })
}

/// An id that is the same for each certificate of one name, and tells nobody which that is.
fn key_id(rule: &str, name: &str) -> KeyId {
    let hash = Sha256::digest(name.as_bytes());
    let hex: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    KeyId(format!("cert.{rule}.{hex}").into())
}

#[cfg(test)]
mod tests;
