//! The thumbprint of a public key (RFC 7638): SHA-256 over its required members in their order. Pure.

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

/// `None` for a key of another kind, or one that lacks a member.
pub fn of(jwk: &Json) -> Option<[u8; 32]> {
    let names: &[&str] = match jwk.get("kty")?.as_str()? {
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        "RSA" => &["e", "kty", "n"],
        _ => return None,
    };
    let mut members = Vec::with_capacity(names.len());
    for name in names {
        let value = jwk.get(*name)?.as_str()?;
        // Names of curves and base64url need no escapes; a text that does is no member of a key.
        if !value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
            return None;
        }
        members.push(format!("\"{name}\":\"{value}\""));
    }
    Some(Sha256::digest(format!("{{{}}}", members.join(","))).into())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    /// RFC 7638, section 3.1, and RFC 8037, appendix A.3.
    #[test]
    fn the_thumbprints_of_the_standards_come_out() {
        let modulus = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let rsa = json!({"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"});
        let okp = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        let text = |jwk: &Json| URL_SAFE_NO_PAD.encode(of(jwk).unwrap());
        assert_eq!(text(&rsa), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        assert_eq!(text(&okp), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn what_is_no_public_key_has_none() {
        for jwk in [json!({}), json!({"kty": "oct", "k": "AA"}), json!({"kty": "EC", "crv": "P-256", "x": "A"})] {
            assert_eq!(of(&jwk), None, "{jwk}");
        }
        assert_eq!(of(&json!({"kty": "OKP", "crv": "Ed25519", "x": "a\",\"y\":\"b"})), None);
    }
}
