//! The tenant path: `org/team/project/user`, and the key below it.
//!
//! Owns the syntax of the path. Every key in a store, counter or cache starts with it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Deepest path: organisation, team, project, user.
pub const LEVELS_MAX: usize = 4;
/// Longest name of one level, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// One to four names joined by `/`, each of `[a-z0-9._-]`, outermost first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantPath(Arc<str>);

/// Why a text is no tenant path.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PathError {
    /// More than four levels, or none.
    #[error("`{0}` must have one to {LEVELS_MAX} levels: org/team/project/user")]
    Levels(String),
    /// A level with another character, empty, or too long.
    #[error("`{name}` in `{path}` must be 1 to {NAME_BYTES_MAX} of a-z, 0-9, `.`, `_`, `-`")]
    Name {
        /// The whole path.
        path: String,
        /// The level that is wrong.
        name: String,
    },
}

impl TenantPath {
    /// Parses `org[/team[/project[/user]]]`.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let levels = text.split('/').count();
        if text.is_empty() || levels > LEVELS_MAX {
            return Err(PathError::Levels(text.to_owned()));
        }
        match text.split('/').find(|name| !is_name(name)) {
            Some(name) => Err(PathError::Name { path: text.to_owned(), name: name.to_owned() }),
            None => Ok(Self(text.into())),
        }
    }

    /// The whole path as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The organisation, the outermost level.
    pub fn org(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }

    /// Every prefix of the path, outermost first: `a`, `a/b`, `a/b/c`.
    pub fn prefixes(&self) -> impl Iterator<Item = &str> {
        let path: &str = &self.0;
        path.match_indices('/').map(|(at, _)| at).chain([path.len()]).filter_map(move |end| path.get(..end))
    }

    /// Whether this path is `other` or lies below it.
    pub fn is_within(&self, other: &TenantPath) -> bool {
        self.prefixes().any(|prefix| prefix == other.as_str())
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    // `.` and `..` would mean something else wherever a path is a path of files.
    let is_more_than_dots = name.bytes().any(|b| b != b'.');
    is_more_than_dots && name.len() <= NAME_BYTES_MAX && name.bytes().all(allowed)
}

impl fmt::Display for TenantPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for TenantPath {
    type Error = PathError;
    fn try_from(text: String) -> Result<Self, PathError> {
        Self::parse(&text)
    }
}

impl From<TenantPath> for String {
    fn from(path: TenantPath) -> Self {
        path.0.as_ref().to_owned()
    }
}

/// The public eight characters of an API key; the only part that may be logged.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub Arc<str>);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_run_from_the_organisation_inwards() {
        let path = TenantPath::parse("acme/research/chat/ada").unwrap();
        let all: Vec<_> = path.prefixes().collect();
        assert_eq!(all, ["acme", "acme/research", "acme/research/chat", "acme/research/chat/ada"]);
        assert_eq!(path.org(), "acme");
    }

    #[test]
    fn a_sibling_with_the_same_beginning_is_not_within() {
        let parent = TenantPath::parse("acme/re").unwrap();
        assert!(!TenantPath::parse("acme/research").unwrap().is_within(&parent));
        assert!(TenantPath::parse("acme/re/x").unwrap().is_within(&parent));
    }

    #[test]
    fn bad_paths_are_refused_with_the_level_that_is_wrong() {
        for bad in ["", "/", "a//b", "a/b/c/d/e", "A", "a b", "a/../b c", "ü"] {
            assert!(TenantPath::parse(bad).is_err(), "{bad}");
        }
        assert!(TenantPath::parse(&"x".repeat(65)).is_err());
    }
}
