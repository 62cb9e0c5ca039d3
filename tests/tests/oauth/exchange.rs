//! Token exchange (RFC 8693): keys and issuers' tokens for Weir's own, narrower and never wider.

use e2e::client::Request;
use e2e::clock;
use e2e::gateway::Key;
use e2e::idp::Idp;
use e2e::say;
use serde_json::{Value, json};

use super::{ACCESS_TOKEN, API_KEY, Desk, EXCHANGE, invalid, made, ok, part, text};

#[tokio::test]
async fn a_keys_token_is_the_key_with_less() {
    let desk = Desk::new().await;
    let scope = [("scope", "model:mock endpoint:chat_completions role:intern role:user")];
    let reply = desk.exchanged(&desk.person.secret, API_KEY, &scope).await;
    assert_eq!((&reply["issued_token_type"], &reply["scope"]), (&json!(ACCESS_TOKEN), &json!(scope[0].1)), "{reply}");
    let token = text(&reply, "access_token");
    assert_eq!(desk.call(&token).await, ok());
    let models = Request::get("/v1/models").header("authorization", &format!("Bearer {token}"));
    let refused = desk.gateway.fetch(&models).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "endpoint_out_of_scope"));
    let whole = text(&desk.exchanged(&desk.person.secret, API_KEY, &[]).await, "access_token");
    let listed = desk.gateway.fetch(&models.header("authorization", &format!("Bearer {whole}"))).await;
    assert_eq!(listed.status, 200, "the key may, and nothing was taken away");
    // A model of which the key has no part is out of reach, whatever the token says.
    let other =
        text(&desk.exchanged(&desk.person.secret, API_KEY, &[("scope", "model:mocking")]).await, "access_token");
    let (status, code) = desk.call(&other).await;
    assert_eq!((status, code.as_str()), (403, "policy_denied"));
    let calls = desk.gateway.audit_calls(4).await;
    assert!(calls.iter().all(|call| call["key"] == *desk.person.id), "{calls:#?}");
}

#[tokio::test]
async fn an_issuers_token_gives_one_that_ends_with_it_and_names_nobody() {
    let desk = Desk::new().await;
    let subject = desk.issued(|claims| {
        claims["groups"] = json!(["ml"]);
        claims["exp"] = json!(claims["iat"].as_u64().unwrap_or_default() + 60);
    });
    let reply = desk.exchanged(&subject, ACCESS_TOKEN, &[]).await;
    let left = reply["expires_in"].as_u64().unwrap_or_default();
    assert!((50..=60).contains(&left), "{reply}");
    let token = text(&reply, "access_token");
    let claims = part(&token, 1);
    assert_eq!(claims["exp"], part(&subject, 1)["exp"]);
    assert!(!claims.to_string().contains("ada"), "{claims}");
    assert_eq!(desk.call(&token).await, ok());
    assert_eq!(desk.call(&subject).await, ok());
    let calls = desk.gateway.audit_calls(2).await;
    assert_eq!(calls[0]["key"], calls[1]["key"], "one caller, one name: limits can't be multiplied by tokens");
    assert_eq!(calls[0]["tenant"], "acme/research");
    for refused in [
        desk.issued(|claims| claims["aud"] = json!("other")),
        desk.issued(|claims| claims["exp"] = json!(1)),
        desk.issued(|claims| claims["team"] = json!("../globex")),
        desk.issued(|claims| claims["cnf"] = json!({"jkt": "x"})),
    ] {
        let form = [("grant_type", EXCHANGE), ("subject_token", &refused), ("subject_token_type", ACCESS_TOKEN)];
        let reply = desk.ask(None, &form).await;
        assert_eq!((reply.status, &reply.json()["error"]), (400, &json!("invalid_request")));
    }
}

