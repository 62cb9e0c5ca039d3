//! Keys and tenants that change while calls run: scopes, rotation, levels of the store that narrow and disable.

use std::time::{Duration, Instant};

use e2e::client::Request;
use e2e::say;
use e2e::upstream::{Script, Step};

use crate::scene::Scene;

/// How soon a change acts, the time of the command itself not counted.
const ACTS: Duration = Duration::from_secs(1);

async fn made(scene: &Scene, words: &[&str]) -> (String, Request) {
    let made = scene.gateway.weir(&[words, &["--json"]].concat()).await.json();
    let text = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("no {name}: {made}")).to_owned();
    (text("id"), Request::chat(&text("key"), &say::chat("mock", "hi", false)))
}

async fn done(scene: &Scene, words: &[&str]) {
    let done = scene.gateway.weir(words).await;
    assert_eq!(done.status, 0, "{words:?}: {}", done.stderr);
}

/// Waits until the status is that, and says how long it took.
async fn until(scene: &Scene, request: &Request, status: u16) -> Duration {
    let begun = Instant::now();
    e2e::clock::eventually(&format!("status {status}"), async || {
        (scene.gateway.fetch(request).await.status == status).then_some(())
    })
    .await;
    begun.elapsed()
}

#[tokio::test]
async fn a_key_is_good_only_within_its_scope() {
    let scene = Scene::new().await;
    let create = ["key", "create", "--tenant", "acme/x"];
    let (_, elsewhere) = made(&scene, &[&create[..], &["--ip", "192.0.2.0/24"]].concat()).await;
    let (_, here) =
        made(&scene, &[&create[..], &["--ip", "127.0.0.0/8", "--endpoint", "chat_completions"]].concat()).await;
    until(&scene, &here, 200).await;
    let refused = scene.gateway.fetch(&elsewhere).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "ip_out_of_scope"));
    let models = Request { method: "GET".into(), path: "/v1/models".into(), ..here };
    let refused = scene.gateway.fetch(&models).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "endpoint_out_of_scope"));
    assert_eq!(scene.upstream.received().len(), 1, "nothing of the others went upstream");
}

#[tokio::test]
async fn both_keys_work_until_a_rotations_overlap_ends() {
    let scene = Scene::new().await;
    let (id, old) = made(&scene, &["key", "create", "--tenant", "acme/x"]).await;
    until(&scene, &old, 200).await;
    let (_, new) = made(&scene, &["key", "rotate", &id, "--overlap", "2s"]).await;
    until(&scene, &new, 200).await;
    assert_eq!(scene.gateway.fetch(&old).await.status, 200, "the overlap runs");
    until(&scene, &old, 401).await;
    assert_eq!(scene.gateway.fetch(&new).await.status, 200);
}

/// FR-AUTH-07: every way to take rights away acts within a second, and none is exempt.
#[tokio::test]
async fn fr_auth_07_whatever_takes_a_right_away_acts_within_a_second() {
    let scene = Scene::new().await;
    done(&scene, &["tenant", "create", "acme/x"]).await;
    let ways: [&[&str]; 6] = [
        &["key", "revoke", "ID"],
        &["key", "delete", "ID"],
        &["key", "expire", "ID", "--in", "1s"],
        &["key", "scope", "ID", "--model", "other"],
        &["tenant", "set", "acme/x", "--model", "other"],
        &["tenant", "disable", "acme/x"],
    ];
    for way in ways {
        let (id, request) = made(&scene, &["key", "create", "--tenant", "acme/x"]).await;
        until(&scene, &request, 200).await;
        let words: Vec<&str> = way.iter().map(|word| if *word == "ID" { id.as_str() } else { word }).collect();
        done(&scene, &words).await;
        let begun = Instant::now();
        e2e::clock::eventually(&format!("{way:?} acts"), async || {
            (scene.gateway.fetch(&request).await.status != 200).then_some(())
        })
        .await;
        // An expiry acts when its time has come.
        let most = if way[1] == "expire" { ACTS * 2 } else { ACTS };
        assert!(begun.elapsed() < most, "{way:?} took {:?}", begun.elapsed());
        if way[1] == "set" {
            done(&scene, &["tenant", "set", "acme/x"]).await;
        }
    }
    done(&scene, &["tenant", "enable", "acme/x"]).await;
    let (_, request) = made(&scene, &["key", "create", "--tenant", "acme/x/y"]).await;
    until(&scene, &request, 200).await;
    done(&scene, &["tenant", "delete", "acme/x"]).await;
    assert!(until(&scene, &request, 401).await < ACTS);
}

#[tokio::test]
async fn a_running_stream_of_a_disabled_tenant_ends_within_a_second() {
    let scene = Scene::new().await;
    done(&scene, &["tenant", "create", "acme/x"]).await;
    let (_, request) = made(&scene, &["key", "create", "--tenant", "acme/x/y"]).await;
    until(&scene, &request, 200).await;
    scene.upstream.next(Script::stream().event(say::delta("x")).then(Step::Hold));
    let credential = request.headers.iter().find(|(name, _)| name == "authorization").unwrap().1.clone();
    let streamed = scene.streamed().header("authorization", &credential);
    let mut reply = scene.gateway.open(&streamed).await;
    reply.data().await;
    done(&scene, &["tenant", "disable", "acme/x"]).await;
    let begun = Instant::now();
    let rest = reply.rest().await;
    assert!(begun.elapsed() < ACTS, "ended after {:?}", begun.elapsed());
    assert_eq!(rest.error_code().as_deref(), Some("key_revoked"), "{:?}", rest.data());
    let refused = scene.gateway.fetch(&request).await;
    assert_eq!(refused.status, 401, "{}", String::from_utf8_lossy(&refused.body));
}
