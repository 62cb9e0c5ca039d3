//! Start, reload, drain and end: no call sees two revisions, no stream is dropped without need.

use std::time::{Duration, Instant};

use e2e::client::{Close, Request};
use e2e::config::Config;
use e2e::gateway::{Gateway, is_open, outcome};
use e2e::say;
use e2e::upstream::{Gate, Script, Step, Upstream};
use rustix::process::Signal;

use crate::scene::Scene;

#[tokio::test]
async fn ready_means_that_calls_are_served() {
    let upstream = Upstream::start().await;
    for _ in 0..3 {
        let mut gateway = Gateway::prepare(&Config::with(&upstream));
        gateway.launch();
        while !gateway.is_ready().await {}
        assert!(is_open(gateway.address).await, "ready, but nobody listens");
        gateway.kill().await;
    }
}

#[tokio::test]
async fn an_idle_gateway_ends_at_once() {
    let mut scene = Scene::new().await;
    let start = Instant::now();
    assert!(scene.gateway.terminate().await.success());
    assert!(start.elapsed() < Duration::from_secs(3), "took {:?}", start.elapsed());
}

#[tokio::test]
async fn a_running_stream_is_drained_and_new_calls_are_refused() {
    let mut scene = Scene::new().await;
    let gate = Gate::default();
    let script = Script::stream().event(say::delta("a")).then(Step::Pass(gate.clone()));
    scene.upstream.next(script.event(say::delta("b")).event(say::finish("stop")).send(say::done()));
    let mut reply = scene.gateway.open(&scene.streamed()).await;
    reply.data().await;
    scene.gateway.signal(Signal::TERM);
    e2e::clock::eventually("readiness is withdrawn", async || {
        let Ok(_) = tokio::net::TcpStream::connect(scene.gateway.admin).await else { return Some(()) };
        (Request::get("/readyz").fetch(scene.gateway.admin).await.status == 503).then_some(())
    })
    .await;
    gate.open();
    let stream = reply.rest().await;
    assert_eq!((stream.content().as_str(), stream.is_done(), stream.close), ("b", true, Close::Proper));
    let start = Instant::now();
    assert!(scene.gateway.ended().await.success());
    assert!(start.elapsed() < Duration::from_secs(3), "it ends with its last stream, after {:?}", start.elapsed());
    let (row, record) = scene.books().await;
    assert_eq!((outcome(&row), outcome(&record)), ("completed", "completed"));
}

#[tokio::test]
async fn a_stream_that_outlives_the_drain_is_ended_and_recorded() {
    let mut scene = Scene::with(|config| config.section("shutdown: { drain_s: 1 }")).await;
    scene.upstream.always(Script::stream().event(say::delta("a")).then(Step::Hold));
    let mut reply = scene.gateway.open(&scene.streamed()).await;
    reply.data().await;
    let start = Instant::now();
    scene.gateway.terminate().await;
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    drop(reply);
    // What the ending process could not write, the next one does.
    scene.gateway.spawn().await;
    let (row, record) = scene.books().await;
    assert!(!outcome(&row).is_empty() && outcome(&row) != "completed", "{row}");
    assert!(!outcome(&record).is_empty());
}

#[tokio::test]
async fn a_reload_takes_all_of_a_good_file_and_nothing_of_a_bad_one() {
    let scene = Scene::new().await;
    let gate = Gate::default();
    let script = Script::stream().event(say::delta("old")).then(Step::Pass(gate.clone()));
    scene.upstream.next(script.event(say::finish("stop")).send(say::done()));
    let mut running = scene.gateway.open(&scene.streamed()).await;
    running.data().await;

    let changed = Config::with(&scene.upstream).deployment("fresh", "fresh-a", &scene.upstream.base_url(), "");
    scene.gateway.configure(&changed);
    scene.gateway.signal(Signal::HUP);
    let fresh = Request::chat(&scene.key.secret, &say::chat("fresh", "hi", false));
    let known = async || (scene.gateway.fetch(&fresh).await.status == 200).then_some(());
    e2e::clock::eventually("the new model is served", known).await;

    scene.gateway.configure(&changed.deployment("broken", "fresh-a", "http://127.0.0.1:1/v1", "weight: -1"));
    scene.gateway.signal(Signal::HUP);
    let told = async || scene.gateway.log().contains("weight").then_some(());
    e2e::clock::eventually("the log says why the file is refused", told).await;
    assert_eq!(scene.gateway.fetch(&fresh).await.status, 200, "the revision before stays");
    let broken = Request::chat(&scene.key.secret, &say::chat("broken", "hi", false));
    assert_eq!(scene.gateway.fetch(&broken).await.status, 404);

    gate.open();
    assert!(running.rest().await.is_done(), "a running stream outlives reloads");
}

#[tokio::test]
async fn the_books_can_be_read_while_it_runs_and_after() {
    let mut scene = Scene::new().await;
    for _ in 0..20 {
        assert_eq!(scene.gateway.fetch(&scene.whole()).await.status, 200);
    }
    scene.gateway.usage_rows(20).await;
    scene.gateway.verify_audit().await;
    scene.gateway.terminate().await;
    assert_eq!(scene.gateway.usage().await.len(), 20);
    scene.gateway.verify_audit().await;
    let log = find_audit_log(&scene.gateway.data());
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, text.replacen("completed", "cOmpleted", 1)).unwrap();
    let done = scene.gateway.weir(&["audit", "verify", "--json"]).await;
    assert_ne!(done.status, 0, "a changed record is found: {}", done.stdout);
}

/// The first file below the folder that holds audit records.
fn find_audit_log(folder: &std::path::Path) -> std::path::PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "jsonl") {
                return path;
            }
        }
    }
    panic!("there is no audit log")
}
