//! `.signatures.json`: one token whose claims list every file with its hash, as `opa sign` makes it. Pure.
//!
//! The key and its one algorithm come from the configuration. A file that is not listed is refused, and so is a listed
//! one that is not there. JSON and YAML are hashed by what they say and not by how they are written, as OPA does.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value as Json;
use serde_json::value::RawValue;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};
use subtle::ConstantTimeEq;

use super::archive::Files;
use super::rule::Signer;
use crate::identity::jwk::{Key, KeySet, Symmetric};
use crate::identity::token::{Token, TokenFault};

/// The file itself.
pub(super) const FILE: &str = ".signatures.json";
/// Bytes of the token: about 200 for each file that a bundle may have.
const TOKEN_BYTES_MAX: usize = 512 << 10;

/// Why a signature doesn't prove a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// There is none, and the configuration demands one.
    #[error("it is not signed")]
    Missing,
    /// There is one and nobody can say whether it is right.
    #[error("it is signed and no key is configured to check that with")]
    NoKey,
    /// No file of signatures with exactly one of them.
    #[error("`.signatures.json` doesn't hold exactly one signature")]
    Form,
    /// The configured key is none, or not for the algorithm.
    #[error("the configured key is no key for its algorithm")]
    Key,
    /// The token is not accepted.
    #[error("its signature: {0}")]
    Token(#[from] TokenFault),
    /// Signed for something else.
    #[error("its signature is for another scope")]
    Scope,
    /// A file that the signature doesn't list.
    #[error("the file `{0}` is not signed")]
    Unlisted(String),
    /// A file that the signature lists and nobody brought.
    #[error("the signed file `{0}` is missing")]
    Absent(String),
    /// A list with one name twice, or without a hash.
    #[error("the signed list of files is malformed")]
    List,
    /// Unknown, or broken long ago.
    #[error("the hash of `{0}` is by no algorithm that is taken: SHA-224 to SHA-512")]
    Algorithm(String),
    /// Another content.
    #[error("the file `{0}` is another than the one that was signed")]
    Hash(String),
}

/// Proves the files by their signature, where one is demanded; says whether there was one.
pub(super) fn verify(files: &Files, signer: Option<&Signer>) -> Result<bool, SignatureFault> {
    let (document, signer) = match (files.get(FILE), signer) {
        (None, None) => return Ok(false),
        (None, Some(_)) => return Err(SignatureFault::Missing),
        (Some(_), None) => return Err(SignatureFault::NoKey),
        (Some(document), Some(signer)) => (document, signer),
    };
    weir_wire::json::check(document).map_err(|_| SignatureFault::Form)?;
    let document: Json = serde_json::from_slice(document).map_err(|_| SignatureFault::Form)?;
    let signatures = document.get("signatures").and_then(Json::as_array).ok_or(SignatureFault::Form)?;
    let [Json::String(text)] = signatures.as_slice() else { return Err(SignatureFault::Form) };
    let token = Token::parse_within(text, TOKEN_BYTES_MAX)?;
    let id = token.key_id.clone();
    if signer.key_id.is_some() && id.is_some() && signer.key_id != id {
        return Err(TokenFault::UnknownKey.into());
    }
    let keys = KeySet::of(vec![key(signer, id)?]);
    token.verify(&keys, &[signer.algorithm])?;
    let claims = token.claims()?;
    let scope = claims.get("scope").map_or(Some(""), Json::as_str);
    if scope != Some(signer.scope.as_deref().unwrap_or_default()) {
        return Err(SignatureFault::Scope);
    }
    let mut listed = listed(&claims)?;
    for (name, content) in files.iter().filter(|(name, _)| *name != FILE) {
        let (hash, algorithm) = listed.remove(name).ok_or_else(|| SignatureFault::Unlisted(name.clone()))?;
        let is = digest(name, content, &algorithm)?;
        if !bool::from(is.ct_eq(&hash)) {
            return Err(SignatureFault::Hash(name.clone()));
        }
    }
    match listed.into_keys().next() {
        Some(name) => Err(SignatureFault::Absent(name)),
        None => Ok(true),
    }
}

type Listed = BTreeMap<String, (Vec<u8>, String)>;

