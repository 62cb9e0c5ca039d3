//! Reloads under load: no call is lost, no call sees two revisions.

use e2e::client::Request;
use e2e::config::Config;
use e2e::gateway::Gateway;
use e2e::say;
use e2e::upstream::Upstream;
use rustix::process::Signal;

use crate::scene::Scene;

#[tokio::test]
async fn fifty_reloads_under_load_lose_no_call() {
    let scene = Scene::new().await;
    let (request, address) = (scene.whole(), scene.gateway.address);
    let mut clients = tokio::task::JoinSet::new();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    for _ in 0..4 {
        let (request, stopped) = (request.clone(), stopped.clone());
        clients.spawn(async move {
            let mut calls = 0;
            while !*stopped.borrow() {
                let reply = request.fetch(address).await;
                assert_eq!(reply.status, 200, "{:?}", reply.body);
                calls += 1;
            }
            calls
        });
    }
    for number in 0_u16..50 {
        // Every other file is broken; it must change nothing.
        let weight = if number % 2 == 1 { "weight: 1" } else { "weight: -1" };
        let url = scene.upstream.base_url();
        scene.gateway.configure(&Config::with(&scene.upstream).deployment(&format!("m{number}"), "more", &url, weight));
        scene.gateway.signal(Signal::HUP);
        let seen = f64::from(number + 1);
        let taken = async || (scene.gateway.metric("weir_config_reloads_total", "").await >= seen).then_some(());
        e2e::clock::eventually("the reload is done", taken).await;
    }
    stop.send_replace(true);
    let calls: usize = clients.join_all().await.into_iter().sum();
    assert!(calls > 50, "{calls} calls");
    assert_eq!(scene.gateway.audit_calls(calls).await.len(), calls);
    scene.gateway.verify_audit().await;
}

#[tokio::test]
async fn a_key_that_needs_a_restart_is_named_and_nothing_of_its_file_is_taken() {
    let scene = Scene::new().await;
    let path = scene.gateway.path("gateway.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let changed = text.replace("threads: 2", "threads: 3").replace("name: mock\n", "name: renamed\n");
    assert_ne!(text, changed);
    scene.gateway.write("gateway.yaml", &changed);
    scene.gateway.signal(Signal::HUP);
    let told = async || scene.gateway.log().contains("needs a restart: threads").then_some(());
    e2e::clock::eventually("the log names the key", told).await;
    assert_eq!(scene.gateway.fetch(&scene.whole()).await.status, 200, "the old model is still there");
}

#[tokio::test]
async fn a_policy_that_changes_in_its_folder_decides_and_a_broken_one_does_not() {
    let upstream = Upstream::start().await;
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");
    let mut gateway = Gateway::prepare(&Config::with(&upstream).section("policy: { path: ./policies }"));
    let files = copy(std::path::Path::new(shipped), &gateway.path("policies"));
    assert!(files > 0, "no policies in {shipped}");
    let key = gateway.key("acme").await;
    gateway.spawn().await;
    let request = Request::chat(&key.secret, &say::chat("mock", "hi", false));
    assert_eq!(gateway.fetch(&request).await.status, 200);
    gateway.write("policies/broken.rego", "package weir\n\nallow if {");
    let told = async || gateway.log().contains("broken.rego").then_some(());
    e2e::clock::eventually("the log names the broken file", told).await;
    assert_eq!(gateway.fetch(&request).await.status, 200, "the policy before stays");
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> usize {
    std::fs::create_dir_all(to).unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            files += copy(&path, &target);
        } else if path.extension().is_some_and(|end| end == "rego") && !path.ends_with("authz_test.rego") {
            std::fs::copy(&path, target).unwrap();
            files += 1;
        }
    }
    files
}
