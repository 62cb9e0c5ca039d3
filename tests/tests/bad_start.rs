//! Starts that can't work: a clear reason, the right exit status, nothing left half-started.

use std::path::Path;

use e2e::config::Config;
use e2e::demo::{Demo, Mind};
use e2e::gateway::{Gateway, is_open};
use e2e::ports::free_address;
use e2e::program::{self, Done};
use e2e::say;

use crate::scene::Scene;

async fn weir(verb: &str, gateway: &Gateway) -> Done {
    program::run(&[verb, "--config", gateway.path("gateway.yaml").to_str().unwrap()]).await
}

fn plain() -> Config {
    Config::default().tenant("acme", "").deployment("mock", "mock-a", "http://127.0.0.1:1/v1", "")
}

/// A gateway whose listener has TLS with these files.
fn with_certificate(cert: &str, key: &str) -> Gateway {
    let gateway = Gateway::prepare(&plain());
    let text = std::fs::read_to_string(gateway.path("gateway.yaml")).unwrap();
    let plain = format!("listen: [{{ address: \"{}\" }}]\n", gateway.address);
    let tls = format!("listen: [ {{ address: \"{}\", tls: {{ cert: ./c.pem, key: ./k.pem }} }} ]\n", gateway.address);
    assert!(text.contains(&plain));
    gateway.write("gateway.yaml", &text.replace(&plain, &tls));
    gateway.write("c.pem", cert);
    gateway.write("k.pem", key);
    gateway
}

#[tokio::test]
async fn a_certificate_and_a_key_that_do_not_fit_start_nothing() {
    let pair = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (one, other) = (pair(), pair());
    let (cert, key, stranger) = (one.cert.pem(), one.signing_key.serialize_pem(), other.signing_key.serialize_pem());
    let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let good = weir("check", &with_certificate(&cert, &key)).await;
    assert_eq!(good.status, 0, "{}", good.stderr);
    for (cert, key) in [(cert.as_str(), stranger.as_str()), (garbled, key.as_str())] {
        let gateway = with_certificate(cert, key);
        for verb in ["check", "serve"] {
            let done = weir(verb, &gateway).await;
            assert_eq!(done.status, 78, "{verb}: {}{}", done.stdout, done.stderr);
            assert!(done.stderr.contains("certificate"), "{verb}: {}", done.stderr);
            assert!(!done.stderr.contains("panicked"), "{verb}: {}", done.stderr);
        }
    }
}

#[tokio::test]
async fn authorities_that_can_not_be_read_start_nothing() {
    let gateway = Gateway::prepare(&plain().section("upstream: { ca_file: ./ca.pem }"));
    for text in ["junk", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        gateway.write("ca.pem", text);
        for verb in ["check", "serve"] {
            let done = weir(verb, &gateway).await;
            assert_eq!(done.status, 78, "{verb}: {}{}", done.stdout, done.stderr);
            assert!(done.stderr.contains("ca.pem") && !done.stderr.contains("panicked"), "{verb}: {}", done.stderr);
        }
    }
}

#[tokio::test]
async fn a_deployment_without_a_price_is_told_before_it_is_called() {
    let gateway = Gateway::prepare(&plain().section("retry: { attempts_max: 1 }"));
    gateway.write("prices.yaml", "version: none\nunpriced: refuse\nprices: []\n");
    let done = weir("check", &gateway).await;
    assert_eq!(done.status, 0, "{}", done.stderr);
    let told = "models[0].deployments[0]: is never called: no price for the model `mock-1`";
    assert!(done.stdout.contains(told), "{}", done.stdout);
}

#[tokio::test]
async fn another_pepper_is_told_from_wrong_keys() {
    let mut gateway = Gateway::prepare(&plain());
    gateway.key("acme").await;
    gateway.write("pepper", "another pepper of more than thirty-two bytes");
    let done = weir("serve", &gateway).await;
    assert_eq!(done.status, 78, "{}", done.stderr);
    assert!(done.stderr.contains("pepper"), "{}", done.stderr);
    gateway.write("pepper", e2e::config::PEPPER);
    gateway.spawn().await;
}

#[tokio::test]
async fn the_data_folder_of_a_running_gateway_is_not_touched() {
    let scene = Scene::new().await;
    let other = Gateway::prepare(&plain());
    let text = std::fs::read_to_string(other.path("gateway.yaml")).unwrap();
    let data = format!("data: \"{}\"", scene.gateway.data().display());
    other.write("gateway.yaml", &text.replace("data: ./data", &data));
    other.write("pepper", "another pepper of more than thirty-two bytes");
    let done = weir("serve", &other).await;
    assert_eq!(done.status, 1, "{}", done.stderr);
    assert!(done.stderr.contains("another weir process"), "{}", done.stderr);
    assert_eq!(scene.gateway.fetch(&scene.whole()).await.status, 200);
    scene.books().await;
}

