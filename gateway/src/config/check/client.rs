//! What is believed of clients: proxies before Weir, and a key in the URL.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::Check;
use crate::config::fault::Wrong;
use crate::config::settings::ClientSettings;
use crate::config::shape::Section;
use crate::identity::scope::range;

impl Check<'_> {
    pub(super) fn key_parameter(&mut self, section: &Section<'_>) -> Option<Arc<str>> {
        let name = section.text("query_parameter")?;
        // It is compared as it is written, without any decoding.
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
            self.fault(section.at("query_parameter"), Wrong::QueryParameter(name.to_owned()));
        }
        Some(name.into())
    }

    pub(super) fn client(&mut self, section: &Section<'_>) -> ClientSettings {
        let mut trusted_proxies = Vec::new();
        for (path, text) in section.texts("trusted_proxies") {
            match range(text) {
                Some(range) => trusted_proxies.push(range),
                None => self.fault(path, Wrong::NetRange(text.to_owned())),
            }
        }
        let geo_header = section.text("geo_header").map(str::to_ascii_lowercase);
        if let Some(name) = geo_header.as_ref().filter(|name| name.parse::<http::HeaderName>().is_err()) {
            self.fault(section.at("geo_header"), Wrong::HeaderName(name.clone()));
        }
        let strangers = section.int("strangers_per_minute").and_then(NonZeroU64::new);
        ClientSettings { trusted_proxies, geo_header: geo_header.map(Arc::from), strangers }
    }
}
