//! The decision log as an operator and an auditor meet it: files, a server that takes batches, a replay of both.

use std::io::Read;

use e2e::client::Request;
use e2e::config::ADMIN_TOKEN;
use e2e::gateway::Gateway;
use e2e::say;
use e2e::upstream::{Script, Upstream};
use serde_json::{Value, json};

use crate::scene::Scene;

/// The decisions in the gateway's files, once there are so many.
async fn decisions(gateway: &Gateway, count: usize) -> Vec<Value> {
    let folder = gateway.data().join("decisions");
    e2e::clock::eventually(&format!("{count} decisions"), async || {
        let mut files: Vec<_> = std::fs::read_dir(&folder).ok()?.map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == "jsonl"));
        files.sort();
        let text: String = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (lines.len() >= count).then_some(lines)
    })
    .await
}

fn chat(scene: &Scene, model: &str) -> Request {
    Request::chat(&scene.key.secret, &say::chat(model, "my secret prompt", false))
}

#[tokio::test]
async fn each_call_is_a_decision_in_the_log_and_a_candidate_is_held_against_them() {
    let section = "policy: { decision_log: { sink: file, labels: { region: eu } } }";
    let mut scene = Scene::with(|config| {
        let config = config.tenant_with("path: narrow, models: [other], roles: [user]");
        config.deployment("other", "other-a", "http://127.0.0.1:1/v1", "").section(section)
    })
    .await;
    for _ in 0..3 {
        let reply = scene.gateway.fetch(&chat(&scene, "mock")).await;
        assert_eq!(reply.status, 200, "remembered or not");
    }
    let narrow = scene.gateway.key("narrow").await;
    let refused = Request::chat(&narrow.secret, &say::chat("mock", "hi", false));
    assert_eq!(scene.gateway.fetch(&refused).await.status, 403);
    let all = decisions(&scene.gateway, 4).await;
    assert_eq!(all.len(), 4, "one for each call");
    let first = &all[0];
    assert_eq!(first["input"]["subject"]["tenant"], "acme/research/chat/ada");
    assert_eq!(first["input"]["client"]["ip"], "127.0.0.1");
    assert_eq!(
        first["result"],
        json!({"allow": true, "rule": "tenant_models", "reason": "granted", "obligations": {}})
    );
    assert_eq!((&first["path"], &first["labels"]["region"]), (&json!("weir/authz/decision"), &json!("eu")));
    let records = scene.gateway.audit_calls(4).await;
    let ids: Vec<&Value> = records.iter().map(|record| &record["id"]).collect();
    assert!(ids.contains(&&first["decision_id"]), "the audit record has the same id: {ids:?}");
    assert_eq!(all[3]["result"]["allow"], false);
    for one in &all {
        let text = one.to_string();
        assert!(!text.contains("secret prompt") && !text.contains(&scene.key.secret), "{text}");
    }
    let rehearsed = rehearse(&scene.gateway, &json!({})).await;
    assert_eq!((&rehearsed["decisions"]["replayed"], &rehearsed["flips"]["calls"]), (&json!(4), &json!(0)));
    let closed = "package weir.authz\ndecision := {\"allow\": false, \"rule\": \"closed\", \"reason\": \"no\"}\n";
    let rehearsed = rehearse(&scene.gateway, &json!({"modules": {"a.rego": closed}, "last": 3})).await;
    assert_eq!(rehearsed["by_kind"]["allow_to_deny"]["calls"], 2, "{rehearsed}");
    assert_eq!(rehearsed["groups"][0]["after"]["rule"], "closed");
    let against = rehearse(&scene.gateway, &json!({"modules": {"a.rego": closed}, "baseline": "current"})).await;
    assert_eq!((&against["flips"]["calls"], &against["baseline"]), (&json!(3), &json!("machine")), "{against}");
    for wrong in [json!({"modules": {"a.rego": "package p"}}), json!({"module": {}}), json!([])] {
        let asked = Request::post("/admin/v1/policy/rehearse", ADMIN_TOKEN, wrong.to_string());
        assert_eq!(asked.fetch(scene.gateway.admin).await.status, 400, "{wrong}");
    }
    assert_eq!(scene.gateway.metric("weir_decision_log_written_total", "").await, 4.0);
    scene.gateway.terminate().await;
    replay_of_files(&scene.gateway, closed).await;
}

async fn rehearse(gateway: &Gateway, body: &Value) -> Value {
    let reply = Request::post("/admin/v1/policy/rehearse", ADMIN_TOKEN, body.to_string()).fetch(gateway.admin).await;
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    reply.json()
}

