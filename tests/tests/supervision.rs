//! The engine as a child: it knows no secret, it hangs, it comes back however often it dies.

use std::time::Duration;

use e2e::client::Request;
use e2e::demo::{Demo, Mind};
use e2e::say;
use rustix::process::{Signal, kill_process};
use serde_json::Value;

fn address(ready: &Value) -> std::net::SocketAddr {
    let base = ready["base_url"].as_str().unwrap();
    base.trim_start_matches("http://").trim_end_matches("/v1").parse().unwrap()
}

fn chat(ready: &Value, stream: bool) -> Request {
    let key = ready["tenants"][0]["key"].as_str().unwrap();
    let mut body = say::chat("smollm2", "hi", stream);
    body["max_tokens"] = 8.into();
    Request::chat(key, &body)
}

#[tokio::test]
async fn the_engine_knows_no_secret_and_nobody_else_may_call_it() {
    use std::os::unix::fs::PermissionsExt;
    let (demo, _) = Demo::start(Mind::Scripted).await;
    let pid = demo.engine().expect("a running engine").as_raw_nonzero();
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let names: Vec<_> = environment.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()).collect();
    assert!(names.iter().all(|entry| entry.starts_with(b"PATH=")), "{}", String::from_utf8_lossy(&environment));
    let flags = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    for secret in ["pepper", "admin_token"] {
        let secret = std::fs::read(demo.data().join(secret)).unwrap();
        assert!(!flags.windows(secret.len()).any(|part| part == secret), "a secret is on its command line");
    }
    let mode = |name: &str| std::fs::metadata(demo.data().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("run"), mode("run/engine.sock")), (0o700, 0o600));
}

#[tokio::test]
async fn the_engine_comes_back_each_time_it_dies_and_readiness_tells() {
    let (demo, ready) = Demo::start(Mind::Scripted).await;
    for round in 0..4 {
        let old = demo.kill_engine();
        demo.engine_after(old).await;
        e2e::clock::eventually("ready again", async || {
            (Request::get("/readyz").fetch(demo.admin()).await.status == 200).then_some(())
        })
        .await;
        assert_eq!(chat(&ready, false).fetch(address(&ready)).await.status, 200, "round {round}");
    }
    let text = Request::get("/metrics").fetch(demo.admin()).await;
    assert!(String::from_utf8_lossy(&text.body).contains("weir_engine_starts_total 5"));
}

#[tokio::test]
async fn a_hanging_engine_does_not_keep_a_hung_up_call_nor_the_end() {
    let (mut demo, ready) = Demo::start(Mind::Scripted).await;
    let engine = demo.engine().expect("a running engine");
    kill_process(engine, Signal::STOP).expect("a process of our own");
    let sent = chat(&ready, true).send(address(&ready)).await;
    let running = async || {
        let text = Request::get("/metrics").fetch(demo.admin()).await;
        String::from_utf8_lossy(&text.body).lines().any(|line| line == "weir_calls_in_flight 1").then_some(())
    };
    e2e::clock::eventually("the call runs", running).await;
    sent.hang_up();
    e2e::clock::eventually("the call is gone", async || {
        let text = Request::get("/metrics").fetch(demo.admin()).await;
        String::from_utf8_lossy(&text.body).lines().any(|line| line == "weir_calls_in_flight 0").then_some(())
    })
    .await;
    let begun = std::time::Instant::now();
    let (status, _) = demo.terminate().await;
    assert!(status.success() && begun.elapsed() < Duration::from_secs(8), "{status} after {:?}", begun.elapsed());
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", engine.as_raw_nonzero())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "the engine is left behind: {stat}");
    let done = demo.weir(&["audit", "verify", "--json"]).await.json();
    assert_eq!((&done["ok"], &done["attempts"]), (&Value::Bool(true), &Value::from(1)), "{done}");
}

#[tokio::test]
async fn an_engine_that_was_ready_and_lost_its_model_does_not_end_the_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.gguf");
    std::fs::copy(e2e::program::model(), &model).unwrap();
    let (mut demo, ready) = Demo::with_model(&model).await;
    std::fs::rename(&model, folder.path().join("away.gguf")).unwrap();
    demo.kill_engine();
    e2e::clock::eventually("its end is told", async || {
        demo.log().contains("engine ended, starting it again").then_some(())
    })
    .await;
    let models = Request { method: "GET".into(), path: "/v1/models".into(), ..chat(&ready, false) };
    e2e::clock::eventually("it failed to load", async || demo.log().contains("code=78").then_some(())).await;
    assert_eq!(models.fetch(address(&ready)).await.status, 200, "the gateway goes on");
    std::fs::rename(folder.path().join("away.gguf"), &model).unwrap();
    e2e::clock::eventually("the next call works", async || {
        (chat(&ready, false).fetch(address(&ready)).await.status == 200).then_some(())
    })
    .await;
    assert!(demo.terminate().await.0.success());
}
