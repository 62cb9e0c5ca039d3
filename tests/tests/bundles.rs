//! Policies that come as bundles: signed, polled, kept for a start without network, rehearsed and rolled back.

use e2e::bundles::{BundleServer, Files, archive, signed};
use e2e::client::{Fetched, Request};
use e2e::clock::eventually;
use e2e::config::{ADMIN_TOKEN, Config};
use e2e::gateway::{Gateway, Key};
use e2e::issuer::SigningKey;
use e2e::say;
use e2e::upstream::Upstream;
use serde_json::{Value, json};

/// A bundle whose decision names its revision, for the root `acme`.
fn files(revision: &str, allow: bool) -> Files {
    let module = format!(
        "package acme\n\ndecision := {{\"allow\": {allow}, \"rule\": data.acme.marker, \"reason\": \"{revision}\"}}\n"
    );
    let test = format!("package acme_test\n\ntest_it if data.acme.decision.reason == \"{revision}\"\n");
    let manifest = json!({"revision": revision, "roots": ["acme"]}).to_string();
    let data = json!({"marker": format!("marker-{revision}")}).to_string();
    let files = [("acme.rego", module), ("acme_test.rego", test), (".manifest", manifest), ("acme/data.json", data)];
    files.map(|(name, text)| (name.to_owned(), text)).to_vec()
}

struct Scene {
    gateway: Gateway,
    server: BundleServer,
    signer: SigningKey,
    acme: Key,
    other: Key,
    /// Kept alive: calls end here.
    upstream: Upstream,
}

impl Scene {
    /// A gateway with one bundle for the tenant `acme`, which nobody offers yet.
    async fn new(more: &str) -> Self {
        let (upstream, server) = (Upstream::start().await, BundleServer::start().await);
        let config = Config::with(&upstream).tenant("other", "").section(&format!(
            "policy: {{ bundles: [{{ name: b, url: \"{}\", tenant: acme, entrypoint: data.acme.decision, \
             {poll}, signature: {{ key: \"file:./signer.jwk\", algorithm: ES256 }}{more} }}] }}",
            server.url(),
            poll = if more.contains("poll_") { "keep: 3" } else { "poll_min_ms: 50, poll_max_ms: 60" },
        ));
        let signer = SigningKey::new("k1");
        let mut gateway = Gateway::prepare(&config);
        std::fs::write(gateway.path("signer.jwk"), signer.jwk().to_string()).unwrap();
        let (acme, other) = (gateway.key("acme/research").await, gateway.key("other").await);
        gateway.spawn().await;
        Self { gateway, server, signer, acme, other, upstream }
    }

    fn offer(&self, revision: &str, allow: bool) {
        self.server.offer(revision, archive(&signed(&self.signer, files(revision, allow))));
    }

    async fn chat(&self, key: &Key) -> Fetched {
        self.gateway.fetch(&Request::chat(&key.secret, &say::chat("mock", "hi", false))).await
    }

    /// What the admin API says of the bundle.
    async fn bundle(&self) -> Value {
        let request = Request::get("/admin/v1/policy").header("authorization", &format!("Bearer {ADMIN_TOKEN}"));
        request.fetch(self.gateway.admin).await.json()["bundles"][0].clone()
    }

    async fn decides(&self, revision: &str) {
        eventually(&format!("revision {revision} decides"), async || {
            (self.bundle().await["newest"]["revision"] == revision).then_some(())
        })
        .await;
    }

    /// Notes of that event on the audit log.
    async fn notes(&self, event: &str) -> Vec<Value> {
        let all = self.gateway.weir(&["audit", "list", "--json", "--limit", "100000"]).await.json();
        all.as_array().into_iter().flatten().filter(|line| line["event"] == event).cloned().collect()
    }
}

