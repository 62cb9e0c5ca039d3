//! The table of bad inputs: each gets a clear error and one audit record, none reaches the provider, none costs.

use std::time::Duration;

use bytes::Bytes;
use e2e::client::Request;
use e2e::config::Config;
use e2e::gateway::{Gateway, outcome};
use e2e::program;
use e2e::say;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::scene::Scene;

/// One bad request and what it must get.
type Case = (&'static str, Request, u16, &'static str);

fn chat(key: &str, body: impl Into<Bytes>) -> Request {
    Request::post("/v1/chat/completions", key, body)
}

/// A valid body with this text before its closing brace.
fn with(extra: &str) -> String {
    format!(r#"{{"model":"mock","messages":[{{"role":"user","content":"hi"}}]{extra}}}"#)
}

fn heads(key: &str) -> Vec<Case> {
    let good = chat(key, with(""));
    let path = |path: &str| Request { path: path.into(), ..good.clone() };
    let method = |method: &str| Request { method: method.into(), ..good.clone() };
    vec![
        ("no key", good.clone().without("authorization"), 401, "missing_api_key"),
        ("an empty key", good.clone().header("authorization", "Bearer "), 401, ""),
        ("a wrong key", good.clone().header("authorization", "Bearer wr_00000000_x_y"), 401, "invalid_api_key"),
        ("another scheme", good.clone().header("authorization", "Basic dTpw"), 401, ""),
        ("two credentials", good.clone().header("x-api-key", "wr_other"), 400, "ambiguous_credentials"),
        ("a key in the query", path("/v1/chat/completions?api_key=wr_1").without("authorization"), 400, "key_in_query"),
        ("an unknown path", path("/v1/nothing"), 404, "unknown_endpoint"),
        ("a path that climbs", path("/v1/models/../chat/completions"), 405, "method_not_allowed"),
        ("a wrong method", method("PUT"), 405, "method_not_allowed"),
        ("a wrong content type", good.clone().header("content-type", "text/plain"), 415, "unsupported_content_type"),
        ("a form", good.clone().header("content-type", "multipart/form-data; boundary=x"), 415, ""),
        ("a compressed body", good.header("content-encoding", "gzip"), 415, "unsupported_content_encoding"),
    ]
}

fn bodies(key: &str) -> Vec<Case> {
    let of = |body: String| chat(key, body);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    vec![
        ("no body", chat(key, ""), 400, ""),
        ("invalid json", chat(key, "{\"model\": "), 400, ""),
        ("no utf-8", chat(key, &b"{\"model\":\"\xff\"}"[..]), 400, ""),
        ("an array", chat(key, "[]"), 400, ""),
        ("two values", of(with("") + "{}"), 400, ""),
        ("a byte-order mark", of("\u{feff}".to_owned() + &with("")), 400, ""),
        ("a duplicate member", of(with(r#","model":"other""#)), 400, ""),
        ("a duplicate deep inside", of(with(r#","metadata":{"a":[{"b":1,"b":2}]}"#)), 400, ""),
        ("a duplicate by an escape", of(with(r#","mod\u0065l":"other""#)), 400, ""),
        ("deep nesting", of(with(&format!(",\"metadata\":{deep}"))), 400, ""),
        ("another spelling", of(with(r#","Stream":true"#)), 400, ""),
        ("two caps", of(with(r#","max_tokens":1,"max_completion_tokens":1"#)), 400, ""),
        ("a cap of zero", of(with(r#","max_tokens":0"#)), 400, ""),
        ("a cap in words", of(with(r#","max_tokens":"many""#)), 400, ""),
        ("too many choices", of(with(r#","n":1000"#)), 400, ""),
        ("a stream in words", of(with(r#","stream":"yes""#)), 400, ""),
        ("no messages", chat(key, r#"{"model":"mock"}"#), 400, ""),
        ("empty messages", chat(key, r#"{"model":"mock","messages":[]}"#), 400, ""),
        ("no model", chat(key, r#"{"messages":[{"role":"user","content":"hi"}]}"#), 400, ""),
        ("an unknown model", of(say::chat("nobody", "hi", false).to_string()), 404, "model_not_found"),
        ("a model with a control character", of(with("").replace("mock", "mo\\u0000ck")), 400, ""),
        ("an endless model", of(say::chat(&"m".repeat(10_000), "hi", false).to_string()), 400, ""),
    ]
}

#[tokio::test]
async fn each_bad_request_gets_a_clear_error_and_a_record() {
    let scene = Scene::new().await;
    let cases = [heads(&scene.key.secret), bodies(&scene.key.secret)].concat();
    let count = cases.len();
    for (name, request, status, code) in cases {
        let refused = scene.gateway.fetch(&request).await;
        assert_eq!(refused.status, status, "{name}: {:?}", String::from_utf8_lossy(&refused.body));
        let error = refused.json()["error"].clone();
        for member in ["message", "type", "code"] {
            assert!(error[member].as_str().is_some_and(|text| !text.is_empty()), "{name}: {error}");
        }
        assert!(code.is_empty() || error["code"] == code, "{name}: {error}");
        assert!(!error.to_string().contains(&scene.key.secret), "{name} shows the key");
    }
    let records = scene.gateway.audit_calls(count).await;
    assert!(records.iter().all(|record| outcome(record) == "refused"), "{records:?}");
    assert_eq!(scene.gateway.usage().await.len(), 0, "nothing was sent upstream, so nothing is charged");
    assert_eq!(scene.upstream.count(), 0);
    assert_eq!(scene.gateway.fetch(&scene.whole()).await.status, 200, "the gateway is well");
    scene.gateway.verify_audit().await;
}

#[tokio::test]
async fn a_body_of_a_hundred_megabytes_is_refused_without_being_held() {
    let scene = Scene::new().await;
    scene.gateway.fetch(&scene.whole()).await;
    let before = scene.gateway.resident_bytes();
    let body = Bytes::from(vec![b' '; 100 << 20]);
    let refused = scene.gateway.fetch(&chat(&scene.key.secret, body)).await;
    assert_eq!((refused.status, refused.code().as_str()), (413, "body_too_large"));
    let grown = scene.gateway.resident_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "grew by {grown} bytes");

    let mut framed = Vec::new();
    for _ in 0..100 {
        framed.extend_from_slice(b"100000\r\n");
        framed.resize(framed.len() + (1 << 20), b' ');
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(b"0\r\n\r\n");
    let request = chat(&scene.key.secret, framed).header("transfer-encoding", "chunked");
    let refused = scene.gateway.fetch(&request).await;
    assert_eq!((refused.status, refused.code().as_str()), (413, "body_too_large"), "without a length too");
    assert_eq!(scene.gateway.fetch(&scene.whole()).await.status, 200);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let scene = Scene::with(|config| config.section("request: { body_timeout_ms: 500 }")).await;
    let mut socket = tokio::net::TcpStream::connect(scene.gateway.address).await.unwrap();
    let key = &scene.key.secret;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: 1000\r\n\r\n{{\"model\":"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut reply = vec![0; 4096];
    let length = e2e::clock::within("a refusal", Duration::from_secs(10), socket.read(&mut reply)).await.unwrap();
    let reply = String::from_utf8_lossy(&reply[..length]);
    assert!(reply.starts_with("HTTP/1.1 408 "), "{reply}");
}

/// Changes a good configuration in one place; `weir check` and `weir serve` must both refuse it and say where.
#[tokio::test]
async fn each_bad_configuration_is_refused_with_its_place() {
    let good = Config::default().tenant("acme", "").deployment("mock", "mock-a", "http://127.0.0.1:1/v1", "");
    let gateway = Gateway::prepare(&good);
    let path = gateway.path("gateway.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let check = async |verb: &str| program::run(&[verb, "--config", path.to_str().unwrap()]).await;
    assert_eq!(check("check").await.status, 0, "{}", check("check").await.stderr);
    let cases = [
        ("threads: 2", "thread: 2", "did you mean `threads`"),
        ("file:./pepper", "file:./nowhere", "nowhere"),
        ("file:./pepper", "env:WEIR_TEST_NOT_SET", "WEIR_TEST_NOT_SET"),
        ("prices: ./prices.yaml", "prices: ./none.yaml", "none.yaml"),
        ("path: acme", "path: Acme!", "Acme!"),
        ("base_url: \"http", "base_url: \"gopher", "base_url"),
        ("connect_ms: 1000", "connect_ms: 0", "connect_ms"),
        ("tenants:", "tenants: [", "line"),
    ];
    for (from, to, says) in cases {
        assert!(text.contains(from), "{from}");
        gateway.write("gateway.yaml", &text.replace(from, to));
        for verb in ["check", "serve"] {
            let done = check(verb).await;
            assert_eq!(done.status, 78, "{verb} `{to}`: {}{}", done.stdout, done.stderr);
            let told = format!("{}{}", done.stdout, done.stderr);
            assert!(told.contains(says), "{verb} `{to}`: {told}");
        }
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let scene = Scene::new().await;
    let other = Gateway::prepare(&Config::with(&scene.upstream));
    let text = std::fs::read_to_string(other.path("gateway.yaml")).unwrap();
    let taken = scene.gateway.address.to_string();
    other.write("gateway.yaml", &text.replace(&other.address.to_string(), &taken));
    let done = program::run(&["serve", "--config", other.path("gateway.yaml").to_str().unwrap()]).await;
    assert!(done.status > 0 && done.stderr.contains(&taken), "{}", done.stderr);
}

#[tokio::test]
async fn an_unreadable_model_file_is_named() {
    let good = Config::default().tenant("acme", "").deployment("mock", "mock-a", "http://127.0.0.1:1/v1", "");
    let gateway = Gateway::prepare(&good.section("engine: { model: ./missing.gguf, name: small }"));
    let done = program::run(&["serve", "--config", gateway.path("gateway.yaml").to_str().unwrap()]).await;
    assert!(done.status > 0 && done.stderr.contains("missing.gguf"), "{}", done.stderr);
}
