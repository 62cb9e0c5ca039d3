//! Tokens in all the wrong ways: what they try, their text, and the reason why they are refused.

use serde_json::{Value as Json, json};

use super::keys::{self, Signer};
use super::{START_MS, claims};

/// One try.
pub(super) type Attack = (&'static str, String, &'static str);

/// The issuer's keys k1 and k2, the secret that it published by mistake, and somebody else's key.
pub(super) struct Ring {
    pub(super) k1: Signer,
    pub(super) k2: Signer,
    pub(super) k3: [u8; 64],
    pub(super) other: Signer,
}

impl Ring {
    pub(super) fn new() -> Self {
        Self { k1: Signer::rsa(), k2: Signer::ec(), k3: [b'k'; 64], other: Signer::ec() }
    }

    /// A good token.
    pub(super) fn good(&self) -> String {
        self.k1.sign(&head(json!({})), &claims(START_MS))
    }
}

/// The header of a good token of k1 with changes; null takes a member out.
fn head(more: Json) -> Json {
    let mut header = json!({"alg": "RS256", "typ": "at+jwt", "kid": "k1"});
    more.as_object().unwrap().iter().for_each(|(name, value)| header[name] = value.clone());
    header.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    header
}

/// Algorithms and keys.
pub(super) fn by_key(ring: &Ring) -> Vec<Attack> {
    let claims = claims(START_MS);
    let signed = |signer: &Signer, more: Json| signer.sign(&head(more), &claims);
    let hmac = |secret: &[u8], more: Json| keys::hmac(secret, &head(more), &claims);
    let none = |alg: &str| {
        let token = signed(&ring.k1, json!({"alg": alg}));
        format!("{}.", token.rsplit_once('.').unwrap().0)
    };
    vec![
        ("none", none("none"), "token_algorithm"),
        ("None", none("None"), "token_algorithm"),
        ("nOnE", none("nOnE"), "token_algorithm"),
        ("HS256 with k1's PEM", hmac(ring.k1.pem().as_bytes(), json!({"alg": "HS256"})), "token_algorithm"),
        ("HS256 with k3", hmac(&ring.k3, json!({"alg": "HS256", "kid": "k3"})), "token_algorithm"),
        ("RS256 kid=k2", signed(&ring.k1, json!({"kid": "k2"})), "token_wrong_key"),
        ("ES256 kid=k1", signed(&ring.k2, json!({"alg": "ES256"})), "token_wrong_key"),
        ("no kid, one RS256 key", signed(&ring.k1, json!({"kid": null})), "accepted"),
        ("path as kid", signed(&ring.k1, json!({"kid": "../../dev/null"})), "token_unknown_key"),
        ("SQL as kid", signed(&ring.k1, json!({"kid": "k1' OR '1'='1"})), "token_unknown_key"),
        ("number as kid", signed(&ring.k1, json!({"kid": 1})), "token_key_id"),
        ("crit", signed(&ring.k1, json!({"crit": ["exp2"], "exp2": 1})), "token_critical_header"),
        ("b64", signed(&ring.k1, json!({"b64": false})), "token_unencoded_payload"),
        ("an id token", signed(&ring.k1, json!({"typ": "JWT"})), "token_type"),
    ]
}

/// Keys that a token brings along, in itself or at an address.
pub(super) fn by_own_key(ring: &Ring, address: &str) -> Vec<Attack> {
    let with = |name: &str, value: Json| {
        let mut header = head(json!({"alg": "ES256", "kid": "k2"}));
        header[name] = value;
        ring.other.sign(&header, &claims(START_MS))
    };
    vec![
        ("jku", with("jku", json!(address)), "token_signature"),
        ("x5u", with("x5u", json!(address)), "token_signature"),
        ("jwk", with("jwk", ring.other.jwk("k2")), "token_signature"),
    ]
}

/// Claims, and the text of the whole.
pub(super) fn by_form(ring: &Ring) -> Vec<Attack> {
    let with = |name: &str, value: Json| {
        let mut claims = claims(START_MS);
        claims[name] = value;
        ring.k1.sign(&head(json!({})), &claims)
    };
    let good = ring.good();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let header = keys::part(head(json!({})).to_string().as_bytes());
    let doubled = format!(r#"{{"sub":"eve",{}"#, &claims(START_MS).to_string()[1..]);
    vec![
        ("aud with ours", with("aud", json!(["other", "gw"])), "accepted"),
        ("aud in capitals", with("aud", json!("GW")), "token_audience"),
        ("iss with a slash", with("iss", json!("https://idp.example/")), "token_issuer"),
        ("sub twice", ring.k1.sign_text(&header, &doubled), "token_claims"),
        ("too long", with("x", json!("x".repeat(16 << 10))), "token_too_long"),
        ("one part", header, "token_malformed"),
        ("two parts", signed.to_owned(), "token_malformed"),
        ("four parts", format!("{good}.AAAA"), "token_malformed"),
        ("five parts (JWE)", format!("{good}.AAAA.AAAA"), "token_malformed"),
        ("padding", format!("{good}="), "token_encoding"),
        ("line break", format!("{good}\n"), "token_encoding"),
        ("last bits", format!("{signed}.{}", last_bits(signature)), "token_encoding"),
        ("other signature", format!("{signed}.{}", keys::part(&[1; 256])), "token_signature"),
        ("no signature", format!("{signed}."), "token_signature"),
    ]
}

/// The same bytes in another text: the bits that base64 does not use.
fn last_bits(signature: &str) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = alphabet.find(signature.chars().last().unwrap()).unwrap();
    format!("{}{}", &signature[..signature.len() - 1], &alphabet[last + 1..last + 2])
}
