//! Streams that providers really send: what a client must get of each.

use std::time::{Duration, Instant};

use e2e::client::Close;
use e2e::config::Config;
use e2e::gateway::{Gateway, outcome};
use e2e::say;
use e2e::upstream::{Script, Step, Upstream};
use serde_json::{Value, json};

use crate::scene::Scene;

#[tokio::test]
async fn a_stream_arrives_as_it_was_sent_whatever_the_split() {
    let scene = Scene::new().await;
    for size in [1, 2, 3, 5, 17, 100_000] {
        scene.upstream.next(Script::words(&["Hé", "llo ", "\u{1f600}"], 9, 3).split(size));
        let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
        assert_eq!((stream.content().as_str(), stream.is_done()), ("Héllo \u{1f600}", true), "split {size}");
        assert_eq!(stream.close, Close::Proper);
        let text = stream.data().concat();
        assert!(!text.contains("usage"), "usage that nobody asked for: {text}");
    }
    let rows = scene.gateway.usage_rows(6).await;
    for row in rows {
        assert_eq!((row["input_tokens"].as_u64(), row["output_tokens"].as_u64()), (Some(9), Some(3)), "{row}");
        assert_eq!((outcome(&row), row["source"].as_str()), ("completed", Some("provider")));
    }
}

#[tokio::test]
async fn lines_may_end_in_crlf() {
    let scene = Scene::new().await;
    let mut script = Script::stream();
    for data in [say::delta("a"), say::delta("b"), say::finish("stop"), "[DONE]".into()] {
        script = script.send(format!("data: {data}\r\n\r\n"));
    }
    for size in [1, 4, 100_000] {
        scene.upstream.next(script.clone().split(size));
        let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
        assert_eq!((stream.content().as_str(), stream.is_done()), ("ab", true));
    }
}

#[tokio::test]
async fn fr_sse_02_only_lf_and_cr_end_a_line() {
    let scene = Scene::new().await;
    let content = "a\u{2028}b\u{2029}c\u{85}d \u{2705} e";
    let script = Script::stream().event(say::delta(content)).event(say::finish("stop")).send(say::done());
    for size in [1, 100_000] {
        scene.upstream.next(script.clone().split(size));
        let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
        assert_eq!(stream.data().len(), 3);
        assert_eq!((stream.content().as_str(), stream.is_done()), (content, true));
    }
}

#[tokio::test]
async fn fr_sse_04_the_client_never_hears_silence_and_no_event_is_split() {
    let scene = Scene::impatient(5000, 5000, "stream: { heartbeat_ms: 300 }").await;
    let event = say::event(say::delta("part"));
    let (head, tail) = event.split_at(event.len() / 2);
    let wait = |ms| Step::Wait(Duration::from_millis(ms));
    let script = Script::stream()
        .send(": ping\n\n")
        .then(wait(800))
        .send(": ping\n\n")
        .then(wait(800))
        .send(head.to_vec())
        .then(wait(1100))
        .send(tail.to_vec())
        .event(say::finish("stop"))
        .send(say::done());
    scene.upstream.always(script);
    let mut reply = scene.gateway.open(&scene.streamed()).await;
    assert!(
        reply
            .head
            .get("cache-control")
            .is_some_and(|value| value.contains("no-cache") && value.contains("no-transform"))
    );
    assert_eq!(reply.head.get("x-accel-buffering"), Some("no"));
    let (mut last, mut whole, mut longest) = (Instant::now(), Vec::new(), Duration::ZERO);
    while let Some(piece) = reply.piece().await.unwrap() {
        longest = longest.max(last.elapsed());
        last = Instant::now();
        whole.extend_from_slice(&piece);
    }
    assert!(longest < Duration::from_millis(900), "a silence of {longest:?}");
    let text = String::from_utf8(whole).unwrap();
    assert!(text.contains(std::str::from_utf8(&event).unwrap()), "the event is whole: {text}");
    assert!(text.matches("\n: ").count() + usize::from(text.starts_with(": ")) >= 4, "heartbeats: {text}");
}

#[tokio::test]
async fn fr_sse_04_comments_do_not_stand_in_the_way_of_a_fail_over() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    let config = Config::default()
        .tenant("acme", "")
        .deployment("mock", "mock-a", &first.base_url(), "weight: 1")
        .deployment("mock", "mock-b", &second.base_url(), "weight: 0")
        .section("stream: { heartbeat_ms: 200 }");
    let gateway = Gateway::start(&config).await;
    let key = gateway.key("acme").await;
    first.always(Script::stream().send(": ping\n\n").then(Step::Wait(Duration::from_millis(700))).then(Step::Cut));
    second.always(Script::words(&["from b"], 5, 2));
    let request = e2e::client::Request::chat(&key.secret, &say::chat("mock", "hi", true));
    let stream = gateway.open(&request).await.rest().await;
    assert_eq!((stream.content().as_str(), stream.is_done()), ("from b", true));
    assert!(stream.events.iter().any(|event| event.is_keepalive()), "comments were passed on at once");
    assert_eq!(gateway.usage_rows(2).await.len(), 2);
}

