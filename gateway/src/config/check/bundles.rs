//! Policy bundles: names, sources, keys, and what each may own.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::Check;
use super::identity::{is_loopback, is_web};
use crate::config::fault::{Doubt, Wrong};
use crate::config::resolve;
use crate::config::secret::{Reference, SECRET_BYTES_MAX};
use crate::config::settings::{PolicyEngine, PolicySettings, Secret};
use crate::config::shape::Section;
use crate::identity::TenantPath;
use crate::identity::token::algorithm;
use crate::policy::bundle::roots::Root;
use crate::policy::bundle::rule::{BundleRule, Mode, OnStale, Signer, Source};
use crate::policy::bundle::signature;

impl Check<'_> {
    /// Every bundle of the file.
    pub(super) fn bundles(&mut self, policy: &Section<'_>, settings: &PolicySettings) -> Vec<Arc<BundleRule>> {
        let mut all: Vec<Arc<BundleRule>> = Vec::new();
        for section in policy.sections("bundles") {
            let Some(rule) = self.bundle(&section, settings.timeout, settings.engine) else { continue };
            if all.iter().any(|other| other.name == rule.name) {
                let (name, other) = (rule.name.to_string(), "policy.bundles".to_owned());
                self.fault(section.at("name"), Wrong::DuplicateName { name, other });
            }
            all.push(Arc::new(rule));
        }
        all
    }

    fn bundle(&mut self, section: &Section<'_>, timeout: Duration, engine: PolicyEngine) -> Option<BundleRule> {
        let name = section.text("name").unwrap_or_default();
        let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        // It is a folder's name too.
        if name.is_empty() || name.len() > 32 || !name.bytes().all(is_plain) {
            self.fault(section.at("name"), Wrong::Name(name.to_owned()));
        }
        let entrypoint = section.text("entrypoint").unwrap_or_default();
        self.entrypoint(section, entrypoint);
        let tenant = self.bundle_tenant(section);
        let roots = self.roots(section, tenant.as_ref());
        let token = self.secret(section, "token");
        self.fits_header(section.at("token"), token.as_ref());
        let signer = section.get("signature").and_then(|_| self.signer(&section.section("signature")));
        let source = self.source(section, section.get("signature").is_none(), token.is_some());
        let int = |key: &str| section.int(key).unwrap_or_default();
        let ms = |key: &str| Duration::from_millis(int(key));
        let (poll_min, poll_max) = (int("poll_min_ms"), int("poll_max_ms"));
        if poll_max < poll_min {
            let wrong = Wrong::Range { min: poll_min, max: 86_400_000, got: poll_max.to_string() };
            self.fault(section.at("poll_max_ms"), wrong);
        }
        Some(BundleRule {
            name: name.into(),
            source: source?,
            token,
            tenant,
            entrypoint: entrypoint.to_owned(),
            roots,
            signer,
            poll: (ms("poll_min_ms"), ms("poll_max_ms")),
            long_poll: Duration::from_secs(int("long_poll_s")),
            staleness_max: section.int("max_staleness_s").map(Duration::from_secs),
            on_stale: match section.text("on_stale") {
                Some("keep") => OnStale::Keep,
                Some(_) | None => OnStale::Deny,
            },
            mode: match section.text("mode") {
                Some("shadow") => Mode::Shadow,
                Some(_) | None => Mode::Enforce,
            },
            percent: u8::try_from(int("percent")).unwrap_or(100),
            keep: super::to_usize(int("keep")),
            timeout,
            engine,
        })
    }

    fn bundle_tenant(&mut self, section: &Section<'_>) -> Option<TenantPath> {
        let text = section.text("tenant").filter(|text| !text.is_empty())?;
        TenantPath::parse(text).map_err(|error| self.fault(section.at("tenant"), error.into())).ok()
    }

    /// Those of the file; else a tenant's own path, or everything.
    fn roots(&mut self, section: &Section<'_>, tenant: Option<&TenantPath>) -> Vec<Root> {
        let mut all = Vec::new();
        for (place, text) in section.texts("roots") {
            match Root::parse(text) {
                Some(root) => all.push(root),
                None => self.fault(place, Wrong::Root(text.to_owned())),
            }
        }
        if all.is_empty() {
            all.extend(Root::parse(tenant.map_or("", TenantPath::as_str)));
        }
        all
    }

    fn source(&mut self, section: &Section<'_>, is_unsigned: bool, has_token: bool) -> Option<Source> {
        let text = section.text("url").filter(|text| !text.is_empty())?;
        if let Some(path) = text.strip_prefix("file:") {
            let path = resolve(self.folder, path);
            if let Err(error) = std::fs::metadata(&path) {
                self.fault(section.at("url"), Wrong::File { path: path.clone(), why: error.to_string() });
            }
            return Some(Source::Path(path));
        }
        let Some(url) = Url::parse(text).ok().filter(|_| is_web(text)) else {
            self.fault(section.at("url"), Wrong::BundleUrl);
            return None;
        };
        if is_unsigned {
            self.doubt(section.at("signature"), Doubt::UnsignedBundle);
        }
        if has_token && url.scheme() == "http" && !is_loopback(&url) {
            self.doubt(section.at("url"), Doubt::PlainBundle);
        }
        Some(Source::Http(url))
    }

    fn signer(&mut self, section: &Section<'_>) -> Option<Signer> {
        let name = section.text("algorithm").unwrap_or_default();
        let Some(algorithm) = algorithm(name) else {
            if section.get("algorithm").is_some() {
                self.fault(section.at("algorithm"), Wrong::Algorithm(name.to_owned()));
            }
            return None;
        };
        // A public key is no secret: others may read its file.
        let key = match name.starts_with("HS") {
            true => self.secret(section, "key"),
            false => self.public_key(section),
        };
        let text = |key: &str| section.text(key).filter(|text| !text.is_empty()).map(str::to_owned);
        let signer = Signer { key: key?, algorithm, key_id: text("key_id"), scope: text("scope") };
        if !signature::is_usable(&signer) {
            self.fault(section.at("key"), Wrong::BundleKey(name.to_owned()));
        }
        Some(signer)
    }

    fn public_key(&mut self, section: &Section<'_>) -> Option<Secret> {
        let path = match Reference::parse(section.text("key")?) {
            Ok(Reference::File(path)) => resolve(self.folder, path),
            Ok(Reference::Env(_)) | Err(_) => return self.secret(section, "key"),
        };
        self.watched.push(path.clone());
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&path).and_then(|file| file.take(SECRET_BYTES_MAX).read_to_end(&mut bytes));
        match read {
            Ok(_) => Some(Secret::new(&bytes)),
            Err(error) => {
                self.fault(section.at("key"), Wrong::File { path, why: error.to_string() });
                None
            }
        }
    }
}
