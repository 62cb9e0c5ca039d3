//! Tenants: paths, models they may use, limits.

use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroU64};

use super::Check;
use crate::config::fault::{Doubt, Wrong, nearest};
use crate::config::file::Node;
use crate::config::settings::{LimitRule, ModelRule, TenantRule};
use crate::config::shape::Section;
use crate::identity::TenantPath;
use crate::routing::fair::Priority;

impl Check<'_> {
    /// Every tenant of the file.
    pub(super) fn tenants(&mut self, root: &Section<'_>, models: &[ModelRule]) -> Vec<TenantRule> {
        let mut paths = HashMap::new();
        let mut tenants = Vec::new();
        for section in root.sections("tenants") {
            let Some(path) = self.tenant_path(&section, &mut paths) else { continue };
            tenants.push(TenantRule {
                path,
                models: self.patterns(&section, models),
                roles: section.texts("roles").into_iter().map(|(_, role)| role.into()).collect(),
                attributes: section.text_map("attributes"),
                limits: limits(&section.section("limits")),
                key_limits: limits(&section.section("key_limits")),
                rules: self.limit_rules(&section, models),
                share: section.int("share").and_then(|share| u32::try_from(share).ok()).unwrap_or(1),
                priority: priority(section.text("priority")),
            });
        }
        if tenants.is_empty()
            && root.get("tenants").is_none_or(|node| matches!(node, Node::List(list) if list.is_empty()))
        {
            self.doubt(root.at("tenants"), Doubt::NoTenants);
        }
        self.unused_models(&tenants, models);
        tenants
    }

    fn tenant_path(&mut self, section: &Section<'_>, paths: &mut HashMap<TenantPath, String>) -> Option<TenantPath> {
        let text = section.text("path").filter(|text| !text.is_empty())?;
        match TenantPath::parse(text) {
            Err(error) => {
                self.fault(section.at("path"), error.into());
                None
            }
            Ok(path) => {
                if let Some(other) = paths.get(&path) {
                    self.fault(
                        section.at("path"),
                        Wrong::DuplicateName { name: text.to_owned(), other: other.clone() },
                    );
                }
                paths.entry(path.clone()).or_insert_with(|| section.path.clone());
                Some(path)
            }
        }
    }

    pub(super) fn patterns(&mut self, section: &Section<'_>, models: &[ModelRule]) -> Vec<String> {
        let mut patterns = Vec::new();
        for (place, pattern) in section.texts("models") {
            let beginning = pattern.strip_suffix('*').unwrap_or(pattern);
            if pattern.is_empty() || beginning.contains('*') {
                self.fault(place, Wrong::Pattern(pattern.to_owned()));
            } else if beginning == pattern && !models.iter().any(|model| &*model.name == pattern) {
                let suggestion = nearest(pattern, models.iter().map(|model| &*model.name));
                self.doubt(place, Doubt::UnknownModel { name: pattern.to_owned(), suggestion });
            }
            patterns.push(pattern.to_owned());
        }
        patterns
    }

    fn unused_models(&mut self, tenants: &[TenantRule], models: &[ModelRule]) {
        for (at, model) in models.iter().enumerate() {
            let granted = |pattern: &String| match pattern.strip_suffix('*') {
                Some(beginning) => model.name.starts_with(beginning),
                None => *pattern == *model.name,
            };
            if !tenants.is_empty() && !tenants.iter().flat_map(|tenant| &tenant.models).any(granted) {
                self.doubt(format!("models[{at}].name"), Doubt::UnusedModel(model.name.to_string()));
            }
        }
    }
}

fn limits(section: &Section<'_>) -> LimitRule {
    let calls = |key| section.int(key).and_then(|n| u32::try_from(n).ok()).and_then(NonZeroU32::new);
    LimitRule {
        requests_per_minute: calls("requests_per_minute"),
        tokens_per_minute: section.int("tokens_per_minute").and_then(NonZeroU64::new),
        concurrency: calls("concurrency"),
    }
}

fn priority(word: Option<&str>) -> Priority {
    match word {
        Some("high") => Priority::High,
        Some("low") => Priority::Low,
        _ => Priority::Normal,
    }
}
