//! A client that proves the possession of its key (RFC 9449), rightly and wrongly.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::issuer::SigningKey;

/// A key and the proofs that were made with it.
pub struct Prover {
    key: SigningKey,
    made: AtomicU64,
}

impl Default for Prover {
    fn default() -> Self {
        Self { key: SigningKey::new("proofs"), made: AtomicU64::new(0) }
    }
}

impl Prover {
    /// The public key, with its required members alone.
    pub fn jwk(&self) -> Value {
        let jwk = self.key.jwk();
        json!({"crv": jwk["crv"], "kty": jwk["kty"], "x": jwk["x"], "y": jwk["y"]})
    }

    /// What a token is bound to (RFC 7638): members in the order of their names, as JSON objects are kept here.
    pub fn thumbprint(&self) -> String {
        hash(&self.jwk().to_string())
    }

    /// A good proof for that request, with an id of its own.
    pub fn proof(&self, method: &str, url: &str, token: Option<&str>) -> String {
        self.proof_with(method, url, token, |_, _| {})
    }

    /// The same with a changed header and changed claims.
    pub fn proof_with(
        &self,
        method: &str,
        url: &str,
        token: Option<&str>,
        change: impl FnOnce(&mut Value, &mut Value),
    ) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let id = format!("{}-{}", self.thumbprint(), self.made.fetch_add(1, Ordering::Relaxed));
        let mut header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk()});
        let mut claims = json!({"jti": id, "htm": method, "htu": url, "iat": now});
        if let Some(token) = token {
            claims["ath"] = json!(hash(token));
        }
        change(&mut header, &mut claims);
        self.key.sign(&header, &claims)
    }
}

/// SHA-256 as base64url.
pub fn hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()).as_ref())
}
