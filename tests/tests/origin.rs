//! Where a call comes from: proxies, environments, and a key in the URL.

use e2e::client::Request;
use e2e::config::Config;
use e2e::gateway::Gateway;
use e2e::say;
use e2e::upstream::Upstream;
use serde_json::json;

use crate::scene::Scene;

/// Calls from one country, in one environment.
const RULES: &str = r#"package here

default decision := {"allow": false, "rule": "none", "reason": "elsewhere"}

decision := {"allow": true, "rule": "here", "reason": "here"} if {
    input.client.geo == "DE"
    input.request.environment == "staging"
}
"#;

async fn made(scene: &Scene, words: &[&str]) -> String {
    let words = [&["key", "create", "--tenant", "acme", "--json"], words].concat();
    let made = scene.gateway.weir(&words).await.json();
    let key = made["key"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    tokio::time::sleep(std::time::Duration::from_millis(750)).await;
    key
}

fn chat(key: &str) -> Request {
    Request::chat(key, &say::chat("mock", "hi", false))
}

#[tokio::test]
async fn a_forwarded_address_counts_only_behind_a_trusted_proxy() {
    let client = "client: { trusted_proxies: [127.0.0.0/8, 10.0.0.0/8], geo_header: x-country }";
    let trusting = Scene::with(|config| config.section(client)).await;
    let plain = Scene::new().await;
    for (scene, expected) in [(&trusting, [200, 200, 403, 403, 403, 403]), (&plain, [403; 6])] {
        let key = made(scene, &["--ip", "192.0.2.0/24"]).await;
        let forwarded = [
            "192.0.2.7",
            "203.0.113.9, 192.0.2.7, 10.0.0.3",
            "192.0.2.7, 203.0.113.9",
            "192.0.2.7, unknown",
            "192.0.2.7.5",
            "",
        ];
        for (value, status) in forwarded.into_iter().zip(expected) {
            let reply = scene.gateway.fetch(&chat(&key).header("x-forwarded-for", value)).await;
            assert_eq!(reply.status, status, "{value}: {}", reply.json());
        }
    }
}

#[tokio::test]
async fn policies_see_country_and_environment_and_keys_keep_to_theirs() {
    let upstream = Upstream::start().await;
    let policy = "policy: { path: ./policies, entrypoint: data.here.decision }";
    let client = "client: { trusted_proxies: [127.0.0.1], geo_header: x-country }";
    let config = Config::with(&upstream).section(client).section(policy).listener("environment: staging");
    let mut gateway = Gateway::prepare(&config);
    std::fs::create_dir(gateway.path("policies")).unwrap();
    gateway.write("policies/here.rego", RULES);
    let key = gateway.key("acme").await;
    gateway.spawn().await;
    let scene = Scene { upstream, gateway, key };
    let key = scene.key.secret.clone();
    let from = |country: &str| chat(&key).header("x-country", country);
    assert_eq!(scene.gateway.fetch(&from("DE")).await.status, 200);
    assert_eq!(scene.gateway.fetch(&from("FR")).await.json()["error"]["code"], json!("policy_denied"));
    assert_eq!(scene.gateway.fetch(&chat(&key)).await.status, 403);
    let ours = made(&scene, &["--environment", "staging"]).await;
    let theirs = made(&scene, &["--environment", "production"]).await;
    let call = |key: &str| chat(key).header("x-country", "DE");
    assert_eq!(scene.gateway.fetch(&call(&ours)).await.status, 200);
    let refused = scene.gateway.fetch(&call(&theirs)).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "environment_out_of_scope"));
}

#[tokio::test]
async fn a_key_in_the_url_counts_where_it_is_switched_on_and_is_nowhere_to_be_read() {
    let scene = Scene::with(|config| config.keys("query_parameter: key")).await;
    let key = made(&scene, &[]).await;
    let url = |query: &str| {
        let request = chat(&key).without("authorization");
        Request { path: format!("/v1/chat/completions?{query}"), ..request }
    };
    assert_eq!(scene.gateway.fetch(&url(&format!("alt=sse&key={key}"))).await.status, 200);
    for query in [format!("token={key}"), format!("KEY={key}"), "key=eyJhbGciOiJub25lIn0.e30.".to_owned()] {
        let refused = scene.gateway.fetch(&url(&query)).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "key_in_query"), "{query}");
    }
    let received = scene.upstream.received();
    assert!(received.iter().all(|request| !format!("{request:?}").contains(&key)), "it went upstream");
    let audit = scene.gateway.audit_calls(4).await;
    assert!(!format!("{audit:?}").contains(&key) && !scene.gateway.log().contains(&key));
}
