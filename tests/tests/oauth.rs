//! Weir's own token endpoint: its documents, its two grants, each error, and the end of its tokens.

mod exchange;
mod revoked;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use e2e::client::{Fetched, Request};
use e2e::config::Config;
use e2e::gateway::{Gateway, Key};
use e2e::issuer::{Issuer, SigningKey};
use e2e::say;
use e2e::upstream::Upstream;
use serde_json::{Value, json};

use crate::scene::Scene;

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const API_KEY: &str = "urn:weir:params:oauth:token-type:api_key";
const WEIR: &str = "https://weir.example.com";

/// A gateway with a token endpoint, an issuer for `acme`, and keys of two organisations.
struct Desk {
    issuer: Issuer,
    signer: SigningKey,
    upstream: Upstream,
    gateway: Gateway,
    /// A service account of `acme/bots`.
    service: Key,
    /// A person of `acme/research`, who may use the models `mock` and `moc*` of chats and lists.
    person: Key,
    /// A service account of another organisation.
    stranger: Key,
}

impl Desk {
    async fn new() -> Self {
        Self::with("requests_per_minute: 6000, optional_roles: [reader]").await
    }

    async fn with(endpoint: &str) -> Self {
        let signer = SigningKey::new("k1");
        let issuer = Issuer::start(&[&signer]).await;
        let upstream = Upstream::start().await;
        let url = issuer.url();
        let config = Config::with(&upstream).tenant("globex", "").section(&format!(
            "identity: {{ issuers: [{{ name: idp, issuer: \"{url}\", audiences: [weir], tenant: acme, path_claims: \
             [team], roles_claim: groups, roles: {{ ml: developer }} }}], token_endpoint: {{ issuer: \"{WEIR}\", \
             audience: weir, {endpoint} }} }}"
        ));
        let mut gateway = Gateway::prepare(&config);
        let service = made(&gateway, &["--tenant", "acme/bots", "--service"]).await;
        let scope = ["--model", "moc*", "--endpoint", "chat_completions", "--endpoint", "models", "--role", "reader"];
        let person = made(&gateway, &[&["--tenant", "acme/research", "--role", "intern"], &scope[..]].concat()).await;
        let stranger = made(&gateway, &["--tenant", "globex", "--service"]).await;
        gateway.spawn().await;
        Self { issuer, signer, upstream, gateway, service, person, stranger }
    }

    async fn ask(&self, client: Option<&Key>, form: &[(&str, &str)]) -> Fetched {
        let body = form.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&");
        let request = Request::post("/oauth/token", "", body).header("content-type", FORM).without("authorization");
        let request = match client {
            Some(key) => request.header("authorization", &basic(&key.id, &key.secret)),
            None => request,
        };
        self.gateway.fetch(&request).await
    }

    /// What a good request brings.
    async fn granted(&self, client: Option<&Key>, form: &[(&str, &str)]) -> Value {
        let reply = self.ask(client, form).await;
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        assert_eq!(reply.head.get("cache-control"), Some("no-store"));
        reply.json()
    }

    /// The token for a service account.
    async fn service_token(&self) -> String {
        text(&self.granted(Some(&self.service), &[("grant_type", "client_credentials")]).await, "access_token")
    }

    /// The token in exchange for another.
    async fn exchanged(&self, token: &str, kind: &str, more: &[(&str, &str)]) -> Value {
        let form = [("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", kind)];
        self.granted(None, &[&form[..], more].concat()).await
    }

    fn issued(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.issuer.claims("ada@example.org");
        change(&mut claims);
        self.signer.sign(&json!({"alg": "ES256", "typ": "at+jwt", "kid": "k1"}), &claims)
    }

    async fn call(&self, token: &str) -> (u16, String) {
        let reply = self.gateway.fetch(&Request::chat(token, &say::chat("mock", "hi", false))).await;
        (reply.status, if reply.status == 200 { "ok".to_owned() } else { reply.code() })
    }

