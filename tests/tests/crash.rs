//! kill -9 at any moment: nothing that was sent upstream is lost, and the audit chain holds.

use e2e::client::Request;
use e2e::gateway::outcome;
use e2e::say;
use e2e::upstream::{Script, Step};

use crate::scene::Scene;

#[tokio::test]
async fn a_call_that_was_open_at_a_kill_becomes_interrupted() {
    let mut scene = Scene::new().await;
    scene.gateway.fetch(&scene.whole()).await;
    scene.upstream.always(Script::stream().event(say::delta("x")).then(Step::Hold));
    let mut body = say::chat("mock", &"word ".repeat(4000), true);
    body["max_tokens"] = 100.into();
    let mut reply = scene.gateway.open(&Request::chat(&scene.key.secret, &body)).await;
    reply.data().await;
    scene.gateway.kill().await;
    scene.upstream.request(1).await.closed_early().await;

    scene.gateway.spawn().await;
    let rows = scene.gateway.usage_rows(2).await;
    let open = rows.iter().find(|row| outcome(row) == "interrupted").expect("a row of the open call");
    assert_eq!(open["source"], "estimated");
    assert!(open["input_tokens"].as_u64().unwrap() > 1000, "the hold is charged: {open}");
    assert_eq!(open["output_tokens"].as_u64(), Some(100), "the hold is charged: {open}");
    assert!(rows.iter().any(|row| outcome(row) == "completed"), "{rows:?}");
    let records = scene.gateway.audit_calls(2).await;
    assert!(records.iter().any(|record| outcome(record) == "interrupted"), "{records:?}");
    scene.gateway.verify_audit().await;

    scene.upstream.always(Script::json(200, say::answer("on", 1, 1)));
    assert_eq!(scene.gateway.fetch(&scene.whole()).await.status, 200, "the next call works");
    scene.gateway.usage_rows(3).await;
}

#[tokio::test]
async fn kills_under_load_lose_and_double_nothing() {
    let mut scene = Scene::new().await;
    for _ in 0..3 {
        let (address, request) = (scene.gateway.address, scene.whole());
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let request = request.clone();
            calls.spawn(async move {
                // Calls that the kill cuts end in errors, which are not the point here.
                for _ in 0..500 {
                    let Ok(mut socket) = tokio::net::TcpStream::connect(address).await else { return };
                    let head = format!("host: x\r\nconnection: close\r\ncontent-length: {}", request.body.len());
                    let key = &request.headers.iter().find(|(name, _)| name == "authorization").unwrap().1;
                    let json = "content-type: application/json";
                    let text =
                        format!("POST {} HTTP/1.1\r\n{head}\r\n{json}\r\nauthorization: {key}\r\n\r\n", request.path);
                    let bytes = [text.as_bytes(), &request.body].concat();
                    if tokio::io::AsyncWriteExt::write_all(&mut socket, &bytes).await.is_err() {
                        return;
                    }
                    let mut reply = Vec::new();
                    if tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut reply).await.is_err() {
                        return;
                    }
                }
            });
        }
        let before = scene.upstream.count();
        scene.upstream.request(before + 40).await;
        scene.gateway.kill().await;
        calls.abort_all();
        while calls.join_next().await.is_some() {}
        scene.gateway.spawn().await;
    }
    let sent = scene.upstream.count();
    let rows = e2e::clock::eventually("every request sent upstream has its row", async || {
        Some(scene.gateway.usage().await).filter(|rows| rows.len() >= sent)
    })
    .await;
    let calls: std::collections::HashSet<String> = rows.iter().map(|row| row["call"].to_string()).collect();
    assert_eq!(calls.len(), rows.len(), "one row per call");
    // An opening is written before the upstream is called: a kill between the two leaves a row without a request.
    assert!(rows.len() <= sent + 3 * 4, "{} rows for {sent} requests", rows.len());
    scene.gateway.verify_audit().await;
}

#[tokio::test]
async fn a_second_gateway_on_the_same_data_is_refused() {
    let scene = Scene::new().await;
    let config = scene.gateway.path("gateway.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    let other = text.lines().map(|line| {
        let is_listener = line.starts_with("listen:") || line.starts_with("admin:");
        if is_listener { line.replace("127.0.0.1", "127.0.0.2") } else { line.to_owned() }
    });
    scene.gateway.write("second.yaml", &other.collect::<Vec<_>>().join("\n"));
    let second = scene.gateway.path("second.yaml");
    let done = e2e::program::run(&["serve", "--config", second.to_str().unwrap()]).await;
    assert!(done.status > 0, "{}", done.stderr);
    assert!(done.stderr.contains("lock") || done.stderr.contains("another"), "{}", done.stderr);
}
