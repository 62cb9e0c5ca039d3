//! An issuer's keys (RFC 7517, RFC 8037). Pure.
//!
//! A key is taken only where it is for signatures, of a fair size, and of one algorithm's shape; the others of a set
//! are left out, so that a mistake in one locks nobody out of the rest.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value as Json;
use tokio_rustls::rustls::pki_types::SubjectPublicKeyInfoDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use x509_parser::oid_registry::OID_SIG_ED25519;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::token::{algorithm, plain_object};

/// Keys of one set; the rest is left out.
pub const KEYS_MAX: usize = 64;
/// Bytes of a set of keys.
pub const SET_BYTES_MAX: usize = 256 << 10;
/// Bits of an RSA key (RFC 7518, section 3.3; the upper end bounds the work).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// Why a document is no set of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwkFault {
    /// No JSON object with `keys`, or too large.
    #[error("the document is no set of keys")]
    Document,
    /// No key of it can be used.
    #[error("no key of the set is a public key for signatures")]
    NoKey,
}

/// Whether keys that both sides hold are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symmetric {
    /// Never: an issuer's set is public.
    Refused,
    /// Where the key was given by configuration.
    Allowed,
}

/// One key.
pub struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

impl Key {
    /// Whether it is for that algorithm.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// As the crate takes it.
    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    /// Takes a public key in PEM (`BEGIN PUBLIC KEY`), with the same demands on it as on a JWK.
    pub fn from_pem(pem: &[u8]) -> Option<Self> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).ok()?;
        let (_, info) = SubjectPublicKeyInfo::from_der(&der).ok()?;
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = match info.parsed().ok()? {
            PublicKey::RSA(key) => {
                let unsigned = |bytes: &[u8]| text(bytes.strip_prefix(&[0]).unwrap_or(bytes));
                serde_json::json!({"kty": "RSA", "n": unsigned(key.modulus), "e": unsigned(key.exponent)})
            }
            PublicKey::EC(point) => {
                let (mark, coordinates) = point.data().split_first()?;
                let size = coordinates.len() / 2;
                let curve = match size {
                    32 => "P-256",
                    48 => "P-384",
                    _ => return None,
                };
                let (x, y) = coordinates.split_at_checked(size).filter(|_| *mark == 4)?;
                serde_json::json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)})
            }
            PublicKey::Unknown(bytes) if info.algorithm.algorithm == OID_SIG_ED25519 => {
                serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": text(bytes)})
            }
            PublicKey::DSA(_) | PublicKey::GostR3410(_) | PublicKey::GostR3410_2012(_) | PublicKey::Unknown(_) => {
                return None;
            }
        };
        Self::read(&jwk, Symmetric::Refused)
    }

    /// The same key under another id.
    #[must_use]
    pub fn under(self, id: Option<String>) -> Self {
        Self { id, ..self }
    }

    /// Takes a key by its JWK; `None` where it is not for signatures, or not of a known shape.
    pub fn read(jwk: &Json, symmetric: Symmetric) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Json::as_str);
        // A member of another type than text says something that nobody understood.
        let absent_or = |name: &str, good: &dyn Fn(&Json) -> bool| jwk.get(name).is_none_or(good);
        let is_for_signatures = absent_or("use", &|value| value == "sig");
        let verifies = |value: &Json| value.as_array().is_some_and(|list| list.iter().any(|one| one == "verify"));
        if !is_for_signatures || !absent_or("key_ops", &verifies) || !absent_or("kid", &Json::is_string) {
            return None;
        }
        let (decoding, possible) = material(jwk, symmetric)?;
        let algorithms = match jwk.get("alg") {
            None => possible,
            Some(_) => {
                let named = text("alg").and_then(algorithm)?;
                possible.into_iter().filter(|one| *one == named).collect()
            }
        };
        let id = text("kid").map(str::to_owned);
        (!algorithms.is_empty()).then_some(Self { id, algorithms, decoding })
    }
}

/// The key itself, and every algorithm that its kind is for.
fn material(jwk: &Json, symmetric: Symmetric) -> Option<(DecodingKey, Vec<Algorithm>)> {
    let text = |name: &str| jwk.get(name).and_then(Json::as_str);
    let bytes = |name: &str| text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    match (text("kty")?, symmetric) {
        ("RSA", _) => {
            let (modulus, exponent) = (bytes("n")?, bytes("e")?);
            let bits =
                modulus.len().checked_mul(8)?.checked_sub(usize::try_from(modulus.first()?.leading_zeros()).ok()?)?;
            let is_odd = exponent.last().is_some_and(|byte| byte & 1 == 1) && exponent.len() <= 8;
            if !RSA_BITS.contains(&bits) || !is_odd || exponent == [1] {
                return None;
            }
            use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};
            let key = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
            Some((key, vec![RS256, RS384, RS512, PS256, PS384, PS512]))
        }
        ("EC", _) => {
            let (algorithm, size) = match text("crv")? {
                "P-256" => (Algorithm::ES256, 32),
                "P-384" => (Algorithm::ES384, 48),
                _ => return None,
            };
            if bytes("x")?.len() != size || bytes("y")?.len() != size {
                return None;
            }
            Some((DecodingKey::from_ec_components(text("x")?, text("y")?).ok()?, vec![algorithm]))
        }
        ("OKP", _) if text("crv") == Some("Ed25519") && bytes("x")?.len() == 32 => {
            Some((DecodingKey::from_ed_components(text("x")?).ok()?, vec![Algorithm::EdDSA]))
        }
        ("oct", Symmetric::Allowed) => {
            let secret = bytes("k")?;
            // As long as the hash at least (RFC 7518, section 3.2).
            let all = [(Algorithm::HS256, 32), (Algorithm::HS384, 48), (Algorithm::HS512, 64)];
            let long_enough = all.into_iter().filter(|(_, least)| secret.len() >= *least).map(|(one, _)| one).collect();
            Some((DecodingKey::from_secret(&secret), long_enough))
        }
        _ => None,
    }
}

/// Keys of one issuer.
#[derive(Debug, Default)]
pub struct KeySet(Vec<Key>);

impl KeySet {
    /// Reads a JWK set.
    ///
    /// # Errors
    /// It is none, or no key of it can be used.
    pub fn parse(document: &[u8], symmetric: Symmetric) -> Result<Self, JwkFault> {
        if document.len() > SET_BYTES_MAX {
            return Err(JwkFault::Document);
        }
        let json = plain_object(document).ok_or(JwkFault::Document)?;
        let keys = json.get("keys").and_then(Json::as_array).ok_or(JwkFault::Document)?;
        let set: Vec<Key> = keys.iter().take(KEYS_MAX).filter_map(|jwk| Key::read(jwk, symmetric)).collect();
        if set.is_empty() { Err(JwkFault::NoKey) } else { Ok(Self(set)) }
    }

    /// A set of these keys.
    pub fn of(keys: Vec<Key>) -> Self {
        Self(keys)
    }

    /// Keys of that id; well-kept sets have one.
    pub fn named(&self, id: &str) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(move |key| key.id.as_deref() == Some(id))
    }

    /// All keys.
    pub fn all(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }

    /// Ids of all keys, for operators.
    pub fn ids(&self) -> Vec<String> {
        self.0.iter().map(|key| key.id.clone().unwrap_or_default()).collect()
    }
}