#[tokio::test]
async fn a_bundle_decides_about_its_tenant_from_its_first_poll_over_faults_to_a_start_without_network() {
    let mut scene = Scene::new("").await;
    let refused = scene.chat(&scene.acme).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "policy_denied"));
    assert!(String::from_utf8_lossy(&refused.body).contains("policy_bundle_missing"), "nobody before the first bundle");
    assert_eq!(scene.chat(&scene.other).await.status, 200, "others don't wait for it");
    scene.offer("r1", true);
    scene.decides("r1").await;
    assert_eq!(scene.chat(&scene.acme).await.status, 200);
    eventually("the server is asked only for what is new", async || {
        scene.server.polls().iter().any(|head| head.contains("if-none-match: \"r1\"")).then_some(())
    })
    .await;
    // Unsigned, and signed by somebody else.
    for (etag, body) in [
        ("plain", archive(&files("evil", true))),
        ("foreign", archive(&signed(&SigningKey::new("k1"), files("evil", true)))),
        ("cut", archive(&signed(&scene.signer, files("r2", true)))[..200].to_vec()),
    ] {
        let before = scene.notes("policy_bundle_refused").await.len();
        scene.server.offer(etag, body);
        eventually(&format!("`{etag}` is refused"), async || {
            (scene.notes("policy_bundle_refused").await.len() > before).then_some(())
        })
        .await;
        assert_eq!(scene.bundle().await["newest"]["revision"], "r1");
        assert_eq!(scene.chat(&scene.acme).await.status, 200, "{etag}");
    }
    scene.offer("r2", false);
    scene.decides("r2").await;
    let refused = scene.chat(&scene.acme).await;
    assert_eq!(refused.status, 403);
    assert!(String::from_utf8_lossy(&refused.body).contains("`b:marker-r2`: r2"), "its own rule and data");
    assert_eq!(scene.chat(&scene.other).await.status, 200);
    let noted = eventually("both are noted", async || {
        Some(scene.notes("policy_bundle_activated").await).filter(|notes| notes.len() == 2)
    })
    .await;
    let revisions: Vec<_> = noted.iter().map(|note| note["detail"]["revision"].as_str().unwrap().to_owned()).collect();
    assert_eq!(revisions, ["r1", "r2"]);
    assert_eq!(noted[0]["detail"]["signed"], "true");
    // A start without network.
    scene.server.set_down(true);
    scene.gateway.terminate().await;
    scene.gateway.spawn().await;
    assert_eq!(scene.bundle().await["newest"]["revision"], "r2");
    let refused = scene.chat(&scene.acme).await;
    assert!(String::from_utf8_lossy(&refused.body).contains("`b:marker-r2`: r2"));
    eventually("its absence is told", async || scene.bundle().await["fault"].is_string().then_some(())).await;
    scene.server.set_down(false);
    scene.offer("r3", true);
    scene.decides("r3").await;
    assert_eq!(scene.chat(&scene.acme).await.status, 200);
    assert!(scene.gateway.metric("weir_policy_bundle_polls_total", "result=\"activated\"").await >= 1.0);
    assert!(scene.upstream.count() >= 6);
}

#[tokio::test]
async fn a_roll_back_is_done_at_once_and_lasts_until_something_newer_comes() {
    let scene = Scene::new("").await;
    for (revision, allow) in [("r1", true), ("r2", false)] {
        scene.offer(revision, allow);
        scene.decides(revision).await;
    }
    assert_eq!(scene.chat(&scene.acme).await.status, 403);
    let unknown = scene.gateway.weir(&["policy", "rollback", "r9"]).await;
    assert_ne!(unknown.status, 0);
    assert!(unknown.stderr.contains("no earlier revision `r9`"), "{}", unknown.stderr);
    let done = scene.gateway.weir(&["policy", "rollback", "r1"]).await;
    assert_eq!(done.status, 0, "{}", done.stderr);
    assert_eq!(scene.chat(&scene.acme).await.status, 200, "at once");
    let polls = scene.server.polls().len();
    eventually("the server is polled again", async || (scene.server.polls().len() > polls + 2).then_some(())).await;
    assert_eq!(scene.bundle().await["newest"]["revision"], "r1", "what was left is not taken again");
    eventually("it is noted", async || (scene.notes("policy_bundle_rolled_back").await.len() == 1).then_some(())).await;
    scene.offer("r3", true);
    scene.decides("r3").await;
}

