//! Paths that some servers take for others: here each is another endpoint or none, and never one that was not
//! authorised.

use e2e::client::Request;
use e2e::say;

use crate::scene::Scene;

#[tokio::test]
async fn a_path_that_is_not_exactly_an_endpoints_is_none() {
    let scene = Scene::new().await;
    let tricks = [
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/chat//completions",
        "/v1/chat/completions/",
        "/v1/chat%2fcompletions",
        "/v1%2Fchat%2Fcompletions",
        "/%2e%2e/v1/chat/completions",
        "/v1/./chat/completions",
        "/v1/models/../chat/completions",
        "/v1/chat/../chat/completions",
        "/v1/chat/completions;x=1",
        "/v1;a/chat/completions",
        "/V1/chat/completions",
        "/v1/Chat/Completions",
        "/v1/chat/completions%00",
        "/v1/chat/completions%20",
        "/v1/chat/completions.json",
        "/v1/chat\\completions",
        "/v1/ch%61t/completions",
        "/v1/chat/completions%3f",
        "/admin/v1/keys",
        "/metrics",
        "/",
    ];
    for path in tricks {
        let request = Request { path: path.to_owned(), ..scene.whole() };
        let reply = scene.gateway.fetch(&request).await;
        assert!(matches!(reply.status, 400 | 404 | 405), "{path}: {}", reply.status);
    }
    // A query changes no endpoint.
    let asked = Request { path: "/v1/chat/completions?x=/../admin".to_owned(), ..scene.whole() };
    assert_eq!(scene.gateway.fetch(&asked).await.status, 200);
    let received = scene.upstream.received();
    assert_eq!(received.len(), 1, "only the plain path went upstream");
    assert_eq!(received[0].path(), "/v1/chat/completions", "the upstream's path is the configuration's");
    let records = scene.gateway.audit_calls(tricks.len() + 1).await;
    let refused = records.iter().filter(|record| record["outcome"] == "refused").count();
    assert_eq!(refused, tricks.len(), "one record for each");
}

#[tokio::test]
async fn the_methods_and_bodies_of_one_endpoint_open_no_other() {
    let scene = Scene::new().await;
    let body = say::chat("mock", "hi", false).to_string();
    for (method, path) in [
        ("GET", "/v1/chat/completions"),
        ("PUT", "/v1/chat/completions"),
        ("POST", "/v1/models"),
        ("DELETE", "/v1/models/mock"),
    ] {
        let request =
            Request { method: method.to_owned(), path: path.to_owned(), body: body.clone().into(), ..scene.whole() };
        let reply = scene.gateway.fetch(&request).await;
        assert_eq!(reply.status, 405, "{method} {path}");
    }
    assert!(scene.upstream.received().is_empty());
}
