use jsonwebtoken::Algorithm;
use serde_json::json;

use super::super::fixture::{Pair, files, good, listed};
use super::*;
use crate::config::settings::Secret;

#[test]
fn a_right_signature_proves_all_files_and_a_wrong_one_none() {
    let pair = Pair::new();
    let signer = pair.signer();
    let check = |files: &Files| verify(files, Some(&signer));
    let signed = pair.sign(good("r1"));
    assert_eq!(check(&signed), Ok(true));
    assert_eq!(verify(&good("r1"), None), Ok(false));
    assert_eq!(verify(&signed, None), Err(SignatureFault::NoKey));
    assert_eq!(check(&good("r1")), Err(SignatureFault::Missing));
    assert_eq!(check(&Pair::new().sign(good("r1"))), Err(TokenFault::Signature.into()));
    let with = |name: &str, text: &str| {
        let mut other = signed.clone();
        other.insert(name.to_owned(), text.as_bytes().to_vec());
        check(&other)
    };
    assert_eq!(with("more.rego", "package more"), Err(SignatureFault::Unlisted("more.rego".to_owned())));
    assert_eq!(with("rules.rego", "package rules"), Err(SignatureFault::Hash("rules.rego".to_owned())));
    let mut fewer = signed.clone();
    fewer.remove("rules_test.rego");
    assert_eq!(check(&fewer), Err(SignatureFault::Absent("rules_test.rego".to_owned())));
    for document in ["{}", "{\"signatures\": []}", "{\"signatures\": [1]}", "{\"signatures\": [\"a\", \"a\"]}", "["] {
        assert_eq!(with(FILE, document), Err(SignatureFault::Form), "{document}");
    }
}

#[test]
fn what_a_signature_says_must_be_whole_and_for_this_use() {
    let pair = Pair::new();
    let list = listed(&good("r1"));
    let first = |change: &dyn Fn(&mut Json)| {
        let mut list = list.clone();
        change(&mut list);
        verify(&pair.sign_as(good("r1"), &json!({"files": list})), Some(&pair.signer()))
    };
    assert_eq!(first(&|_| ()), Ok(true));
    assert_eq!(first(&|list| list[0]["name"] = format!("/{}", list[0]["name"].as_str().unwrap()).into()), Ok(true));
    assert_eq!(first(&|list| list[0]["hash"] = Json::Null), Err(SignatureFault::List));
    assert_eq!(first(&|list| list[0]["hash"] = "".into()), Err(SignatureFault::Hash(".manifest".to_owned())));
    assert_eq!(first(&|list| list[0]["algorithm"] = "MD5".into()), Err(SignatureFault::Algorithm(".manifest".into())));
    assert_eq!(first(&|list| list[1] = list[0].clone()), Err(SignatureFault::List));
    assert_eq!(first(&|list| *list = Json::Null), Err(SignatureFault::List));
    let scoped = pair.sign_as(good("r1"), &json!({"files": list, "scope": "read"}));
    assert_eq!(verify(&scoped, Some(&pair.signer())), Err(SignatureFault::Scope));
    let signer = Signer { scope: Some("read".to_owned()), ..pair.signer() };
    assert_eq!(verify(&scoped, Some(&signer)), Ok(true));
    assert_eq!(verify(&pair.sign(good("r1")), Some(&signer)), Err(SignatureFault::Scope));
}

#[test]
fn the_algorithm_and_the_key_are_the_configured_ones() {
    let pair = Pair::new();
    let claims = json!({"files": listed(&good("r1"))});
    let signed = |header: Json| {
        let token = pair.token(&header, &claims);
        let mut files = good("r1");
        files.insert(FILE.to_owned(), json!({"signatures": [token]}).to_string().into_bytes());
        files
    };
    let named = Signer { key_id: Some("k1".to_owned()), ..pair.signer() };
    let (plain, other) = (pair.signer(), Signer { algorithm: Algorithm::HS256, ..pair.signer() });
    let table = [
        (json!({"alg": "ES256"}), &named, Ok(true)),
        (json!({"alg": "ES256", "kid": "k1"}), &named, Ok(true)),
        (json!({"alg": "ES256", "kid": "k2"}), &plain, Ok(true)),
        (json!({"alg": "ES256", "kid": "k2"}), &named, Err(TokenFault::UnknownKey.into())),
        (json!({"alg": "none"}), &plain, Err(TokenFault::Algorithm.into())),
        (json!({"alg": "HS256"}), &plain, Err(TokenFault::Algorithm.into())),
        (json!({"alg": "ES256", "crit": ["x"], "x": 1}), &plain, Err(TokenFault::Critical.into())),
        (json!({"alg": "ES256"}), &other, Err(SignatureFault::Key)),
    ];
    for (header, signer, is) in table {
        assert_eq!(verify(&signed(header.clone()), Some(signer)), is, "{header}");
    }
}

