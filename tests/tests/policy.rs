//! Policy as an operator changes it: keys and roles, a folder of one's own, and every way to no decision is a no.

use e2e::client::{Fetched, Request};
use e2e::config::Config;
use e2e::gateway::{Gateway, outcome};
use e2e::say;
use e2e::upstream::Upstream;
use serde_json::Value;

use crate::scene::Scene;

async fn made(scene: &Scene, args: &[&str]) -> Request {
    let made = scene.gateway.weir(&[&["key", "create", "--json", "--tenant", "acme/x"], args].concat()).await.json();
    let secret = made["key"].as_str().unwrap().to_owned();
    let request = Request::chat(&secret, &say::chat("mock", "hi", false));
    e2e::clock::eventually("the key is known", async || {
        let models = Request { method: "GET".into(), path: "/v1/models".into(), ..request.clone() };
        (scene.gateway.fetch(&models).await.status == 200).then_some(())
    })
    .await;
    request
}

fn refused(reply: &Fetched) -> (u16, String) {
    (reply.status, reply.code())
}

/// The last audit record of a chat.
async fn last(scene: &Scene) -> Value {
    let id = async || {
        let records = scene.gateway.audit().await;
        records.into_iter().rev().find(|record| record["endpoint"] == "/v1/chat/completions")
    };
    e2e::clock::eventually("a record", id).await
}

#[tokio::test]
async fn a_keys_own_models_and_roles_narrow_what_its_tenant_grants() {
    let scene = Scene::with(|config| config.deployment("big-1", "big", "http://127.0.0.1:1/v1", "")).await;
    let narrow = made(&scene, &["--model", "moc*"]).await;
    assert_eq!(scene.gateway.fetch(&narrow).await.status, 200);
    let big = Request { body: say::chat("big-1", "hi", false).to_string().into(), ..narrow.clone() };
    assert_eq!(refused(&scene.gateway.fetch(&big).await), (403, "policy_denied".to_owned()));
    let models = Request { method: "GET".into(), path: "/v1/models".into(), ..narrow };
    let listed = scene.gateway.fetch(&models).await.json();
    let ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|model| model["id"].clone()).collect();
    assert_eq!(ids, ["mock"], "only what the key may use");
    let suspended = made(&scene, &["--role", "suspended"]).await;
    assert_eq!(refused(&scene.gateway.fetch(&suspended).await), (403, "policy_denied".to_owned()));
    let record = e2e::clock::eventually("the record", async || {
        Some(last(&scene).await).filter(|record| record["rule"] == "suspended")
    });
    assert_eq!(outcome(&record.await), "refused");
    assert_eq!(scene.upstream.count(), 1);
}

#[tokio::test]
async fn a_folder_of_ones_own_decides_and_no_decision_is_a_no() {
    let scene = Scene::new().await;
    let chat = scene.whole();
    assert_eq!(scene.gateway.fetch(&chat).await.status, 200);
    let config = std::fs::read_to_string(scene.gateway.path("gateway.yaml")).unwrap();
    std::fs::create_dir(scene.gateway.path("own")).unwrap();
    let roles = "package weir.authz\ndecision := {\"allow\": true, \"rule\": \"users\", \"reason\": \"role\", \
                 \"obligations\": []} if \"user\" in input.subject.roles\n";
    let policy = |from: &str, to: &str| scene.gateway.write("own/a.rego", &roles.replace(from, to));
    policy("", "");
    scene.gateway.write("gateway.yaml", &format!("policy: {{ path: ./own }}\n{config}"));
    // The folder is watched: each change of it is a reload.
    let cases = [
        ("\"user\" in", "\"admin\" in", 403, "data.weir.authz.decision"),
        ("\"allow\": true", "\"allow\": false", 403, "users"),
        ("\"allow\": true", "\"allow\": \"yes\"", 403, ""),
        ("\"obligations\": []", "\"obligations\": [\"redact\"]", 403, "users"),
        ("\"obligations\": []", "\"obligations\": [\"sing\"]", 403, ""),
        ("\"rule\": \"users\"", "\"rule\": \"others\"", 200, "others"),
    ];
    for (from, to, status, rule) in cases {
        policy(from, to);
        e2e::clock::eventually(&format!("`{to}` answers {status}"), async || {
            let reply = scene.gateway.fetch(&chat).await;
            let record = last(&scene).await;
            (reply.status == status && record["rule"].as_str().unwrap_or_default().contains(rule)).then_some(())
        })
        .await;
    }
    let served = scene.upstream.count();
    scene.gateway.write("own/a.rego", "package weir.authz\ndecision := {");
    e2e::clock::eventually("the broken folder is refused", async || {
        scene.gateway.log().contains("the new configuration is refused").then_some(())
    })
    .await;
    assert_eq!(scene.gateway.fetch(&chat).await.status, 200, "the revision before stays");
    assert_eq!(scene.upstream.count(), served + 1);
}

