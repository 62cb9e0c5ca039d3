//! Secrets of tenants, sealed under a master key: AES-256-GCM-SIV (RFC 8452), with the tenant and the secret's name as
//! associated data, so that a row that was moved to another tenant or name opens for nobody.
//!
//! Refuses what was made under another key, for another place, or was cut. The nonce is random; the mode stands a
//! repetition of it.

use std::fmt;
use std::sync::Arc;

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};

use super::TenantPath;
use crate::config::settings::{Pepper, Secret};

/// Bytes of the nonce before the ciphertext (RFC 8452, section 6).
const NONCE_BYTES: usize = 12;
/// Bytes of one secret at most.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;

/// Why a secret can't be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealFault {
    /// There is no master key at all.
    #[error("no master key is configured: set `secrets.master_key`")]
    NoKey,
    /// None of that version.
    #[error("the secret is sealed with master key version {0}, which is not configured")]
    Version(u32),
    /// Another key, another place, or not whole.
    #[error("the sealed secret is not what was stored for this tenant and name")]
    Forged,
    /// Larger than a secret may be.
    #[error("a secret has 1 to {SECRET_BYTES_MAX} bytes")]
    Size,
    /// No name of a secret.
    #[error("a secret's name has 1 to 64 letters, digits, `_`, `-` or `.`")]
    Name,
    /// It could not be sent as a credential.
    #[error("a secret is one line of text, as it would stand in a header")]
    NoHeader,
    /// The system gave no random bytes.
    #[error("the system's random generator failed")]
    Random,
}

/// Master keys by version, derived once per configuration. Never printed.
#[derive(Clone)]
pub struct MasterKeys(Arc<[(u32, [u8; 32])]>);

impl MasterKeys {
    /// Derives the keys.
    pub fn new(keys: &[Pepper]) -> Self {
        let derive =
            |key: &Pepper| (key.version, blake3::derive_key("weir tenant secret master key v1", key.secret.expose()));
        Self(keys.iter().map(derive).collect())
    }

    /// The version that new secrets are sealed with.
    pub fn newest(&self) -> Option<u32> {
        self.0.iter().map(|(version, _)| *version).max()
    }

    fn cipher(&self, version: u32) -> Result<Aes256GcmSiv, SealFault> {
        let (_, key) = self.0.iter().find(|(known, _)| *known == version).ok_or(SealFault::Version(version))?;
        Aes256GcmSiv::new_from_slice(key).map_err(|_| SealFault::Version(version))
    }

    /// Seals a secret under the newest key: the version, and nonce with ciphertext.
    ///
    /// # Errors
    /// There is no key, or the secret is empty or too large.
    pub fn seal(&self, tenant: &TenantPath, name: &str, secret: &[u8]) -> Result<(u32, Vec<u8>), SealFault> {
        if secret.is_empty() || secret.len() > SECRET_BYTES_MAX {
            return Err(SealFault::Size);
        }
        let version = self.newest().ok_or(SealFault::NoKey)?;
        let mut nonce = [0_u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| SealFault::Random)?;
        let place = place(tenant, name);
        let payload = Payload { msg: secret, aad: &place };
        let sealed = self.cipher(version)?.encrypt(&Nonce::from(nonce), payload).map_err(|_| SealFault::Size)?;
        Ok((version, [nonce.as_slice(), &sealed].concat()))
    }

    /// Opens a secret that was sealed for this tenant and name.
    ///
    /// # Errors
    /// It was sealed under another key or for another place, or is not whole.
    pub fn open(&self, tenant: &TenantPath, name: &str, version: u32, sealed: &[u8]) -> Result<Secret, SealFault> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(SealFault::Forged)?;
        let place = place(tenant, name);
        let payload = Payload { msg: text, aad: &place };
        let open = self.cipher(version)?.decrypt(&Nonce::from(*nonce), payload);
        open.map(|bytes| Secret::new(&bytes)).map_err(|_| SealFault::Forged)
    }
}

/// The zero byte is in no path, so no two places read the same.
fn place(tenant: &TenantPath, name: &str) -> Vec<u8> {
    [tenant.as_str().as_bytes(), &[0], name.as_bytes()].concat()
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(version, _)| version)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(list: &[(u32, &str)]) -> MasterKeys {
        let key = |(version, text): &(u32, &str)| Pepper { version: *version, secret: Secret::new(text.as_bytes()) };
        MasterKeys::new(&list.iter().map(key).collect::<Vec<_>>())
    }

    fn path(text: &str) -> TenantPath {
        TenantPath::parse(text).unwrap()
    }

    #[test]
    fn a_secret_opens_in_its_own_place_under_its_own_key_and_whole() {
        let master = keys(&[(1, "one"), (2, "two")]);
        let (version, sealed) = master.seal(&path("acme/re"), "openai", b"sk-FAKE").unwrap();
        assert_eq!(version, 2);
        assert!(!sealed.windows(7).any(|bytes| bytes == b"sk-FAKE"));
        let open = |keys: &MasterKeys, tenant: &str, name: &str, version, bytes: &[u8]| {
            keys.open(&path(tenant), name, version, bytes).map(|secret| secret.expose().to_vec())
        };
        assert_eq!(open(&master, "acme/re", "openai", 2, &sealed), Ok(b"sk-FAKE".to_vec()));
        assert_eq!(open(&master, "globex", "openai", 2, &sealed), Err(SealFault::Forged), "swapped tenant");
        assert_eq!(open(&master, "acme/re", "other", 2, &sealed), Err(SealFault::Forged), "swapped name");
        assert_eq!(open(&master, "acme/re", "openai", 1, &sealed), Err(SealFault::Forged), "wrong version");
        assert_eq!(open(&master, "acme/re", "openai", 3, &sealed), Err(SealFault::Version(3)));
        let other = keys(&[(2, "another")]);
        assert_eq!(open(&other, "acme/re", "openai", 2, &sealed), Err(SealFault::Forged), "wrong key");
        for length in [0, 11, 12, 27, sealed.len() - 1] {
            assert_eq!(open(&master, "acme/re", "openai", 2, &sealed[..length]), Err(SealFault::Forged), "{length}");
        }
        let mut bent = sealed.clone();
        bent[20] ^= 1;
        assert_eq!(open(&master, "acme/re", "openai", 2, &bent), Err(SealFault::Forged));
        assert_eq!(keys(&[]).seal(&path("a"), "x", b"y"), Err(SealFault::NoKey));
        assert_eq!(master.seal(&path("a"), "x", b""), Err(SealFault::Size));
        assert_eq!(format!("{master:?}"), "[1, 2]");
    }

    #[test]
    fn the_same_secret_never_looks_the_same_twice() {
        let master = keys(&[(1, "one")]);
        let seal = || master.seal(&path("acme"), "x", b"same").unwrap().1;
        assert_ne!(seal(), seal());
    }
}
