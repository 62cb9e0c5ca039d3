//! TLS on both sides, and HTTP/2 towards providers.

use e2e::client::h2::Connection;
use e2e::client::{Close, Request};
use e2e::config::Config;
use e2e::gateway::{Gateway, Key, outcome};
use e2e::say;
use e2e::tls::{Authority, Tunnel};
use e2e::upstream::h2::H2Upstream;
use e2e::upstream::{Script, Step, Upstream};

const LONG: usize = 200 << 10;

fn ask(key: &Key, model: &str, prompt: &str, stream: bool) -> Request {
    Request::chat(&key.secret, &say::chat(model, prompt, stream))
}

/// A gateway that speaks TLS itself, and a way to it without.
async fn behind_tls(upstream: &Upstream, alpn: &str) -> (Gateway, Key, Tunnel) {
    let authority = Authority::default();
    let mut gateway = Gateway::prepare(&Config::with(upstream).tls());
    gateway.write("cert.pem", &authority.cert_pem);
    gateway.write("key.pem", &authority.key_pem);
    let key = gateway.key("acme").await;
    gateway.spawn().await;
    let tunnel = Tunnel::into_tls(authority.connector(&[alpn]), gateway.address).await;
    (gateway, key, tunnel)
}

/// A gateway that trusts one authority alone.
async fn trusting(authority: &Authority, config: Config) -> (Gateway, Key) {
    let mut gateway = Gateway::prepare(&config.section("upstream: { ca_file: ./ca.pem }"));
    gateway.write("ca.pem", &authority.ca_pem);
    let key = gateway.key("acme").await;
    gateway.spawn().await;
    (gateway, key)
}

#[tokio::test]
async fn a_client_with_tls_and_http_1_gets_streams_and_may_hang_up() {
    let upstream = Upstream::start().await;
    let (gateway, key, tunnel) = behind_tls(&upstream, "http/1.1").await;
    let long = "x".repeat(LONG);
    let stream = ask(&key, "mock", &long, true).open(tunnel.address).await.rest().await;
    assert_eq!((stream.content().as_str(), stream.is_done(), stream.close), ("a b c", true, Close::Proper));
    assert_eq!(upstream.only_request().json()["messages"][0]["content"], long.as_str());
    upstream.always(Script::stream().event(say::delta("x")).then(Step::Hold));
    let mut reply = ask(&key, "mock", "hi", true).open(tunnel.address).await;
    reply.data().await;
    reply.hang_up();
    upstream.request(1).await.closed_early().await;
    let records = gateway.audit_calls(2).await;
    assert_eq!(outcome(&records[1]), "hung_up", "{records:?}");
}

#[tokio::test]
async fn a_client_with_tls_and_http_2_gets_streams_and_may_hang_up() {
    let upstream = Upstream::start().await;
    let (gateway, key, tunnel) = behind_tls(&upstream, "h2").await;
    let mut connection = Connection::open(tunnel.address).await;
    let long = "x".repeat(LONG);
    let mut reply = connection.send(tunnel.address, &ask(&key, "mock", &long, true)).await;
    assert!(String::from_utf8(reply.rest().await).unwrap().ends_with("data: [DONE]\n\n"));
    upstream.always(Script::stream().event(say::delta("x")).then(Step::Hold));
    let mut reply = connection.send(tunnel.address, &ask(&key, "mock", "hi", true)).await;
    reply.piece().await.unwrap();
    drop(reply);
    upstream.request(1).await.closed_early().await;
    assert_eq!(outcome(&gateway.audit_calls(2).await[1]), "hung_up");
}

