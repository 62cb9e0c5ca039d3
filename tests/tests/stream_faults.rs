//! Streams that go wrong: the client is always told, inside the stream, and never by silence.

use e2e::client::{Request, Stream};
use e2e::config::Config;
use e2e::gateway::{Gateway, outcome};
use e2e::say;
use e2e::upstream::{Script, Step, Upstream};

use crate::scene::Scene;

/// The stream ended in an error of this code, after what was said, and nothing was made up.
fn assert_broken(stream: &Stream, said: &str, code: &str) {
    assert_eq!(stream.content(), said);
    assert_eq!(stream.error_code().as_deref(), Some(code), "{:?}", stream.data());
    let data = stream.data();
    let error = data.iter().position(|data| data.contains("\"error\"")).unwrap();
    let done = data.iter().position(|data| data == "[DONE]");
    assert!(done.is_none_or(|done| done > error), "the end marker comes only after the error: {data:?}");
    assert!(!data.concat().contains("\"finish_reason\":\"stop\""), "a finish was made up: {data:?}");
}

#[tokio::test]
async fn fr_sse_07_a_broken_stream_ends_in_an_error_event() {
    let scene = Scene::impatient(5000, 500, "").await;
    for step in [Step::Reset, Step::Hold, Step::Cut] {
        scene.upstream.next(Script::stream().event(say::delta("The dose is 10")).then(step.clone()));
        let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
        assert_broken(&stream, "The dose is 10", "upstream_disconnected");
    }
    for row in scene.gateway.usage_rows(3).await {
        assert_eq!(outcome(&row), "stream_broken", "{row}");
        assert!(row["cost_nano"].as_i64().unwrap() > 0, "what was said is charged: {row}");
    }
    for record in scene.gateway.audit_calls(3).await {
        assert_eq!(outcome(&record), "stream_broken");
    }
}

#[tokio::test]
async fn fr_sse_07_a_stream_that_just_ends_is_broken_too() {
    let scene = Scene::impatient(5000, 5000, "").await;
    // The body ends properly, but the answer has neither a finish nor an end marker.
    scene.upstream.always(Script::stream().event(say::delta("The dose is 10")));
    let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
    assert_broken(&stream, "The dose is 10", "upstream_disconnected");
}

#[tokio::test]
async fn a_cut_inside_an_event_leaves_no_half_event() {
    let scene = Scene::impatient(5000, 5000, "").await;
    let half = say::event(say::delta("never whole"));
    scene.upstream.always(Script::stream().event(say::delta("a")).send(half.slice(..half.len() / 2)).then(Step::Cut));
    let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
    assert_broken(&stream, "a", "upstream_disconnected");
    assert!(stream.tail.is_none(), "{:?}", stream.tail);
}

#[tokio::test]
async fn an_error_event_of_the_provider_is_passed_on() {
    let scene = Scene::impatient(5000, 5000, "").await;
    let error = String::from_utf8(say::error("overloaded", "server_error", Some("overloaded")).to_vec()).unwrap();
    scene.upstream.always(Script::stream().event(say::delta("a")).event(error).send(say::done()));
    let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
    assert_broken(&stream, "a", "overloaded");
    assert_eq!(outcome(&scene.books().await.0), "stream_broken");
}

#[tokio::test]
async fn an_error_event_in_the_first_place_is_a_plain_error() {
    let scene = Scene::impatient(5000, 5000, "").await;
    let error = String::from_utf8(say::error("overloaded", "server_error", None).to_vec()).unwrap();
    scene.upstream.always(Script::stream().event(error));
    let refused = scene.gateway.fetch(&scene.streamed()).await;
    assert_eq!(refused.status, 502, "{:?}", refused.body);
}

