//! Tenants of the store: levels that administrators add below those of the configuration. Pure.
//!
//! A stored level only narrows: it disables, takes roles away, keeps models to a list and tightens limits. Attributes
//! that the configuration sets stay as they are. Whatever an outer level withholds, an inner one can't give back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::TenantPath;
use crate::config::settings::LimitRule;
use crate::store::TenantRow;

/// Entries of each list of a stored tenant at most.
const LIST_MAX: usize = 256;
/// Bytes of each entry at most.
const ENTRY_BYTES_MAX: usize = 256;

/// What a stored level says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantSettings {
    /// Models that may be used here and below, at most: names, or a beginning followed by `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// Roles that nobody has here and below.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_roles: Vec<String>,
    /// Attributes for policy; one that the configuration sets stays as it is there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Limits that everybody here and below shares.
    #[serde(default)]
    pub limits: StoredLimits,
    /// Limits of each single key here and below.
    #[serde(default)]
    pub key_limits: StoredLimits,
}

/// Limits of a stored level; the tighter of these and the configuration's holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredLimits {
    /// Calls in a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<NonZeroU32>,
    /// Tokens in a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<NonZeroU64>,
    /// Calls at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<NonZeroU32>,
}

impl From<StoredLimits> for LimitRule {
    fn from(limits: StoredLimits) -> Self {
        Self {
            requests_per_minute: limits.requests_per_minute,
            tokens_per_minute: limits.tokens_per_minute,
            concurrency: limits.concurrency,
        }
    }
}

/// Why settings of a tenant can't be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsFault {
    /// A pattern with `*` in its middle, or nothing.
    #[error("a model is a name, or a beginning followed by `*`")]
    Model,
    /// Too much, or characters that belong in no name.
    #[error("a list has at most {LIST_MAX} entries of 1 to {ENTRY_BYTES_MAX} bytes without control characters")]
    Entry,
}

impl TenantSettings {
    /// Whether they can be kept.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self) -> Result<(), SettingsFault> {
        let models = self.models.iter().flatten();
        let plain =
            |text: &String| !text.is_empty() && text.len() <= ENTRY_BYTES_MAX && !text.chars().any(char::is_control);
        let counts = [self.models.as_ref().map_or(0, Vec::len), self.without_roles.len(), self.attributes.len()];
        let entries = models.clone().chain(&self.without_roles);
        let entries = entries.chain(self.attributes.iter().flat_map(|(name, value)| [name, value]));
        if counts.iter().any(|count| *count > LIST_MAX) || !entries.into_iter().all(plain) {
            return Err(SettingsFault::Entry);
        }
        let whole = |pattern: &String| !pattern.strip_suffix('*').unwrap_or(pattern).contains('*');
        if models.into_iter().all(whole) { Ok(()) } else { Err(SettingsFault::Model) }
    }
}

#[derive(Debug)]
struct Level {
    disabled: bool,
    settings: TenantSettings,
}

/// Every stored tenant, as of the last look at the store.
#[derive(Debug, Default)]
pub struct StoredTenants(HashMap<Box<str>, Level>);

/// What the stored levels of one path say together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Narrowed {
    /// Some level is disabled: nobody below it is served.
    pub disabled: bool,
    /// Models that all levels agree on; `None`: no level has a list.
    pub models: Option<Vec<String>>,
    /// Roles that are taken away.
    pub without_roles: BTreeSet<String>,
    /// Attributes; the innermost stored level wins, and the configuration over all of them.
    pub attributes: BTreeMap<String, String>,
}

impl Narrowed {
    /// The roles that are left.
    pub fn left_of(&self, roles: Arc<[Arc<str>]>) -> Arc<[Arc<str>]> {
        match self.without_roles.is_empty() {
            true => roles,
            false => roles.iter().filter(|role| !self.without_roles.contains(&***role)).cloned().collect(),
        }
    }
}

impl StoredTenants {
    /// Takes the rows.
    pub fn new(rows: Vec<TenantRow>) -> Self {
        let level = |row: TenantRow| (row.path.into(), Level { disabled: row.disabled, settings: row.settings });
        Self(rows.into_iter().map(level).collect())
    }

    /// Whether some level of the path is disabled.
    pub fn is_disabled(&self, path: &TenantPath) -> bool {
        !self.0.is_empty() && path.prefixes().any(|prefix| self.0.get(prefix).is_some_and(|level| level.disabled))
    }

    /// What the levels of a path say together; `None` where no level is stored.
    pub fn narrowed(&self, path: &TenantPath) -> Option<Narrowed> {
        if self.0.is_empty() {
            return None;
        }
        let mut sum: Option<Narrowed> = None;
        for level in path.prefixes().filter_map(|prefix| self.0.get(prefix)) {
            let sum = sum.get_or_insert_default();
            sum.disabled |= level.disabled;
            sum.models = narrower(sum.models.take(), level.settings.models.as_deref());
            sum.without_roles.extend(level.settings.without_roles.iter().cloned());
            sum.attributes.extend(level.settings.attributes.clone());
        }
        sum
    }

