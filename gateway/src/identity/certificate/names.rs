//! What a certificate is called, and when it holds. Pure.
//!
//! A certificate with a SPIFFE ID is held to the rules of an X509-SVID: exactly one URI, a well-formed id with a path,
//! and no right to sign other certificates.

use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::CertificateFault;

/// Bytes of a SPIFFE ID (SPIFFE-ID, section 2.3).
const SPIFFE_ID_BYTES_MAX: usize = 2_048;
/// Bytes of a trust domain's name (SPIFFE-ID, section 2.1).
const TRUST_DOMAIN_BYTES_MAX: usize = 255;
/// Names of one kind that are looked at: no client needs more.
const NAMES_MAX: usize = 64;

/// A certificate's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The SPIFFE ID, where it has one.
    pub spiffe: Option<String>,
    /// DNS names in lower case.
    pub dns: Vec<String>,
    /// E-mail addresses in lower case.
    pub emails: Vec<String>,
    /// The subject's common name, where it has exactly one.
    pub common_name: Option<String>,
    /// Serial number as lower-case hex without leading zeros.
    pub serial: String,
    /// SHA-256 of the whole certificate, as in `cnf.x5t#S256` (RFC 8705, section 3.1).
    pub sha256: [u8; 32],
    /// Unix seconds of its first and last moment.
    pub valid_s: (i64, i64),
}

impl Names {
    /// Reads a certificate.
    ///
    /// # Errors
    /// It is none, or it has a SPIFFE ID and breaks the rules of one.
    pub fn read(der: &[u8]) -> Result<Self, CertificateFault> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateFault::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateFault::Malformed);
        }
        let mut names = Self {
            spiffe: None,
            dns: Vec::new(),
            emails: Vec::new(),
            common_name: common_name(&certificate),
            serial: serial(certificate.raw_serial()),
            sha256: Sha256::digest(der).into(),
            valid_s: (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp()),
        };
        let mut uris = Vec::new();
        let alternatives = certificate.subject_alternative_name().map_err(|_| CertificateFault::Malformed)?;
        for name in alternatives.iter().flat_map(|names| &names.value.general_names) {
            if let GeneralName::URI(uri) = name {
                uris.push(*uri);
            } else if let GeneralName::DNSName(name) = name {
                names.dns.push(name.to_ascii_lowercase());
            } else if let GeneralName::RFC822Name(name) = name {
                names.emails.push(name.to_ascii_lowercase());
            }
        }
        if names.dns.len() > NAMES_MAX || names.emails.len() > NAMES_MAX {
            return Err(CertificateFault::Malformed);
        }
        names.spiffe = spiffe(&certificate, &uris)?;
        Ok(names)
    }

    /// Whether it holds at that moment.
    ///
    /// # Errors
    /// It has not begun, or has ended.
    pub fn holds(&self, now_ms: u64) -> Result<(), CertificateFault> {
        let now_s = i64::try_from(now_ms / 1_000).unwrap_or(i64::MAX);
        match self.valid_s {
            (begin, _) if now_s < begin => Err(CertificateFault::NotYet),
            (_, end) if now_s > end => Err(CertificateFault::Expired),
            _ => Ok(()),
        }
    }
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let mut all = certificate.subject().iter_common_name();
    let only = all.next().filter(|_| all.next().is_none())?;
    only.as_str().ok().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn serial(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    plain_serial(&hex)
}

/// A serial number as it is compared: lower-case hex without colons and leading zeros.
pub fn plain_serial(hex: &str) -> String {
    let plain: String = hex.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
    plain.trim_start_matches('0').to_owned()
}

/// The SPIFFE ID (X509-SVID, sections 2, 4 and 5.2).
fn spiffe(certificate: &X509Certificate<'_>, uris: &[&str]) -> Result<Option<String>, CertificateFault> {
    let is_spiffe = |uri: &&&str| uri.get(..9).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe://"));
    let Some(id) = uris.iter().find(is_spiffe) else { return Ok(None) };
    if uris.len() != 1 {
        return Err(CertificateFault::ManyUris);
    }
    if !is_spiffe_id(id) {
        return Err(CertificateFault::SpiffeId);
    }
    let usage = certificate.key_usage().map_err(|_| CertificateFault::Malformed)?;
    let may_sign = usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign());
    match certificate.is_ca() || may_sign {
        true => Err(CertificateFault::SpiffeAuthority),
        false => Ok(Some((*id).to_owned())),
    }
}

/// Whether a text is the SPIFFE ID of a workload: a trust domain and at least one part of a path (SPIFFE-ID, section
/// 2). One id has one text, so that it can be compared byte by byte.
pub fn is_spiffe_id(text: &str) -> bool {
    let Some((domain, path)) = text.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let in_domain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
    let in_part = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(in_part);
    text.len() <= SPIFFE_ID_BYTES_MAX
        && !domain.is_empty()
        && domain.len() <= TRUST_DOMAIN_BYTES_MAX
        && domain.bytes().all(in_domain)
        && path.split('/').all(is_part)
}