#[tokio::test]
async fn a_token_of_a_token_is_narrower_still_and_ends_no_later() {
    let desk = Desk::new().await;
    let first = desk.exchanged(&desk.person.secret, API_KEY, &[("scope", "model:mock endpoint:models")]).await;
    let first = text(&first, "access_token");
    let second = desk.exchanged(&first, ACCESS_TOKEN, &[]).await;
    assert_eq!(second["scope"], "model:mock endpoint:models", "what is not asked for is inherited");
    let second = text(&second, "access_token");
    let ends = |token: &str| part(token, 1)["exp"].as_u64();
    assert!(ends(&second) <= ends(&first));
    let form = [("grant_type", EXCHANGE), ("subject_token", &second), ("subject_token_type", ACCESS_TOKEN)];
    for wider in ["model:moc*", "endpoint:chat_completions"] {
        let reply = desk.ask(None, &[&form[..], &[("scope", wider)]].concat()).await;
        assert_eq!((reply.status, &reply.json()["error"]), (400, &json!("invalid_scope")), "{wider}");
    }
    assert_eq!(desk.call(&second).await, (403, "endpoint_out_of_scope".to_owned()));
}

#[tokio::test]
async fn actors_stand_behind_one_another_and_only_so_many() {
    let desk = Desk::new().await;
    let act = async |token: &str, kind: &str, actor: &Key| {
        let form = [
            ("grant_type", EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", kind),
            ("actor_token", &actor.secret),
            ("actor_token_type", API_KEY),
        ];
        desk.ask(None, &form).await
    };
    let mut token = text(&act(&desk.person.secret, API_KEY, &desk.service).await.json(), "access_token");
    assert_eq!(part(&token, 1)["act"], json!({"sub": desk.service.id}));
    for depth in 2..=4 {
        let reply = act(&token, ACCESS_TOKEN, &desk.service).await;
        assert_eq!(reply.status, 200, "{depth}");
        token = text(&reply.json(), "access_token");
    }
    assert_eq!(part(&token, 1)["act"]["act"]["act"]["act"]["sub"], desk.service.id);
    assert_eq!(desk.call(&token).await, ok());
    let refused = act(&token, ACCESS_TOKEN, &desk.service).await;
    assert_eq!((refused.status, &refused.json()["error"]), (400, &json!("invalid_request")), "one too many");
    let refused = act(&desk.person.secret, API_KEY, &desk.stranger).await;
    assert_eq!((refused.status, &refused.json()["error"]), (400, &json!("invalid_request")), "another organisation");
    // The subject's own token says who may act for it.
    let mine = |sub: &str| {
        let may_act = json!({"iss": super::WEIR, "sub": sub});
        desk.issued(|claims| claims["may_act"] = may_act)
    };
    assert_eq!(act(&mine(&desk.service.id), ACCESS_TOKEN, &desk.service).await.status, 200);
    assert_eq!(act(&mine("somebody"), ACCESS_TOKEN, &desk.service).await.status, 400);
    let notes = desk.notes("token_refused", 3).await;
    let reasons: Vec<&str> = notes.iter().filter_map(|note| note["detail"]["reason"].as_str()).collect();
    assert_eq!(reasons, ["chain_too_long", "foreign_organisation", "may_not_act"]);
}

#[tokio::test]
async fn an_exchanged_token_ends_in_its_second_and_a_forged_one_never_begins() {
    let desk = Desk::new().await;
    let subject = desk.issued(|claims| claims["exp"] = json!(claims["iat"].as_u64().unwrap_or_default() + 3));
    let token = text(&desk.exchanged(&subject, ACCESS_TOKEN, &[]).await, "access_token");
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (head, body) = message.split_once('.').unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut claims = part(&token, 1);
        change(&mut claims);
        desk.signer.sign(&part(&token, 0), &claims)
    };
    let mut forged = vec![
        // The issuer's key signs it in Weir's name, as it is and with more.
        changed(&|_| {}),
        changed(&|claims| claims["weir"]["from"]["issuer"]["tenant"] = json!("globex")),
        desk.issued(|claims| claims["iss"] = json!(super::WEIR)),
        format!("{message}."),
        format!("{head}.{body}A.{signature}"),
    ];
    let service = desk.service_token().await;
    let (_, other) = service.rsplit_once('.').unwrap();
    forged.push(format!("{message}.{other}"));
    for (at, token) in forged.iter().enumerate() {
        assert_eq!(desk.call(token).await, invalid(), "case {at}");
    }
    clock::eventually("the token ends", async || (desk.call(&token).await == invalid()).then_some(())).await;
    // Its issuer's clock may differ by seconds; Weir's own may not.
    let ended = part(&token, 1)["exp"].as_u64().unwrap_or_default();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((ended..=ended + 5).contains(&now), "{ended} {now}");
}

