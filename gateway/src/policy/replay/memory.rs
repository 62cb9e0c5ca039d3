//! Judgements that were made before, by exactly what the policies can read of the input: the text of those members.
//! Equal text is equal input; another spelling of the same is only judged once more.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::judge::Told;

/// Judgements of one thread. A full memory forgets all of them: what comes often is back at once.
const ENTRIES_MAX: usize = 100_000;

pub(super) type Key = [u8; 32];
type Judgement = (Told, Option<Told>);

/// Look-ups after which it is known whether the memory is of use.
const TRIAL: u64 = 8_192;
/// One look-up of so many must find something, or making keys costs more than it saves.
const FOUND_OF: u64 = 10;

#[derive(Debug, Default)]
pub(super) struct Memory {
    known: HashMap<Key, Judgement>,
    asked: u64,
    found: u64,
}

impl Memory {
    /// Whether looking is worth it: where each call differs in what is read, it isn't.
    pub(super) fn is_useful(&self) -> bool {
        self.asked < TRIAL || self.found.saturating_mul(FOUND_OF) >= self.asked
    }

    pub(super) fn get(&mut self, key: &Key) -> Option<Judgement> {
        self.asked = self.asked.saturating_add(1);
        let known = self.known.get(key).cloned();
        self.found = self.found.saturating_add(u64::from(known.is_some()));
        known
    }

    pub(super) fn put(&mut self, key: Key, judgement: Judgement) {
        if self.known.len() >= ENTRIES_MAX {
            self.known.clear();
        }
        self.known.insert(key, judgement);
    }
}

/// The key of a document's text; `None` where it is no object, or names a member twice or in escapes.
pub(super) fn key(text: &str, reads: &BTreeSet<Vec<String>>) -> Option<Key> {
    let mut hasher = blake3::Hasher::new();
    let is_whole = reads.first().is_some_and(Vec::is_empty);
    if is_whole {
        hasher.update(text.as_bytes());
        return Some(*hasher.finalize().as_bytes());
    }
    let names: Vec<&str> = reads.iter().filter_map(|path| Some(path.first()?.as_str())).collect();
    let above = members(text, &names)?;
    for (path, found) in reads.iter().zip(above) {
        let found = match (found, path.get(1)) {
            (Some(found), Some(name)) if found.starts_with('{') => {
                members(found, &[name])?.into_iter().next().flatten()
            }
            // What is no object has no members: all of it is the key.
            (found, Some(_) | None) => found,
        };
        // Absent and empty differ, and no two texts run into each other.
        let length = found.map_or(u64::MAX, |found| u64::try_from(found.len()).unwrap_or(u64::MAX));
        hasher.update(&length.to_le_bytes());
        hasher.update(found.unwrap_or_default().as_bytes());
    }
    Some(*hasher.finalize().as_bytes())
}

/// The texts of the members of those names, in the order of the names.
fn members<'a>(text: &'a str, names: &[&str]) -> Option<Vec<Option<&'a str>>> {
    let mut parser = serde_json::Deserializer::from_str(text);
    (&mut parser).deserialize_map(Members { names }).ok()
}

struct Members<'n> {
    names: &'n [&'n str],
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Vec<Option<&'de str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = vec![None; self.names.len()];
        // A name with escapes can't be borrowed: that is an error, and the document is judged without memory.
        while let Some(name) = map.next_key::<&'de str>()? {
            if !self.names.contains(&name) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let text = map.next_value::<&'de RawValue>()?.get();
            for (place, wanted) in found.iter_mut().zip(self.names) {
                if *wanted == name && place.replace(text).is_some() {
                    return Err(serde::de::Error::custom("a member stands twice"));
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(paths: &[&[&str]]) -> BTreeSet<Vec<String>> {
        paths.iter().map(|path| path.iter().map(|name| (*name).to_owned()).collect()).collect()
    }

    #[test]
    fn documents_that_differ_only_in_what_is_not_read_have_one_key() {
        let reads = paths(&[&["a"], &["b", "c"], &["b", "d"]]);
        let of = |text: &str| key(text, &reads);
        let one = of(r#"{"a": [1], "b": {"c": 1, "x": 2}, "y": 3}"#);
        assert!(one.is_some());
        assert_eq!(one, of(r#"{"y": 4, "b": {"x": {}, "c": 1}, "a": [1]}"#));
        for other in [
            r#"{"a": [2], "b": {"c": 1}}"#,
            r#"{"a": [1], "b": {"d": 1}}"#,
            r#"{"a": [1], "b": {"c": 1, "d": 1}}"#,
            r#"{"a": [1], "b": 1}"#,
            r#"{"a": [1]}"#,
            r#"{"b": {"c": 1}}"#,
        ] {
            assert!(of(other).is_some() && of(other) != one, "{other}");
        }
        for none in [r#"{"a": 1, "a": 2}"#, r#"{"\u0061": 1}"#, "[1]", "{", r#"{"b": {"c": 1, "c": 2}}"#] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_ne!(key("{}", &paths(&[&[]])), key("{ }", &paths(&[&[]])), "the whole text is the key");
    }
}