#[tokio::test]
async fn a_bundle_whose_source_is_away_for_too_long_refuses() {
    let scene = Scene::new(", max_staleness_s: 1").await;
    scene.offer("r1", true);
    scene.decides("r1").await;
    assert_eq!(scene.chat(&scene.acme).await.status, 200);
    scene.server.set_down(true);
    let reply =
        eventually("it is too old", async || Some(scene.chat(&scene.acme).await).filter(|reply| reply.status == 403));
    assert!(String::from_utf8_lossy(&reply.await.body).contains("policy_bundle_stale"));
    assert_eq!(scene.gateway.metric("weir_policy_bundle_stale", "bundle=\"b\"").await, 1.0);
    eventually("it is noted", async || (!scene.notes("policy_bundle_stale").await.is_empty()).then_some(())).await;
    assert_eq!(scene.chat(&scene.other).await.status, 200);
    scene.server.set_down(false);
    eventually("it is confirmed again", async || (scene.chat(&scene.acme).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn a_held_poll_brings_news_at_once_and_a_shadow_only_counts() {
    let scene = Scene::new(", mode: shadow, long_poll_s: 60, poll_max_ms: 600000, poll_min_ms: 600000").await;
    assert_eq!(scene.chat(&scene.acme).await.status, 200, "a shadow that isn't there keeps nobody");
    for revision in ["r1", "r2", "r3"] {
        scene.offer(revision, false);
        scene.decides(revision).await;
    }
    assert!(scene.server.polls().iter().all(|head| head.contains("prefer: modes=snapshot;wait=60")));
    assert_eq!(scene.chat(&scene.acme).await.status, 200);
    let shadow = scene.bundle().await["shadow"].clone();
    assert_eq!(shadow["flips"], 1, "{shadow}");
    assert_eq!((&shadow["last"][0]["to"], &shadow["last"][0]["reason"]), (&json!("refuse"), &json!("r3")));
    assert_eq!(scene.gateway.metric("weir_policy_shadow_flips_total", "to=\"refuse\"").await, 1.0);
}

/// `weir check` looks into a bundle that lies on this machine, and a start has it at once.
#[tokio::test]
async fn a_bundle_of_this_machine_is_checked_before_a_start_and_decides_from_its_first_call() {
    let upstream = Upstream::start().await;
    let local = "policy: { bundles: [{ name: b, url: \"file:./b.tar.gz\", tenant: acme, \
                 entrypoint: data.acme.decision, poll_min_ms: 50, poll_max_ms: 60 }] }";
    let mut gateway = Gateway::prepare(&Config::with(&upstream).section(local));
    let mut broken = files("r1", true);
    broken[0].1.push_str("decision := 7\n");
    std::fs::write(gateway.path("b.tar.gz"), archive(&broken)).unwrap();
    let checked = gateway.weir(&["check"]).await;
    assert_eq!(checked.status, 78);
    assert!(checked.stderr.contains("policy.bundles[0].url: the bundle would be refused"), "{}", checked.stderr);
    std::fs::write(gateway.path("b.tar.gz"), archive(&files("r1", true))).unwrap();
    let checked = gateway.weir(&["check"]).await;
    assert_eq!(checked.status, 0, "{}", checked.stderr);
    let key = gateway.key("acme").await;
    gateway.spawn().await;
    let chat = Request::chat(&key.secret, &say::chat("mock", "hi", false));
    assert_eq!(gateway.fetch(&chat).await.status, 200);
    std::fs::write(gateway.path("b.tar.gz"), archive(&files("r2", false))).unwrap();
    eventually("the file is followed", async || (gateway.fetch(&chat).await.status == 403).then_some(())).await;
}

/// A reload makes a rehearsed bundle count, with its server away: what it was is on the disk.
#[tokio::test]
async fn a_reload_makes_a_shadow_count_and_a_broken_one_changes_nothing() {
    let scene = Scene::new(", mode: shadow").await;
    scene.offer("r1", false);
    scene.decides("r1").await;
    assert_eq!(scene.chat(&scene.acme).await.status, 200);
    scene.server.set_down(true);
    let config = std::fs::read_to_string(scene.gateway.path("gateway.yaml")).unwrap();
    let enforced = config.replace(", mode: shadow", "");
    scene.gateway.write("gateway.yaml", &enforced);
    eventually("it counts", async || (scene.chat(&scene.acme).await.status == 403).then_some(())).await;
    assert_eq!(scene.chat(&scene.other).await.status, 200);
    scene.gateway.write("gateway.yaml", &enforced.replace("algorithm: ES256", "algorithm: RS256"));
    eventually("another algorithm is refused", async || {
        scene.gateway.log().contains("the new configuration is refused").then_some(())
    })
    .await;
    assert_eq!(scene.chat(&scene.acme).await.status, 403);
    let gone = enforced.lines().filter(|line| !line.starts_with("policy:")).collect::<Vec<_>>().join("\n");
    scene.gateway.write("gateway.yaml", &gone);
    eventually("without it nobody is refused", async || (scene.chat(&scene.acme).await.status == 200).then_some(()))
        .await;
}

/// Data that is pushed changes what the operator's own policy says, at once and whole; it outlives the process.
#[tokio::test]
async fn pushed_data_decides_at_once_and_after_the_next_start() {
    let upstream = Upstream::start().await;
    let config = Config::with(&upstream).section("policy: { path: ./own }");
    let mut gateway = Gateway::prepare(&config);
    std::fs::create_dir(gateway.path("own")).unwrap();
    let rule = "package weir.authz\n\ndecision := {\"allow\": true} if not blocked\n\n\
                blocked if input.request.model in data.lists.blocked\n";
    gateway.write("own/a.rego", rule);
    gateway.write("own/data.json", "{\"lists\": {\"own\": []}}");
    let key = gateway.key("acme").await;
    gateway.spawn().await;
    let ask = async |gateway: &Gateway, method: &str, path: &str, body: &str| {
        let path = format!("/admin/v1/policy/data{path}");
        let request = Request { method: method.into(), ..Request::post(&path, ADMIN_TOKEN, body.to_owned()) };
        request.fetch(gateway.admin).await
    };
    let chat = Request::chat(&key.secret, &say::chat("mock", "hi", false));
    assert_eq!(gateway.fetch(&chat).await.status, 200);
    let set = ask(&gateway, "PUT", "/lists/blocked", "[\"mock\"]").await;
    assert_eq!((set.status, &set.json()["replaced"]), (200, &json!(false)));
    assert_eq!(gateway.fetch(&chat).await.status, 403, "from the very next call on");
    for (path, body) in [
        ("/lists/blocked", "[\"mock\""),
        ("/lists/more", "{\"a\": 1, \"a\": 2}"),
        ("/lists/own", "[1]"),
        ("/weir/grants", "{}"),
        ("/lists/blocked/x", "1"),
    ] {
        assert_eq!(ask(&gateway, "PUT", path, body).await.status, 400, "{path} {body}");
    }
    assert_eq!(ask(&gateway, "GET", "", "").await.json(), json!({"lists": {"blocked": ["mock"]}}));
    gateway.terminate().await;
    gateway.spawn().await;
    assert_eq!(gateway.fetch(&chat).await.status, 403);
    assert_eq!(ask(&gateway, "DELETE", "/lists/nothing", "").await.status, 404);
    assert_eq!(ask(&gateway, "DELETE", "/lists/blocked", "").await.status, 200);
    assert_eq!(gateway.fetch(&chat).await.status, 200);
}
