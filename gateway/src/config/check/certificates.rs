//! Client certificates and proofs of possession: authorities, names, patterns, what is denied.

use std::path::Path;
use std::sync::Arc;

use url::Url;

use super::Check;
use super::identity::is_web;
use crate::config::fault::{Doubt, Wrong};
use crate::config::file::Node;
use crate::config::settings::{ClientTrust, Pepper, TenantRule};
use crate::config::shape::Section;
use crate::identity::TenantPath;
use crate::identity::certificate::names::plain_serial;
use crate::identity::certificate::pattern::{self, NameKind, Pattern, filled};
use crate::identity::certificate::{CertificateRule, DeniedCertificates};
use crate::identity::dpop::DpopRule;
use crate::identity::dpop::nonce::Nonces;
use crate::identity::token::algorithm;

impl Check<'_> {
    /// Who vouches for the clients of each listener.
    pub(super) fn client_trust(&mut self, root: &Section<'_>) -> Vec<Option<ClientTrust>> {
        if !matches!(root.get("listen"), Some(Node::List(_))) {
            return vec![None];
        }
        let listeners: Vec<_> = root.sections("listen").into_iter().collect();
        listeners.iter().map(|listener| self.trust(&listener.section("tls"))).collect()
    }

    fn trust(&mut self, tls: &Section<'_>) -> Option<ClientTrust> {
        let Some(ca) = self.path(tls, "client_ca") else {
            for key in ["client_auth", "client_crl"] {
                if tls.get(key).is_some() {
                    self.fault(tls.at(key), Wrong::NoClientCa);
                }
            }
            return None;
        };
        let crl = self.path(tls, "client_crl");
        let crl = crl.map(|path| self.named_pem(tls.at("client_crl"), &path, "X509 CRL-----"));
        Some(ClientTrust { ca: self.named_pem(tls.at("client_ca"), &ca, "CERTIFICATE-----"), crl })
    }

    fn named_pem(&mut self, place: String, path: &Path, block: &'static str) -> Arc<[u8]> {
        self.watched.push(path.to_owned());
        match std::fs::read(path) {
            Ok(bytes) => {
                self.pem(place, path, &bytes, block);
                bytes.into()
            }
            Err(error) => {
                self.fault(place, Wrong::File { path: path.to_owned(), why: error.to_string() });
                Arc::default()
            }
        }
    }

    /// Every rule about certificates.
    pub(super) fn certificates(&mut self, identity: &Section<'_>, tenants: &[TenantRule]) -> Vec<Arc<CertificateRule>> {
        let mut all: Vec<Arc<CertificateRule>> = Vec::new();
        for section in identity.sections("certificates") {
            let Some(rule) = self.certificate(&section, tenants) else { continue };
            if all.iter().any(|other| other.name == rule.name) {
                let other = "identity.certificates".to_owned();
                self.fault(section.at("name"), Wrong::DuplicateName { name: rule.name.to_string(), other });
            }
            all.push(Arc::new(rule));
        }
        all
    }

    /// Rules without a listener that would ever show them a certificate.
    pub(super) fn are_met(
        &mut self,
        identity: &Section<'_>,
        rules: &[Arc<CertificateRule>],
        trusts: &[Option<ClientTrust>],
    ) {
        if !rules.is_empty() && trusts.iter().all(Option::is_none) {
            self.doubt(identity.at("certificates"), Doubt::NoCertificates);
        }
    }

    fn certificate(&mut self, section: &Section<'_>, tenants: &[TenantRule]) -> Option<CertificateRule> {
        let name = section.text("name").unwrap_or_default();
        let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if name.is_empty() || name.len() > 32 || !name.bytes().all(is_plain) {
            self.fault(section.at("name"), Wrong::Name(name.to_owned()));
        }
        let written = section.text("kind").unwrap_or_default();
        let (_, kind) = NameKind::ALL.iter().find(|(known, _)| *known == written)?;
        let pattern = match Pattern::parse(*kind, section.text("pattern").filter(|text| !text.is_empty())?) {
            Ok(pattern) => pattern,
            Err(fault) => {
                self.fault(section.at("pattern"), fault.into());
                return None;
            }
        };
        let tenant = section.text("tenant").filter(|text| !text.is_empty())?;
        self.speaks_within(section, &pattern, tenant, tenants);
        let attributes = section.text_map("attributes");
        for (attribute, text) in &attributes {
            let unknown = pattern::asked(text).find(|part| !pattern.parts().any(|caught| caught == *part));
            if let Some(part) = unknown {
                let place = format!("{}.{attribute}", section.at("attributes"));
                self.fault(place, Wrong::CertificatePart(part.to_owned()));
            }
        }
        let roles = section.texts("roles").into_iter().map(|(_, role)| role.into()).collect();
        Some(CertificateRule { name: name.into(), pattern, tenant: tenant.to_owned(), roles, attributes })
    }

    /// A certificate's name may choose levels, and never the organisation.
    fn speaks_within(&mut self, section: &Section<'_>, pattern: &Pattern, tenant: &str, tenants: &[TenantRule]) {
        let unknown = pattern::asked(tenant).find(|part| !pattern.parts().any(|caught| caught == *part));
        let org = tenant.split('/').next().unwrap_or_default();
        if let Some(part) = unknown.or_else(|| pattern::asked(org).next()) {
            return self.fault(section.at("tenant"), Wrong::CertificatePart(part.to_owned()));
        }
        // Any part that is one level will do to see whether the rest is a path.
        let sample = filled(tenant, &pattern.parts().map(|part| (part, "x")).collect());
        if let Err(error) = TenantPath::parse(&sample) {
            return self.fault(section.at("tenant"), error.into());
        }
        let written = tenant.split('/').take_while(|level| !level.contains('{')).collect::<Vec<_>>().join("/");
        let covers = |rule: &TenantRule| {
            TenantPath::parse(&written).is_ok_and(|path| path.is_within(&rule.path) || rule.path.is_within(&path))
        };
        if !tenants.iter().any(covers) {
            self.doubt(section.at("tenant"), Doubt::UncoveredTenant(tenant.to_owned()));
        }
    }

    /// Certificates that are refused.
    pub(super) fn denied_certificates(&mut self, identity: &Section<'_>) -> DeniedCertificates {
        let mut denied = DeniedCertificates::default();
        for (place, text) in identity.texts("denied_certificates") {
            let (kind, hex) = text.split_once(':').unwrap_or_default();
            let is_hex = hex.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') && !hex.is_empty();
            match (kind, hash(hex)) {
                ("serial", _) if is_hex => {
                    denied.serials.insert(plain_serial(hex));
                }
                ("sha256", Some(hash)) => {
                    denied.hashes.insert(hash);
                }
                (_, _) => self.fault(place, Wrong::DeniedCertificate),
            }
        }
        denied
    }

    /// What proofs of possession must be; nothing where the gateway doesn't know its own address.
    pub(super) fn dpop(&mut self, identity: &Section<'_>, peppers: &[Pepper]) -> Option<DpopRule> {
        let section = identity.section("dpop");
        let mut algorithms = Vec::new();
        for (place, name) in section.texts("algorithms") {
            match algorithm(name).filter(|_| !name.starts_with("HS")) {
                Some(one) => algorithms.push(one),
                None => self.fault(place, Wrong::ProofAlgorithm(name.to_owned())),
            }
        }
        if algorithms.is_empty() && section.get("algorithms").is_some() {
            self.fault(section.at("algorithms"), Wrong::EmptyList);
        }
        let Some(text) = identity.text("public_url").filter(|text| !text.is_empty()) else {
            if identity.get("dpop").is_some() {
                let wrong = Wrong::Missing { key: "public_url", example: "https://ai.example.com" };
                self.fault(identity.at("public_url"), wrong);
            }
            return None;
        };
        let Some(public_url) = Url::parse(text).ok().filter(|url| is_web(text) && url.query().is_none()) else {
            self.fault(identity.at("public_url"), Wrong::PublicUrl);
            return None;
        };
        let secret = peppers.last().filter(|_| section.bool("nonce"));
        Some(DpopRule {
            public_url,
            algorithms,
            window_s: section.int("window_s").unwrap_or_default(),
            nonces: secret.map(|pepper| Nonces::new(pepper.secret.expose())),
        })
    }
}

/// 64 hex digits, with or without colons.
fn hash(hex: &str) -> Option<[u8; 32]> {
    let plain: String = hex.chars().filter(|c| *c != ':').collect();
    let mut hash = [0; 32];
    if plain.len() != 64 || !plain.is_ascii() {
        return None;
    }
    for (byte, at) in hash.iter_mut().zip((0..64_usize).step_by(2)) {
        *byte = u8::from_str_radix(plain.get(at..at.checked_add(2)?)?, 16).ok()?;
    }
    Some(hash)
}
