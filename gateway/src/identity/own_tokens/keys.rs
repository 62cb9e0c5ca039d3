//! The keys that sign Weir's own tokens (ES256): one signs, and the one before it still proves. They lie in one file of
//! the data folder that its owner alone may read.
//!
//! A rotation makes a new key and keeps one old one, so that the tokens which are out live on; a second rotation ends
//! the tokens of the first. Refuses a file that others can read.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::identity::jwk::{Key, KeySet, Symmetric};

/// The file in the data folder.
pub const KEYS_FILE: &str = "token_keys.json";
/// The one that signs, and the one that signed before.
const KEYS_KEPT: usize = 2;
/// Bytes of the file: two keys have some hundred.
const FILE_BYTES_MAX: u64 = 16 << 10;
/// Bytes of a coordinate of P-256.
const COORDINATE_BYTES: usize = 32;

/// Why the keys can't be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysFault {
    /// The file can't be read or written.
    #[error("the token keys in `{}` can't be used", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others can read it.
    #[error("`{}` can be read by other users of this machine; run `chmod 600` on it and rotate the keys", .0.display())]
    Exposed(PathBuf),
    /// It holds no keys.
    #[error("`{}` holds no token keys", .0.display())]
    Broken(PathBuf),
    /// The system gave no random bytes.
    #[error("no random bytes for a token key")]
    Random,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// Newest first.
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    made_ms: u64,
    pkcs8: String,
}

/// One pair.
struct Pair {
    id: String,
    made_ms: u64,
    pair: EcdsaKeyPair,
    jwk: Json,
}

/// The keys of one moment.
pub struct SigningKeys {
    /// Newest first; at least one.
    pairs: Vec<Pair>,
    set: KeySet,
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.pairs.iter().map(|pair| &pair.id)).finish()
    }
}

/// A key, for operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyStanding {
    /// Its id: the thumbprint of RFC 7638.
    pub id: String,
    /// Unix milliseconds.
    pub made_ms: u64,
    /// Whether new tokens are signed with it.
    pub signs: bool,
}

impl SigningKeys {
    /// Reads the file; `None` where there is none.
    ///
    /// # Errors
    /// It can't be read, others can read it, or it holds no keys.
    pub fn read(folder: &Path) -> Result<Option<Self>, KeysFault> {
        match stored(folder)? {
            Some(stored) => Self::of(&stored, &folder.join(KEYS_FILE)).map(Some),
            None => Ok(None),
        }
    }

    fn of(stored: &Stored, path: &Path) -> Result<Self, KeysFault> {
        let broken = || KeysFault::Broken(path.to_owned());
        let pairs: Option<Vec<Pair>> = stored.keys.iter().take(KEYS_KEPT).map(pair).collect();
        let pairs = pairs.filter(|pairs| !pairs.is_empty()).ok_or_else(broken)?;
        let keys: Option<Vec<Key>> = pairs.iter().map(|pair| Key::read(&pair.jwk, Symmetric::Refused)).collect();
        Ok(Self { set: KeySet::of(keys.ok_or_else(broken)?), pairs })
    }

    /// The public keys, to prove tokens with.
    pub fn set(&self) -> &KeySet {
        &self.set
    }

    /// The public keys as a document (RFC 7517).
    pub fn document(&self) -> Json {
        json!({"keys": self.pairs.iter().map(|pair| &pair.jwk).collect::<Vec<_>>()})
    }

    /// The keys, for operators.
    pub fn standings(&self) -> Vec<KeyStanding> {
        let standing =
            |(at, pair): (usize, &Pair)| KeyStanding { id: pair.id.clone(), made_ms: pair.made_ms, signs: at == 0 };
        self.pairs.iter().enumerate().map(standing).collect()
    }

    /// A token with these claims, signed with the newest key.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn sign(&self, kind: &str, claims: &[u8]) -> Result<String, KeysFault> {
        let newest = self.pairs.first().ok_or(KeysFault::Random)?;
        let header = json!({"alg": "ES256", "typ": kind, "kid": newest.id}).to_string();
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = newest.pair.sign(&SystemRandom::new(), message.as_bytes()).map_err(|_| KeysFault::Random)?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }
}