#[tokio::test]
async fn a_policy_can_read_what_a_call_may_use_and_what_is_left() {
    let scene = Scene::with(|config| config.tenant("frugal", "limits: { tokens_per_minute: 1000 }")).await;
    let config = std::fs::read_to_string(scene.gateway.path("gateway.yaml")).unwrap();
    std::fs::create_dir(scene.gateway.path("own")).unwrap();
    let rule = "package weir.authz\ndecision := {\"allow\": true, \"rule\": \"left\", \"reason\": \"enough\", \
                \"obligations\": []} if {\n\tinput.estimate.output_tokens <= 300\n\tinput.budget.tokens_remaining > 600\n}\n";
    scene.gateway.write("own/a.rego", rule);
    scene.gateway.write("gateway.yaml", &format!("policy: {{ path: ./own }}\n{config}"));
    let key = scene.gateway.key("frugal").await;
    let ask = |cap: u32| {
        let mut body = say::chat("mock", "hi", false);
        body["max_tokens"] = cap.into();
        Request::chat(&key.secret, &body)
    };
    e2e::clock::eventually("the rule is taken", async || {
        (scene.gateway.fetch(&ask(301)).await.status == 403).then_some(())
    })
    .await;
    assert_eq!(scene.gateway.fetch(&ask(300)).await.status, 200, "1000 are left, and what was held came back");
}

/// Attributes that rules read, and obligations that act: a region, a cap, a header, a status.
#[tokio::test]
async fn rules_by_attributes_decide_and_what_they_demand_is_done() {
    let upstream = Upstream::start().await;
    let more = "attributes: { region: eu, department: research }";
    let config = Config::default()
        .tenant("acme", more)
        .deployment("mock", "abroad", &upstream.base_url(), "region: us, weight: 1000")
        .deployment("mock", "near", &upstream.base_url(), "region: eu, weight: 0")
        .deployment("report-analysis", "other", &upstream.base_url(), "region: eu")
        .section("policy: { entrypoint: data.weir.abac.decision, data: ./rules.yaml }");
    let mut gateway = Gateway::prepare(&config);
    let rules = "weir:\n  rules:\n    residency: region\n    models: { report-analysis: { department: [finance] } }\n\
        \u{20}   token_caps: { user: { max_tokens: 5 } }\n    tools: { acme: [get_weather] }\n";
    std::fs::write(gateway.path("rules.yaml"), rules).unwrap();
    let key = gateway.key("acme").await;
    gateway.spawn().await;
    for _ in 0..4 {
        let reply = gateway.fetch(&Request::chat(&key.secret, &say::chat("mock", "hi", false))).await;
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    }
    for sent in upstream.received() {
        assert_eq!(sent.json()["max_completion_tokens"], 5, "the cap went with the call");
    }
    let finance = gateway.fetch(&Request::chat(&key.secret, &say::chat("report-analysis", "hi", false))).await;
    assert_eq!((finance.status, finance.code().as_str()), (403, "policy_denied"));
    let mut armed = say::chat("mock", "hi", false);
    armed["tools"] = serde_json::json!([{"type": "function", "function": {"name": "exec"}}]);
    let refused = gateway.fetch(&Request::chat(&key.secret, &armed)).await;
    assert_eq!(refused.status, 403);
    assert!(String::from_utf8_lossy(&refused.body).contains("tool_not_allowed"));
    let records = gateway.audit_calls(6).await;
    for record in &records[..4] {
        assert_eq!(record["obligations"], serde_json::json!(["route", "limit"]), "{record}");
        assert_eq!(record["attempts"][0]["deployment"], "near", "{record}");
    }
}
