//! The numbers of a provider's usage object by their path, and how the objects of one stream become one. Pure.
//!
//! Providers send usage once, with each chunk, or with nulls and zeros before the truth; where they send it more than
//! once it is cumulative. So of each number the greatest counts, and what is null says nothing.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use serde_json::value::RawValue;

use super::Fault;

/// Objects within objects: the deepest that a provider sends has three.
const DEPTH_MAX: usize = 6;
/// Numbers and words of one object: the largest that a provider sends has about thirty.
const LEAVES_MAX: usize = 256;
/// Characters of a leaf that is kept.
const TEXT_MAX: usize = 64;
/// The largest number that is a count, some four thousand million: a thousand times the longest prompt there is. What
/// is beyond it is a negative number that was written without its sign, or made to break sums.
const COUNT_MAX: u64 = 1 << 32;
/// Keys whose word names an element of a list, instead of its place.
const NAMING_KEYS: [&str; 3] = ["modality", "ttl", "type"];

/// Numbers and words by path: `prompt_tokens_details.cached_tokens`, `promptTokensDetails.IMAGE.tokenCount`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leaves(BTreeMap<String, Leaf>);

/// One value as it was written, so that no decimal number passes through a binary one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Leaf {
    Whole(u64),
    /// A number that is not whole, or negative.
    Number(String),
    Word(String),
}

impl Leaves {
    /// Takes another object of the same call. Nothing of an object that can't be read is taken.
    pub fn see(&mut self, json: &str) -> Result<(), Fault> {
        let raw: &RawValue = serde_json::from_str(json).map_err(|_| Fault::Malformed)?;
        let mut fresh = Self::default();
        fresh.walk("", raw, 0)?;
        for (path, leaf) in fresh.0 {
            let is_full = self.0.len() >= LEAVES_MAX;
            match (self.0.get_mut(&path), leaf) {
                (Some(Leaf::Whole(known)), Leaf::Whole(new)) => *known = new.max(*known),
                (Some(known), new) => *known = new,
                (None, _) if is_full => return Err(Fault::Malformed),
                (None, new) => {
                    self.0.insert(path, new);
                }
            }
        }
        Ok(())
    }

    fn walk(&mut self, path: &str, raw: &RawValue, depth: usize) -> Result<(), Fault> {
        if depth > DEPTH_MAX || self.0.len() >= LEAVES_MAX {
            return Err(Fault::Malformed);
        }
        let text = raw.get();
        let below = depth.saturating_add(1);
        match text.as_bytes().first() {
            Some(b'{') => {
                let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(|_| Fault::Malformed)?;
                fields.iter().try_for_each(|(key, value)| self.walk(&join(path, key), value, below))
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| Fault::Malformed)?;
                let named = items.iter().enumerate().map(|(place, item)| (name(item, place), item));
                named.into_iter().try_for_each(|(name, item)| self.walk(&join(path, &name), item, below))
            }
            _scalar => {
                if let Some(leaf) = leaf(raw) {
                    self.0.insert(path.to_owned(), leaf);
                }
                Ok(())
            }
        }
    }

    /// Whether there is anything at or below that path.
    pub fn has(&self, path: &str) -> bool {
        let below = |known: &str| known.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.0.keys().any(|known| below(known))
    }

    /// A count.
    pub fn count(&self, path: &str) -> Result<Option<u64>, Fault> {
        match self.0.get(path) {
            None => Ok(None),
            Some(Leaf::Whole(count)) => Ok(Some(*count)),
            Some(Leaf::Number(_) | Leaf::Word(_)) => Err(Fault::Malformed),
        }
    }

    /// The count at the first of these paths that has one.
    pub fn first(&self, paths: &[&str]) -> Result<Option<u64>, Fault> {
        paths.iter().find(|path| self.0.contains_key(**path)).map_or(Ok(None), |path| self.count(path))
    }

    /// A count, or zero.
    pub fn zero(&self, path: &str) -> Result<u64, Fault> {
        Ok(self.count(path)?.unwrap_or(0))
    }

    /// A word.
    pub fn word(&self, path: &str) -> Option<&str> {
        match self.0.get(path)? {
            Leaf::Word(word) => Some(word),
            Leaf::Whole(_) | Leaf::Number(_) => None,
        }
    }

    /// A number's text, whole or not.
    pub fn number(&self, path: &str) -> Option<String> {
        match self.0.get(path)? {
            Leaf::Whole(whole) => Some(whole.to_string()),
            Leaf::Number(text) => Some(text.clone()),
            Leaf::Word(_) => None,
        }
    }

    /// The counts of a list's elements, by the word that names each.
    pub fn list<'a>(&'a self, path: &'a str, field: &'a str) -> impl Iterator<Item = (&'a str, u64)> + 'a {
        self.0.iter().filter_map(move |(known, leaf)| {
            let (name, of) = known.strip_prefix(path)?.strip_prefix('.')?.rsplit_once('.')?;
            match leaf {
                Leaf::Whole(count) if of == field => Some((name, *count)),
                Leaf::Whole(_) | Leaf::Number(_) | Leaf::Word(_) => None,
            }
        })
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn name(item: &RawValue, place: usize) -> String {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(item.get()).unwrap_or_default();
    let word = NAMING_KEYS.iter().find_map(|key| String::deserialize(*fields.get(*key)?).ok());
    word.unwrap_or_else(|| place.to_string())
}

fn leaf(raw: &RawValue) -> Option<Leaf> {
    let text = raw.get();
    match text.as_bytes().first()? {
        b'"' => String::deserialize(raw).ok().filter(|word| word.len() <= TEXT_MAX).map(Leaf::Word),
        b'-' | b'0'..=b'9' => match text.parse() {
            Ok(whole) if whole <= COUNT_MAX => Some(Leaf::Whole(whole)),
            Ok(_) | Err(_) => Some(Leaf::Number(text.chars().take(TEXT_MAX).collect())),
        },
        // Null, true and false say nothing of amounts.
        _other => None,
    }
}
