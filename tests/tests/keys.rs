//! Keys: shown once, refused within a second of their revocation, in running streams too.

use std::time::{Duration, Instant};

use e2e::gateway::outcome;
use e2e::say;
use e2e::upstream::{Script, Step};

use crate::scene::Scene;

/// How soon a revocation acts, the time of the command itself not counted.
const REVOKED: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_revoked_key_is_refused_within_a_second() {
    let scene = Scene::new().await;
    assert_eq!(scene.gateway.fetch(&scene.whole()).await.status, 200);
    scene.gateway.revoke(&scene.key).await;
    let revoked = Instant::now();
    let refused = e2e::clock::eventually("the key is refused", async || {
        let reply = scene.gateway.fetch(&scene.whole()).await;
        (reply.status != 200).then_some(reply)
    })
    .await;
    assert!(revoked.elapsed() < REVOKED, "refused after {:?}", revoked.elapsed());
    assert_eq!((refused.status, refused.code().as_str()), (401, "invalid_api_key"));
    let again = scene.gateway.key("acme").await;
    let request = scene.whole().header("authorization", &format!("Bearer {}", again.secret));
    let served = e2e::clock::eventually("a new key works", async || {
        let reply = scene.gateway.fetch(&request).await;
        (reply.status == 200).then_some(reply)
    });
    assert_eq!(served.await.status, 200);
}

#[tokio::test]
async fn a_revoked_keys_running_stream_ends_within_a_second() {
    let scene = Scene::new().await;
    let words = (0..400)
        .fold(Script::stream(), |script, _| script.event(say::delta("x")).then(Step::Wait(Duration::from_millis(50))));
    for script in [words, Script::stream().event(say::delta("x")).then(Step::Hold)] {
        let key = scene.gateway.key("acme").await;
        scene.upstream.next(script);
        let request = scene.streamed().header("authorization", &format!("Bearer {}", key.secret));
        let mut reply = e2e::clock::eventually("the new key works", async || {
            let reply = scene.gateway.open(&request).await;
            (reply.status() == 200).then_some(reply)
        })
        .await;
        reply.data().await;
        scene.gateway.revoke(&key).await;
        let revoked = Instant::now();
        let stream = reply.rest().await;
        assert!(revoked.elapsed() < REVOKED, "ended after {:?}", revoked.elapsed());
        assert_eq!(stream.error_code().as_deref(), Some("key_revoked"), "{:?}", stream.data());
        scene.upstream.received().last().unwrap().closed_early().await;
    }
    for row in scene.gateway.usage_rows(2).await {
        assert_eq!(outcome(&row), "revoked", "{row}");
        assert!(row["output_tokens"].as_u64().unwrap() > 0, "what was said is charged: {row}");
    }
}

#[tokio::test]
async fn a_key_is_shown_once_and_its_secret_is_nowhere() {
    let scene = Scene::new().await;
    assert!(scene.key.secret.starts_with(&format!("wr_{}_", scene.key.id)));
    let listed = scene.gateway.weir(&["key", "list", "--json"]).await;
    assert!(listed.stdout.contains(&scene.key.id) && !listed.stdout.contains(&scene.key.secret));
    scene.gateway.fetch(&scene.whole()).await;
    scene.books().await;
    let secret = scene.key.secret.rsplit_once('_').unwrap().0.rsplit_once('_').unwrap().1.to_owned();
    let mut folders = vec![scene.gateway.path("")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "the secret is in {}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn keys_are_refused_with_one_answer_whatever_is_wrong_with_them() {
    let scene = Scene::new().await;
    let secret = &scene.key.secret;
    let last = if secret.ends_with('0') { "1" } else { "0" };
    let changed = format!("{}{last}", &secret[..secret.len() - 1]);
    let wrong = ["wr_", "wr_aaaaaaaa_b_c", "sk-123", &changed, &secret.to_uppercase(), &secret[..secret.len() - 1]];
    for key in wrong {
        let refused = scene.gateway.fetch(&scene.whole().header("authorization", &format!("Bearer {key}"))).await;
        assert_eq!((refused.status, refused.code().as_str()), (401, "invalid_api_key"), "{key}");
    }
    assert_eq!(scene.upstream.count(), 0);
    assert_eq!(scene.gateway.audit_calls(wrong.len()).await.len(), wrong.len());
}

/// Neither an endless supply nor a client that has stopped reading keeps the revocation from being seen.
#[tokio::test]
async fn a_revoked_keys_stream_ends_though_it_never_has_to_wait() {
    let scene = Scene::new().await;
    let event = say::event(say::delta(&"x".repeat(10_000)));
    for reads in [true, false] {
        let key = scene.gateway.key("acme").await;
        scene.upstream.next(Script::stream().event(say::delta("a")).then(Step::Fill(event.clone(), 1 << 20)));
        let request = scene.streamed().header("authorization", &format!("Bearer {}", key.secret));
        let mut reply = scene.gateway.open(&request).await;
        assert_eq!(reply.status(), 200);
        reply.data().await;
        let reading = async { while reads && reply.event().await.is_ok() {} };
        let revoking = async {
            scene.gateway.revoke(&key).await;
            let revoked = Instant::now();
            scene.upstream.received().last().unwrap().closed_early().await;
            assert!(revoked.elapsed() < REVOKED, "ended after {:?} (reads: {reads})", revoked.elapsed());
        };
        tokio::join!(reading, revoking);
    }
    for row in scene.gateway.usage_rows(2).await {
        assert_eq!(outcome(&row), "revoked", "{row}");
    }
}
