//! The end of Weir's own tokens: with the key, the actor or the tenant that they came from, and with the key that
//! signed them.

use std::time::{Duration, Instant};

use e2e::client::{Reply, Request};
use e2e::clock;
use e2e::config::ADMIN_TOKEN;
use e2e::say;
use e2e::upstream::{Script, Step};
use serde_json::{Value, json};

use super::{ACCESS_TOKEN, API_KEY, Desk, EXCHANGE, ok, text};

/// How soon a revocation acts, the time of the command itself not counted.
const REVOKED: Duration = Duration::from_secs(1);

/// A stream that says one word and then nothing.
async fn stream(desk: &Desk, token: &str) -> Reply {
    desk.upstream.next(Script::stream().event(say::delta("x")).then(Step::Hold));
    let mut reply = desk.gateway.open(&Request::chat(token, &say::chat("mock", "hi", true))).await;
    assert_eq!(reply.status(), 200);
    reply.data().await;
    reply
}

/// Waits for the stream's end and the token's, both within a second.
async fn dies(desk: &Desk, token: &str, running: Reply) {
    let begun = Instant::now();
    let ended = running.rest().await;
    assert!(begun.elapsed() < REVOKED, "ended after {:?}", begun.elapsed());
    assert_eq!(ended.error_code().as_deref(), Some("key_revoked"), "{:?}", ended.data());
    clock::eventually("the token is refused", async || (desk.call(token).await.0 == 401).then_some(())).await;
    assert!(begun.elapsed() < REVOKED, "refused after {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_token_and_its_stream_end_with_the_key_that_it_came_from() {
    let desk = Desk::new().await;
    let token = desk.service_token().await;
    let of_token = text(&desk.exchanged(&token, ACCESS_TOKEN, &[]).await, "access_token");
    let running = stream(&desk, &of_token).await;
    desk.gateway.revoke(&desk.service).await;
    dies(&desk, &of_token, running).await;
    assert_eq!(desk.call(&token).await.0, 401);
    let form = [("grant_type", EXCHANGE), ("subject_token", &token), ("subject_token_type", ACCESS_TOKEN)];
    assert_eq!(desk.ask(None, &form).await.json()["error"], "invalid_request");
    assert_eq!(desk.ask(Some(&desk.service), &[("grant_type", "client_credentials")]).await.status, 401);
}

#[tokio::test]
async fn a_token_ends_with_its_actor_and_with_the_client_that_asked() {
    let desk = Desk::new().await;
    let more = [("actor_token", desk.service.secret.as_str()), ("actor_token_type", API_KEY)];
    let acted = text(&desk.exchanged(&desk.person.secret, API_KEY, &more).await, "access_token");
    let subject = desk.issued(|_| {});
    let form = [("grant_type", EXCHANGE), ("subject_token", &subject), ("subject_token_type", ACCESS_TOKEN)];
    let asked = text(&desk.granted(Some(&desk.service), &form).await, "access_token");
    assert_eq!((desk.call(&acted).await, desk.call(&asked).await), (ok(), ok()));
    let running = stream(&desk, &asked).await;
    desk.gateway.revoke(&desk.service).await;
    dies(&desk, &asked, running).await;
    assert_eq!(desk.call(&acted).await.0, 401);
    assert_eq!((desk.call(&subject).await, desk.call(&desk.person.secret).await), (ok(), ok()), "these were no part");
}

#[tokio::test]
async fn a_changed_key_or_a_disabled_tenant_ends_its_tokens() {
    let desk = Desk::new().await;
    let narrowed = desk.service_token().await;
    let subject = desk.issued(|_| {});
    let of_issuer = text(&desk.exchanged(&subject, ACCESS_TOKEN, &[]).await, "access_token");
    assert_eq!((desk.call(&narrowed).await, desk.call(&of_issuer).await), (ok(), ok()));
    let running = stream(&desk, &narrowed).await;
    let done = desk.gateway.weir(&["key", "scope", &desk.service.id, "--model", "other"]).await;
    assert_eq!(done.status, 0, "{}", done.stderr);
    dies(&desk, &narrowed, running).await;
    let running = stream(&desk, &of_issuer).await;
    for words in [["tenant", "create", "acme/research"], ["tenant", "disable", "acme/research"]] {
        let done = desk.gateway.weir(&words).await;
        assert_eq!(done.status, 0, "{words:?}: {}", done.stderr);
    }
    dies(&desk, &of_issuer, running).await;
}

#[tokio::test]
async fn a_rotated_key_still_proves_and_the_one_before_it_does_not() {
    let desk = Desk::new().await;
    let first = desk.service_token().await;
    let ids = async || {
        let keys = desk.gateway.fetch(&Request::get("/.well-known/jwks.json")).await.json();
        keys["keys"].as_array().unwrap().iter().map(|key| text(key, "kid")).collect::<Vec<_>>()
    };
    let before = ids().await;
    let rotated = desk.gateway.weir(&["token", "rotate-keys"]).await;
    assert_eq!(rotated.status, 0, "{}", rotated.stderr);
    let after =
        clock::eventually("the new key is served", async || Some(ids().await).filter(|ids| ids.len() == 2)).await;
    assert_eq!(after[1], before[0]);
    assert_eq!(desk.call(&first).await, ok());
    let second = desk.service_token().await;
    assert_eq!(super::part(&second, 0)["kid"], *after[0]);
    let admin = |method: &str, path: &str| {
        let request = Request { method: method.into(), ..Request::post(path, ADMIN_TOKEN, "") };
        let address = desk.gateway.admin;
        async move { request.fetch(address).await }
    };
    let rotated = admin("POST", "/admin/v1/token-keys/rotate").await;
    assert_eq!(rotated.status, 200, "{}", String::from_utf8_lossy(&rotated.body));
    assert_eq!(desk.call(&first).await.0, 401, "signed by the key before the last, remembered or not");
    assert_eq!(desk.call(&second).await, ok());
    let listed = admin("GET", "/admin/v1/token-keys").await.json();
    let signs: Vec<&Value> = listed["keys"].as_array().unwrap().iter().map(|key| &key["signs"]).collect();
    assert_eq!(signs, [&json!(true), &json!(false)], "{listed}");
    desk.notes("token_keys_changed", 2).await;
}

#[tokio::test]
async fn tokens_live_through_a_restart_and_a_key_file_that_others_read_stops_it() {
    use std::os::unix::fs::PermissionsExt;
    let mut desk = Desk::new().await;
    let token = desk.service_token().await;
    desk.gateway.terminate().await;
    desk.gateway.spawn().await;
    assert_eq!(desk.call(&token).await, ok());
    desk.gateway.terminate().await;
    let file = desk.gateway.data().join("token_keys.json");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    desk.gateway.launch();
    assert_eq!(desk.gateway.ended().await.code(), Some(78), "{}", desk.gateway.log());
}