/// Makes a key that signs from now on, and keeps the one that signed before. Gives the new keys' ids, newest first.
///
/// # Errors
/// The file can't be read or written, or the system gave no random bytes.
pub fn rotate(folder: &Path, now_ms: u64) -> Result<SigningKeys, KeysFault> {
    let path = folder.join(KEYS_FILE);
    let how = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let made = EcdsaKeyPair::generate_pkcs8(how, &SystemRandom::new()).map_err(|_| KeysFault::Random)?;
    let new = StoredKey { made_ms: now_ms, pkcs8: URL_SAFE_NO_PAD.encode(made.as_ref()) };
    let old = stored(folder)?.map(|stored| stored.keys).unwrap_or_default();
    let stored = Stored { keys: std::iter::once(new).chain(old).take(KEYS_KEPT).collect() };
    let keys = SigningKeys::of(&stored, &path)?;
    write(folder, &stored).map_err(|source| KeysFault::Io { path, source })?;
    Ok(keys)
}

fn stored(folder: &Path) -> Result<Option<Stored>, KeysFault> {
    let path = folder.join(KEYS_FILE);
    let fault = |source| KeysFault::Io { path: path.clone(), source };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(error)),
    };
    if file.metadata().map_err(fault)?.permissions().mode() & 0o077 != 0 {
        return Err(KeysFault::Exposed(path));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(fault)?;
    serde_json::from_slice(&bytes).map(Some).map_err(|_| KeysFault::Broken(path))
}

/// Whole or not at all: beside the file, then in its place.
fn write(folder: &Path, stored: &Stored) -> std::io::Result<()> {
    let beside = folder.join(format!("{KEYS_FILE}.{}", std::process::id()));
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&serde_json::to_vec(stored)?)?;
    file.sync_all()?;
    std::fs::rename(&beside, folder.join(KEYS_FILE))?;
    File::open(folder)?.sync_all()
}

fn pair(stored: &StoredKey) -> Option<Pair> {
    let bytes = URL_SAFE_NO_PAD.decode(&stored.pkcs8).ok()?;
    let how = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = EcdsaKeyPair::from_pkcs8(how, &bytes, &SystemRandom::new()).ok()?;
    // An uncompressed point: a four, then both coordinates.
    let (x, y) = pair.public_key().as_ref().strip_prefix(&[4])?.split_at_checked(COORDINATE_BYTES)?;
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    // The members in the order that RFC 7638 hashes them in.
    let thumbprint = Sha256::digest(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#));
    let id = URL_SAFE_NO_PAD.encode(thumbprint);
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": id, "use": "sig", "alg": "ES256"});
    Some(Pair { id, made_ms: stored.made_ms, pair, jwk })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_keeps_one_old_key_and_the_next_one_drops_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(SigningKeys::read(folder.path()).unwrap().is_none());
        let ids = |keys: &SigningKeys| keys.standings().into_iter().map(|key| key.id).collect::<Vec<_>>();
        let (first, second) = (rotate(folder.path(), 1).unwrap(), rotate(folder.path(), 2).unwrap());
        let third = rotate(folder.path(), 3).unwrap();
        let (first, second, third) = (ids(&first), ids(&second), ids(&third));
        assert_eq!((first.len(), second.len(), third.len()), (1, 2, 2));
        assert_eq!((&second[1], &third[1]), (&first[0], &second[0]));
        let read = SigningKeys::read(folder.path()).unwrap().unwrap();
        assert_eq!(ids(&read), third);
        assert!(!format!("{read:?} {}", read.document()).contains("pkcs8"));
        let mode = std::fs::metadata(folder.path().join(KEYS_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_others_read_or_that_is_no_file_of_keys_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        rotate(folder.path(), 1).unwrap();
        let path = folder.path().join(KEYS_FILE);
        for (mode, exposed) in [(0o640, true), (0o604, true), (0o600, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let read = SigningKeys::read(folder.path());
            assert_eq!(matches!(read, Err(KeysFault::Exposed(_))), exposed, "{mode:o}");
        }
        for text in ["", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"made_ms":1,"pkcs8":"AAAA"}]}"#] {
            std::fs::write(&path, text).unwrap();
            let read = SigningKeys::read(folder.path());
            assert!(matches!(read, Err(KeysFault::Broken(_))), "{text}");
        }
    }
}
