//! Proofs: a good one, and each way to be wrong with its own reason.

use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::Jwk;
use serde_json::json;

use super::*;

const NOW: u64 = 1_800_000_000;
const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.e30.c2ln";

struct Signer(EncodingKey);

impl Signer {
    fn new() -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self(EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap())
    }

    fn jwk(&self) -> Json {
        let jwk = serde_json::to_value(Jwk::from_encoding_key(&self.0, Algorithm::ES256).unwrap()).unwrap();
        json!({"kty": "EC", "crv": jwk["crv"], "x": jwk["x"], "y": jwk["y"]})
    }

    fn sign(&self, header: &Json, claims: &Json) -> String {
        let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.0, Algorithm::ES256).unwrap();
        format!("{message}.{signature}")
    }
}

fn rule() -> DpopRule {
    DpopRule {
        public_url: ::url::Url::parse("https://ai.example.com").unwrap(),
        algorithms: vec![Algorithm::ES256, Algorithm::EdDSA],
        window_s: 60,
        nonces: None,
    }
}

fn asked() -> Asked<'static> {
    Asked { method: "POST", path: "/v1/chat/completions", token: TOKEN }
}

fn header(signer: &Signer) -> Json {
    json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": signer.jwk()})
}

fn claims() -> Json {
    json!({
        "jti": "one", "htm": "POST", "htu": "https://ai.example.com/v1/chat/completions", "iat": NOW,
        "ath": URL_SAFE_NO_PAD.encode(Sha256::digest(TOKEN)),
    })
}

/// The same object with one member more, another, or without it.
fn with(mut json: Json, name: &str, value: Option<Json>) -> Json {
    let members = json.as_object_mut().unwrap();
    members.remove(name);
    members.extend(value.map(|value| (name.to_owned(), value)));
    json
}

#[test]
fn a_good_proof_gives_its_key_and_one_id_for_each_jti() {
    let signer = Signer::new();
    let judged = |claims: &Json| judge(&rule(), &signer.sign(&header(&signer), claims), &asked(), NOW);
    let one = judged(&claims()).unwrap();
    assert_eq!((Some(one.key), one.until_s), (thumbprint::of(&signer.jwk()), NOW + 60));
    let again = judged(&with(claims(), "iat", Some(json!(NOW - 1)))).unwrap();
    let other = judged(&with(claims(), "jti", Some(json!("two")))).unwrap();
    assert!(again.id == one.id && other.id != one.id);
    let named = with(header(&signer), "kid", Some(json!("any")));
    assert!(judge(&rule(), &signer.sign(&named, &claims()), &asked(), NOW).is_ok(), "a name of the key means nothing");
}

#[test]
fn each_header_that_is_wrong_has_its_own_reason() {
    let (signer, other) = (Signer::new(), Signer::new());
    let jwk = |name: &str, value: Json| Some(with(signer.jwk(), name, Some(value)));
    let table = [
        ("typ", None, DpopFault::Type),
        ("typ", Some(json!("JWT")), DpopFault::Type),
        ("typ", Some(json!("at+jwt")), DpopFault::Type),
        ("alg", Some(json!("none")), DpopFault::Algorithm),
        ("alg", Some(json!("HS256")), DpopFault::Algorithm),
        ("alg", Some(json!("RS256")), DpopFault::Algorithm),
        ("alg", Some(json!("EdDSA")), DpopFault::Key),
        ("jwk", None, DpopFault::Key),
        ("jwk", Some(json!("text")), DpopFault::Key),
        ("jwk", Some(json!({"kty": "oct", "k": "AAAA"})), DpopFault::PrivateKey),
        ("jwk", Some(json!({"kty": "oct"})), DpopFault::Key),
        ("jwk", jwk("d", json!("AAAA")), DpopFault::PrivateKey),
        ("jwk", jwk("use", json!("enc")), DpopFault::Key),
        ("jwk", jwk("key_ops", json!(["sign"])), DpopFault::Key),
        ("jwk", jwk("crv", json!("P-521")), DpopFault::Key),
        ("jwk", jwk("x", json!("AAAA")), DpopFault::Key),
        ("jwk", Some(other.jwk()), DpopFault::Signature),
        ("crit", Some(json!(["exp"])), DpopFault::Malformed),
        ("b64", Some(json!(false)), DpopFault::Malformed),
    ];
    for (name, value, fault) in table {
        let text = signer.sign(&with(header(&signer), name, value.clone()), &claims());
        assert_eq!(judge(&rule(), &text, &asked(), NOW), Err(fault), "{name}: {value:?}");
    }
}

