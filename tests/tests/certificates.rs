//! Client certificates: who they stand for, each reason why not with its line of the audit log, and tokens that are
//! bound to them.

use e2e::client::h2::Connection;
use e2e::client::{Fetched, Request};
use e2e::clock;
use e2e::config::Config;
use e2e::gateway::{Gateway, Key};
use e2e::issuer::{Issuer, SigningKey};
use e2e::say;
use e2e::tls::clients::{ClientCertificate, name};
use e2e::tls::{Authority, Tunnel};
use e2e::upstream::{Script, Upstream};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SerialNumber, date_time_ymd};
use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const RULES: &str = "certificates: [\
    { name: mesh, kind: spiffe, pattern: \"spiffe://mesh.example/ns/{team}/sa/*\", tenant: \"acme/{team}\", roles: [user] }, \
    { name: hosts, kind: dns, pattern: \"{team}.hosts.example\", tenant: \"acme/{team}\" }, \
    { name: people, kind: email, pattern: \"*@acme.example\", tenant: acme/people }]";
/// Serial numbers: denied by configuration, and revoked by its authority.
const DENIED: u64 = 0x5f3a;
const REVOKED: u64 = 0x77;

/// A gateway with TLS that asks clients for certificates of one authority.
struct Scene {
    servers: Authority,
    clients: Authority,
    upstream: Upstream,
    gateway: Gateway,
    key: Key,
}

impl Scene {
    async fn new(auth: &str, identity: &str) -> Self {
        let (servers, clients, upstream) = (Authority::default(), Authority::default(), Upstream::start().await);
        upstream.always(Script::json(200, say::answer("hello", 3, 2)));
        let mut gateway = Gateway::prepare(&config(&upstream, auth, identity));
        gateway.write("cert.pem", &servers.cert_pem);
        gateway.write("key.pem", &servers.key_pem);
        gateway.write("clients.pem", &clients.ca_pem);
        gateway.write("clients.crl", &clients.revokes(&[REVOKED]));
        let key = gateway.key("acme/of-the-key").await;
        gateway.spawn().await;
        Self { servers, clients, upstream, gateway, key }
    }

    fn good(&self, team: &str) -> ClientCertificate {
        self.clients.client(vec![name("uri", &format!("spiffe://mesh.example/ns/{team}/sa/web"))], |_| {})
    }

    async fn tunnel(&self, client: Option<&ClientCertificate>, alpn: &str) -> Tunnel {
        let connector = match client {
            Some(client) => self.servers.connector_of(client, &[alpn]),
            None => self.servers.connector(&[alpn]),
        };
        Tunnel::into_tls(connector, self.gateway.address).await
    }

    async fn call(&self, client: Option<&ClientCertificate>, request: &Request) -> Fetched {
        request.fetch(self.tunnel(client, "http/1.1").await.address).await
    }

    async fn h2_status(&self, client: Option<&ClientCertificate>, request: &Request) -> u16 {
        let tunnel = self.tunnel(client, "h2").await;
        let mut connection = Connection::open(tunnel.address).await;
        let mut reply = connection.send(tunnel.address, request).await;
        reply.rest().await;
        reply.status
    }
}

fn config(upstream: &Upstream, auth: &str, identity: &str) -> Config {
    let tls = format!("client_ca: ./clients.pem, client_auth: {auth}, client_crl: ./clients.crl");
    Config::with(upstream).tls_with(&tls).section(&format!("identity: {{ {identity} }}"))
}

fn denying(serial: u64) -> String {
    format!("{RULES}, denied_certificates: [\"serial:{serial:x}\"]")
}

fn without_credential() -> Request {
    Request::chat("", &say::chat("mock", "hi", false)).without("authorization")
}

fn with_serial(serial: u64) -> impl FnOnce(&mut CertificateParams) {
    move |params| params.serial_number = Some(SerialNumber::from(serial))
}

/// Certificates and what comes of each: a tenant, or the reason of the refusal.
fn table(scene: &Scene) -> Vec<(Option<ClientCertificate>, Result<&'static str, &'static str>)> {
    let id = |domain: &str| name("uri", &format!("spiffe://{domain}/ns/red/sa/web"));
    let client = |names, change: fn(&mut CertificateParams)| Some(scene.clients.client(names, change));
    vec![
        (None, Err("missing_api_key")),
        (Some(scene.good("red")), Ok("acme/red")),
        (client(vec![name("dns", "blue.hosts.example")], |_| {}), Ok("acme/blue")),
        (client(vec![name("email", "Ada@ACME.example")], |_| {}), Ok("acme/people")),
        (Some(Authority::default().client(vec![id("mesh.example")], |_| {})), Err("certificate_untrusted")),
        (
            client(vec![id("mesh.example")], |params| params.not_after = date_time_ymd(2026, 1, 1)),
            Err("certificate_expired"),
        ),
        (
            client(vec![id("mesh.example")], |params| params.not_before = date_time_ymd(2999, 1, 1)),
            Err("certificate_not_yet_valid"),
        ),
        (client(vec![id("mesh.example"), id("mesh.example")], |_| {}), Err("certificate_many_uris")),
        (client(vec![id("other.example"), name("dns", "red.hosts.example")], |_| {}), Err("certificate_unknown")),
        (client(vec![name("uri", "spiffe://mesh.example/ns/../sa/web")], |_| {}), Err("certificate_spiffe_id")),
        (client(vec![name("uri", "spiffe://mesh.example/ns/Red/sa/web")], |_| {}), Err("certificate_tenant")),
        (
            client(vec![name("dns", "red.hosts.example"), name("dns", "blue.hosts.example")], |_| {}),
            Err("certificate_ambiguous"),
        ),
        (Some(scene.clients.client(vec![id("mesh.example")], with_serial(DENIED))), Err("certificate_denied")),
        (Some(scene.clients.client(vec![id("mesh.example")], with_serial(REVOKED))), Err("certificate_revoked")),
        (
            client(vec![id("mesh.example")], |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }),
            Err("certificate_purpose"),
        ),
    ]
}

