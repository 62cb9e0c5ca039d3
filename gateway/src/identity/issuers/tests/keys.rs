//! Keys that sign tokens for tests, in all the wrong ways too.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value as Json, json};

/// An RSA key that protects nothing: making one takes a second.
const RSA: &str = include_str!("rsa.pem");
const RSA_PUBLIC: &str = include_str!("rsa_public.pem");

/// Base64url.
pub(super) fn part(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A private key with its algorithm.
pub(super) struct Signer {
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    /// The RSA key, for RS256.
    pub(super) fn rsa() -> Self {
        Self { algorithm: Algorithm::RS256, key: EncodingKey::from_rsa_pem(RSA.as_bytes()).unwrap() }
    }

    /// A new key for ES256.
    pub(super) fn ec() -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        Self { algorithm: Algorithm::ES256, key }
    }

    /// The algorithm's name.
    pub(super) fn alg(&self) -> Json {
        json!(self.algorithm)
    }

    /// The public half in PEM.
    pub(super) fn pem(&self) -> &'static str {
        RSA_PUBLIC
    }

    /// The public half, under a name.
    pub(super) fn jwk(&self, kid: &str) -> Json {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(kid);
        jwk["use"] = json!("sig");
        jwk
    }

    /// Signs with its own algorithm, whatever the header says.
    pub(super) fn sign(&self, header: &Json, claims: &Json) -> String {
        self.sign_text(&part(header.to_string().as_bytes()), &claims.to_string())
    }

    /// Signs a payload as it is.
    pub(super) fn sign_text(&self, header: &str, payload: &str) -> String {
        signed(&self.key, self.algorithm, header, payload)
    }
}

/// Signs with a secret.
pub(super) fn hmac(secret: &[u8], header: &Json, claims: &Json) -> String {
    let key = EncodingKey::from_secret(secret);
    signed(&key, Algorithm::HS256, &part(header.to_string().as_bytes()), &claims.to_string())
}

fn signed(key: &EncodingKey, algorithm: Algorithm, header: &str, payload: &str) -> String {
    let message = format!("{header}.{}", part(payload.as_bytes()));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}