#[test]
fn each_claim_that_is_wrong_has_its_own_reason() {
    let signer = Signer::new();
    let table = [
        ("jti", None, DpopFault::Id),
        ("jti", Some(json!("")), DpopFault::Id),
        ("jti", Some(json!(7)), DpopFault::Id),
        ("jti", Some(json!("x".repeat(257))), DpopFault::Id),
        ("htm", None, DpopFault::Method),
        ("htm", Some(json!("GET")), DpopFault::Method),
        ("htm", Some(json!("post")), DpopFault::Method),
        ("htu", None, DpopFault::Url),
        ("htu", Some(json!("https://ai.example.com/v1/models")), DpopFault::Url),
        ("htu", Some(json!("https://evil.example/v1/chat/completions")), DpopFault::Url),
        ("iat", None, DpopFault::Time),
        ("iat", Some(json!("now")), DpopFault::Time),
        ("iat", Some(json!(-1)), DpopFault::Time),
        ("iat", Some(json!(NOW - 61)), DpopFault::Old),
        ("iat", Some(json!(NOW + 11)), DpopFault::FromTheFuture),
        ("ath", None, DpopFault::TokenHash),
        ("ath", Some(json!(URL_SAFE_NO_PAD.encode(Sha256::digest("another")))), DpopFault::TokenHash),
    ];
    for (name, value, fault) in table {
        let text = signer.sign(&header(&signer), &with(claims(), name, value.clone()));
        assert_eq!(judge(&rule(), &text, &asked(), NOW), Err(fault), "{name}: {value:?}");
    }
    let text = signer.sign(&header(&signer), &json!([]));
    assert_eq!(judge(&rule(), &text, &asked(), NOW), Err(DpopFault::Claims));
}

#[test]
fn a_text_that_is_no_signed_token_is_malformed() {
    let signer = Signer::new();
    let good = signer.sign(&header(&signer), &claims());
    let long = format!("{good}{}", "A".repeat(PROOF_BYTES_MAX));
    for text in ["", "a.b", &format!("{good},{good}"), &format!("{good}="), &long] {
        assert_eq!(judge(&rule(), text, &asked(), NOW), Err(DpopFault::Malformed), "{text}");
    }
    let (message, _) = good.rsplit_once('.').unwrap();
    assert_eq!(judge(&rule(), &format!("{message}."), &asked(), NOW), Err(DpopFault::Signature));
}

#[test]
fn a_nonce_is_asked_for_last_and_only_where_it_is_configured() {
    let signer = Signer::new();
    let nonces = nonce::Nonces::new(b"a secret of the gateways");
    let strict = DpopRule { nonces: Some(nonces.clone()), ..rule() };
    let judged = |nonce: Option<Json>| {
        let claims = with(claims(), "nonce", nonce);
        judge(&strict, &signer.sign(&header(&signer), &claims), &asked(), NOW).map(|_| ())
    };
    assert_eq!(judged(Some(json!(nonces.current(NOW)))), Ok(()));
    assert_eq!(judged(Some(json!(nonces.current(NOW - 600)))), Err(DpopFault::Nonce));
    assert_eq!((judged(None), judged(Some(json!(7)))), (Err(DpopFault::Nonce), Err(DpopFault::Nonce)));
}

#[test]
fn exactly_one_proof_stands_in_the_head() {
    let mut headers = HeaderMap::new();
    assert_eq!(presented(&headers), Err(DpopFault::Missing));
    headers.append("dpop", "one".parse().unwrap());
    assert_eq!(presented(&headers), Ok("one"));
    headers.append("dpop", "one".parse().unwrap());
    assert_eq!(presented(&headers), Err(DpopFault::Many));
}
