//! Data that administrators push beside the operator's own policy, in the place of a rule that would fetch it.
//!
//! One document, kept in the data folder, that is joined to `data` when a World is built: a rule sees all of a change
//! or nothing of it. What the policy's own files or the configuration say can't be pushed over.

use std::path::Path;

use serde_json::{Map, Value as Json};

use super::bundle::keep::{KeepFault, read_whole, write_whole};

/// The document's file in the data folder.
const FILE: &str = "policy_data.json";
/// Bytes of the whole document.
pub const BYTES_MAX: usize = 4 << 20;
/// Levels of a path.
const LEVELS_MAX: usize = 16;
/// Bytes of one level's name.
const NAME_BYTES_MAX: usize = 128;

/// Why data is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PushFault {
    /// No path, or one that is too long.
    #[error("name a path of 1 to {LEVELS_MAX} levels, each of 1 to {NAME_BYTES_MAX} bytes")]
    Path,
    /// What the configuration grants.
    #[error("`weir/grants` comes from the configuration and can't be pushed")]
    Reserved,
    /// Something on the way to the path is no object.
    #[error("`{0}` was pushed and is no object: replace it, or remove it first")]
    NoObject(String),
    /// Too much altogether.
    #[error("all pushed data together would be longer than {BYTES_MAX} bytes")]
    TooLarge,
    /// The disk.
    #[error(transparent)]
    Keep(#[from] KeepFault),
}

/// All that was pushed: an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pushed(Map<String, Json>);

impl Pushed {
    /// What was pushed before the last end; nothing where nothing ever was.
    ///
    /// # Errors
    /// It can't be read: a policy must not decide as if it were empty.
    pub fn read(folder: &Path) -> Result<Self, KeepFault> {
        let path = folder.join(FILE);
        let bytes_max = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX);
        let Some(bytes) = read_whole(&path, bytes_max)? else { return Ok(Self::default()) };
        serde_json::from_slice(&bytes).map(Self).map_err(|_| KeepFault::Changed(path))
    }

    /// Keeps it for the next start.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, folder: &Path) -> Result<(), KeepFault> {
        write_whole(folder, FILE, &serde_json::to_vec(&self.0).unwrap_or_default())
    }

    /// The document, for a policy.
    pub fn document(&self) -> Json {
        Json::Object(self.0.clone())
    }

    /// The same with `value` at `path`; without one, with nothing there. The second half says whether there was
    /// something.
    ///
    /// # Errors
    /// It can't be there.
    pub fn with(&self, path: &str, value: Option<Json>) -> Result<(Self, bool), PushFault> {
        let levels: Vec<&str> = path.split('/').take(LEVELS_MAX.saturating_add(1)).collect();
        let is_name = |level: &&str| !level.is_empty() && level.len() <= NAME_BYTES_MAX;
        if levels.len() > LEVELS_MAX || !levels.iter().all(is_name) {
            return Err(PushFault::Path);
        }
        let is_grants = matches!(levels.as_slice(), ["weir"] | ["weir", "grants", ..]);
        if is_grants && value.is_some() {
            return Err(PushFault::Reserved);
        }
        let mut all = self.0.clone();
        let had = place(&mut all, &levels, value)?;
        if serde_json::to_vec(&all).map_or(usize::MAX, |bytes| bytes.len()) > BYTES_MAX {
            return Err(PushFault::TooLarge);
        }
        Ok((Self(all), had))
    }
}

/// Sets or removes what lies at the end of the levels.
fn place(into: &mut Map<String, Json>, levels: &[&str], value: Option<Json>) -> Result<bool, PushFault> {
    let [first, rest @ ..] = levels else { return Err(PushFault::Path) };
    if rest.is_empty() {
        return Ok(match value {
            Some(value) => into.insert((*first).to_owned(), value).is_some(),
            None => into.remove(*first).is_some(),
        });
    }
    if value.is_none() && !into.contains_key(*first) {
        return Ok(false);
    }
    let inner = into.entry((*first).to_owned()).or_insert_with(|| Json::Object(Map::new()));
    let inner = inner.as_object_mut().ok_or_else(|| PushFault::NoObject((*first).to_owned()))?;
    let had = place(inner, rest, value)?;
    // What only led to something removed is removed with it.
    if inner.is_empty() {
        into.remove(*first);
    }
    Ok(had)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn data_is_set_replaced_and_removed_at_its_path() {
        let (one, had) = Pushed::default().with("lists/blocked", Some(json!(["a"]))).unwrap();
        assert!(!had);
        let (two, _) = one.with("lists/more/deep", Some(json!(1))).unwrap();
        assert_eq!(two.document(), json!({"lists": {"blocked": ["a"], "more": {"deep": 1}}}));
        let (three, had) = two.with("lists/more/deep", None).unwrap();
        assert!(had && three == one, "nothing empty is left");
        assert!(!three.with("nowhere/at/all", None).unwrap().1);
        assert!(matches!(one.with("lists/blocked/x", Some(json!(1))), Err(PushFault::NoObject(_))));
        for path in ["", "/a", "a//b", "a/", &["a"; 17].join("/"), &"n".repeat(129)] {
            assert!(matches!(one.with(path, Some(json!(1))), Err(PushFault::Path)), "{path}");
        }
        for path in ["weir", "weir/grants", "weir/grants/acme"] {
            assert!(matches!(one.with(path, Some(json!({}))), Err(PushFault::Reserved)), "{path}");
        }
        assert!(one.with("weir/rules", Some(json!({"a": 1}))).is_ok());
        let long = json!("x".repeat(BYTES_MAX));
        assert!(matches!(one.with("a", Some(long)), Err(PushFault::TooLarge)));
    }

    #[test]
    fn what_is_kept_comes_back_and_what_is_broken_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Pushed::read(folder.path()).unwrap(), Pushed::default());
        let (pushed, _) = Pushed::default().with("a/b", Some(json!({"c": [1]}))).unwrap();
        pushed.write(folder.path()).unwrap();
        assert_eq!(Pushed::read(folder.path()).unwrap(), pushed);
        std::fs::write(folder.path().join(FILE), "[").unwrap();
        assert!(Pushed::read(folder.path()).is_err());
    }
}
