//! Keys of `io.jwt.*`: certificates, public keys and JWKs as texts; signatures on ring.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::rand::SystemRandom;
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use ring::{hmac, rsa};
use serde_json::Value as Json;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey as Spki;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::Failed;

/// As OPA reads base64url: padding and the last character's unused bits don't matter.
pub(super) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Keys of one text: a JWKS may hold many.
const KEYS_MAX: usize = 64;

/// A public key and what its JWK says about itself.
pub(super) struct Key {
    pub(super) id: Option<String>,
    algorithm: Option<String>,
    public: Public,
}

enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ec { point: Vec<u8> },
    Ed { x: Vec<u8> },
}

/// The public keys of a certificate, a PEM public key, a JWK or a JWKS.
pub(super) fn read(text: &str) -> Result<Vec<Key>, Failed> {
    let text = text.trim();
    if text.starts_with('{') {
        let json: Json = serde_json::from_str(text).map_err(|_| Failed::new("failed to parse a JWK key (set)"))?;
        let bad = || Failed::new("failed to parse a JWK key (set)");
        let Some(keys) = json.get("keys").and_then(Json::as_array) else {
            return Ok(vec![jwk(&json).ok_or_else(bad)?]);
        };
        // A set may hold keys of kinds that are not for signatures; those are no candidates.
        return Ok(keys.iter().take(KEYS_MAX).filter_map(jwk).collect());
    }
    let bad = || Failed::new("failed to parse a PEM key");
    let (pem, read) = Pem::read(std::io::Cursor::new(text.as_bytes())).map_err(|_| bad())?;
    if text.get(read..).is_none_or(|rest| !rest.trim().is_empty()) {
        return Err(Failed::new("extra data after a PEM certificate block"));
    }
    let public = match pem.label.as_str() {
        "CERTIFICATE" => {
            let (_, certificate) = X509Certificate::from_der(&pem.contents).map_err(|_| bad())?;
            spki(certificate.public_key())
        }
        "PUBLIC KEY" => spki(&SubjectPublicKeyInfo::from_der(&pem.contents).map_err(|_| bad())?.1),
        _ => return Err(Failed::new("failed to extract a key from the PEM certificate")),
    };
    Ok(vec![Key { id: None, algorithm: None, public: public.ok_or_else(bad)? }])
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the list is the crate's; other keys sign nothing here")]
fn spki(info: &SubjectPublicKeyInfo<'_>) -> Option<Public> {
    if info.algorithm.algorithm.to_id_string() == "1.3.101.112" {
        return Some(Public::Ed { x: info.subject_public_key.data.to_vec() });
    }
    if let Spki::RSA(key) = info.parsed().ok()? {
        let trim = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        return Some(Public::Rsa { n: trim(key.modulus), e: trim(key.exponent) });
    }
    match info.parsed().ok()? {
        Spki::EC(point) => Some(Public::Ec { point: point.data().to_vec() }),
        _ => None,
    }
}

/// A member of a JWK as bytes.
fn member(jwk: &Json, name: &str) -> Option<Vec<u8>> {
    LENIENT.decode(jwk.get(name)?.as_str()?).ok()
}

fn jwk(jwk: &Json) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Json::as_str).map(str::to_owned);
    let public = match jwk.get("kty")?.as_str()? {
        "RSA" => Public::Rsa { n: member(jwk, "n")?, e: member(jwk, "e")? },
        "EC" => Public::Ec { point: [vec![4], member(jwk, "x")?, member(jwk, "y")?].concat() },
        "OKP" => Public::Ed { x: member(jwk, "x")? },
        _ => return None,
    };
    Some(Key { id: text("kid"), algorithm: text("alg"), public })
}

impl Key {
    /// Whether `signed` is this key's signature of `message`, by that algorithm of RFC 7518.
    pub(super) fn verifies(&self, algorithm: &str, message: &[u8], signed: &[u8]) -> bool {
        if self.algorithm.as_deref().is_some_and(|own| own != algorithm) {
            return false;
        }
        match (&self.public, algorithm) {
            (Public::Rsa { n, e }, _) => rsa_parameters(algorithm)
                .is_some_and(|how| RsaPublicKeyComponents { n, e }.verify(how, message, signed).is_ok()),
            (Public::Ec { point }, "ES256") => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signed).is_ok()
            }
            (Public::Ec { point }, "ES384") => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, signed).is_ok()
            }
            (Public::Ed { x }, "EdDSA") => UnparsedPublicKey::new(&ED25519, x).verify(message, signed).is_ok(),
            (Public::Ec { .. } | Public::Ed { .. }, _) => false,
        }
    }
}

