//! Redis behind TLS, and as a cluster.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::scene::*;
use crate::limits::counter::Counter;
use crate::limits::redis::Clock;
use crate::limits::redis::settings::RedisSettings;
use crate::servers::redis::Redis;

/// Free a moment ago.
fn some_port() -> u16 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn a_certificate_of_the_named_authority_is_believed_and_no_other() {
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cert_file, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert_file, cert.pem()).unwrap();
    std::fs::write(&key_file, signing_key.serialize_pem()).unwrap();
    let port = some_port().to_string();
    let (cert_file, key_file) = (cert_file.display().to_string(), key_file.display().to_string());
    let more = ["--tls-port", &port, "--tls-cert-file", &cert_file, "--tls-key-file", &key_file];
    let more = [&more[..], &["--tls-auth-clients", "no", "--requirepass", "a:b@c"]].concat();
    let Some(server) = Redis::start_with(None, &more) else { return };

    let mut settings = RedisSettings::at(&format!("rediss://:a%3Ab%40c@localhost:{port}"));
    settings.timeout = PATIENT;
    let stranger = Node::with(settings.clone(), Clock::Server, Arc::default());
    assert_eq!(stranger.counter.start().await.unwrap_err().code(), "redis_down");
    settings.authorities_pem = Some(cert.pem().into_bytes().into());
    let node = Node::with(settings, Clock::Server, Arc::default());
    node.counter.start().await.unwrap();
    node.counter.reserve(&ask(&[monthly(100), rate(5)], 10)).await.unwrap();
    let debug = format!("{:?}", node.counter);
    assert!(!debug.contains("a:b@c") && !debug.contains("a%3Ab"), "{debug}");
    drop(server);
}

#[tokio::test]
async fn an_organisations_keys_lie_on_one_node_of_a_cluster() {
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, some_port()).into();
    let bus = some_port().to_string();
    let more = ["--cluster-enabled", "yes", "--cluster-port", &bus];
    let Some(server) = Redis::start_with(Some(address), &more) else { return };
    server.tell("CLUSTER ADDSLOTSRANGE 0 16383").unwrap();
    while !server.tell("CLUSTER INFO").unwrap().contains("cluster_state:ok") {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut settings = RedisSettings::at(&format!("redis://{address}"));
    (settings.timeout, settings.is_cluster) = (PATIENT, true);
    let node = Node::with(settings, Clock::Server, Arc::default());
    node.counter.start().await.unwrap();
    // Keys of several nodes in one script would be refused.
    for org in ["acme", "globex", "{odd}", "größe"] {
        let mut call = ask(&[monthly(100), rate(5)], 10);
        call.org = org.into();
        node.counter.reserve(&call).await.unwrap();
        server.tell("SCRIPT FLUSH").unwrap();
        node.counter.settle(&call, &call.budgets, &nano(4));
        node.counter.told().await;
    }
    assert_eq!(committed(&server), "4");
}
