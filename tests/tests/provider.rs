//! The scripted provider itself: if it lies, every other chapter does.

use std::time::Duration;

use bytes::Bytes;
use e2e::client::{Close, Request};
use e2e::say;
use e2e::upstream::{Script, Step, Upstream};

fn chat(stream: bool) -> Request {
    Request::chat("k", &say::chat("mock-1", "hi", stream))
}

#[tokio::test]
async fn it_answers_plainly_and_remembers() {
    let upstream = Upstream::start().await;
    let whole = chat(false).fetch(upstream.address()).await;
    assert_eq!(whole.json()["choices"][0]["message"]["content"], "a b c");
    let stream = chat(true).open(upstream.address()).await.rest().await;
    assert_eq!((stream.content().as_str(), stream.is_done(), stream.close), ("a b c", true, Close::Proper));
    let all = upstream.received();
    assert_eq!(all.len(), 2);
    assert_eq!((all[1].path(), all[1].header("authorization")), ("/v1/chat/completions", Some("Bearer k")));
    assert_eq!(all[1].body, chat(true).body);
}

#[tokio::test]
async fn it_splits_its_body_at_any_byte() {
    let upstream = Upstream::start().await;
    for size in [1, 2, 3, 7, 1000] {
        upstream.next(Script::words(&["é", "\u{1f600}"], 1, 2).split(size));
        let mut reply = chat(true).open(upstream.address()).await;
        let first = reply.piece().await.unwrap().unwrap();
        assert!(first.len() <= size);
        let mut whole = first.to_vec();
        while let Some(piece) = reply.piece().await.unwrap() {
            whole.extend_from_slice(&piece);
        }
        assert!(String::from_utf8(whole).unwrap().contains("\u{1f600}"));
    }
}

#[tokio::test]
async fn it_cuts_resets_and_compresses() {
    let upstream = Upstream::start().await;
    for step in [Step::Cut, Step::Reset] {
        upstream.next(Script::stream().event(say::delta("x")).then(step));
        let stream = chat(true).open(upstream.address()).await.rest().await;
        assert_eq!((stream.content().as_str(), stream.close), ("x", Close::Cut));
    }
    upstream.next(Script::json(200, say::answer("packed", 1, 1)).gzip());
    let packed = chat(false).fetch(upstream.address()).await;
    assert_eq!(packed.head.get("content-encoding"), Some("gzip"));
    assert_eq!(&packed.body[..2], b"\x1f\x8b");
    upstream.next(Script::raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
    assert_eq!(chat(false).fetch(upstream.address()).await.body, Bytes::from_static(b"ok"));
}

#[tokio::test]
async fn it_notices_when_its_peer_goes_away() {
    let upstream = Upstream::start().await;
    upstream.always(Script::stream().event(say::delta("x")).then(Step::Hold));
    let mut reply = chat(true).open(upstream.address()).await;
    reply.data().await;
    reply.hang_up();
    upstream.request(0).await.closed_early().await;
    upstream.always(Script::stream().first(Step::Wait(Duration::from_millis(10))));
    chat(true).open(upstream.address()).await.rest().await;
    upstream.request(1).await.ended().await;
}
