//! The same over HTTP/2 with prior knowledge.

use e2e::client::Request;
use e2e::client::h2::Connection;
use e2e::gateway::outcome;
use e2e::say;
use e2e::upstream::{Script, Step};

use crate::scene::Scene;

#[tokio::test]
async fn whole_and_streamed_answers_arrive() {
    let scene = Scene::new().await;
    let mut connection = Connection::open(scene.gateway.address).await;
    let mut whole = connection.send(scene.gateway.address, &scene.whole()).await;
    assert_eq!(whole.status, 200);
    assert!(String::from_utf8(whole.rest().await).unwrap().contains("a b c"));
    let mut streamed = connection.send(scene.gateway.address, &scene.streamed()).await;
    let text = String::from_utf8(streamed.rest().await).unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!(scene.gateway.usage_rows(2).await.len(), 2);
}

#[tokio::test]
async fn a_long_prompt_and_a_hang_up() {
    let scene = Scene::new().await;
    let script = (0..3).fold(Script::stream(), |script, n| script.event(say::delta(&format!("w{n} "))));
    scene.upstream.always(script.then(Step::Hold));
    let prompt = "x".repeat(200 * 1024);
    let request = Request::chat(&scene.key.secret, &say::chat("mock", &prompt, true));
    let mut connection = Connection::open(scene.gateway.address).await;
    let mut reply = connection.send(scene.gateway.address, &request).await;
    let mut heard = String::new();
    while !heard.contains("w2 ") {
        heard.push_str(std::str::from_utf8(&reply.piece().await.unwrap()).unwrap());
    }
    // Only this stream is reset; the connection lives on.
    drop(reply);
    let received = scene.upstream.only_request();
    received.closed_early().await;
    assert_eq!(received.json()["messages"][0]["content"], prompt.as_str());
    let (row, record) = scene.books().await;
    assert_eq!((outcome(&row), outcome(&record)), ("hung_up", "hung_up"));
    scene.upstream.always(Script::json(200, say::answer("alive", 1, 1)));
    assert_eq!(connection.send(scene.gateway.address, &scene.whole()).await.status, 200);
}

#[tokio::test]
async fn refusals_arrive_with_their_status() {
    let scene = Scene::new().await;
    let mut connection = Connection::open(scene.gateway.address).await;
    let mut refused = connection.send(scene.gateway.address, &scene.whole().without("authorization")).await;
    assert_eq!(refused.status, 401);
    assert!(String::from_utf8(refused.rest().await).unwrap().contains("missing_api_key"));
    let mut served = connection.send(scene.gateway.address, &scene.whole()).await;
    assert_eq!(served.status, 200);
    served.rest().await;
}

#[tokio::test]
async fn a_hundred_streams_share_a_connection_and_resets_free_each_one() {
    let scene = Scene::new().await;
    scene.upstream.always(Script::stream().event(say::delta("x")).then(Step::Hold));
    let mut connection = Connection::open(scene.gateway.address).await;
    let mut replies = Vec::new();
    for _ in 0..100 {
        let mut reply = connection.send(scene.gateway.address, &scene.streamed()).await;
        reply.piece().await.unwrap();
        replies.push(reply);
    }
    assert_eq!(scene.gateway.metric("weir_calls_in_flight", "").await, 100.0);
    drop(replies);
    for received in scene.upstream.received() {
        received.closed_early().await;
    }
    let free = async || (scene.gateway.metric("weir_calls_in_flight", "").await == 0.0).then_some(());
    e2e::clock::eventually("no call is running", free).await;
    assert!(scene.gateway.audit_calls(100).await.iter().all(|record| outcome(record) == "hung_up"));
}