    /// Limits by level: those that everybody shares, and those of each key.
    pub fn limits(&self) -> HashMap<Box<str>, (LimitRule, LimitRule)> {
        let limits = |(path, level): (&Box<str>, &Level)| {
            (path.clone(), (level.settings.limits.into(), level.settings.key_limits.into()))
        };
        self.0.iter().map(limits).collect()
    }
}

/// What two lists of models both grant; a missing list grants all. A pattern is a name, or a beginning with `*`.
pub fn narrower(outer: Option<Vec<String>>, inner: Option<&[String]>) -> Option<Vec<String>> {
    let (Some(outer), Some(inner)) = (&outer, inner) else {
        return outer.or_else(|| inner.map(<[String]>::to_vec));
    };
    let mut both = BTreeSet::new();
    for (a, b) in outer.iter().flat_map(|a| inner.iter().map(move |b| (a, b))) {
        if covers(a, b) {
            both.insert(b.clone());
        } else if covers(b, a) {
            both.insert(a.clone());
        }
    }
    Some(both.into_iter().collect())
}

/// Whether everything that `inner` names is named by `outer`.
pub(super) fn covers(outer: &str, inner: &str) -> bool {
    match outer.strip_suffix('*') {
        Some(beginning) => inner.strip_suffix('*').unwrap_or(inner).starts_with(beginning),
        None => outer == inner,
    }
}

/// Attributes of the configuration, with those of the stored levels that it leaves open.
pub fn joined(
    configured: &Arc<BTreeMap<String, String>>,
    stored: &BTreeMap<String, String>,
) -> Arc<BTreeMap<String, String>> {
    if stored.is_empty() {
        return Arc::clone(configured);
    }
    let mut all = stored.clone();
    all.extend(configured.iter().map(|(name, value)| (name.clone(), value.clone())));
    Arc::new(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &str, settings: TenantSettings, disabled: bool) -> TenantRow {
        TenantRow { path: path.to_owned(), name: String::new(), disabled, settings, created_ms: 0, changed_ms: 0 }
    }

    fn models(list: &[&str]) -> TenantSettings {
        TenantSettings { models: Some(texts(list)), ..TenantSettings::default() }
    }

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn lists_meet_in_what_both_grant() {
        let cases: [(&[&str], &[&str], &[&str]); 6] = [
            (&["gpt-*"], &["gpt-4"], &["gpt-4"]),
            (&["gpt-4"], &["*"], &["gpt-4"]),
            (&["gpt-*", "small"], &["gpt-4*", "small", "big"], &["gpt-4*", "small"]),
            (&["a"], &["b"], &[]),
            (&["gpt-4"], &["gpt-40"], &[]),
            (&["gpt-4*"], &["gpt-*"], &["gpt-4*"]),
        ];
        for (outer, inner, expected) in cases {
            let both = narrower(Some(texts(outer)), Some(&texts(inner)));
            assert_eq!(both, Some(texts(expected)), "{outer:?} {inner:?}");
        }
        assert_eq!(narrower(None, None), None);
        assert_eq!(narrower(None, Some(&texts(&["a"]))), Some(texts(&["a"])));
    }

    #[test]
    fn levels_add_up_from_the_outside_in_and_a_sibling_does_not_count() {
        let outer = TenantSettings {
            without_roles: texts(&["admin"]),
            attributes: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
            ..models(&["gpt-*"])
        };
        let stored = StoredTenants::new(vec![
            row("acme", outer, false),
            row("acme/re", models(&["gpt-4"]), true),
            row("acme/research", models(&["gpt-5"]), false),
        ]);
        let path = |text: &str| TenantPath::parse(text).unwrap();
        let found = stored.narrowed(&path("acme/research/x")).unwrap();
        assert_eq!((found.disabled, found.models), (false, Some(texts(&["gpt-5"]))));
        assert_eq!(found.without_roles, BTreeSet::from(["admin".to_owned()]));
        assert_eq!(found.attributes["zone"], "a");
        assert!(stored.is_disabled(&path("acme/re/x")) && !stored.is_disabled(&path("acme/research")));
        assert_eq!(stored.narrowed(&path("globex")), None);
        let configured = Arc::new(BTreeMap::from([("zone".to_owned(), "operator".to_owned())]));
        assert_eq!(joined(&configured, &found.attributes)["zone"], "operator");
    }

    #[test]
    fn settings_that_can_not_be_meant_are_refused() {
        assert_eq!(models(&["a*"]).check(), Ok(()));
        assert_eq!(models(&["a*b"]).check(), Err(SettingsFault::Model));
        assert_eq!(models(&[""]).check(), Err(SettingsFault::Entry));
        let control = TenantSettings { without_roles: texts(&["a\nb"]), ..TenantSettings::default() };
        assert_eq!(control.check(), Err(SettingsFault::Entry));
    }
}