    /// The notes of the audit log of that kind, once there are this many.
    async fn notes(&self, event: &str, count: usize) -> Vec<Value> {
        e2e::clock::eventually(&format!("{count} notes {event}"), async || {
            let all = self.gateway.weir(&["audit", "list", "--json", "--limit", "100000"]).await.json();
            let notes = all.as_array()?.iter().filter(|line| line["event"] == event).cloned().collect::<Vec<_>>();
            (notes.len() >= count).then_some(notes)
        })
        .await
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

async fn made(gateway: &Gateway, words: &[&str]) -> Key {
    let made = gateway.weir(&[&["key", "create", "--json"], words].concat()).await.json();
    Key { id: text(&made, "id"), secret: text(&made, "key") }
}

fn text(json: &Value, name: &str) -> String {
    json[name].as_str().unwrap_or_else(|| panic!("no {name}: {json}")).to_owned()
}

fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret))))
}

/// A part of a token: 0 is its header, 1 its claims.
fn part(token: &str, at: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap()).unwrap()
}

fn ok() -> (u16, String) {
    (200, "ok".to_owned())
}

fn invalid() -> (u16, String) {
    (401, "invalid_token".to_owned())
}

#[tokio::test]
async fn the_documents_tell_where_tokens_come_from_and_challenges_name_them() {
    let desk = Desk::new().await;
    let get = async |path: &str| desk.gateway.fetch(&Request::get(path)).await;
    let server = get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!((&server["issuer"], &server["token_endpoint"]), (&json!(WEIR), &json!(format!("{WEIR}/oauth/token"))));
    for suffix in ["", "/v1", "/v1/chat/completions"] {
        let resource = get(&format!("/.well-known/oauth-protected-resource{suffix}")).await.json();
        assert_eq!(resource["resource"], format!("{WEIR}{suffix}"));
        assert_eq!(resource["authorization_servers"], json!([WEIR]));
        assert!(!resource.to_string().contains(desk.issuer.url()), "no tenant's issuer is told to strangers");
    }
    let keys = get("/.well-known/jwks.json").await.json();
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(1), "{keys}");
    assert!(keys["keys"][0]["d"].is_null(), "{keys}");
    let head = Request { method: "POST".into(), ..Request::get("/.well-known/jwks.json") };
    assert_eq!(desk.gateway.fetch(&head).await.status, 405);
    let refused = get("/v1/models").await;
    let challenge = refused.head.get("www-authenticate").unwrap_or_default();
    let named = format!("resource_metadata=\"{WEIR}/.well-known/oauth-protected-resource\"");
    assert!(challenge.contains(&named), "{challenge}");
    assert_eq!(get("/.well-known/openid-configuration").await.status, 404);
    // The calls of the log are those that were calls.
    assert_eq!(desk.gateway.audit_calls(2).await.len(), 2);
}

#[tokio::test]
async fn without_a_token_endpoint_nothing_of_it_is_there() {
    let scene = Scene::new().await;
    for path in ["/oauth/token", "/.well-known/jwks.json", "/.well-known/oauth-protected-resource"] {
        assert_eq!(scene.gateway.fetch(&Request::get(path)).await.status, 404, "{path}");
    }
    assert!(!scene.gateway.data().join("token_keys.json").exists());
}

