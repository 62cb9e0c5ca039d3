//! Where several gateways count their limits together.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::{Check, ms};
use crate::config::fault::Wrong;
use crate::config::settings::Secret;
use crate::config::shape::Section;
use crate::limits::redis::settings::{FAILURES_MAX, FLUSH_MAX, PROBE_EVERY, RedisSettings};

impl Check<'_> {
    /// The section `redis`; `None` without one.
    pub(super) fn redis(&mut self, root: &Section<'_>) -> Option<RedisSettings> {
        root.get("redis")?;
        let section = root.section("redis");
        let urls = self.secret(&section, "url")?;
        let urls: Vec<Secret> = String::from_utf8_lossy(urls.expose())
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| Secret::new(line.as_bytes()))
            .collect();
        let prefix = section.text("prefix")?;
        if prefix.is_empty() || prefix.contains(['{', '}', ' ']) {
            self.fault(section.at("prefix"), Wrong::LimitRule("a prefix has no braces and no blanks"));
        }
        let authorities = self.existing(&section, "ca_file");
        let authorities_pem = authorities.and_then(|path| std::fs::read(path).ok()).map(Arc::from);
        let settings = RedisSettings {
            urls,
            is_cluster: section.bool("cluster"),
            authorities_pem,
            prefix: prefix.into(),
            timeout: ms(&section, "timeout_ms"),
            failures_max: FAILURES_MAX,
            probe_every: PROBE_EVERY,
            nodes: section.int("nodes").and_then(|nodes| u32::try_from(nodes).ok()).and_then(NonZeroU32::new)?,
            flush_max: FLUSH_MAX,
        };
        if settings.urls.is_empty() {
            self.fault(section.at("url"), Wrong::EmptyList);
        }
        Some(settings)
    }
}
