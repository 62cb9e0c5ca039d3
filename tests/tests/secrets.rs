//! No credential shows anywhere: logs at their loudest, audit, ledger, metrics, replies, and what providers get.

use std::path::Path;

use base64::Engine;
use e2e::client::Request;
use e2e::config::Config;
use e2e::gateway::{Gateway, Key};
use e2e::say;
use e2e::upstream::{Script, Upstream};

use crate::scene::Scene;

const PROVIDER_KEY: &str = "sk-prov-FAKE-9";

async fn guarded(upstream: &Upstream) -> (Gateway, Key) {
    let config = Config::default().tenant("acme", "").deployment(
        "mock",
        "mock-a",
        &upstream.base_url(),
        "api_key: \"file:./provider-key\"",
    );
    let mut gateway = Gateway::prepare(&config);
    gateway.write("provider-key", PROVIDER_KEY);
    gateway.log_filter = Some("trace");
    let key = gateway.key("acme").await;
    gateway.spawn().await;
    (gateway, key)
}

#[tokio::test]
async fn fr_auth_09_no_sink_holds_a_credential() {
    let upstream = Upstream::start().await;
    let (mut gateway, key) = guarded(&upstream).await;
    let mut heard = Vec::new();
    let body = say::chat("mock", "hi", false);
    for request in [
        Request::post("/v1beta/models/m:generateContent?key=AIzaFAKE0123456789abcdefghijklmnopqrstu", "x", "{}"),
        Request::chat("sk-gw-FAKEKEY-1", &body).header("authorization", "bearer   sk-gw-FAKEKEY-1"),
        Request::chat("", &body).without("authorization").header("x-api-key", "sk-gw-FAKEKEY-2"),
        Request::get("/v1/models?api_key=sk-gw-FAKEKEY-3&token=eyJhbGciOi.FAKE.JWT"),
        Request::chat(&key.secret, &body),
        Request::chat(&key.secret, &say::chat("mock", "hi", true)),
    ] {
        let reply = gateway.fetch(&request).await;
        heard.push(format!("{:?} {}", reply.head, String::from_utf8_lossy(&reply.body)));
    }
    let echo = say::error(&format!("Incorrect API key provided: {PROVIDER_KEY}"), "invalid_request_error", None);
    let event = String::from_utf8(echo.to_vec()).unwrap();
    let spelled = event.replace("sk-prov", "sk\\u002dprov");
    for status in [400, 401, 403, 429, 500] {
        upstream.next(Script::json(status, echo.clone()));
        let reply = gateway.fetch(&Request::chat(&key.secret, &body)).await;
        heard.push(String::from_utf8_lossy(&reply.body).into_owned());
    }
    for event in [event, spelled] {
        upstream.next(Script::stream().event(say::delta("a")).event(event));
        let stream = gateway.open(&Request::chat(&key.secret, &say::chat("mock", "hi", true))).await.rest().await;
        assert!(stream.error_code().is_some(), "{:?}", stream.data());
        heard.push(stream.chunks().iter().map(ToString::to_string).collect());
    }
    let metrics = Request::get("/metrics").fetch(gateway.admin).await;
    heard.push(String::from_utf8_lossy(&metrics.body).into_owned());
    gateway.terminate().await;
    heard.push(gateway.log());
    files(&gateway.data(), &mut heard);
    let secrets = [&key.secret, PROVIDER_KEY, "AIzaFAKE", "sk-gw-FAKEKEY", "eyJhbGciOi"];
    for secret in secrets {
        let packed = base64::engine::general_purpose::STANDARD.encode(secret);
        for text in &heard {
            let place: String = text.chars().take(200).collect();
            assert!(!text.contains(secret) && !text.contains(&packed[..10]), "`{secret}` shows: {place}");
        }
    }
}

fn files(folder: &Path, into: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else {
            into.push(String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned());
        }
    }
}

#[tokio::test]
async fn fr_auth_08_no_header_of_a_client_reaches_a_provider() {
    let scene = Scene::new().await;
    let names =
        ["x-weir-tenant", "X-WEIR-CALL-ID", "x_weir_tenant", "x-forwarded-for", "cookie", "openai-organization"];
    let request = names.iter().fold(scene.whole(), |request, name| request.header(name, "globex"));
    let request = request.header("connection", "x-weir-tenant, authorization").header("x-weir-roles", "admin");
    assert_eq!(scene.gateway.fetch(&request).await.status, 200);
    let seen = &scene.upstream.only_request().head;
    let allowed = ["host", "content-type", "content-length", "accept", "accept-encoding", "user-agent"];
    for (name, value) in &seen.headers {
        assert!(allowed.contains(&name.as_str()), "{name}: {value}");
        assert!(!value.contains("globex") && !value.contains(&scene.key.secret), "{name}: {value}");
    }
    let record = scene.gateway.audit_calls(1).await.remove(0);
    assert!(!record.to_string().contains("globex"), "{record}");
}