#[tokio::test]
async fn a_service_account_gets_a_token_that_calls_as_it() {
    let desk = Desk::new().await;
    let form = [("grant_type", "client_credentials"), ("scope", "model:mock")];
    let by_header = desk.granted(Some(&desk.service), &form).await;
    assert_eq!((&by_header["token_type"], &by_header["expires_in"]), (&json!("Bearer"), &json!(600)), "{by_header}");
    assert_eq!((&by_header["scope"], by_header.get("issued_token_type")), (&json!("model:mock"), None));
    let (id, secret) = (desk.service.id.as_str(), desk.service.secret.as_str());
    let in_form = [("client_id", id), ("client_secret", secret)];
    let by_form = desk.granted(None, &[&form[..], &in_form].concat()).await;
    for token in [text(&by_header, "access_token"), text(&by_form, "access_token")] {
        let (head, claims) = (part(&token, 0), part(&token, 1));
        assert_eq!((&head["typ"], &head["alg"]), (&json!("at+jwt"), &json!("ES256")), "{head}");
        assert_eq!((&claims["iss"], &claims["aud"]), (&json!(WEIR), &json!("weir")), "{claims}");
        assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(id), &json!(id)), "{claims}");
        assert_eq!(desk.call(&token).await, ok());
    }
    let calls = desk.gateway.audit_calls(2).await;
    assert!(calls.iter().all(|call| call["key"] == id && call["tenant"] == "acme/bots"), "{calls:#?}");
    let notes = desk.notes("token_issued", 2).await;
    assert_eq!(notes[0]["detail"]["client"], id, "{notes:#?}");
    let issued = desk.gateway.metric("weir_identity_token_requests_total", "result=\"issued\"").await;
    assert!((issued - 2.0).abs() < 0.1, "{issued}");
    let token = text(&by_header, "access_token");
    for told in [desk.gateway.log(), json!(notes).to_string(), json!(calls).to_string()] {
        assert!(!told.contains(secret) && !told.contains(&token), "{told}");
    }
    desk.gateway.verify_audit().await;
}

#[tokio::test]
async fn each_wrong_request_has_its_error_and_its_reason_on_the_record() {
    let desk = Desk::new().await;
    let credentials = ("grant_type", "client_credentials");
    let exchange = ("grant_type", EXCHANGE);
    let person = desk.person.secret.as_str();
    let subject = [exchange, ("subject_token", person), ("subject_token_type", API_KEY)];
    let with = |more: &[(&'static str, &'static str)]| [&subject[..], more].concat();
    let wrong = Key { id: desk.service.id.clone(), secret: desk.person.secret.clone() };
    let made_up = Key { id: "aaaaaaaa".to_owned(), secret: "wr_aaaaaaaa_x".to_owned() };
    let (service, stranger) = (Some(&desk.service), Some(&desk.stranger));
    let cases: Vec<(Option<&Key>, Vec<(&str, &str)>, u16, &str, &str)> = vec![
        (service, vec![], 400, "invalid_request", "missing_parameter"),
        (service, vec![("grant_type", "password")], 400, "unsupported_grant_type", "unsupported_grant_type"),
        (service, vec![credentials, credentials], 400, "invalid_request", "repeated_parameter"),
        (None, vec![credentials], 401, "invalid_client", "missing_client"),
        (None, vec![credentials, ("client_id", "x")], 401, "invalid_client", "client_method"),
        (None, vec![credentials, ("client_assertion", "x")], 401, "invalid_client", "client_method"),
        (service, vec![credentials, ("client_secret", "x")], 400, "invalid_request", "two_client_methods"),
        (Some(&wrong), vec![credentials], 401, "invalid_client", "unknown_api_key"),
        (Some(&made_up), vec![credentials], 401, "invalid_client", "malformed_api_key"),
        (Some(&desk.person), vec![credentials], 400, "unauthorized_client", "client_is_no_service"),
        (service, vec![credentials, ("scope", "everything")], 400, "invalid_scope", "scope_unknown"),
        (service, vec![credentials, ("scope", "role:owner")], 400, "invalid_scope", "scope_wider"),
        (service, vec![credentials, ("resource", "https://evil.example")], 400, "invalid_target", "invalid_target"),
        (None, vec![exchange], 400, "invalid_request", "missing_parameter"),
        (None, with(&[("requested_token_type", "urn:x")]), 400, "invalid_request", "token_type"),
        (None, with(&[("audience", "weir"), ("audience", "other")]), 400, "invalid_target", "invalid_target"),
        (None, with(&[("actor_token", "x")]), 400, "invalid_request", "actor_without_type"),
        (None, with(&[("actor_token_type", API_KEY)]), 400, "invalid_request", "actor_without_type"),
        (None, with(&[("scope", "model:*")]), 400, "invalid_scope", "scope_wider"),
        (None, with(&[("scope", "endpoint:completions")]), 400, "invalid_scope", "scope_wider"),
        (None, with(&[("scope", "role:reader")]), 400, "invalid_scope", "scope_kept_role"),
        (stranger, with(&[]), 400, "invalid_request", "foreign_organisation"),
        (
            None,
            vec![exchange, ("subject_token", person), ("subject_token_type", ACCESS_TOKEN)],
            400,
            "invalid_request",
            "token_malformed",
        ),
        (
            None,
            vec![exchange, ("subject_token", person), ("subject_token_type", "urn:ietf:params:oauth:token-type:saml2")],
            400,
            "invalid_request",
            "token_type",
        ),
    ];
    for (at, (client, form, status, error, _)) in cases.iter().enumerate() {
        let reply = desk.ask(*client, form).await;
        let json = reply.json();
        assert_eq!((reply.status, &json["error"]), (*status, &json!(error)), "case {at}: {json}");
        assert!(json["error_description"].is_string() && !json.to_string().contains(person), "{json}");
        assert_eq!(reply.head.get("cache-control"), Some("no-store"), "case {at}");
        assert_eq!(reply.head.get("www-authenticate").is_some(), *status == 401, "case {at}");
    }
    let notes = desk.notes("token_refused", cases.len()).await;
    let mut found: Vec<&str> = notes.iter().filter_map(|note| note["detail"]["reason"].as_str()).collect();
    let mut expected: Vec<&str> = cases.iter().map(|(.., reason)| *reason).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    let told = format!("{}{}", desk.gateway.log(), json!(notes));
    assert!(!told.contains(person) && !told.contains(&desk.service.secret), "{told}");
    assert!(desk.gateway.audit().await.is_empty(), "none of it was a call");
}