#[tokio::test]
async fn a_new_data_folder_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let mut gateway = Gateway::prepare(&plain());
    std::fs::remove_dir(gateway.data()).unwrap();
    gateway.spawn().await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for folder in ["", "audit", "journal"] {
        assert_eq!(mode(&gateway.data().join(folder)), 0o700, "data/{folder}");
    }
    for file in ["weir.db", "audit/000001.jsonl"] {
        assert_eq!(mode(&gateway.data().join(file)), 0o600, "data/{file}");
    }
}

async fn demo(data: &Path, more: &[&str]) -> Done {
    let (listen, admin) = (free_address().to_string(), free_address().to_string());
    let data = data.to_str().unwrap();
    program::run(&[&["demo", "--json", "--data", data, "--listen", &listen, "--admin", &admin], more].concat()).await
}

#[tokio::test]
async fn a_model_that_can_not_be_read_ends_the_demo_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.gguf");
    std::fs::write(&model, "no model").unwrap();
    for (model, says) in [(model.as_path(), "model.gguf"), (Path::new("/nowhere/m.gguf"), "no model at")] {
        let done = demo(&folder.path().join("data"), &["--model", model.to_str().unwrap()]).await;
        assert_eq!((done.status, done.stdout.as_str()), (78, ""), "{}", done.stderr);
        assert!(done.stderr.contains(says), "{}", done.stderr);
        assert_eq!(done.stderr.lines().count(), 1, "one line says it: {}", done.stderr);
    }
}

#[tokio::test]
async fn a_second_demo_on_a_folder_leaves_the_first_alone() {
    let (mut first, ready) = Demo::start(Mind::Scripted).await;
    let before = std::fs::read_to_string(first.data().join("weir.yaml")).unwrap();
    let done = demo(&first.data(), &["--scripted"]).await;
    assert_eq!((done.status, done.stdout.as_str()), (1, ""), "{}", done.stderr);
    assert!(done.stderr.contains("another weir process"), "{}", done.stderr);
    assert_eq!(std::fs::read_to_string(first.data().join("weir.yaml")).unwrap(), before);
    assert!(is_open(first.admin()).await);
    let (status, rest) = first.terminate().await;
    assert!(status.success() && rest.is_empty(), "{status} {rest:?}");
    assert_eq!(first.start_again().await, ready, "the same folder prints the same keys");
}

#[tokio::test]
async fn a_demo_never_prints_dead_keys() {
    let (mut demo, ready) = Demo::start(Mind::Scripted).await;
    let key = |ready: &serde_json::Value, n: usize| ready["tenants"][n]["key"].as_str().unwrap().to_owned();
    assert_eq!(demo.weir(&["key", "revoke", &key(&ready, 0)]).await.status, 0);
    demo.terminate().await;
    let again = demo.start_again().await;
    assert_ne!(key(&again, 0), key(&ready, 0), "a revoked key is replaced");
    assert_eq!(key(&again, 1), key(&ready, 1), "a living one stays");
    demo.terminate().await;
    for file in ["weir.db", "weir.db-wal", "weir.db-shm"] {
        std::fs::remove_file(demo.data().join(file)).unwrap_or_default();
    }
    let fresh = demo.start_again().await;
    let address = fresh["base_url"].as_str().unwrap().trim_start_matches("http://").trim_end_matches("/v1");
    let call = e2e::client::Request::chat(&key(&fresh, 1), &say::chat("smollm2", "hi", false));
    assert_eq!(call.fetch(address.parse().unwrap()).await.status, 200);
}

#[tokio::test]
async fn a_folder_without_books_is_not_called_sound() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    for verb in [["audit", "verify"], ["audit", "list"], ["usage", "report"], ["key", "list"]] {
        let done = program::run(&[&verb[..], &["--data", data]].concat()).await;
        assert_eq!((done.status, done.stdout.as_str()), (1, ""), "{verb:?}");
        assert_eq!(done.stderr.lines().count(), 1, "{verb:?}: {}", done.stderr);
    }
    assert_eq!(std::fs::read_dir(data).unwrap().count(), 0, "looking makes nothing");
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_told_nothing() {
    let scene = Scene::new().await;
    scene.gateway.fetch(&scene.whole()).await;
    scene.books().await;
    let (weir, data) = (program::weir(), scene.gateway.data());
    for verb in ["usage report --by call", "audit verify", "audit list", "key list"] {
        let line = format!("{} {verb} --data {} | true", weir.display(), data.display());
        let done = tokio::process::Command::new("/bin/sh").args(["-c", &line]).output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&done.stderr), "", "{verb}");
    }
}
