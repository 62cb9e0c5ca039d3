//! An end user's pseudonym. Pure.
//!
//! Applications name their users by whatever they have, often an e-mail address. Limits and the ledger need only tell
//! one from another, so that a keyed hash over organisation and name is all that is kept: it can't be turned back, and
//! the same person has another one in another organisation.

use std::sync::Arc;

/// Bytes of the hash that are kept: among a million users two meet with a chance of 1 in 37 million.
const KEPT_BYTES: usize = 8;

/// `eu_` and 16 hexadecimal digits.
pub fn pseudonym(key: &[u8; 32], organisation: &str, name: &str) -> Arc<str> {
    let mut hasher = blake3::Hasher::new_keyed(key);
    // The length keeps organisation and name apart.
    hasher.update(&u64::try_from(organisation.len()).unwrap_or(u64::MAX).to_le_bytes());
    hasher.update(organisation.as_bytes());
    hasher.update(name.as_bytes());
    let mut text = String::with_capacity(19);
    text.push_str("eu_");
    for byte in hasher.finalize().as_bytes().iter().take(KEPT_BYTES) {
        text.push_str(&format!("{byte:02x}"));
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::pseudonym;

    #[test]
    fn a_pseudonym_depends_on_key_organisation_and_name_and_shows_none() {
        let one = pseudonym(&[1; 32], "acme", "ada@acme.example");
        assert_eq!(one, pseudonym(&[1; 32], "acme", "ada@acme.example"));
        assert!(one.len() == 19 && one.starts_with("eu_") && !one.contains("ada"), "{one}");
        for other in [
            pseudonym(&[2; 32], "acme", "ada@acme.example"),
            pseudonym(&[1; 32], "acm", "eada@acme.example"),
            pseudonym(&[1; 32], "acme", "bob"),
        ] {
            assert_ne!(one, other);
        }
    }
}
