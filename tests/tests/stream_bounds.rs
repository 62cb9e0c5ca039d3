//! Long events, slow providers and slow clients: every bound is kept, and none cuts what is merely long.

use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::client::Close;
use e2e::gateway::outcome;
use e2e::say;
use e2e::upstream::{Script, Step};

use crate::scene::Scene;

/// One event of `len` letters, and the end.
fn long(len: usize) -> Script {
    Script::stream().event(say::delta(&"A".repeat(len))).event(say::finish("stop")).send(say::done())
}

#[tokio::test]
async fn fr_sse_05_long_events_pass_whole_at_linear_cost() {
    let scene = Scene::new().await;
    let mut times = Vec::new();
    for len in [65_536, 1_048_577, 4_194_304, 15_728_640] {
        scene.upstream.next(long(len));
        let start = Instant::now();
        let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
        times.push(start.elapsed());
        assert_eq!((stream.content().len(), stream.is_done()), (len, true));
    }
    // Fifteen times the bytes; squared cost would take 225 times the time.
    assert!(times[3] < times[1] * 60 + Duration::from_millis(200), "{times:?}");
}

#[tokio::test]
async fn fr_sse_05_an_event_without_end_is_stopped_with_bounded_memory() {
    let scene = Scene::impatient(5000, 5000, "").await;
    scene.gateway.fetch(&scene.whole()).await;
    let before = scene.gateway.resident_bytes();
    let fill = Step::Fill(Bytes::from(vec![b'A'; 65_536]), 16_384);
    scene.upstream.next(Script::stream().event(say::delta("a")).send("data: {\"x\":\"").then(fill));
    let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
    let grown = scene.gateway.resident_bytes().saturating_sub(before);
    assert_eq!(stream.content(), "a");
    assert!(stream.error_code().is_some(), "{:?}", stream.data());
    assert!(grown < 64 << 20, "grew by {grown} bytes");
    let records = scene.gateway.audit_calls(2).await;
    assert!(records.iter().any(|record| outcome(record) == "stream_broken"), "{records:?}");
}

#[tokio::test]
async fn fr_sse_14_a_steady_stream_outlives_every_wait() {
    let scene = Scene::impatient(400, 400, "").await;
    let script = (0..40).fold(Script::stream(), |script, n| {
        script.event(say::delta(&format!("{n} "))).then(Step::Wait(Duration::from_millis(50)))
    });
    scene.upstream.always(script.event(say::finish("stop")).send(say::done()));
    let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
    assert_eq!((stream.chunks().len(), stream.is_done(), stream.error_code()), (41, true, None));
}

#[tokio::test]
async fn fr_sse_14_a_silent_provider_is_left_after_the_idle_wait() {
    let scene = Scene::impatient(5000, 400, "").await;
    let words = (0..3).fold(Script::stream(), |script, _| script.event(say::delta("x")));
    scene.upstream.always(words.then(Step::Hold));
    let start = Instant::now();
    let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
    assert_eq!((stream.content().as_str(), stream.error_code().as_deref()), ("xxx", Some("upstream_disconnected")));
    assert!(start.elapsed() >= Duration::from_millis(400) && start.elapsed() < Duration::from_secs(3));
    scene.upstream.only_request().closed_early().await;
}

#[tokio::test]
async fn fr_sse_14_comments_are_no_progress() {
    let scene = Scene::impatient(5000, 600, "").await;
    let pings = (0..100).fold(Script::stream().event(say::delta("x")), |script, _| {
        script.then(Step::Wait(Duration::from_millis(100))).send(": ping\n\n")
    });
    scene.upstream.always(pings);
    let start = Instant::now();
    let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
    assert_eq!(stream.error_code().as_deref(), Some("upstream_disconnected"), "{:?}", stream.data());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn fr_sse_14_a_head_that_does_not_come_is_a_timeout() {
    let scene = Scene::impatient(300, 5000, "").await;
    scene.upstream.always(Script::json(200, say::answer("late", 1, 1)).first(Step::Hold));
    for request in [scene.streamed(), scene.whole()] {
        let refused = scene.gateway.fetch(&request).await;
        assert_eq!((refused.status, refused.code().as_str()), (504, "upstream_timeout"));
    }
}

#[tokio::test]
async fn fr_sse_14_a_client_that_does_not_read_is_cut_and_costs_no_memory() {
    let scene = Scene::impatient(5000, 60_000, "stream: { write_stall_ms: 1000 }").await;
    scene.gateway.fetch(&scene.whole()).await;
    let before = scene.gateway.resident_bytes();
    let event = say::event(say::delta(&"x".repeat(10_000)));
    scene.upstream.next(Script::stream().event(say::delta("a")).then(Step::Fill(event, 50_000)));
    let mut reply = scene.gateway.open(&scene.streamed()).await;
    reply.data().await;
    // The client stops reading here, and stays.
    scene.upstream.request(1).await.closed_early().await;
    let grown = scene.gateway.resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "grew by {grown} bytes");
    // Should it read on after all, it learns that the answer is not whole.
    let stream = reply.rest().await;
    assert!(stream.close == Close::Cut || stream.error_code().is_some(), "{:?}", stream.data().last());
    assert_eq!(outcome(&scene.gateway.audit_calls(2).await[1]), "hung_up");
}
