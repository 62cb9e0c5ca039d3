//! What is passed on: the client's bytes but for what Weir must set, and no header that could forge an identity.

use bytes::Bytes;
use e2e::client::Request;
use e2e::gateway::outcome;
use e2e::say;
use e2e::upstream::Script;

use crate::scene::Scene;

#[tokio::test]
async fn only_the_members_that_weir_sets_change_in_the_body() {
    let scene = Scene::new().await;
    let body = concat!(
        "{ \"temperature\" :0.70,\"model\":\"mock\" ,\n\"messages\":[{\"role\":\"user\",\"content\":\"h\\u00e9\\/\"}],",
        "\"x_unknown\": {\"Model\":1e400, \"deep\":[ ]},\"max_tokens\":7,\"stream\":false}"
    );
    let reply = scene.gateway.fetch(&Request::post("/v1/chat/completions", &scene.key.secret, body)).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let arrived = String::from_utf8(scene.upstream.only_request().body.to_vec()).unwrap();
    assert_eq!(arrived, body.replace("\"mock\"", "\"mock-1\""));
}

#[tokio::test]
async fn a_stream_is_asked_for_usage_and_every_call_is_capped() {
    let scene = Scene::new().await;
    scene.gateway.open(&scene.streamed()).await.rest().await;
    let asked = scene.upstream.only_request().json();
    assert_eq!(asked["stream_options"]["include_usage"], true);
    assert!(asked["max_completion_tokens"].as_u64().is_some_and(|cap| cap > 0), "{asked}");
    assert_eq!(asked["model"], "mock-1");
}

#[tokio::test]
async fn large_bodies_arrive_whole() {
    let scene = Scene::new().await;
    for size in [60_000, 70_000, 200_000, 2_000_000] {
        let mut body = say::chat("mock", &"é".repeat(size / 2), false);
        body["max_tokens"] = 5.into();
        let reply = scene.gateway.fetch(&Request::chat(&scene.key.secret, &body)).await;
        assert_eq!(reply.status, 200, "{size}: {:?}", reply.body);
        let arrived = scene.upstream.received().last().unwrap().json();
        assert_eq!(arrived["messages"], body["messages"], "{size}");
    }
}

#[tokio::test]
async fn a_body_in_chunks_arrives_whole() {
    let scene = Scene::new().await;
    let text = say::chat("mock", &"x".repeat(100_000), false).to_string();
    let mut framed = Vec::new();
    for part in text.as_bytes().chunks(7_777) {
        framed.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        framed.extend_from_slice(part);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(b"0\r\n\r\n");
    let request = Request::post("/v1/chat/completions", &scene.key.secret, Bytes::from(framed));
    let reply = scene.gateway.fetch(&request.header("transfer-encoding", "chunked")).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let arrived = scene.upstream.only_request().json();
    assert_eq!(arrived["messages"][0]["content"].as_str().unwrap().len(), 100_000);
}

#[tokio::test]
async fn no_header_of_the_client_can_pose_as_weirs() {
    let scene = Scene::new().await;
    let request = scene.whole().header("x-weir-call-id", "forged").header("x-weir-token-allowance", "999999");
    let request =
        request.header("x-forwarded-user", "root").header("cookie", "session=1").header("x-api-key-extra", "k");
    assert_eq!(scene.gateway.fetch(&request).await.status, 200);
    let received = scene.upstream.only_request();
    for (name, value) in &received.head.headers {
        assert!(!value.contains(&scene.key.secret), "the caller's key left in `{name}`");
        assert!(!value.contains("forged") && !value.contains("session=1"), "{name}: {value}");
    }
    assert_eq!(received.header("authorization"), None, "no credential is configured for this deployment");
    assert!(!scene.gateway.log().contains(&scene.key.secret), "a key in the log");
}

#[tokio::test]
async fn completions_pass_too() {
    let scene = Scene::new().await;
    let answer = r#"{"id":"cmpl-1","object":"text_completion","created":1,"model":"mock-1","choices":[{"index":0,"text":"x","logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":2,"completion_tokens":1,"total_tokens":3}}"#;
    scene.upstream.always(Script::json(200, answer));
    let body = r#"{"model":"mock","prompt":["a","b"],"max_tokens":3}"#;
    let reply = scene.gateway.fetch(&Request::post("/v1/completions", &scene.key.secret, body)).await;
    assert_eq!((reply.status, reply.json()["choices"][0]["text"].as_str()), (200, Some("x")));
    assert_eq!(scene.upstream.only_request().path(), "/v1/completions");
    let (row, record) = scene.books().await;
    assert_eq!((row["input_tokens"].as_u64(), row["output_tokens"].as_u64()), (Some(2), Some(1)));
    // Two micro-dollars for each of two tokens, eight for one: in nano-dollars.
    assert_eq!(row["cost_nano"].as_i64(), Some(12_000), "{row}");
    assert_eq!(outcome(&record), "completed");
}

#[tokio::test]
async fn models_are_those_that_the_caller_may_use() {
    let scene = Scene::with(|config| {
        let upstream = "http://127.0.0.1:1/v1";
        config.deployment("other", "other-a", upstream, "").tenant_with("path: few, models: [other], roles: [user]")
    })
    .await;
    let few = scene.gateway.key("few").await;
    let list = async |key: &str| {
        let request = Request::get("/v1/models").header("authorization", &format!("Bearer {key}"));
        let reply = scene.gateway.fetch(&request).await.json();
        let ids = reply["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned());
        let mut ids: Vec<String> = ids.collect();
        ids.sort();
        ids
    };
    assert_eq!(list(&scene.key.secret).await, ["mock", "other"]);
    assert_eq!(list(&few.secret).await, ["other"]);
    let refused = scene.gateway.fetch(&Request::chat(&few.secret, &say::chat("mock", "hi", false))).await;
    assert!(matches!(refused.status, 403 | 404), "{:?}", refused.body);
    assert_eq!(scene.upstream.count(), 0);
}

#[tokio::test]
async fn the_callers_own_faults_are_passed_on_as_the_provider_says_them() {
    let scene = Scene::new().await;
    let error = say::error("too long", "invalid_request_error", Some("context_length_exceeded"));
    scene.upstream.always(Script::json(400, error.clone()));
    let reply = scene.gateway.fetch(&scene.whole()).await;
    assert_eq!((reply.status, reply.body), (400, error));
    assert_eq!(scene.upstream.count(), 1, "nothing is asked twice");
    assert_eq!(outcome(&scene.books().await.1), "upstream_error");
}
