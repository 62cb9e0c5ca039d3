//! Odd but legal HTTP of providers, and what a pool of connections makes of it.

use e2e::client::h2::Connection;
use e2e::client::{Close, Request};
use e2e::gateway::outcome;
use e2e::say;
use e2e::upstream::{Script, Step};

use crate::scene::Scene;

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";

fn events() -> String {
    let all = [say::event(say::delta("a")), say::event(say::finish("stop")), say::done()];
    String::from_utf8(all.concat()).unwrap()
}

#[tokio::test]
async fn an_interim_reply_is_not_the_reply() {
    let scene = Scene::impatient(2000, 2000, "").await;
    let answer = say::answer("a b c", 7, 3);
    let last = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
        answer.len(),
        String::from_utf8(answer.to_vec()).unwrap()
    );
    for interim in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"] {
        scene.upstream.next(Script::raw(format!("{interim}{last}")));
        let reply = scene.gateway.fetch(&scene.whole()).await;
        assert_eq!(reply.status, 200, "{interim}: {:?}", reply.body);
        assert_eq!(reply.json()["choices"][0]["message"]["content"], "a b c");
    }
    scene.upstream.next(Script::raw("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000)).then(Step::Hold));
    assert_eq!(scene.gateway.fetch(&scene.whole()).await.status, 502, "they may not go on for ever");
}

#[tokio::test]
async fn a_body_may_end_with_its_connection() {
    let scene = Scene::impatient(2000, 2000, "").await;
    for head in
        [format!("{STREAM}\r\n"), format!("{STREAM}connection: close\r\n\r\n"), STREAM.replace("1.1", "1.0") + "\r\n"]
    {
        scene.upstream.next(Script::raw(format!("{head}{}", events())).then(Step::Cut));
        let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
        assert_eq!((stream.content().as_str(), stream.is_done(), stream.close), ("a", true, Close::Proper), "{head}");
    }
}

#[tokio::test]
async fn a_pooled_connection_that_was_closed_costs_no_call() {
    let scene = Scene::with(|config| config.section("retry: { attempts_max: 1 }")).await;
    for number in 0..20 {
        scene.upstream.next(Script::json(200, say::answer("a", 1, 1)).then(Step::Cut));
        let reply = scene.gateway.fetch(&scene.whole()).await;
        assert_eq!(reply.status, 200, "call {number}: {:?}", reply.body);
    }
    assert_eq!(scene.upstream.count(), 20, "nothing is asked twice");
}

#[tokio::test]
async fn refused_bodies_leave_room_on_a_connection_of_http_2() {
    let scene = Scene::new().await;
    let long = say::chat("mock", &"x".repeat(200 << 10), false).to_string();
    let mut connection = Connection::open(scene.gateway.address).await;
    for number in 0..40 {
        let refused = Request::post("/v1/chat/completions", "wr_none", long.clone());
        let reply = connection.send(scene.gateway.address, &refused).await;
        assert_eq!(reply.status, 401, "call {number}");
    }
    let good = Request::post("/v1/chat/completions", &scene.key.secret, long);
    assert_eq!(connection.send(scene.gateway.address, &good).await.status, 200);
}

#[tokio::test]
async fn a_client_of_http_2_that_does_not_read_is_cut() {
    let scene = Scene::impatient(5000, 60_000, "stream: { write_stall_ms: 1000 }").await;
    let event = say::event(say::delta(&"x".repeat(10_000)));
    scene.upstream.next(Script::stream().event(say::delta("a")).then(Step::Fill(event, 50_000)));
    let mut connection = Connection::open(scene.gateway.address).await;
    let mut reply = connection.send(scene.gateway.address, &scene.streamed()).await;
    reply.piece().await.unwrap();
    scene.upstream.only_request().closed_early().await;
    assert_eq!(outcome(&scene.gateway.audit_calls(1).await[0]), "hung_up");
}