#[tokio::test]
async fn a_key_that_is_bound_to_addresses_gives_no_token_elsewhere() {
    let desk = Desk::new().await;
    let bound = made(&desk.gateway, &["--tenant", "acme", "--service", "--ip", "192.0.2.0/24"]).await;
    let refused = clock::eventually("the key is known", async || {
        let reply = desk.ask(Some(&bound), &[("grant_type", "client_credentials")]).await;
        (reply.json()["error"] != "invalid_client").then_some(reply)
    });
    assert_eq!(refused.await.json()["error"], "unauthorized_client");
    let form = [("grant_type", EXCHANGE), ("subject_token", &bound.secret), ("subject_token_type", API_KEY)];
    assert_eq!(desk.ask(None, &form).await.json()["error"], "invalid_request");
    let brief = made(&desk.gateway, &["--tenant", "acme", "--service", "--expires-in", "60s"]).await;
    let granted = clock::eventually("the key is known", async || {
        let reply = desk.ask(Some(&brief), &[("grant_type", "client_credentials")]).await;
        (reply.status == 200).then(|| reply.json())
    });
    let left = granted.await["expires_in"].as_u64().unwrap_or_default();
    assert!((1..=60).contains(&left), "no longer than the key: {left}");
}

#[tokio::test]
async fn a_real_issuers_tokens_are_exchanged() {
    let Some(idp) = Idp::start().await else { return };
    let upstream = e2e::upstream::Upstream::start().await;
    let (client, secret) = e2e::idp::CLIENT;
    let issuer = &idp.issuer;
    let config = e2e::config::Config::with(&upstream).section(&format!(
        "identity: {{ issuers: [{{ name: corp, issuer: \"{issuer}\", audiences: [weir], algorithms: [ES256, RS256], \
         tenant: acme, path_claims: [team], introspection: {{ url: \"{issuer}/token/introspection\", client_id: \
         {client}, client_secret: \"file:./idp_secret\" }} }}], token_endpoint: {{ issuer: \"{}\" }} }}",
        super::WEIR
    ));
    let mut gateway = e2e::gateway::Gateway::prepare(&config);
    gateway.write("idp_secret", secret);
    gateway.spawn().await;
    for resource in ["urn:weir:es256", "urn:weir:rs256", "urn:weir:opaque"] {
        let subject = idp.token(resource).await;
        let body = format!(
            "grant_type={}&subject_token={}&subject_token_type={}",
            super::encoded(EXCHANGE),
            super::encoded(&subject),
            super::encoded(ACCESS_TOKEN)
        );
        let request = Request::post("/oauth/token", "", body).header("content-type", super::FORM);
        let reply = gateway.fetch(&request.without("authorization")).await;
        assert_eq!(reply.status, 200, "{resource}: {}", String::from_utf8_lossy(&reply.body));
        let token = text(&reply.json(), "access_token");
        assert_eq!(part(&token, 1)["aud"], super::WEIR, "without an audience it is the issuer");
        let call = Request::chat(&token, &say::chat("mock", "hi", false));
        assert_eq!(gateway.fetch(&call).await.status, 200, "{resource}");
    }
}