#[tokio::test]
async fn each_certificate_is_its_caller_or_has_its_reason_on_the_record_over_both_protocols() {
    let scene = Scene::new("optional", &denying(DENIED)).await;
    let table = table(&scene);
    let mut calls = 0;
    for (client, want) in &table {
        let reply = scene.call(client.as_ref(), &without_credential()).await;
        let status = if want.is_ok() { 200 } else { 401 };
        assert_eq!(reply.status, status, "{want:?}: {}", String::from_utf8_lossy(&reply.body));
        assert!(!String::from_utf8_lossy(&reply.body).contains("certificate_"), "the caller learns no reason");
        assert_eq!(scene.h2_status(client.as_ref(), &without_credential()).await, status, "{want:?}");
        let records = scene.gateway.audit_calls(calls + 2).await;
        for record in &records[calls..] {
            match want {
                Ok(tenant) => {
                    assert_eq!((&record["tenant"], &record["outcome"]), (&json!(tenant), &json!("completed")));
                    let key = record["key"].as_str().unwrap_or_default();
                    assert!(key.starts_with("cert.") && !record.to_string().contains("example"), "{record}");
                }
                Err(reason) => assert_eq!((&record["reason"], &record["outcome"]), (&json!(reason), &json!("refused"))),
            }
        }
        calls += 2;
    }
    assert_eq!(scene.upstream.count(), 6, "nothing that was refused went upstream");
    let accepted = scene.gateway.metric("weir_identity_certificates_judged_total", "accepted").await;
    assert!((accepted - 6.0).abs() < 0.1, "{accepted}");
    scene.gateway.verify_audit().await;
}

#[tokio::test]
async fn beside_another_credential_a_certificate_only_binds_and_a_bad_one_ends_the_call() {
    let scene = Scene::new("optional", RULES).await;
    let with_key = Request::chat(&scene.key.secret, &say::chat("mock", "hi", false));
    let stranger = Authority::default().client(vec![name("uri", "spiffe://mesh.example/ns/red/sa/web")], |_| {});
    let nameless = scene.clients.client(Vec::new(), |_| {});
    assert_eq!(scene.call(Some(&scene.good("red")), &with_key).await.status, 200);
    assert_eq!(scene.call(Some(&nameless), &with_key).await.status, 200, "good, and nobody's identity");
    assert_eq!(scene.call(None, &with_key).await.status, 200);
    let refused = scene.call(Some(&stranger), &with_key).await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "invalid_certificate"));
    let made_up = Request::chat("made-up", &say::chat("mock", "hi", false));
    let wrong_key = scene.call(Some(&scene.good("red")), &made_up).await;
    assert_eq!(wrong_key.code(), "invalid_api_key", "a certificate does not make up for a wrong credential");
    let records = scene.gateway.audit_calls(5).await;
    let tenants: Vec<_> = records.iter().map(|record| record["tenant"].as_str().unwrap_or("-").to_owned()).collect();
    assert_eq!(tenants, ["acme/of-the-key", "acme/of-the-key", "acme/of-the-key", "-", "-"]);
    assert_eq!(records[3]["reason"], "certificate_untrusted");
}

