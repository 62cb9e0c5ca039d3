//! Limits: true values in the headers, a true `retry-after`, and nothing taken for what was not used.

use std::time::{Duration, Instant};

use e2e::client::{Fetched, Request};
use e2e::gateway::outcome;
use e2e::say;
use e2e::upstream::{Script, Step};

use crate::scene::Scene;

fn number(reply: &Fetched, name: &str) -> u64 {
    let value = reply.head.get(name).unwrap_or_else(|| panic!("no `{name}` in {:?}", reply.head));
    value.parse().unwrap_or_else(|_| panic!("`{name}: {value}` is no number"))
}

async fn scene(limits: &str) -> (Scene, Request) {
    let scene = Scene::with(|config| config.tenant("bound", &format!("limits: {{ {limits} }}"))).await;
    let key = scene.gateway.key("bound/team").await;
    let request = Request::chat(&key.secret, &say::chat("mock", "hi", false));
    (scene, request)
}

#[tokio::test]
async fn requests_per_minute_are_counted_down_and_refused_with_a_true_wait() {
    let (scene, request) = scene("requests_per_minute: 60").await;
    let first = scene.gateway.fetch(&request).await;
    assert_eq!((first.status, number(&first, "x-ratelimit-limit-requests")), (200, 60));
    let remaining = number(&first, "x-ratelimit-remaining-requests");
    assert!(remaining < 60);
    let mut served = 1;
    let refused = loop {
        let reply = scene.gateway.fetch(&request).await;
        if reply.status != 200 {
            break reply;
        }
        served += 1;
        assert!(served <= 70, "no limit");
    };
    assert!(served >= 60, "refused after {served} of 60");
    assert_eq!((refused.status, refused.code().as_str()), (429, "request_limit_reached"));
    assert_eq!(number(&refused, "x-ratelimit-remaining-requests"), 0);
    let wait = number(&refused, "retry-after");
    assert!((1..=60).contains(&wait), "{wait}");
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(scene.gateway.fetch(&request).await.status, 200, "the wait that was told is enough");
    assert_eq!(scene.upstream.count(), served + 1, "a refused call never reaches the provider");
}

#[tokio::test]
async fn unused_tokens_are_given_back() {
    let (scene, _) = scene("tokens_per_minute: 10000").await;
    let key = scene.gateway.key("bound").await;
    let mut body = say::chat("mock", "hi", false);
    body["max_tokens"] = 4000.into();
    let request = Request::chat(&key.secret, &body);
    // Each call holds over 4,000 tokens and uses ten: without giving back, the third would be refused.
    for round in 0..8 {
        let reply = scene.gateway.fetch(&request).await;
        assert_eq!(reply.status, 200, "round {round}: {:?}", reply.body);
        assert_eq!(number(&reply, "x-ratelimit-limit-tokens"), 10_000);
    }
}

#[tokio::test]
async fn a_call_larger_than_the_limit_is_told_so_and_not_to_wait() {
    let (scene, request) = scene("tokens_per_minute: 100").await;
    let refused = scene.gateway.fetch(&request).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "request_over_limit"), "{:?}", refused.body);
    assert_eq!(refused.head.get("retry-after"), None);
    let record = scene.gateway.audit_calls(1).await.remove(0);
    assert_eq!(outcome(&record), "refused");
    assert_eq!(scene.upstream.count(), 0);
}