async fn replay_of_files(gateway: &Gateway, closed: &str) {
    let text = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let log = text(gateway.data().join("decisions/decisions-000001.jsonl"));
    std::fs::create_dir(gateway.path("same")).unwrap();
    std::fs::create_dir(gateway.path("closed")).unwrap();
    std::fs::write(gateway.path("closed/a.rego"), closed).unwrap();
    let (same, closed) = (text(gateway.path("same")), text(gateway.path("closed")));
    let words = ["policy", "replay", "--json", "--log", &log, "--candidate"];
    let done = gateway.weir(&[&words[..], &[&same]].concat()).await;
    assert_eq!((done.status, &done.json()["flips"]["calls"]), (0, &json!(0)), "{}", done.stderr);
    let done = gateway.weir(&[&words[..], &[&closed]].concat()).await;
    let told: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((done.status, &told["flips"]["calls"]), (1, &json!(3)), "{}", done.stderr);
    assert_eq!(told["groups"][0]["tenant"], "acme/research/chat/ada");
    assert_eq!(told["groups"][0]["before"]["rule"], "tenant_models");
    std::fs::write(&log, "no decision\n").unwrap();
    assert_eq!(gateway.weir(&[&words[..], &[&same]].concat()).await.status, 2, "nothing could be judged");
}

fn unpacked(body: &[u8]) -> Vec<Value> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(body).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn a_server_gets_every_decision_also_after_its_own_failures_and_a_restart() {
    let server = Upstream::start().await;
    server.always(Script::json(200, "{}"));
    server.next(Script::json(503, "{}"));
    let section = format!(
        "policy: {{ decision_log: {{ sink: http, url: \"http://{}/logs\", token: \"file:./pepper_token\" }} }}",
        server.address()
    );
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::prepare(&e2e::config::Config::with(&upstream).section(&section));
    gateway.write("pepper_token", "the-servers-own-token");
    let key = gateway.key("acme").await;
    gateway.spawn().await;
    let chat = Request::chat(&key.secret, &say::chat("mock", "hi", false));
    for _ in 0..5 {
        assert_eq!(gateway.fetch(&chat).await.status, 200);
    }
    let got = async |least: usize| {
        e2e::clock::eventually("the server has the decisions", async || {
            let taken: Vec<Value> = server.received().iter().skip(1).flat_map(|one| unpacked(&one.body)).collect();
            (taken.len() >= least).then_some(taken)
        })
        .await
    };
    let numbers = |all: &[Value]| all.iter().map(|one| one["req_id"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(numbers(&got(5).await), [1, 2, 3, 4, 5], "the refused batch came again");
    let first = &server.received()[0];
    assert_eq!((first.path(), first.header("content-encoding")), ("/logs", Some("gzip")));
    assert_eq!(first.header("authorization"), Some("Bearer the-servers-own-token"));
    gateway.terminate().await;
    gateway.spawn().await;
    assert_eq!(gateway.fetch(&chat).await.status, 200);
    assert_eq!(numbers(&got(6).await), [1, 2, 3, 4, 5, 1], "nothing comes twice after a proper end");
    let log = gateway.log();
    assert!(!log.contains("the-servers-own-token"), "{log}");
}

/// Masks lie with the policies, as in OPA's bundles.
#[tokio::test]
async fn masks_of_the_policies_hold_for_the_log_and_not_for_the_call() {
    let section = "policy: { path: ./own, decision_log: { sink: file } }";
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::prepare(&e2e::config::Config::with(&upstream).section(section));
    std::fs::create_dir(gateway.path("own")).unwrap();
    let policy = "package weir.authz\ndecision := {\"allow\": true, \"rule\": \"all\", \"reason\": \"ok\", \
        \"obligations\": {\"headers\": {\"x-ticket\": \"t-1\"}}}\n";
    std::fs::write(gateway.path("own/a.rego"), policy).unwrap();
    let masks = "package system.log\nmask contains \"/input/client/ip\"\nmask contains \"/result/obligations/headers\"\n\
        mask contains \"/input/nope\"\n";
    std::fs::write(gateway.path("own/mask.rego"), masks).unwrap();
    let key = gateway.key("acme").await;
    gateway.spawn().await;
    let reply = gateway.fetch(&Request::chat(&key.secret, &say::chat("mock", "hi", false))).await;
    assert_eq!((reply.status, reply.head.get("x-ticket")), (200, Some("t-1")), "the caller has what the log has not");
    let all = decisions(&gateway, 1).await;
    let text = all[0].to_string();
    assert!(!text.contains("t-1") && all[0]["input"]["client"].get("ip").is_none(), "{text}");
    assert_eq!(all[0]["erased"], json!(["/input/client/ip", "/result/obligations/headers"]));
    assert_eq!(all[0]["not_erased"], json!(["/input/nope"]));
}
