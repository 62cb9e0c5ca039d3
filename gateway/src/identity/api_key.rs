//! API keys: their text and their hash.
//!
//! `wr_<id: 8>_<secret: 43>_<checksum: 6>`, all base62. Only the id may be logged or stored. The checksum is the
//! CRC32 of everything before it: a typo never reaches the store.

use std::fmt;

use subtle::ConstantTimeEq;

use super::KeyId;

/// What every key begins with.
pub const PREFIX: &str = "wr_";
/// Characters of the public id.
pub const ID_LEN: usize = 8;
/// Characters of the secret: 43 × log2(62) = 256 bits.
pub const SECRET_LEN: usize = 43;
/// Characters of the checksum: 62^6 > 2^32.
pub const CHECK_LEN: usize = 6;
/// Characters of a whole key.
pub const KEY_LEN: usize = PREFIX.len() + ID_LEN + 1 + SECRET_LEN + 1 + CHECK_LEN;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Another length, prefix or character.
    #[error("the API key is malformed")]
    Shape,
    /// Some character is wrong.
    #[error("the API key's checksum is wrong")]
    Checksum,
}

/// A well-formed key that a caller presented. It prints as its id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Presented<'a> {
    id: &'a str,
    signed: &'a str,
}

impl<'a> Presented<'a> {
    /// The public id.
    pub fn id(&self) -> &'a str {
        self.id
    }

    /// Everything before the checksum: what is hashed.
    pub(super) fn signed(&self) -> &'a str {
        self.signed
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Presented({})", self.id)
    }
}

/// Takes a key apart; touches no store.
pub fn parse(text: &str) -> Result<Presented<'_>, KeyFault> {
    if text.len() != KEY_LEN {
        return Err(KeyFault::Shape);
    }
    let (signed, check) = text.rsplit_once('_').ok_or(KeyFault::Shape)?;
    let rest = signed.strip_prefix(PREFIX).ok_or(KeyFault::Shape)?;
    let (id, secret) = rest.split_once('_').ok_or(KeyFault::Shape)?;
    let parts = [(id, ID_LEN), (secret, SECRET_LEN), (check, CHECK_LEN)];
    let shaped = |(part, len): (&str, usize)| part.len() == len && part.bytes().all(|b| b.is_ascii_alphanumeric());
    if !parts.into_iter().all(shaped) {
        return Err(KeyFault::Shape);
    }
    if checksum(signed).as_slice() != check.as_bytes() {
        return Err(KeyFault::Checksum);
    }
    Ok(Presented { id, signed })
}

/// CRC32 in six base62 digits, the most significant first.
fn checksum(signed: &str) -> [u8; CHECK_LEN] {
    let mut rest = crc32fast::hash(signed.as_bytes());
    let mut text = [b'0'; CHECK_LEN];
    for place in text.iter_mut().rev() {
        *place = digit(rest % 62);
        rest /= 62;
    }
    text
}

fn digit(value: u32) -> u8 {
    usize::try_from(value).ok().and_then(|at| BASE62.get(at)).copied().unwrap_or(b'0')
}

/// A new key. The text is shown once and kept nowhere; it prints as its id.
pub struct NewKey {
    /// The public id.
    pub id: KeyId,
    text: String,
}

impl NewKey {
    /// Draws a key from the system's generator.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let id = random_base62(ID_LEN)?;
        let signed = format!("{PREFIX}{id}_{}", random_base62(SECRET_LEN)?);
        let check: String = checksum(&signed).iter().map(|byte| char::from(*byte)).collect();
        Ok(Self { id: KeyId(id.into()), text: format!("{signed}_{check}") })
    }

    /// The whole key, for its owner's eyes.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewKey({})", self.id)
    }
}

/// Uniform characters: bytes of 248 and above are thrown away, since 248 = 4 × 62.
fn random_base62(len: usize) -> Result<String, getrandom::Error> {
    let mut text = String::with_capacity(len);
    let mut bytes = [0; 64];
    while text.len() < len {
        getrandom::fill(&mut bytes)?;
        let missing = len.saturating_sub(text.len());
        let fair = bytes.iter().filter(|byte| **byte < 248).take(missing);
        text.extend(fair.map(|byte| char::from(digit(u32::from(*byte) % 62))));
    }
    Ok(text)
}

/// Compares two hashes in a time that doesn't depend on them.
pub fn same_hash(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.as_slice().ct_eq(b.as_slice()).into()
}

#[cfg(test)]
mod tests;