fn rsa_parameters(algorithm: &str) -> Option<&'static signature::RsaParameters> {
    match algorithm {
        "RS256" => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        "RS384" => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        "RS512" => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        "PS256" => Some(&signature::RSA_PSS_2048_8192_SHA256),
        "PS384" => Some(&signature::RSA_PSS_2048_8192_SHA384),
        "PS512" => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

fn hmac_algorithm(algorithm: &str) -> Option<hmac::Algorithm> {
    match algorithm {
        "HS256" => Some(hmac::HMAC_SHA256),
        "HS384" => Some(hmac::HMAC_SHA384),
        "HS512" => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

/// Whether `signed` is the keyed hash of `message`.
pub(super) fn verifies_secret(secret: &str, algorithm: &str, message: &[u8], signed: &[u8]) -> bool {
    let key = hmac_algorithm(algorithm).map(|algorithm| hmac::Key::new(algorithm, secret.as_bytes()));
    key.is_some_and(|key| hmac::verify(&key, message, signed).is_ok())
}

/// Signs with a private JWK.
pub(super) fn sign(jwk: &Json, algorithm: &str, message: &[u8]) -> Result<Vec<u8>, Failed> {
    let part = |name: &str| member(jwk, name).ok_or_else(|| Failed::new(format!("the key lacks `{name}`")));
    let bad = || Failed::new("the key does not fit its algorithm");
    let random = SystemRandom::new();
    if let Some(algorithm) = hmac_algorithm(algorithm) {
        return Ok(hmac::sign(&hmac::Key::new(algorithm, &part("k")?), message).as_ref().to_vec());
    }
    let curve = match algorithm {
        "ES256" => Some(&ECDSA_P256_SHA256_FIXED_SIGNING),
        "ES384" => Some(&ECDSA_P384_SHA384_FIXED_SIGNING),
        _ => None,
    };
    if let Some(curve) = curve {
        let point = [vec![4], part("x")?, part("y")?].concat();
        let pair = EcdsaKeyPair::from_private_key_and_public_key(curve, &part("d")?, &point, &random);
        let signed = pair.map_err(|_| bad())?.sign(&random, message).map_err(|_| bad())?;
        return Ok(signed.as_ref().to_vec());
    }
    if algorithm == "EdDSA" {
        let pair = Ed25519KeyPair::from_seed_and_public_key(&part("d")?, &part("x")?).map_err(|_| bad())?;
        return Ok(pair.sign(message).as_ref().to_vec());
    }
    sign_rsa(jwk, algorithm, message, &random)
}

fn sign_rsa(jwk: &Json, algorithm: &str, message: &[u8], random: &SystemRandom) -> Result<Vec<u8>, Failed> {
    let part = |name: &str| member(jwk, name).ok_or_else(|| Failed::new(format!("the key lacks `{name}`")));
    let padding: &dyn signature::RsaEncoding = match algorithm {
        "RS256" => &signature::RSA_PKCS1_SHA256,
        "RS384" => &signature::RSA_PKCS1_SHA384,
        "RS512" => &signature::RSA_PKCS1_SHA512,
        "PS256" => &signature::RSA_PSS_SHA256,
        "PS384" => &signature::RSA_PSS_SHA384,
        "PS512" => &signature::RSA_PSS_SHA512,
        _ => return Err(Failed::new("unknown signature algorithm")),
    };
    let bad = |_| Failed::new("the key does not fit its algorithm");
    let public_key = rsa::PublicKeyComponents { n: part("n")?, e: part("e")? };
    let pair = RsaKeyPair::from_components(&rsa::KeyPairComponents {
        public_key,
        d: part("d")?,
        p: part("p")?,
        q: part("q")?,
        dP: part("dp")?,
        dQ: part("dq")?,
        qInv: part("qi")?,
    });
    let pair = pair.map_err(|fault| Failed::new(fault.to_string()))?;
    let mut signed = vec![0; pair.public().modulus_len()];
    pair.sign(padding, random, message, &mut signed).map_err(bad)?;
    Ok(signed)
}
