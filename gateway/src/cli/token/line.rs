//! One line of a batch: a token with the keys and rules to judge it by.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use super::Verdict;
use crate::identity::TenantPath;
use crate::identity::issuer::{self, IssuerRule, KeySource, TokenType};
use crate::identity::jwk::{Key, KeySet, Symmetric};
use crate::identity::token::{Token, TokenFault, algorithm};

/// Every algorithm: a key is for some of them only.
const ALGORITHMS: [&str; 12] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256", "HS384", "HS512"];

#[derive(Deserialize)]
struct Line {
    token: String,
    /// A set, one key, or either of them as text.
    #[serde(alias = "jwk", alias = "keys")]
    jwks: Json,
    #[serde(default, alias = "issuer_rules")]
    rules: Rules,
    /// Unix seconds; the clock's without it.
    now: Option<u64>,
    // The rules may also stand beside the token.
    #[serde(flatten)]
    beside: Rules,
}

/// As in `identity.issuers`; what is not there is not checked.
#[derive(Default, Deserialize)]
struct Rules {
    issuer: Option<String>,
    #[serde(default, alias = "audience", deserialize_with = "texts")]
    audiences: Vec<String>,
    #[serde(default, deserialize_with = "texts")]
    algorithms: Vec<String>,
    #[serde(alias = "typ")]
    token_type: Option<String>,
    #[serde(default, deserialize_with = "texts")]
    clients: Vec<String>,
    leeway_s: Option<u64>,
    age_max_s: Option<u64>,
    tenant: Option<String>,
    #[serde(default)]
    path_claims: Vec<String>,
    roles_claim: Option<String>,
    #[serde(default)]
    roles: BTreeMap<String, String>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

/// A list, or one text.
fn texts<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(String),
        Many(Vec<String>),
        None(()),
    }
    Ok(match Either::deserialize(from)? {
        Either::One(text) => vec![text],
        Either::Many(all) => all,
        Either::None(()) => Vec::new(),
    })
}

/// Judges a line; one that can't be read is refused like a token.
pub(super) fn judge(text: &[u8], now_s: u64) -> Verdict {
    let line: Line = match serde_json::from_slice(text) {
        Ok(line) => line,
        Err(fault) => return Verdict::refused("bad_line", fault.to_string()),
    };
    let Some(keys) = keys(&line.jwks) else {
        return Verdict::refused(TokenFault::NoKeys.code(), "the line has no key that can be used".to_owned());
    };
    let rules = if line.rules.issuer.is_some() || !line.rules.audiences.is_empty() || !line.rules.algorithms.is_empty()
    {
        &line.rules
    } else {
        &line.beside
    };
    let now_s = line.now.unwrap_or(now_s);
    match decide(&line.token, &keys, rules, now_s) {
        Ok(verdict) => verdict,
        Err(fault) => Verdict::of(Err(fault)),
    }
}

fn decide(token: &str, keys: &KeySet, rules: &Rules, now_s: u64) -> Result<Verdict, TokenFault> {
    let token = Token::parse(token)?;
    let named: Vec<&str> = match rules.algorithms.is_empty() {
        true => ALGORITHMS.to_vec(),
        false => rules.algorithms.iter().map(String::as_str).collect(),
    };
    let allowed: Vec<_> = named.into_iter().filter_map(algorithm).collect();
    token.verify(keys, &allowed)?;
    if rules.issuer.is_none() && rules.audiences.is_empty() {
        return Ok(Verdict::signed());
    }
    let claims = token.claims()?;
    let rule = rule(rules, &claims, allowed)?;
    let proven = issuer::judge(&rule, &token, &claims, now_s)?;
    Ok(Verdict::of(Ok((&rule, &proven))))
}

/// The line's rules; what they leave out is taken from the token itself, so that it is not checked.
fn rule(rules: &Rules, claims: &Json, algorithms: Vec<jsonwebtoken::Algorithm>) -> Result<IssuerRule, TokenFault> {
    let own = |name: &str| claims.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
    let audiences = match (rules.audiences.is_empty(), claims.get("aud")) {
        (false, _) => rules.audiences.clone(),
        (true, Some(Json::Array(many))) => many.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
        (true, _) => vec![own("aud")],
    };
    let tenant = TenantPath::parse(rules.tenant.as_deref().unwrap_or("tenant")).map_err(|_| TokenFault::Tenant)?;
    Ok(IssuerRule {
        name: "line".into(),
        issuer: rules.issuer.clone().unwrap_or_else(|| own("iss")).into(),
        audiences,
        algorithms,
        kind: match rules.token_type.as_deref() {
            Some("at+jwt") => TokenType::AccessToken,
            Some(_) | None => TokenType::Any,
        },
        clients: rules.clients.clone(),
        leeway_s: rules.leeway_s.unwrap_or(10),
        age_max_s: rules.age_max_s.unwrap_or(u64::MAX),
        tenant,
        path_claims: rules.path_claims.clone(),
        user_claims: Vec::new(),
        roles_claim: rules.roles_claim.clone().unwrap_or_else(|| "roles".to_owned()),
        roles: rules.roles.clone(),
        attributes: rules.attributes.clone(),
        keys: KeySource::Discovery,
        refresh_s: 0,
        stale_s: 0,
        cooldown_s: 0,
        introspection: None,
    })
}

fn keys(given: &Json) -> Option<KeySet> {
    let parsed = given.as_str().map(serde_json::from_str::<Json>).transpose().ok()?;
    let json = parsed.as_ref().unwrap_or(given);
    if json.get("keys").is_some() {
        return KeySet::parse(json.to_string().as_bytes(), Symmetric::Allowed).ok();
    }
    Some(KeySet::of(vec![Key::read(json, Symmetric::Allowed)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515, appendix A.3: ES256 with its key.
    const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    const KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

    fn verdict(rest: &str) -> Verdict {
        judge(format!(r#"{{"token":"{TOKEN}","jwks":{KEY}{rest}}}"#).as_bytes(), 0)
    }

    #[test]
    fn a_line_without_rules_asks_for_the_signature_alone() {
        assert!(verdict("").accepted);
        assert_eq!(verdict(r#","algorithms":["RS256"]"#).reason, Some("token_algorithm"));
        let other = KEY.replace("f83O", "f83P");
        let line = format!(r#"{{"token":"{TOKEN}","jwks":{{"keys":[{other}]}}}}"#);
        assert_eq!(judge(line.as_bytes(), 0).reason, Some("token_signature"));
    }

    #[test]
    fn rules_stand_beside_the_token_or_in_an_object() {
        for rest in [r#","issuer":"joe","now":1300819379"#, r#","rules":{"issuer":"joe"},"now":1300819379"#] {
            assert_eq!(verdict(rest).reason, Some("token_audience"), "{rest}");
        }
        assert_eq!(verdict(r#","issuer":"jim","now":1300819379"#).reason, Some("token_issuer"));
    }

    #[test]
    fn a_line_that_can_not_be_read_has_an_answer_too() {
        for line in ["", "{", "[]", "{}", r#"{"token":7,"jwks":{}}"#] {
            assert_eq!(judge(line.as_bytes(), 0).reason, Some("bad_line"), "{line}");
        }
        assert_eq!(judge(br#"{"token":"a.b.c","jwks":{}}"#, 0).reason, Some("issuer_keys_unavailable"));
    }
}