#[tokio::test]
async fn levels_share_their_limit_and_neighbours_do_not() {
    let scene = Scene::with(|config| {
        config.tenant("org", "limits: { concurrency: 1 }").tenant("other", "limits: { concurrency: 1 }")
    })
    .await;
    let gate = e2e::upstream::Gate::default();
    let (ann, bob, eve) =
        (scene.gateway.key("org/a").await, scene.gateway.key("org/b").await, scene.gateway.key("other").await);
    let request = |key: &str| Request::chat(key, &say::chat("mock", "hi", false));
    let slow = e2e::upstream::Script::json(200, say::answer("x", 1, 1));
    scene.upstream.next(slow.first(e2e::upstream::Step::Pass(gate.clone())));
    let running = request(&ann.secret).send(scene.gateway.address).await;
    scene.upstream.request(0).await;
    assert_eq!(scene.gateway.fetch(&request(&bob.secret)).await.code(), "concurrency_limit_reached");
    assert_eq!(scene.gateway.fetch(&request(&eve.secret)).await.status, 200);
    gate.open();
    assert_eq!(running.reply().await.status(), 200);
    let start = Instant::now();
    e2e::clock::eventually("the place is free again", async || {
        (scene.gateway.fetch(&request(&bob.secret)).await.status == 200).then_some(())
    })
    .await;
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn under_parallel_load_each_tenant_gets_exactly_its_own_limit() {
    let scene = Scene::with(|config| {
        let limited = |n: u32| format!("limits: {{ requests_per_minute: {n} }}");
        config.tenant("ten", &limited(10)).tenant("twenty", &limited(20))
    })
    .await;
    let (ten, twenty) = (scene.gateway.key("ten/a").await, scene.gateway.key("twenty/b").await);
    let request = |key: &str| Request::chat(key, &say::chat("mock", "hi", false));
    let calls = (0..120).map(|n| request(if n % 2 == 0 { &ten.secret } else { &twenty.secret }));
    let address = scene.gateway.address;
    let started = Instant::now();
    let replies = futures_util::future::join_all(calls.map(|call| async move { call.fetch(address).await })).await;
    let served = |odd: usize| replies.iter().skip(odd).step_by(2).filter(|reply| reply.status == 200).count();
    // Places that came back while the calls ran: one every six, or three, seconds.
    let elapsed = usize::try_from(started.elapsed().as_secs()).unwrap();
    assert!((10..=11 + elapsed / 6).contains(&served(0)), "{} of ten", served(0));
    assert!((20..=21 + elapsed / 3).contains(&served(1)), "{} of twenty", served(1));
    for refused in replies.iter().filter(|reply| reply.status != 200) {
        assert_eq!((refused.status, refused.code().as_str()), (429, "request_limit_reached"));
        assert!(number(refused, "retry-after") >= 1);
    }
    assert_eq!(scene.upstream.count(), served(0) + served(1));
    scene.gateway.audit_calls(120).await;
}

#[tokio::test]
async fn a_place_is_free_again_after_a_hang_up_a_failure_and_a_refusal() {
    let (scene, request) = scene("concurrency: 2").await;
    scene.upstream.always(Script::stream().event(say::delta("x")).then(Step::Hold));
    let body = String::from_utf8(request.body.to_vec()).unwrap().replace("\"stream\":false", "\"stream\":true");
    let streamed = Request { body: body.into(), ..request.clone() };
    for round in 0..3 {
        let mut running = Vec::new();
        for _ in 0..2 {
            let mut reply = e2e::clock::eventually("a place", async || {
                let reply = scene.gateway.open(&streamed).await;
                (reply.status() == 200).then_some(reply)
            })
            .await;
            reply.data().await;
            running.push(reply);
        }
        assert_eq!(scene.gateway.fetch(&streamed).await.code(), "concurrency_limit_reached", "round {round}");
        running.into_iter().for_each(e2e::client::Reply::hang_up);
    }
    scene.upstream.always(Script::json(500, say::error("broken", "server_error", None)));
    e2e::clock::eventually("a place after the hang-ups", async || {
        (scene.gateway.fetch(&request).await.status != 429).then_some(())
    })
    .await;
    let unknown = Request::chat("", &say::chat("nothing", "hi", false));
    let authorization = request.headers.iter().find(|(name, _)| name == "authorization").unwrap().1.clone();
    for _ in 0..6 {
        assert_ne!(scene.gateway.fetch(&request).await.status, 429, "a failed upstream keeps no place");
        let refused = scene.gateway.fetch(&unknown.clone().header("authorization", &authorization)).await;
        assert_eq!(refused.status, 404, "a refusal keeps no place");
    }
}

#[tokio::test]
async fn a_failed_upstream_gives_the_held_tokens_back() {
    let (scene, _) = scene("tokens_per_minute: 6000").await;
    let key = scene.gateway.key("bound").await;
    let mut body = say::chat("mock", "hi", false);
    body["max_tokens"] = 4000.into();
    let request = Request::chat(&key.secret, &body);
    scene.upstream.always(Script::json(400, say::error("no", "invalid_request_error", None)));
    for round in 0..4 {
        let reply = scene.gateway.fetch(&request).await;
        assert_eq!(reply.status, 400, "round {round}: {:?}", reply.body);
    }
}

#[tokio::test]
async fn a_keys_own_limit_stands_beside_its_organisations() {
    let more = "limits: { requests_per_minute: 12 }, key_limits: { requests_per_minute: 5 }";
    let scene = Scene::with(|config| config.tenant("bound", more)).await;
    let mut served = Vec::new();
    for _ in 0..3 {
        let key = scene.gateway.key("bound/team").await;
        let request = Request::chat(&key.secret, &say::chat("mock", "hi", false));
        let mut count = 0;
        for _ in 0..8 {
            count += usize::from(scene.gateway.fetch(&request).await.status == 200);
        }
        served.push(count);
    }
    assert_eq!(served[..2], [5, 5], "each key has its own five");
    assert!((2..=3).contains(&served[2]), "the organisation has twelve in all: {served:?}");
}

#[tokio::test]
async fn a_client_that_calls_one_after_the_other_never_meets_its_own_last_call() {
    let (scene, request) = scene("concurrency: 1").await;
    let streamed = String::from_utf8(request.body.to_vec()).unwrap().replace("\"stream\":false", "\"stream\":true");
    let streamed = Request { body: streamed.into(), ..request.clone() };
    for round in 0..40 {
        let whole = scene.gateway.fetch(&request).await;
        assert_eq!(whole.status, 200, "round {round}: {:?}", whole.body);
        let mut reply = scene.gateway.open(&streamed).await;
        assert_eq!(reply.status(), 200, "round {round}, streamed");
        while reply.data().await != "[DONE]" {}
    }
}

#[tokio::test]
async fn tokens_held_in_parallel_never_exceed_the_limit_and_the_wait_that_is_told_is_enough() {
    let (scene, request) = scene("tokens_per_minute: 2000").await;
    let body = String::from_utf8(request.body.to_vec()).unwrap().replacen('{', "{\"max_tokens\":190,", 1);
    let request = Request { body: body.into(), ..request };
    let gate = e2e::upstream::Gate::default();
    // Each answer uses what was held for it, so that nothing comes back.
    let full = || Script::json(200, say::answer("x", 10, 190));
    scene.upstream.always(full().first(Step::Pass(gate.clone())));
    let address = scene.gateway.address;
    let calls = (0..30).map(|_| request.clone()).map(|call| async move { call.fetch(address).await });
    let open = async {
        scene.upstream.request(8).await;
        (0..40).for_each(|_| gate.open());
    };
    let (replies, ()) = futures_util::future::join(futures_util::future::join_all(calls), open).await;
    let served = replies.iter().filter(|reply| reply.status == 200).count();
    assert!((9..=10).contains(&served), "{served} calls of about 200 tokens within 2000");
    let refused = replies.iter().find(|reply| reply.status == 429).expect("a refusal");
    assert_eq!(refused.code(), "token_limit_reached");
    scene.upstream.always(full());
    let last = scene.gateway.fetch(&request).await;
    if last.status == 429 {
        let wait = number(&last, "retry-after");
        tokio::time::sleep(Duration::from_secs(wait)).await;
        assert_eq!(scene.gateway.fetch(&request).await.status, 200, "after {wait} s");
    }
    let used: u64 = scene.gateway.usage().await.iter().map(|row| row["output_tokens"].as_u64().unwrap()).sum();
    assert_eq!(used, 190 * u64::try_from(scene.upstream.count()).unwrap());
}

#[tokio::test]
async fn calls_at_the_same_time_are_counted_exactly_for_each_tenant() {
    let scene = Scene::with(|config| {
        config.tenant("three", "limits: { concurrency: 3 }").tenant("five", "limits: { concurrency: 5 }")
    })
    .await;
    let gate = e2e::upstream::Gate::default();
    scene.upstream.always(Script::json(200, say::answer("x", 1, 1)).first(Step::Pass(gate.clone())));
    let (three, five) = (scene.gateway.key("three").await, scene.gateway.key("five").await);
    let address = scene.gateway.address;
    let calls = (0..40).map(|n| if n % 2 == 0 { &three.secret } else { &five.secret });
    let calls = calls.map(|key| Request::chat(key, &say::chat("mock", "hi", false)));
    let replies = futures_util::future::join_all(calls.map(|call| async move { call.fetch(address).await }));
    let open = async {
        // All that may run do, and all others have been refused: only then the first may end.
        scene.upstream.request(7).await;
        e2e::clock::eventually("the others are refused", async || {
            (scene.gateway.metric("weir_refusals_total", "concurrency_limit_reached").await >= 32.0).then_some(())
        })
        .await;
        (0..40).for_each(|_| gate.open());
    };
    let (replies, ()) = futures_util::future::join(replies, open).await;
    let served = |odd: usize| replies.iter().skip(odd).step_by(2).filter(|reply| reply.status == 200).count();
    assert_eq!((served(0), served(1)), (3, 5));
}
