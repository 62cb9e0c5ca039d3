//! HTTP/1.1 byte by byte: what is ambiguous is refused and the connection closed, and no second request is smuggled.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use e2e::clock;
use e2e::http1::Reader;
use e2e::say;
use e2e::upstream::{Gate, Script, Step};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::scene::Scene;

/// Everything that comes back until the connection closes.
async fn heard(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let mut text = Vec::new();
    // A server that refuses may close before all is written, and reset what was not read.
    socket.write_all(bytes).await.unwrap_or_default();
    clock::soon("the connection closes", async {
        while socket.read_buf(&mut text).await.is_ok_and(|count| count > 0) {}
    })
    .await;
    String::from_utf8_lossy(&text).into_owned()
}

/// The request line and the headers beside those that frame the body.
fn head(key: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\n"
    )
}

/// Name, what follows the head, status.
fn cases(body: &str) -> Vec<(&'static str, String, &'static str)> {
    let (length, size) = (body.len(), format!("{:x}", body.len()));
    let plain = format!("content-length: {length}\r\n");
    let chunks = format!("{size}\r\n{body}\r\n0\r\n\r\n");
    let coded = |coding: &str| format!("transfer-encoding: {coding}\r\n\r\n{chunks}");
    let sized = |header: &str| format!("{header}\r\n\r\n{body}");
    let odd = |header: &str| format!("{header}\r\n{plain}\r\n{body}");
    let chunked = |chunks: &str| format!("transfer-encoding: chunked\r\n\r\n{chunks}");
    vec![
        ("a length and chunks", format!("{plain}{}", coded("chunked")), "400"),
        ("a length in capitals and chunks", format!("CONTENT-LENGTH: 5\r\n{}", coded("chunked")), "400"),
        ("chunked is not the last coding", coded("chunked, identity"), "400"),
        ("an unknown coding", coded("xchunked"), "400"),
        ("two codings in two headers", format!("transfer-encoding: chunked\r\n{}", coded("identity")), "400"),
        ("two lengths", format!("{plain}content-length: 6\r\n\r\n{body}"), "400"),
        ("a length with a sign", sized(&format!("content-length: +{length}")), "400"),
        ("a length below zero", sized("content-length: -1"), "400"),
        ("a length beyond numbers", sized("content-length: 99999999999999999999999"), "400"),
        ("two hosts", odd("host: other"), "400"),
        ("a space in a name", odd("x foo: 1"), "400"),
        ("a space after a name", odd("x-foo : 1"), "400"),
        ("a NUL in a name", odd("x\0foo: 1"), "400"),
        ("a NUL in a value", odd("x-foo: a\0b"), "400"),
        ("a folded line", odd("x-foo: a\r\n b"), "400"),
        ("a size that is none", chunked(&format!("zz\r\n{body}\r\n0\r\n\r\n")), "400"),
        ("a size with a sign", chunked(&format!("+{size}\r\n{body}\r\n0\r\n\r\n")), "400"),
        // What follows a bare LF is taken for an extension, so the chunk's end never comes.
        ("a size that ends in LF alone", chunked(&format!("{size};ext\n{body}\r\n0\r\n\r\n")), "4"),
        ("too many headers", odd("x-many: 1\r\n".repeat(400).trim_end()), "400"),
    ]
}

#[tokio::test]
async fn fr_auth_10_ambiguous_framing_is_refused_and_smuggles_nothing() {
    let scene = Scene::with(|config| config.section("request: { body_timeout_ms: 1000 }")).await;
    let (head, body) = (head(&scene.key.secret), say::chat("mock", "hi", false).to_string());
    let smuggled = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    for (name, rest, status) in cases(&body) {
        let said = heard(scene.gateway.address, format!("{head}{rest}{smuggled}").as_bytes()).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{name}: {said}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{name}: {said}");
        assert_eq!(scene.upstream.count(), 0, "{name}");
    }
    let nameless = smuggled.replace("host: gw\r\n", "");
    assert!(heard(scene.gateway.address, nameless.as_bytes()).await.starts_with("HTTP/1.1 400"), "no host");
    assert_eq!(scene.gateway.fetch(&scene.whole()).await.status, 200, "the gateway is well");
}

#[tokio::test]
async fn fr_auth_10_an_upgrade_is_not_taken_and_what_follows_it_is_not_served() {
    let scene = Scene::new().await;
    let (head, body) = (head(&scene.key.secret), say::chat("mock", "hi", false).to_string());
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let upgrade = request.replacen("host:", "connection: upgrade\r\nupgrade: websocket\r\nhost:", 1);
    let said = heard(scene.gateway.address, format!("{upgrade}{request}").as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 200") && said.matches("HTTP/1.1 ").count() == 1, "{said}");
    assert_eq!(scene.upstream.count(), 1);
}

#[tokio::test]
async fn a_request_that_comes_too_early_is_no_hang_up() {
    let scene = Scene::new().await;
    let gate = Gate::default();
    let script = Script::stream().event(say::delta("a")).then(Step::Pass(gate.clone())).event(say::delta("b"));
    scene.upstream.next(script.event(say::finish("stop")).send(say::done()));
    let (head, body) = (head(&scene.key.secret), say::chat("mock", "hi", true).to_string());
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let mut socket = TcpStream::connect(scene.gateway.address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    scene.upstream.request(0).await;
    socket.write_all(request.as_bytes()).await.unwrap();
    // Were it a hang-up, the upstream would be left now.
    tokio::time::sleep(Duration::from_millis(300)).await;
    gate.open();
    let mut text = String::new();
    clock::soon("the connection closes", socket.read_to_string(&mut text)).await.unwrap();
    assert!(text.contains("\"a\"") && text.contains("\"b\"") && text.contains("[DONE]"), "{text}");
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "the second is not served: {text}");
    assert_eq!(scene.upstream.count(), 1);

    // A client that leaves after its early request is still seen to leave.
    scene.upstream.always(Script::stream().event(say::delta("a")).then(Step::Hold));
    let mut socket = TcpStream::connect(scene.gateway.address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    scene.upstream.request(1).await;
    socket.write_all(request.as_bytes()).await.unwrap();
    drop(socket);
    scene.upstream.request(1).await.closed_early().await;
}

#[tokio::test]
async fn one_connection_carries_hundreds_of_calls() {
    let scene = Scene::new().await;
    let head = head(&scene.key.secret);
    let mut reader = Reader::new(TcpStream::connect(scene.gateway.address).await.unwrap(), BytesMut::new());
    for number in 0..500 {
        let body = say::chat("mock", "hi", number % 2 == 0).to_string();
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        reader.socket().write_all(request.as_bytes()).await.unwrap();
        let reply = clock::soon("a head", reader.head(false)).await.unwrap().expect("the connection lives");
        assert_eq!(reply.status(), 200, "call {number}");
        let body = clock::soon("a body", reader.body()).await.unwrap();
        assert!(!body.is_empty(), "call {number}");
    }
    let gone = async || (scene.gateway.metric("weir_calls_in_flight", "").await == 0.0).then_some(());
    clock::eventually("no call is running", gone).await;
}
