//! The Wycheproof vectors, where the environment names them, and the front's own table.

use std::fs;
use std::path::Path;

use super::*;
use crate::identity::jwk::{Key, Symmetric};

/// Vectors where Weir and the file differ, with the reason.
const EXCEPTIONS: [(u64, &str); 8] = [
    (346, "the key says PS256, the token PS384: the key's own algorithm counts"),
    (347, "P-521 is not offered"),
    (350, "the key says PS256, the token PS384: the key's own algorithm counts"),
    (351, "P-521 is not offered"),
    (367, "the vector equals the valid token"),
    (370, "the vector equals the valid token"),
    (372, "base64url that is not canonical is refused"),
    (373, "base64url that is not canonical is refused"),
];

fn accepts(jws: &str, jwk: &Json) -> bool {
    let Some(key) = Key::read(jwk, Symmetric::Allowed) else { return false };
    // The issuer is pinned to what its key is for.
    let named = jwk.get("alg").and_then(Json::as_str).and_then(algorithm);
    let allowed: Vec<Algorithm> = named.map_or_else(|| ALL.to_vec(), |one| vec![one]);
    let keys = KeySet::of(vec![key]);
    let Ok(mut token) = Token::parse(jws) else { return false };
    // The vectors' key ids are not about the choice of a key.
    token.key_id = None;
    token.verify(&keys, &allowed).is_ok()
}

const ALL: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

#[test]
fn wycheproofs_vectors_agree_but_for_eight_named_ones() {
    let Some(folder) = std::env::var_os("WEIR_CASES") else {
        println!("WEIR_CASES names no folder: Wycheproof's vectors were not run");
        return;
    };
    let path = Path::new(&folder).join("wycheproof/json_web_signature_test.json");
    let file: Json = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let (mut agree, mut differ) = (0, Vec::new());
    for group in file["testGroups"].as_array().unwrap() {
        let jwk = group.get("public").or_else(|| group.get("private")).unwrap();
        for test in group["tests"].as_array().unwrap() {
            let jws = test["jws"].as_str().map_or_else(|| test["jws"].to_string(), str::to_owned);
            match accepts(&jws, jwk) == (test["result"] == "valid") {
                true => agree += 1,
                false => differ.push(test["tcId"].as_u64().unwrap()),
            }
        }
    }
    assert_eq!(differ, EXCEPTIONS.map(|(id, _)| id));
    assert_eq!(agree, 393);
}

fn text(part: &str) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

