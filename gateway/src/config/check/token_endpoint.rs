//! Weir's own token endpoint: its name, which must be nobody else's.

use std::num::NonZeroU64;
use std::sync::Arc;

use url::Url;

use super::Check;
use super::identity::{is_loopback, is_web};
use crate::config::fault::{Doubt, Wrong};
use crate::config::shape::Section;
use crate::identity::issuer::IssuerRule;
use crate::identity::own_tokens::TokenEndpointRule;

impl Check<'_> {
    /// The token endpoint of the file, where there is one.
    pub(super) fn token_endpoint(
        &mut self,
        root: &Section<'_>,
        issuers: &[Arc<IssuerRule>],
    ) -> Option<TokenEndpointRule> {
        let identity = root.section("identity");
        identity.get("token_endpoint")?;
        let section = identity.section("token_endpoint");
        let issuer = section.text("issuer").filter(|text| !text.is_empty())?;
        let Some(url) = Url::parse(issuer).ok().filter(|url| is_web(issuer) && is_origin(url, issuer)) else {
            self.fault(section.at("issuer"), Wrong::OwnIssuer);
            return None;
        };
        if url.scheme() == "http" && !is_loopback(&url) {
            self.doubt(section.at("issuer"), Doubt::PlainUpstream(issuer.to_owned()));
        }
        if let Some(other) = issuers.iter().find(|other| &*other.issuer == issuer) {
            let other = format!("identity.issuers ({})", other.name);
            self.fault(section.at("issuer"), Wrong::DuplicateName { name: issuer.to_owned(), other });
        }
        let limit = |key: &str| section.int(key).and_then(NonZeroU64::new).unwrap_or(NonZeroU64::MIN);
        let audience = section.text("audience").filter(|text| !text.is_empty()).unwrap_or(issuer);
        Some(TokenEndpointRule {
            issuer: issuer.into(),
            audiences: vec![audience.to_owned()],
            lifetime_s: section.int("lifetime_s").unwrap_or_default(),
            client_requests: limit("requests_per_minute"),
            address_requests: limit("address_requests_per_minute"),
            optional_roles: section.texts("optional_roles").into_iter().map(|(_, text)| text.to_owned()).collect(),
        })
    }
}

/// Whether it is scheme, host and port as a URL writes them, and nothing else.
fn is_origin(url: &Url, text: &str) -> bool {
    url.origin().ascii_serialization() == text
}