/// As `opa sign --signing-alg HS256` does with a shared secret, and with a public key in PEM.
#[test]
fn secrets_and_keys_in_pem_are_taken() {
    let claims = json!({"files": listed(&good("r1"))});
    let secret = b"a shared secret of 32 bytes or more";
    let key = jsonwebtoken::EncodingKey::from_secret(secret);
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::new(Algorithm::HS256), &claims, &key).unwrap();
    let mut files = good("r1");
    files.insert(FILE.to_owned(), json!({"signatures": [token]}).to_string().into_bytes());
    let signer = |key: &[u8], algorithm| Signer { key: Secret::new(key), algorithm, key_id: None, scope: None };
    assert_eq!(verify(&files, Some(&signer(secret, Algorithm::HS256))), Ok(true));
    let other = signer(b"another secret of 32 bytes or more!", Algorithm::HS256);
    assert_eq!(verify(&files, Some(&other)), Err(TokenFault::Signature.into()));
    for (how, algorithm) in
        [(&rcgen::PKCS_ECDSA_P256_SHA256, Algorithm::ES256), (&rcgen::PKCS_ED25519, Algorithm::EdDSA)]
    {
        let pair = rcgen::KeyPair::generate_for(how).unwrap();
        let key = if algorithm == Algorithm::EdDSA {
            jsonwebtoken::EncodingKey::from_ed_der(&pair.serialize_der())
        } else {
            jsonwebtoken::EncodingKey::from_ec_der(&pair.serialize_der())
        };
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::new(algorithm), &claims, &key).unwrap();
        files.insert(FILE.to_owned(), json!({"signatures": [token]}).to_string().into_bytes());
        let pem = pair.public_key_pem();
        assert_eq!(verify(&files, Some(&signer(pem.as_bytes(), algorithm))), Ok(true), "{algorithm:?}");
        assert_eq!(verify(&files, Some(&signer(pem.as_bytes(), Algorithm::RS256))), Err(SignatureFault::Key));
    }
}

/// Structured files are hashed in the one form that OPA gives them.
#[test]
fn json_is_hashed_by_what_it_says() {
    let canon = |text: &str| {
        let mut out = Vec::new();
        write(text, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let table = [
        (" { \"b\" : [ 1 , 1.0, 1e2, -0 ] , \"a\" : { } } ", r#"{"a":{},"b":[1,1.0,1e2,-0]}"#),
        (r#"{"é\u000a\u2028<&>": "\/\u0041\u001f\b"}"#, "{\"é\\n\\u2028<&>\":\"/A\\u001f\\b\"}"),
        ("[true,false,null,[],\"\"]", "[true,false,null,[],\"\"]"),
        ("12345678901234567890123", "12345678901234567890123"),
    ];
    for (text, is) in table {
        assert_eq!(canon(text), is);
    }
    let yaml = canonical("a/data.yaml", b"b: [1, x]\na: {}\n").unwrap().unwrap();
    assert_eq!(String::from_utf8(yaml).unwrap(), r#"{"a":{},"b":[1,"x"]}"#);
    assert_eq!(canonical("a/data.txt", b"x"), Some(None));
    assert_eq!(canonical("data.json", b"{\"a\":1,\"a\":2}"), None, "a member that stands twice");
    let pair = Pair::new();
    let written = files(&[("a.rego", "package a"), ("data.json", r#"{"a":1,"b":[true]}"#)]);
    let mut signed = pair.sign(written);
    signed.insert("data.json".to_owned(), b"{ \"b\": [ true ],\n \"a\": 1 }".to_vec());
    assert_eq!(verify(&signed, Some(&pair.signer())), Ok(true));
}
