//! Issuers in time: rotation, outage, floods. The clock is an argument, so that hours take milliseconds.

#![allow(clippy::arithmetic_side_effects, reason = "times of tests are small")]

mod attacks;
pub(crate) mod fake;
mod keys;

use serde_json::json;

use super::*;
use crate::identity::issuer::tests::rule;
use attacks::Ring;
use fake::Fake;
use keys::Signer;

const START_MS: u64 = 1_800_000_000_000;
const SECOND: u64 = 1_000;

fn at(seconds: u64) -> u64 {
    START_MS + seconds * SECOND
}

/// An issuer whose keys are at the fake, for tokens of both its algorithms.
fn rules(fake: &Fake) -> Vec<Arc<IssuerRule>> {
    vec![Arc::new(IssuerRule {
        algorithms: vec![jsonwebtoken::Algorithm::RS256, jsonwebtoken::Algorithm::ES256],
        keys: KeySource::Url(Url::parse(&fake.url("/jwks")).unwrap()),
        refresh_s: 60,
        stale_s: 600,
        ..rule()
    })]
}

fn claims(now_ms: u64) -> Json {
    json!({
        "iss": "https://idp.example", "aud": "gw", "sub": "ada", "team": "research",
        "exp": now_ms / 1_000 + 3_000, "iat": now_ms / 1_000, "jti": "1",
    })
}

/// A good token of that key, different from call to call.
fn token(signer: &Signer, kid: &str, now_ms: u64, jti: usize) -> String {
    let mut claims = claims(now_ms);
    claims["jti"] = json!(jti);
    signer.sign(&json!({"alg": signer.alg(), "typ": "at+jwt", "kid": kid}), &claims)
}

async fn judged(issuers: &Issuers, rules: &[Arc<IssuerRule>], text: &str, now_ms: u64) -> &'static str {
    issuers.prove(text, rules, now_ms).await.map_or_else(|fault| fault.code(), |_| "accepted")
}

/// FR-AUTH-03: keys rotate at 60 s, the issuer is away from 90 s to 300 s, and all the time somebody sends tokens with
/// made-up key ids.
#[tokio::test]
async fn fr_auth_03_a_flood_of_unknown_keys_costs_nobody_else_anything() {
    let (one, two, again) = (Signer::rsa(), Signer::ec(), Signer::ec());
    let fake = Fake::start().await;
    let (rules, issuers) = (rules(&fake), Issuers::new(Fetcher::new(None)));
    let mut fetches = Vec::new();
    for second in 0..400 {
        match second {
            0 => fake.say("/jwks", 200, &json!({"keys": [one.jwk("k1")]}).to_string()),
            60 => fake.say("/jwks", 200, &json!({"keys": [one.jwk("k1"), two.jwk("k2")]}).to_string()),
            90 => fake.say("/jwks", 503, ""),
            300 => fake.say("/jwks", 200, &json!({"keys": [one.jwk("k1"), again.jwk("k2")]}).to_string()),
            _ => {}
        }
        let before = fake.count("/jwks");
        issuers.keep_fresh(&rules, at(second)).await;
        let flood = (0..20).map(|n| unsigned(&format!("rnd-{second}-{n}")));
        for text in flood {
            assert_eq!(judged(&issuers, &rules, &text, at(second)).await, "token_unknown_key");
        }
        let unique = usize::try_from(second).unwrap();
        let first = judged(&issuers, &rules, &token(&one, "k1", at(second), unique), at(second)).await;
        assert_eq!(first, "accepted", "a known key at {second} s");
        let rotated = judged(&issuers, &rules, &token(&two, "k2", at(second), unique), at(second)).await;
        match second {
            // Within one refresh of the rotation, and all through the outage.
            90..300 => assert_eq!(rotated, "accepted", "the rotated key at {second} s"),
            // The name now stands for another key, which is seen at the next look.
            360.. => assert_eq!(rotated, "token_signature", "the old key of a reused name at {second} s"),
            _ => {}
        }
        if second >= 360 {
            let reused = token(&again, "k2", at(second), unique);
            assert_eq!(judged(&issuers, &rules, &reused, at(second)).await, "accepted", "{second} s");
        }
        fetches.extend((before..fake.count("/jwks")).map(|_| second));
    }
    let pauses = fetches.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(pauses.min().unwrap() >= 30, "fetches at {fetches:?}");
    assert!(issuers.remembered.lock().len() <= 800 && issuers.held.lock().len() == 1, "memory is bounded");
}

fn unsigned(kid: &str) -> String {
    let part = |json: Json| keys::part(json.to_string().as_bytes());
    let header = json!({"alg": "RS256", "typ": "at+jwt", "kid": kid});
    format!("{}.{}.AAAA", part(header), part(claims(START_MS)))
}