fn listed(claims: &Json) -> Result<Listed, SignatureFault> {
    let files = claims.get("files").and_then(Json::as_array).ok_or(SignatureFault::List)?;
    let mut all = Listed::new();
    for file in files {
        let text = |name: &str| file.get(name).and_then(Json::as_str).ok_or(SignatureFault::List);
        let name = text("name")?;
        let name = name.strip_prefix('/').unwrap_or(name).to_owned();
        let hash = unhex(text("hash")?).ok_or(SignatureFault::List)?;
        if all.insert(name, (hash, text("algorithm")?.to_owned())).is_some() {
            return Err(SignatureFault::List);
        }
    }
    Ok(all)
}

/// Whether the configured key is one for its algorithm.
pub fn is_usable(signer: &Signer) -> bool {
    key(signer, None).is_ok()
}

/// The configured key, under the id that the signature names.
fn key(signer: &Signer, id: Option<String>) -> Result<Key, SignatureFault> {
    let bytes = signer.key.expose();
    let key = match bytes.first() {
        Some(b'{') => {
            let jwk = serde_json::from_slice(bytes).map_err(|_| SignatureFault::Key)?;
            Key::read(&jwk, Symmetric::Allowed)
        }
        Some(_) if bytes.starts_with(b"-----BEGIN ") => Key::from_pem(bytes),
        // The shared secret itself.
        Some(_) | None => {
            Key::read(&serde_json::json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(bytes)}), Symmetric::Allowed)
        }
    };
    key.filter(|key| key.fits(signer.algorithm)).map(|key| key.under(id)).ok_or(SignatureFault::Key)
}

/// The hash of a file as OPA takes it.
fn digest(name: &str, content: &[u8], algorithm: &str) -> Result<Vec<u8>, SignatureFault> {
    let canonical = canonical(name, content).ok_or_else(|| SignatureFault::Hash(name.to_owned()))?;
    let bytes = canonical.as_deref().unwrap_or(content);
    Ok(match algorithm {
        "SHA-224" => Sha224::digest(bytes).to_vec(),
        "SHA-256" => Sha256::digest(bytes).to_vec(),
        "SHA-384" => Sha384::digest(bytes).to_vec(),
        "SHA-512" => Sha512::digest(bytes).to_vec(),
        "SHA-512-224" => Sha512_224::digest(bytes).to_vec(),
        "SHA-512-256" => Sha512_256::digest(bytes).to_vec(),
        _ => return Err(SignatureFault::Algorithm(name.to_owned())),
    })
}

/// A structured file in its one form; `Some(None)` is a file that is hashed as it is, `None` one that can't be read.
fn canonical(name: &str, content: &[u8]) -> Option<Option<Vec<u8>>> {
    let text = std::str::from_utf8(content);
    let mut out = Vec::new();
    match name.rsplit('/').next().unwrap_or(name) {
        "data.json" | ".manifest" => {
            weir_wire::json::check(content).ok()?;
            write(text.ok()?, &mut out)?;
        }
        "data.yaml" | "data.yml" => {
            let value: Json = serde_yaml_ng::from_str(text.ok()?).ok()?;
            write(&value.to_string(), &mut out)?;
        }
        _ => return Some(None),
    }
    Some(Some(out))
}

/// Writes a checked text of JSON with its members sorted and its numbers as they were written.
fn write(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let text = text.trim();
    match text.bytes().next()? {
        b'{' => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            out.push(b'{');
            for (place, (name, value)) in members.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write_text(name, out)?;
                out.push(b':');
                write(value.get(), out)?;
            }
            out.push(b'}');
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            out.push(b'[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write(item.get(), out)?;
            }
            out.push(b']');
        }
        b'"' => write_text(&serde_json::from_str::<String>(text).ok()?, out)?,
        _ => out.extend_from_slice(text.as_bytes()),
    }
    Some(())
}

/// As Go's encoder writes texts: the two separators of lines that JavaScript has are escaped.
fn write_text(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let plain = serde_json::to_string(text).ok()?;
    out.extend_from_slice(plain.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029").as_bytes());
    Some(())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)?.checked_shl(4)? | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests;