#[tokio::test]
async fn fr_sse_09_usage_chunks_without_choices_are_read_and_completed() {
    let scene = Scene::new().await;
    let filter = json!({"id": "", "object": "", "created": 0, "model": "", "choices": [],
        "prompt_filter_results": [{"prompt_index": 0}]});
    for choices in [Some(json!([])), Some(Value::Null), None] {
        let mut usage: Value = serde_json::from_str(&say::usage(3, 1)).unwrap();
        let members = usage.as_object_mut().unwrap();
        members.remove("choices");
        if let Some(choices) = choices {
            members.insert("choices".into(), choices);
        }
        let events = [filter.to_string(), say::delta("A"), say::finish("stop"), usage.to_string(), "[DONE]".into()];
        let script = events.iter().fold(Script::stream(), |script, data| script.event(data).send(": ping\n\n"));
        scene.upstream.next(script.clone());
        let stream = scene.gateway.open(&scene.streamed_with_usage()).await.rest().await;
        let chunks = stream.chunks();
        assert_eq!((stream.content().as_str(), stream.is_done(), stream.error_code()), ("A", true, None));
        assert_eq!(chunks.last().unwrap()["choices"], json!([]), "{chunks:?}");
        assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], 1);
        scene.upstream.next(script);
        let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
        assert!(!stream.data().concat().contains("usage"), "usage that nobody asked for");
    }
    for row in scene.gateway.usage_rows(6).await {
        assert_eq!((row["input_tokens"].as_u64(), row["output_tokens"].as_u64()), (Some(3), Some(1)), "{row}");
    }
}

#[tokio::test]
async fn fr_sse_11_tool_call_deltas_pass_untouched() {
    // Nothing is assembled or numbered anew while the dialect stays the same: odd indices are the client's own affair.
    let scene = Scene::new().await;
    let fragments = [
        json!([{"index": 0, "id": "call_a", "type": "function", "function": {"name": "read", "arguments": "{\"p\":\"a\"}"}}]),
        json!([{"index": 0, "id": "call_b", "type": "function", "function": {"name": "read", "arguments": "{\"p\":\"b\"}"}}]),
        json!([{"id": "call_a", "function": {"name": "w", "arguments": "{\"c\":"}}]),
        json!([{"function": {"arguments": "\"\u{5df4}\u{9ece}\"}"}}]),
        json!([{"index": 3, "id": "call_d", "function": {"name": "g", "arguments": "{\"y\":"}}]),
        json!([{"index": null, "function": {"arguments": "2}"}}]),
    ];
    let chunk =
        |calls: &Value| json!({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": calls}}]}).to_string();
    let sent: Vec<String> = fragments.iter().map(chunk).collect();
    let script = sent.iter().fold(Script::stream(), Script::event);
    scene.upstream.always(script.event(say::finish("tool_calls")).send(say::done()));
    let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
    assert_eq!(stream.data()[..sent.len()], sent);
    assert!(stream.is_done());
}

#[tokio::test]
async fn a_missing_end_marker_is_added_where_the_answer_is_complete() {
    let scene = Scene::new().await;
    scene.upstream.always(Script::stream().event(say::delta("all")).event(say::finish("stop")));
    let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
    assert_eq!((stream.content().as_str(), stream.is_done(), stream.error_code()), ("all", true, None));
    assert_eq!(outcome(&scene.books().await.0), "completed");
}

#[tokio::test]
async fn compressed_replies_are_read() {
    let scene = Scene::new().await;
    scene.upstream.next(Script::words(&["pa", "cked"], 4, 2).gzip());
    let stream = scene.gateway.open(&scene.streamed()).await.rest().await;
    assert_eq!((stream.content().as_str(), stream.is_done()), ("packed", true));
    scene.upstream.next(Script::json(200, say::answer("packed", 4, 2)).gzip());
    let whole = scene.gateway.fetch(&scene.whole()).await;
    assert_eq!((whole.status, whole.json()["choices"][0]["message"]["content"].as_str()), (200, Some("packed")));
    for row in scene.gateway.usage_rows(2).await {
        assert_eq!((row["input_tokens"].as_u64(), row["output_tokens"].as_u64()), (Some(4), Some(2)), "{row}");
    }
}

#[tokio::test]
async fn the_first_event_is_out_before_the_second_is_made() {
    let scene = Scene::new().await;
    let gate = e2e::upstream::Gate::default();
    let script = Script::stream().event(say::delta("one")).then(Step::Pass(gate.clone()));
    scene.upstream.always(script.event(say::finish("stop")).send(say::done()));
    let mut reply = scene.gateway.open(&scene.streamed()).await;
    assert!(reply.data().await.contains("one"));
    gate.open();
    assert!(reply.rest().await.is_done());
}
