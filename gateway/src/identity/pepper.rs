//! Peppers: the secrets that are mixed into stored key hashes, by version.
//!
//! A store that was copied without its pepper proves nobody. A wrong pepper is told from wrong keys by a fingerprint
//! that the store keeps from the first key of each version on.

use std::fmt;
use std::sync::Arc;

use super::api_key::Presented;
use crate::config::settings::Pepper;

/// A pepper that isn't the one whose keys the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "pepper version {version} is not the one that the stored API keys were made with: bring the old one back, \
     or add the new one under another version"
)]
pub struct WrongPepper {
    /// The version.
    pub version: u32,
}

/// The hash keys of all pepper versions, derived once per configuration.
#[derive(Clone)]
pub struct Peppers(Arc<[(u32, [u8; 32])]>);

impl Peppers {
    /// Derives the keys.
    pub fn new(peppers: &[Pepper]) -> Self {
        let derive =
            |pepper: &Pepper| (pepper.version, blake3::derive_key("weir api key pepper v1", pepper.secret.expose()));
        Self(peppers.iter().map(derive).collect())
    }

    /// The version that new keys use.
    pub fn newest(&self) -> Option<u32> {
        self.0.iter().map(|(version, _)| *version).max()
    }

    /// Hash of a key under one version; `None` where that version isn't configured.
    pub fn hash(&self, version: u32, key: &Presented<'_>) -> Option<[u8; 32]> {
        let (_, secret) = self.0.iter().find(|(known, _)| *known == version)?;
        Some(*blake3::keyed_hash(secret, key.signed().as_bytes()).as_bytes())
    }

    /// Key of the pseudonyms of end users, from the oldest pepper, so that a new one changes no pseudonym.
    pub fn end_users(&self) -> Option<[u8; 32]> {
        let (_, secret) = self.0.iter().min_by_key(|(version, _)| *version)?;
        Some(blake3::derive_key("weir end user pseudonym v1", secret))
    }

    /// Fingerprints by version: they tell a wrong pepper from wrong keys, and tell nothing about it.
    pub fn fingerprints(&self) -> impl Iterator<Item = (u32, [u8; 32])> + '_ {
        self.0
            .iter()
            .map(|(version, secret)| (*version, blake3::derive_key("weir api key pepper fingerprint v1", secret)))
    }

    /// Compares with the fingerprints that a store recorded; versions that only one side knows are left alone.
    pub fn check(&self, recorded: &[(u32, [u8; 32])]) -> Result<(), WrongPepper> {
        let wrong =
            |(version, print): &(u32, [u8; 32])| recorded.iter().any(|(known, old)| known == version && old != print);
        match self.fingerprints().find(wrong) {
            Some((version, _)) => Err(WrongPepper { version }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(version, _)| version)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Secret;
    use crate::identity::api_key::{NewKey, parse, same_hash};

    fn peppers(list: &[(u32, &str)]) -> Peppers {
        let pepper = |(version, text): &(u32, &str)| Pepper { version: *version, secret: Secret::new(text.as_bytes()) };
        Peppers::new(&list.iter().map(pepper).collect::<Vec<_>>())
    }

    #[test]
    fn the_hash_depends_on_the_pepper_and_on_the_key() {
        let (a, b) = (NewKey::generate().unwrap(), NewKey::generate().unwrap());
        let (a, b) = (parse(a.reveal()).unwrap(), parse(b.reveal()).unwrap());
        let peppers = peppers(&[(1, "0123456789abcdef"), (3, "another 16 bytes")]);
        assert_eq!(peppers.newest(), Some(3));
        assert_eq!(peppers.hash(1, &a), peppers.hash(1, &a));
        assert_ne!(peppers.hash(1, &a), peppers.hash(3, &a));
        assert_eq!(peppers.hash(2, &a), None);
        assert!(!same_hash(&peppers.hash(1, &a).unwrap(), &peppers.hash(1, &b).unwrap()));
        assert_eq!(format!("{peppers:?}"), "[1, 3]");
    }

    #[test]
    fn a_wrong_pepper_is_named_and_a_new_one_is_not() {
        let recorded: Vec<_> = peppers(&[(1, "one"), (2, "two")]).fingerprints().collect();
        assert_eq!(peppers(&[(1, "one"), (3, "three")]).check(&recorded), Ok(()));
        assert_eq!(peppers(&[(1, "one"), (2, "other")]).check(&recorded), Err(WrongPepper { version: 2 }));
        assert_eq!(peppers(&[(1, "one")]).check(&[]), Ok(()));
    }
}
