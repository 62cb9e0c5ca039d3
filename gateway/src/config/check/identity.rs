//! Issuers: names, tenants, algorithms, and where their keys are.

use std::path::PathBuf;
use std::sync::Arc;

use url::{Host, Url};

use super::Check;
use crate::config::fault::{Doubt, Wrong};
use crate::config::resolve;
use crate::config::settings::TenantRule;
use crate::config::shape::Section;
use crate::identity::TenantPath;
use crate::identity::introspect::Introspection;
use crate::identity::issuer::{IssuerRule, KeySource, TokenType};
use crate::identity::jwk::{KeySet, SET_BYTES_MAX, Symmetric};
use crate::identity::token::algorithm;

impl Check<'_> {
    /// Every issuer of the file.
    pub(super) fn issuers(&mut self, root: &Section<'_>, tenants: &[TenantRule]) -> Vec<Arc<IssuerRule>> {
        let mut all: Vec<Arc<IssuerRule>> = Vec::new();
        for section in root.section("identity").sections("issuers") {
            let Some(rule) = self.issuer(&section, tenants) else { continue };
            for (key, same) in [
                ("name", all.iter().any(|other| other.name == rule.name)),
                ("issuer", all.iter().any(|other| other.issuer == rule.issuer)),
            ] {
                if same {
                    let name = section.text(key).unwrap_or_default().to_owned();
                    self.fault(section.at(key), Wrong::DuplicateName { name, other: "identity.issuers".to_owned() });
                }
            }
            self.one_is_asked(&section, &rule, &all);
            all.push(Arc::new(rule));
        }
        all
    }

    fn issuer(&mut self, section: &Section<'_>, tenants: &[TenantRule]) -> Option<IssuerRule> {
        let name = self.plain_name(section);
        let audiences: Vec<String> = section.texts("audiences").into_iter().map(|(_, text)| text.to_owned()).collect();
        if audiences.is_empty() && section.get("audiences").is_some() {
            self.fault(section.at("audiences"), Wrong::EmptyList);
        }
        let keys = self.key_source(section);
        let algorithms = self.algorithms(section, matches!(keys, KeySource::File(_)));
        let tenant = self.speaks_for(section, tenants)?;
        Some(IssuerRule {
            name,
            issuer: section.text("issuer").unwrap_or_default().into(),
            audiences,
            algorithms,
            kind: match section.text("token_type") {
                Some("any") => TokenType::Any,
                _ => TokenType::AccessToken,
            },
            clients: section.texts("clients").into_iter().map(|(_, text)| text.to_owned()).collect(),
            leeway_s: section.int("leeway_s").unwrap_or_default(),
            age_max_s: section.int("age_max_s").unwrap_or_default(),
            tenant,
            path_claims: section.texts("path_claims").into_iter().map(|(_, text)| text.to_owned()).collect(),
            roles_claim: section.text("roles_claim").unwrap_or_default().to_owned(),
            roles: section.text_map("roles"),
            attributes: section.text_map("attributes"),
            user_claims: section.texts("user_claims").into_iter().map(|(_, text)| text.to_owned()).collect(),
            keys,
            refresh_s: section.int("refresh_s").unwrap_or_default(),
            stale_s: section.int("stale_s").unwrap_or_default(),
            cooldown_s: section.int("cooldown_s").unwrap_or_default(),
            introspection: self.introspection(section),
        })
    }

    /// A name that may be a label of metrics.
    pub(super) fn plain_name(&mut self, section: &Section<'_>) -> Arc<str> {
        let name = section.text("name").unwrap_or_default();
        let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if name.is_empty() || name.len() > 32 || !name.bytes().all(is_plain) {
            self.fault(section.at("name"), Wrong::Name(name.to_owned()));
        }
        name.into()
    }

    fn introspection(&mut self, outer: &Section<'_>) -> Option<Introspection> {
        outer.get("introspection")?;
        let section = outer.section("introspection");
        let secret = self.secret(&section, "client_secret");
        let text = section.text("url").filter(|text| !text.is_empty())?;
        let Some(url) = Url::parse(text).ok().filter(|_| is_web(text)) else {
            self.fault(section.at("url"), Wrong::IntrospectionUrl);
            return None;
        };
        if url.scheme() == "http" && !is_loopback(&url) {
            self.doubt(section.at("url"), Doubt::PlainUpstream(text.to_owned()));
        }
        Some(Introspection {
            url,
            client_id: section.text("client_id").unwrap_or_default().into(),
            client_secret: secret?,
            prefix: section.text("prefix").unwrap_or_default().to_owned(),
            cache_s: section.int("cache_s").unwrap_or_default(),
        })
    }

    /// A token must never be sent to an issuer that it may not be of.
    fn one_is_asked(&mut self, section: &Section<'_>, rule: &IssuerRule, others: &[Arc<IssuerRule>]) {
        let Some(own) = &rule.introspection else { return };
        let clashes = |other: &&Arc<IssuerRule>| {
            let is_same =
                |asks: &Introspection| asks.prefix.starts_with(&own.prefix) || own.prefix.starts_with(&asks.prefix);
            other.introspection.as_ref().is_some_and(is_same)
        };
        if let Some(other) = others.iter().find(clashes) {
            let place = section.section("introspection").at("prefix");
            self.fault(place, Wrong::TokenPrefix(other.name.to_string()));
        }
    }

    pub(super) fn speaks_for(&mut self, section: &Section<'_>, tenants: &[TenantRule]) -> Option<TenantPath> {
        let text = section.text("tenant").filter(|text| !text.is_empty())?;
        match TenantPath::parse(text) {
            Err(error) => {
                self.fault(section.at("tenant"), error.into());
                None
            }
            Ok(path) => {
                let covers = |rule: &TenantRule| path.is_within(&rule.path) || rule.path.is_within(&path);
                if !tenants.iter().any(covers) {
                    self.doubt(section.at("tenant"), Doubt::UncoveredTenant(text.to_owned()));
                }
                Some(path)
            }
        }
    }

    fn algorithms(&mut self, section: &Section<'_>, from_file: bool) -> Vec<jsonwebtoken::Algorithm> {
        let mut all = Vec::new();
        for (place, name) in section.texts("algorithms") {
            match algorithm(name) {
                Some(_) if name.starts_with("HS") && !from_file => self.fault(place, Wrong::SymmetricIssuer),
                Some(one) => all.push(one),
                None => self.fault(place, Wrong::Algorithm(name.to_owned())),
            }
        }
        all
    }

    fn key_source(&mut self, section: &Section<'_>) -> KeySource {
        let text = section.text("jwks").unwrap_or("discovery");
        if text == "discovery" {
            let issuer = section.text("issuer").unwrap_or_default();
            if section.get("issuer").is_some() && !is_web(issuer) {
                self.fault(section.at("issuer"), Wrong::IssuerUrl);
            }
            return KeySource::Discovery;
        }
        if let Some(path) = text.strip_prefix("file:") {
            return self.key_file(section, resolve(self.folder, path));
        }
        match Url::parse(text) {
            Ok(url) if is_web(text) => KeySource::Url(url),
            Ok(_) | Err(_) => {
                self.fault(section.at("jwks"), Wrong::KeySource);
                KeySource::Discovery
            }
        }
    }

    fn key_file(&mut self, section: &Section<'_>, path: PathBuf) -> KeySource {
        let read = std::fs::read(&path).map_err(|error| error.to_string());
        let read = read.and_then(|bytes| match KeySet::parse(&bytes, Symmetric::Allowed) {
            Ok(_) if bytes.len() <= SET_BYTES_MAX => Ok(bytes),
            Ok(_) => Err("it is too large".to_owned()),
            Err(fault) => Err(fault.to_string()),
        });
        self.watched.push(path.clone());
        match read {
            Ok(bytes) => KeySource::File(bytes.into()),
            Err(why) => {
                self.fault(section.at("jwks"), Wrong::File { path, why });
                KeySource::Discovery
            }
        }
    }
}

/// Whether what is sent there stays on this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether it is an http or https URL without a credential in it.
pub(super) fn is_web(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    })
}