#[tokio::test]
async fn replies_that_are_no_replies_are_plain_errors() {
    let scene = Scene::impatient(1000, 1000, "").await;
    let cases: [(Script, bool); 7] = [
        (Script::json(200, "{\"choices\": ["), false),
        (Script::json(200, "<html>hello</html>").header("content-type", "text/html"), false),
        (Script::json(200, "<html>hello</html>").header("content-type", "text/html"), true),
        (Script::json(200, ""), false),
        (Script::stream().then(Step::Cut), true),
        (Script::raw("SSH-2.0-OpenSSH\r\n").then(Step::Cut), false),
        (Script::json(302, "").header("location", "http://127.0.0.1:1/"), false),
    ];
    for (number, (script, stream)) in cases.into_iter().enumerate() {
        scene.upstream.next(script);
        let request = Request::chat(&scene.key.secret, &say::chat("mock", "hi", stream));
        let refused = scene.gateway.fetch(&request).await;
        assert_eq!(refused.status, 502, "case {number}: {:?}", refused.body);
        assert!(!refused.code().is_empty());
    }
    assert_eq!(scene.upstream.count(), 7, "no redirect is followed, nothing is asked twice");
}

#[tokio::test]
async fn an_end_marker_ends_the_stream_though_the_provider_keeps_its_connection_open() {
    let scene = Scene::impatient(5000, 10_000, "").await;
    let said = Script::stream().event(say::delta("a")).event(say::finish("stop")).send(say::done());
    scene.upstream.always(said.event(say::delta("after the end")).then(Step::Hold));
    let start = std::time::Instant::now();
    let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
    assert!(start.elapsed() < std::time::Duration::from_secs(2), "ended after {:?}", start.elapsed());
    assert_eq!((stream.content().as_str(), stream.is_done()), ("a", true));
    assert_eq!(outcome(&scene.books().await.0), "completed");
}

#[tokio::test]
async fn a_refusal_after_a_heartbeat_is_told_inside_the_stream() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    let config = Config::default()
        .tenant("acme", "")
        .deployment("mock", "first", &first.base_url(), "weight: 1")
        .deployment("mock", "second", &second.base_url(), "weight: 0")
        .section("stream: { heartbeat_ms: 200 }");
    let gateway = Gateway::start(&config).await;
    let key = gateway.key("acme").await;
    first.always(Script::stream().then(Step::Wait(std::time::Duration::from_millis(900))).then(Step::Cut));
    second.always(Script::json(400, say::error("your fault", "invalid_request_error", None)));
    let request = Request::chat(&key.secret, &say::chat("mock", "hi", true));
    let stream = gateway.open(&request).await.rest().await;
    assert_eq!((first.count(), second.count()), (1, 1));
    assert_eq!(stream.error_code().as_deref(), Some("upstream_refused_request"), "{:?}", stream.data());
    assert!(stream.tail.is_none(), "{:?}", stream.tail);
}

#[tokio::test]
async fn a_reply_that_broke_off_is_not_asked_for_twice_at_the_same_provider() {
    let scene = Scene::with(|config| config.section("retry: { attempts_max: 3, cooldown_ms: 0 }")).await;
    scene.upstream.always(Script::stream().then(Step::Cut));
    assert_eq!(scene.gateway.fetch(&scene.streamed()).await.status, 502);
    assert_eq!(scene.upstream.count(), 1);
}

#[tokio::test]
async fn a_stream_that_ends_with_one_of_two_choices_unfinished_is_broken() {
    let scene = Scene::impatient(5000, 5000, "").await;
    let of = |text: String, choice: u32| text.replace("\"index\":0", &format!("\"index\":{choice}"));
    let said = Script::stream().event(say::delta("a")).event(of(say::delta("b"), 1)).event(say::finish("stop"));
    let mut body = say::chat("mock", "hi", true);
    body["n"] = 2.into();
    let request = Request::chat(&scene.key.secret, &body);
    scene.upstream.next(said.clone());
    let stream = scene.gateway.open(&request).await.rest().await;
    assert_eq!(stream.error_code().as_deref(), Some("upstream_disconnected"), "{:?}", stream.data());
    scene.upstream.next(said.event(of(say::finish("length"), 1)));
    let stream = scene.gateway.open(&request).await.rest().await;
    assert!(stream.error_code().is_none() && stream.is_done(), "only the marker was missing: {:?}", stream.data());
}