#[tokio::test]
async fn a_provider_with_tls_is_verified_and_another_takes_over_from_one_that_is_not() {
    let (upstream, good, bad) = (Upstream::start().await, Authority::default(), Authority::default());
    let verified = Tunnel::out_of_tls(good.acceptor(&["http/1.1"]), upstream.address()).await;
    let impostor = Tunnel::out_of_tls(bad.acceptor(&["http/1.1"]), upstream.address()).await;
    let url = |host: &str, tunnel: &Tunnel| format!("https://{host}:{}/v1", tunnel.address.port());
    let config = Config::default()
        .tenant("acme", "")
        .deployment("mock", "by-address", &url("127.0.0.1", &verified), "")
        .deployment("named", "by-name", &url("localhost", &verified), "")
        .deployment("impostor", "impostor", &url("127.0.0.1", &impostor), "")
        .deployment("pair", "first", &url("127.0.0.1", &impostor), "weight: 1")
        .deployment("pair", "second", &url("127.0.0.1", &verified), "weight: 0");
    let (gateway, key) = trusting(&good, config).await;
    let long = "x".repeat(LONG);
    for model in ["mock", "named", "pair"] {
        let stream = gateway.open(&ask(&key, model, &long, true)).await.rest().await;
        assert_eq!((stream.content().as_str(), stream.is_done()), ("a b c", true), "{model}");
    }
    let refused = gateway.fetch(&ask(&key, "impostor", "hi", false)).await;
    assert_eq!((refused.status, refused.code().as_str()), (502, "upstream_unreachable"));
    assert_eq!(upstream.count(), 3, "nothing reached the impostor's side");
    let failed = gateway.audit_calls(4).await.pop().unwrap();
    assert_eq!(failed["attempts"][0]["reason"], "tls_failed", "{failed}");
}

#[tokio::test]
async fn a_provider_may_speak_http_2_by_negotiation_and_by_prior_knowledge() {
    let (upstream, authority) = (H2Upstream::start().await, Authority::default());
    let tunnel = Tunnel::out_of_tls(authority.acceptor(&["h2"]), upstream.address).await;
    let config = Config::default()
        .tenant("acme", "")
        .deployment("tls", "tls-a", &format!("https://{}/v1", tunnel.address), "http2: true")
        .deployment("plain", "plain-a", &format!("http://{}/v1", upstream.address), "http2: true");
    let (gateway, key) = trusting(&authority, config).await;
    let long = "x".repeat(LONG);
    for model in ["tls", "plain"] {
        let before = upstream.connections.load(std::sync::atomic::Ordering::Relaxed);
        for _ in 0..3 {
            let whole = gateway.fetch(&ask(&key, model, &long, false)).await;
            let said = whole.json()["choices"][0]["message"]["content"].clone();
            assert_eq!((whole.status, said.as_str()), (200, Some("204800")), "{model}");
            let stream = gateway.open(&ask(&key, model, &long, true)).await.rest().await;
            assert_eq!((stream.content().as_str(), stream.is_done()), ("204800", true), "{model}");
        }
        let opened = upstream.connections.load(std::sync::atomic::Ordering::Relaxed) - before;
        assert_eq!(opened, 1, "{model}: one connection serves them all");
    }
}

/// Pingora would panic in the middle of its start and leave a process that never listens.
#[tokio::test]
async fn material_for_tls_that_is_no_use_is_named_before_the_start() {
    let (authority, other) = (Authority::default(), Authority::default());
    let upstream = Upstream::start().await;
    let gateway = Gateway::prepare(&Config::with(&upstream).tls().section("upstream: { ca_file: ./ca.pem }"));
    let path = gateway.path("gateway.yaml");
    let garbage = |block: &str| format!("-----BEGIN {block}-----\nZ2FyYmFnZQ==\n-----END {block}-----\n");
    let cases = [
        ("cert.pem", garbage("CERTIFICATE"), "tls"),
        ("key.pem", garbage("PRIVATE KEY"), "tls"),
        ("key.pem", other.key_pem, "tls"),
        ("ca.pem", garbage("CERTIFICATE"), "upstream.ca_file"),
        ("ca.pem", "nothing\n".to_owned(), "upstream.ca_file"),
    ];
    for (file, text, says) in cases {
        gateway.write("cert.pem", &authority.cert_pem);
        gateway.write("key.pem", &authority.key_pem);
        gateway.write("ca.pem", &authority.ca_pem);
        gateway.write(file, &text);
        for verb in ["check", "serve"] {
            let done = e2e::program::run(&[verb, "--config", path.to_str().unwrap()]).await;
            let told = format!("{}{}", done.stdout, done.stderr);
            assert!(done.status == 78 && told.contains(says) && told.contains(file), "{verb} {file}: {told}");
        }
    }
}