#[test]
fn only_the_plainest_form_passes_the_front() {
    let of = |header: &str, payload: &str| format!("{}.{}.{}", text(header), text(payload), text("signature"));
    let parsed = |token: &str| Token::parse(token).err();
    assert_eq!(parsed(&of(r#"{"alg":"RS256"}"#, "{}")), None);
    let good = of(r#"{"alg":"RS256"}"#, "{}");
    let cases = [
        (of(r#"{"alg":"RS256","crit":["exp2"]}"#, "{}"), TokenFault::Critical),
        (of(r#"{"alg":"RS256","crit":[]}"#, "{}"), TokenFault::Critical),
        (of(r#"{"alg":"RS256","b64":false,"crit":["b64"]}"#, "{}"), TokenFault::Critical),
        (of(r#"{"alg":"RS256","b64":false}"#, "{}"), TokenFault::Unencoded),
        (of(r#"{"alg":"RS256","zip":"DEF"}"#, "{}"), TokenFault::Compressed),
        (of(r#"{"alg":"RS256","alg":"none"}"#, "{}"), TokenFault::Header),
        (of(r#"{"alg":"RS256","jwk":{"kty":"RSA","kty":"oct"}}"#, "{}"), TokenFault::Header),
        (of(r#"["RS256"]"#, "{}"), TokenFault::Header),
        (of("RS256", "{}"), TokenFault::Header),
        (of("{\"alg\":\"RS256\"}\u{0}", "{}"), TokenFault::Header),
        (of(r#"{"alg":"RS256","kid":7}"#, "{}"), TokenFault::KeyId),
        (of(r#"{"alg":"RS256","kid":null}"#, "{}"), TokenFault::KeyId),
        (of(&format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(257)), "{}"), TokenFault::KeyId),
        (of(r#"{"alg":"RS256","kid":"a\u0000b"}"#, "{}"), TokenFault::KeyId),
        (of(r#"{"alg":"RS256","typ":["JWT"]}"#, "{}"), TokenFault::Type),
        (format!("{good}."), TokenFault::Parts),
        (format!("{good}.a.b"), TokenFault::Parts),
        (good.rsplit_once('.').unwrap().0.to_owned(), TokenFault::Parts),
        (String::new(), TokenFault::Parts),
        (format!("{good}\n"), TokenFault::Encoding),
        (format!("{good}="), TokenFault::Encoding),
        (format!(" {good}"), TokenFault::Encoding),
        (good.replace('.', " ."), TokenFault::Encoding),
        (format!("{}+", good), TokenFault::Encoding),
        // The last character's unused bits are not zero.
        (format!("{}.{}.YR", text(r#"{"alg":"RS256"}"#), text("{}")), TokenFault::Encoding),
        (format!("{}.{}.{}", text(r#"{"alg":"RS256"}"#), text("{}"), "A".repeat(TOKEN_BYTES_MAX)), TokenFault::TooLong),
    ];
    for (token, fault) in cases {
        assert_eq!(parsed(&token), Some(fault), "{token}");
    }
}

#[test]
fn an_algorithm_is_one_of_the_names_exactly() {
    for name in ["none", "None", "nOnE", "NONE", "", "rs256", "RS256 ", "HS1", "ES512", "ES256K", "RS1", "dir"] {
        assert_eq!(algorithm(name), None, "{name}");
    }
    assert_eq!(
        ALL.len(),
        ["HS256", "RS256", "PS256", "ES256", "ES384", "EdDSA"].iter().filter_map(|n| algorithm(n)).count() + 6
    );
}

#[test]
fn members_that_stand_twice_are_no_claims() {
    let claims = |payload: &str| {
        let token = format!("{}.{}.", text(r#"{"alg":"RS256"}"#), text(payload));
        Token::parse(&token).unwrap().claims().err()
    };
    assert_eq!(claims(r#"{"sub":"a"}"#), None);
    for payload in [r#"{"sub":"a","sub":"b"}"#, r#"{"a":{"b":1,"b":1}}"#, "[]", "x", "{\"s\\u0075b\":1,\"sub\":2}", ""]
    {
        assert_eq!(claims(payload), Some(TokenFault::Claims), "{payload}");
    }
}

#[test]
fn a_key_that_is_not_for_signatures_or_of_a_wrong_shape_is_left_out() {
    let n = URL_SAFE_NO_PAD.encode([0xff; 256]);
    let short = URL_SAFE_NO_PAD.encode([0xff; 128]);
    let x = URL_SAFE_NO_PAD.encode([1; 32]);
    let rsa = |rest: &str| format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"{rest}}}"#);
    let read = |jwk: &str| Key::read(&serde_json::from_str(jwk).unwrap(), Symmetric::Refused).is_some();
    assert!(read(&rsa("")) && read(&rsa(r#","use":"sig","alg":"PS256","key_ops":["verify"]"#)));
    let bad = [
        rsa(r#","use":"enc""#),
        rsa(r#","use":7"#),
        rsa(r#","key_ops":["sign"]"#),
        rsa(r#","key_ops":"verify""#),
        rsa(r#","alg":"ES256""#),
        rsa(r#","alg":"RSA-OAEP""#),
        rsa(r#","kid":7"#),
        format!(r#"{{"kty":"RSA","n":"{short}","e":"AQAB"}}"#),
        format!(r#"{{"kty":"RSA","n":"{n}","e":"AQ"}}"#),
        format!(r#"{{"kty":"EC","crv":"P-384","x":"{x}","y":"{x}"}}"#),
        format!(r#"{{"kty":"EC","crv":"P-521","x":"{x}","y":"{x}"}}"#),
        format!(r#"{{"kty":"oct","k":"{n}"}}"#),
        format!(r#"{{"kty":"OKP","crv":"X25519","x":"{x}"}}"#),
        r#"{"kty":"RSA"}"#.to_owned(),
        "{}".to_owned(),
    ];
    for jwk in bad {
        assert!(!read(&jwk), "{jwk}");
    }
    let weak = format!(r#"{{"kty":"oct","k":"{}"}}"#, URL_SAFE_NO_PAD.encode("secret"));
    assert!(Key::read(&serde_json::from_str(&weak).unwrap(), Symmetric::Allowed).is_none());
}
