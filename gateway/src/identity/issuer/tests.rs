//! Claims: each way to be wrong has its own reason.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;

const NOW: u64 = 1_800_000_000;

/// An issuer for tests.
pub fn rule() -> IssuerRule {
    IssuerRule {
        name: "corp".into(),
        issuer: "https://idp.example".into(),
        audiences: vec!["gw".to_owned()],
        algorithms: vec![Algorithm::ES256],
        kind: TokenType::AccessToken,
        clients: Vec::new(),
        leeway_s: 30,
        age_max_s: 3_600,
        tenant: TenantPath::parse("acme").unwrap(),
        path_claims: vec!["team".to_owned()],
        user_claims: vec!["sub".to_owned(), "email".to_owned()],
        roles_claim: "/realm/roles".to_owned(),
        roles: BTreeMap::from([("ml".to_owned(), "developer".to_owned())]),
        attributes: BTreeMap::from([("clearance".to_owned(), "level".to_owned())]),
        keys: KeySource::Discovery,
        refresh_s: 300,
        stale_s: 3_600,
        cooldown_s: 30,
        introspection: None,
    }
}

fn good() -> Json {
    json!({
        "iss": "https://idp.example", "aud": "gw", "sub": "ada@example.org", "exp": NOW + 300, "iat": NOW - 10,
        "team": "research", "realm": {"roles": ["ml", "cleaner", "ml"]}, "level": 3, "client_id": "app",
    })
}

fn judged(rule: &IssuerRule, header: &str, claims: &Json) -> Result<Proven, TokenFault> {
    let text = format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let token = Token::parse(&text).unwrap();
    judge(rule, &token, &token.claims().unwrap(), NOW)
}

const HEADER: &str = r#"{"alg":"ES256","typ":"at+jwt"}"#;

#[test]
fn a_good_token_gives_a_caller_without_naming_the_subject() {
    let proven = judged(&rule(), HEADER, &good()).unwrap();
    assert_eq!(proven.tenant.as_str(), "acme/research");
    assert_eq!(proven.roles, [std::sync::Arc::<str>::from("developer")]);
    assert_eq!(proven.attributes["clearance"], "3");
    assert!(proven.key.0.starts_with("jwt.corp.") && !proven.key.0.contains("ada"));
    assert_eq!(proven.expires_s, NOW + 300);
}

#[test]
fn each_wrong_claim_has_its_reason() {
    use TokenFault::{
        Audience, Client, Expired, FromTheFuture, Issuer, NoExpiry, NotYet, Subject, Tenant, Time, TooOld,
    };
    let cases = [
        ("iss", json!(null), Issuer),
        ("iss", json!("https://idp.example/"), Issuer),
        ("iss", json!("https://IDP.example"), Issuer),
        ("iss", json!(["https://idp.example"]), Issuer),
        ("aud", json!(null), Audience),
        ("aud", json!("GW"), Audience),
        ("aud", json!("gw "), Audience),
        ("aud", json!(["other"]), Audience),
        ("aud", json!(["gw", 7]), Audience),
        ("aud", json!([]), Audience),
        ("aud", json!({"gw": true}), Audience),
        ("sub", json!(null), Subject),
        ("sub", json!(""), Subject),
        ("sub", json!(7), Subject),
        ("exp", json!(null), Time),
        ("exp", json!("never"), Time),
        ("exp", json!((NOW + 300).to_string()), Time),
        ("exp", json!(-1), Time),
        ("exp", json!(1e300), Time),
        ("exp", json!(NOW - 30), Expired),
        ("exp", json!(0), Expired),
        ("exp", json!(NOW + 3_600), TooOld),
        ("nbf", json!(NOW + 31), NotYet),
        ("nbf", json!("x"), Time),
        ("iat", json!(NOW + 31), FromTheFuture),
        ("iat", json!([1]), Time),
        ("iat", json!(NOW - 3_400), TooOld),
        ("team", json!(null), Tenant),
        ("team", json!("a/b"), Tenant),
        ("team", json!(".."), Tenant),
        ("team", json!("Research"), Tenant),
        ("team", json!(""), Tenant),
        ("team", json!(["research"]), Tenant),
        ("client_id", json!("other"), Client),
        ("azp", json!("other"), Client),
    ];
    let rule = IssuerRule { clients: vec!["app".to_owned()], ..rule() };
    assert!(judged(&rule, HEADER, &good()).is_ok());
    for (name, value, fault) in cases {
        let mut claims = good();
        claims[name] = value.clone();
        assert_eq!(judged(&rule, HEADER, &claims), Err(fault), "{name}: {value}");
    }
    for name in ["iss", "aud", "sub", "exp", "team", "client_id"] {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove(name);
        let fault = judged(&rule, HEADER, &claims).unwrap_err();
        let want = [("iss", Issuer), ("aud", Audience), ("sub", Subject), ("exp", NoExpiry), ("team", Tenant)];
        let want = want.iter().find(|(one, _)| *one == name).map_or(Client, |(_, fault)| *fault);
        assert_eq!(fault, want, "{name}");
    }
}

#[test]
fn edges_of_time_are_those_of_the_leeway() {
    let with = |name: &str, at: u64| {
        let mut claims = good();
        claims[name] = json!(at);
        judged(&rule(), HEADER, &claims).is_ok()
    };
    assert!(with("exp", NOW - 29) && !with("exp", NOW - 30));
    assert!(with("nbf", NOW + 30) && !with("nbf", NOW + 31));
    assert!(with("iat", NOW + 30) && !with("iat", NOW + 31));
    let mut claims = good();
    claims["exp"] = json!(1_800_000_010.5);
    assert_eq!(judged(&rule(), HEADER, &claims).unwrap().expires_s, NOW + 10);
    assert!(
        judged(&rule(), HEADER, &{
            let mut c = good();
            c["aud"] = json!(["other", "gw"]);
            c
        })
        .is_ok()
    );
}

#[test]
fn only_access_tokens_are_taken_and_laxer_ones_only_where_configured() {
    let lax = IssuerRule { kind: TokenType::Any, ..rule() };
    let kinds = [
        (r#"{"alg":"ES256","typ":"at+jwt"}"#, true, true),
        (r#"{"alg":"ES256","typ":"application/at+JWT"}"#, true, true),
        (r#"{"alg":"ES256","typ":"JWT"}"#, false, true),
        (r#"{"alg":"ES256"}"#, false, true),
        (r#"{"alg":"ES256","typ":"logout+jwt"}"#, false, false),
        (r#"{"alg":"ES256","typ":"dpop+jwt"}"#, false, false),
        (r#"{"alg":"ES256","typ":""}"#, false, false),
    ];
    for (header, strict_takes, lax_takes) in kinds {
        assert_eq!(judged(&rule(), header, &good()).is_ok(), strict_takes, "{header}");
        assert_eq!(judged(&lax, header, &good()).is_ok(), lax_takes, "{header}");
    }
}