#[tokio::test]
async fn what_is_no_form_is_refused_by_its_head_or_its_size() {
    let desk = Desk::new().await;
    let good = Request::post("/oauth/token", "", "grant_type=client_credentials").header("content-type", FORM);
    let good = good.header("authorization", &basic(&desk.service.id, &desk.service.secret));
    assert_eq!(desk.gateway.fetch(&good).await.status, 200);
    let path = |path: &str| Request { path: path.into(), ..good.clone() };
    let body = |body: String| Request { body: body.into(), ..good.clone() };
    let cases = [
        (Request { method: "GET".into(), ..good.clone() }, 405),
        (path("/oauth/token?grant_type=client_credentials"), 400),
        (path("/oauth/token/"), 404),
        (path("/oauth//token"), 404),
        (good.clone().header("content-type", "application/json"), 400),
        (good.clone().without("content-type"), 400),
        (good.clone().header("content-encoding", "gzip"), 400),
        (body("grant_type=%ff".to_owned()), 400),
        (body(format!("grant_type=client_credentials&x={}", "y".repeat(17_000))), 413),
        (good.clone().header("transfer-encoding", "chunked").header("content-length", "5"), 400),
        (good.clone().header("authorization", "Bearer x"), 401),
        (good.clone().header("authorization", "Basic !"), 401),
    ];
    for (at, (request, status)) in cases.iter().enumerate() {
        assert_eq!(desk.gateway.fetch(request).await.status, *status, "case {at}");
    }
    assert_eq!(desk.gateway.fetch(&good).await.status, 200);
}

#[tokio::test]
async fn a_client_that_asks_too_often_waits_and_the_others_do_not() {
    let desk = Desk::with("requests_per_minute: 2").await;
    let form = [("grant_type", "client_credentials")];
    for _ in 0..2 {
        assert_eq!(desk.ask(Some(&desk.service), &form).await.status, 200);
    }
    let refused = desk.ask(Some(&desk.service), &form).await;
    assert_eq!((refused.status, &refused.json()["error"]), (429, &json!("temporarily_unavailable")));
    let wait: u64 = refused.head.get("retry-after").and_then(|text| text.parse().ok()).unwrap_or_default();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(desk.ask(Some(&desk.stranger), &form).await.status, 200);
    // Somebody else's wrong key in that client's name doesn't count against it, nor against the other.
    let wrong = Key { id: desk.stranger.id.clone(), secret: desk.service.secret.clone() };
    for _ in 0..3 {
        assert_eq!(desk.ask(Some(&wrong), &form).await.status, 401);
    }
    assert_eq!(desk.ask(Some(&desk.stranger), &form).await.status, 200);
}