#[tokio::test]
async fn a_listener_that_requires_certificates_speaks_to_nobody_without_a_good_one() {
    let scene = Scene::new("required", RULES).await;
    assert_eq!(scene.call(Some(&scene.good("red")), &without_credential()).await.status, 200);
    assert_eq!(scene.h2_status(Some(&scene.good("red")), &without_credential()).await, 200);
    let stranger = Authority::default().client(vec![name("uri", "spiffe://mesh.example/ns/red/sa/web")], |_| {});
    let ended = scene.clients.client(Vec::new(), |params| params.not_after = date_time_ymd(2026, 1, 1));
    let revoked = scene.clients.client(Vec::new(), with_serial(REVOKED));
    for client in [None, Some(&stranger), Some(&ended), Some(&revoked)] {
        let tunnel = scene.tunnel(client, "http/1.1").await;
        let mut socket = tokio::net::TcpStream::connect(tunnel.address).await.unwrap();
        // A side that has closed already takes nothing, which is as good.
        socket.write_all(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap_or_default();
        let mut heard = Vec::new();
        clock::soon("the connection ends", socket.read_to_end(&mut heard)).await.unwrap_or_default();
        assert!(heard.is_empty(), "{}", String::from_utf8_lossy(&heard));
    }
    let refused = scene.gateway.metric("weir_identity_certificates_judged_total", "rule=\"handshake\"").await;
    assert!((refused - 3.0).abs() < 0.1, "{refused}");
    assert_eq!(scene.gateway.audit_calls(2).await.len(), 2, "what never spoke HTTP is no call");
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_certificate_is_taken_with_it_alone() {
    let signer = SigningKey::new("k1");
    let issuer = Issuer::start(&[&signer]).await;
    let url = issuer.url();
    let issuers = format!("issuers: [{{ name: idp, issuer: \"{url}\", audiences: [weir], tenant: acme }}]");
    let scene = Scene::new("optional", &issuers).await;
    let (right, wrong) = (scene.good("red"), scene.good("red"));
    let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": "k1"});
    let token = |cnf| {
        let mut claims = issuer.claims("ada");
        claims["cnf"] = cnf;
        signer.sign(&header, &claims)
    };
    let bound = token(json!({"x5t#S256": right.thumbprint()}));
    let unknown = token(json!({"x5t#S256": right.thumbprint(), "kid": "x"}));
    let call = |token: &str| Request::chat(token, &say::chat("mock", "hi", false));
    let cases = [
        (Some(&right), call(&bound), 200, None),
        (Some(&wrong), call(&bound), 401, Some("token_other_certificate")),
        (None, call(&bound), 401, Some("token_unbound")),
        (Some(&right), call(&unknown), 401, Some("token_unbound")),
        (Some(&right), call(&signer.sign(&header, &issuer.claims("ada"))), 200, None),
        // Without rules about certificates, one alone is no credential.
        (Some(&right), without_credential(), 401, Some("missing_api_key")),
    ];
    for (at, (client, request, status, reason)) in cases.iter().enumerate() {
        assert_eq!(scene.call(*client, request).await.status, *status, "{reason:?}");
        let record = scene.gateway.audit_calls(at + 1).await.pop().unwrap();
        assert_eq!(record["reason"].as_str(), *reason, "{record}");
    }
    assert_eq!(scene.h2_status(Some(&right), &call(&bound)).await, 200);
    assert_eq!(scene.h2_status(None, &call(&bound)).await, 401);
}

#[tokio::test]
async fn a_certificate_that_is_denied_or_whose_authority_went_ends_on_open_connections_too() {
    let scene = Scene::new("optional", RULES).await;
    let client = scene.clients.client(vec![name("uri", "spiffe://mesh.example/ns/red/sa/web")], with_serial(DENIED));
    let tunnel = scene.tunnel(Some(&client), "h2").await;
    let mut connection = Connection::open(tunnel.address).await;
    let mut calls = 0;
    let mut status = async || {
        calls += 1;
        let mut reply = connection.send(tunnel.address, &without_credential()).await;
        reply.rest().await;
        reply.status
    };
    assert_eq!(status().await, 200);
    let steps = [
        (denying(DENIED), scene.clients.ca_pem.clone(), 401),
        (RULES.to_owned(), scene.clients.ca_pem.clone(), 200),
        (RULES.to_owned(), Authority::default().ca_pem, 401),
    ];
    for (identity, ca, want) in steps {
        scene.gateway.write("clients.pem", &ca);
        scene.gateway.configure(&config(&scene.upstream, "optional", &identity));
        scene.gateway.signal(Signal::HUP);
        clock::eventually("the reload", async || (status().await == want).then_some(())).await;
    }
    let records = scene.gateway.audit_calls(calls).await;
    let mut reasons: Vec<_> = records.iter().filter_map(|record| record["reason"].as_str()).collect();
    reasons.dedup();
    assert_eq!(reasons, ["certificate_denied", "certificate_untrusted"]);
}

#[tokio::test]
async fn files_about_clients_that_are_no_use_are_named_before_the_start() {
    let scene = Scene::new("optional", RULES).await;
    let path = scene.gateway.path("gateway.yaml");
    let garbage = |block: &str| format!("-----BEGIN {block}-----\nZ2FyYmFnZQ==\n-----END {block}-----\n");
    for (file, text) in [("clients.pem", garbage("CERTIFICATE")), ("clients.crl", garbage("X509 CRL"))] {
        let before = std::fs::read_to_string(scene.gateway.path(file)).unwrap();
        scene.gateway.write(file, &text);
        let done = e2e::program::run(&["check", "--config", path.to_str().unwrap()]).await;
        let told = format!("{}{}", done.stdout, done.stderr);
        let key = file.replace("clients.pem", "client_ca").replace("clients.crl", "client_crl");
        assert!(done.status == 78 && told.contains("listen[0].tls") && told.contains(&key), "{file}: {told}");
        assert_eq!(told.matches(&key).count(), 1, "said once: {told}");
        scene.gateway.write(file, &before);
    }
}