/// One look at a reused name's new key, at the first token that it signed: nobody waits for the schedule.
#[tokio::test]
async fn fr_auth_03_a_reused_key_id_is_looked_up_once_its_signature_is_wrong() {
    let (old, new) = (Signer::ec(), Signer::ec());
    let fake = Fake::start().await;
    let (rules, issuers) = (rules(&fake), Issuers::new(Fetcher::new(None)));
    fake.say("/jwks", 200, &json!({"keys": [old.jwk("k")]}).to_string());
    let first = token(&old, "k", at(0), 1);
    assert_eq!(judged(&issuers, &rules, &first, at(0)).await, "accepted");
    fake.say("/jwks", 200, &json!({"keys": [new.jwk("k")]}).to_string());
    assert_eq!(judged(&issuers, &rules, &token(&new, "k", at(29), 2), at(29)).await, "token_signature");
    assert_eq!(judged(&issuers, &rules, &token(&new, "k", at(30), 3), at(30)).await, "accepted");
    assert_eq!(judged(&issuers, &rules, &first, at(31)).await, "token_signature", "also what was remembered");
    assert_eq!(fake.count("/jwks"), 2);
}

#[tokio::test]
async fn many_first_tokens_are_one_fetch_and_an_outage_ends_at_its_stated_time() {
    let signer = Signer::ec();
    let fake = Fake::start().await;
    let (rules, issuers) = (rules(&fake), Issuers::new(Fetcher::new(None)));
    fake.say("/jwks", 200, &json!({"keys": [signer.jwk("k")]}).to_string());
    let tokens: Vec<String> = (0..50).map(|n| token(&signer, "k", at(0), n)).collect();
    let all = tokens.iter().map(|text| judged(&issuers, &rules, text, at(0)));
    assert!(futures_util::future::join_all(all).await.iter().all(|judged| *judged == "accepted"));
    assert_eq!(fake.count("/jwks"), 1);
    fake.say("/jwks", 500, "");
    let later = |seconds: u64| token(&signer, "k", at(seconds), 0);
    assert_eq!(judged(&issuers, &rules, &later(660), at(660)).await, "accepted", "refresh_s + stale_s");
    assert_eq!(judged(&issuers, &rules, &later(661), at(661)).await, "issuer_keys_unavailable");
    fake.say("/jwks", 200, &json!({"keys": [signer.jwk("k")]}).to_string());
    assert_eq!(judged(&issuers, &rules, &later(700), at(700)).await, "accepted", "without a restart");
}

/// FR-AUTH-11: the issuer has an RS256 key k1, an ES256 key k2 and, by mistake, a secret k3 in its public set.
#[tokio::test]
async fn fr_auth_11_the_algorithm_comes_from_the_key_and_nothing_is_fetched_for_a_header() {
    let ring = Ring::new();
    let (attacker, fake) = (Fake::start().await, Fake::start().await);
    attacker.say("/jwks", 200, &json!({"keys": [ring.other.jwk("k2")]}).to_string());
    let secret = json!({"kty": "oct", "kid": "k3", "alg": "HS256", "use": "sig", "k": keys::part(&ring.k3)});
    fake.say("/jwks", 200, &json!({"keys": [ring.k1.jwk("k1"), ring.k2.jwk("k2"), secret]}).to_string());
    let (rules, issuers) = (rules(&fake), Issuers::new(Fetcher::new(None)));
    assert_eq!(judged(&issuers, &rules, &ring.good(), START_MS).await, "accepted");
    let own_keys = attacks::by_own_key(&ring, &attacker.url("/jwks"));
    for (what, text, reason) in attacks::by_key(&ring).into_iter().chain(own_keys).chain(attacks::by_form(&ring)) {
        assert_eq!(judged(&issuers, &rules, &text, START_MS).await, reason, "{what}");
    }
    assert_eq!((attacker.count("/jwks"), fake.count("/jwks")), (0, 1));
}

#[tokio::test]
async fn discovery_believes_only_metadata_of_the_issuer_itself_and_keys_of_its_own_host() {
    let signer = Signer::ec();
    let fake = Fake::start().await;
    let elsewhere = Fake::start().await;
    for one in [&fake, &elsewhere] {
        one.say("/jwks", 200, &json!({"keys": [signer.jwk("k")]}).to_string());
    }
    let base = fake.url("");
    let rule = IssuerRule { issuer: base.clone().into(), keys: KeySource::Discovery, ..rule() };
    let rules = vec![Arc::new(rule)];
    let metadata = |issuer: &str, keys: String| json!({"issuer": issuer, "jwks_uri": keys}).to_string();
    let oidc = "/.well-known/openid-configuration";
    let cases = [
        (oidc, metadata(&base, fake.url("/jwks")), "accepted"),
        ("/.well-known/oauth-authorization-server", metadata(&base, fake.url("/jwks")), "accepted"),
        (oidc, metadata(&format!("{base}/"), fake.url("/jwks")), "issuer_keys_unavailable"),
        (oidc, metadata("https://idp.example", fake.url("/jwks")), "issuer_keys_unavailable"),
        // Another port of the own network, which only the configuration may name.
        (oidc, metadata(&base, elsewhere.url("/jwks")), "issuer_keys_unavailable"),
        (oidc, metadata(&base, "file:///etc/passwd".to_owned()), "issuer_keys_unavailable"),
    ];
    for (path, document, want) in cases {
        fake.forget("/.well-known");
        fake.say(path, 200, &document);
        let issuers = Issuers::new(Fetcher::new(None));
        let mut claims = claims(START_MS);
        claims["iss"] = json!(base);
        let text = signer.sign(&json!({"alg": "ES256", "typ": "at+jwt", "kid": "k"}), &claims);
        assert_eq!(judged(&issuers, &rules, &text, START_MS).await, want, "{path} {document}");
    }
    assert_eq!(elsewhere.count("/jwks"), 0);
}
