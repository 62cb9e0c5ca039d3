//! Field report FR-RL-05: whoever has to wait is told how long in a form that clients read, and it is true; and
//! FR-RL-08: who is counted as one where nobody has proved who he is.

use std::time::Duration;

use e2e::client::{Fetched, Request};
use e2e::config::Config;
use e2e::gateway::Gateway;
use e2e::say;
use e2e::upstream::{Script, Upstream};
use serde_json::json;

use crate::scene::Scene;

fn number(reply: &Fetched, name: &str) -> u64 {
    let value = reply.head.get(name).unwrap_or_else(|| panic!("no `{name}` in {:?}", reply.head));
    value.parse().unwrap_or_else(|_| panic!("`{name}: {value}` is no number"))
}

#[tokio::test]
async fn fr_rl_05_an_upstreams_wait_is_passed_on_in_whole_seconds_whatever_its_form() {
    let scene = Scene::with(|config| config.section("retry: { attempts_max: 1, cooldown_ms: 0 }")).await;
    let date = "Wed, 25 Nov 2026 12:00:30 GMT";
    let cases: [(&[(&str, &str)], u64, u64); 9] = [
        (&[("retry-after", "30")], 30, 30_000),
        (&[("retry-after", date), ("date", "Wed, 25 Nov 2026 12:00:00 GMT")], 30, 30_000),
        (&[("retry-after-ms", "1500")], 2, 1_500),
        (&[("x-ratelimit-reset-tokens", "6m0s")], 360, 360_000),
        (&[("retry-after", "1790000000")], 3_600, 3_600_000),
        (&[("retry-after", "86400")], 3_600, 3_600_000),
        (&[("retry-after", "0")], 1, 1),
        (&[("retry-after", "soon")], 1, 1_000),
        (&[], 1, 1_000),
    ];
    for (headers, seconds, ms) in cases {
        let busy = Script::json(429, say::error("slow down", "rate_limit_error", Some("rate_limit_exceeded")));
        scene.upstream.next(headers.iter().fold(busy, |script, (name, value)| script.header(name, value)));
        let reply = scene.gateway.fetch(&scene.whole()).await;
        assert_eq!((reply.status, reply.code().as_str()), (429, "upstream_rate_limited"), "{headers:?}");
        let told = (number(&reply, "retry-after"), number(&reply, "retry-after-ms"));
        assert_eq!(told, (seconds, ms), "{headers:?}");
        assert_eq!(reply.head.get("x-should-retry"), None, "{headers:?}");
    }
}

#[tokio::test]
async fn fr_rl_05_whoever_waits_as_told_is_served_and_a_budget_tells_no_short_wait() {
    let rule = |tenant: &str, rule: &str| (tenant.to_owned(), format!("limit_rules: [{{ name: one, {rule} }}]"));
    let rules = [
        rule("rate", "what: requests, amount: 2, per: second, times: 3"),
        rule("tokens", "what: output_tokens, amount: 10, per: second, times: 3"),
        rule("rolling", "what: requests, amount: 2, per: second, times: 2, window: rolling"),
        rule("month", "what: requests, amount: 2, per: month"),
        rule("ever", "what: money, dollars: \"0.0002\", per: ever"),
    ];
    let scene =
        Scene::with(|config| rules.iter().fold(config, |config, (tenant, rule)| config.tenant(tenant, rule))).await;
    scene.upstream.always(Script::json(200, say::answer("a", 1, 5)));
    for (tenant, _) in &rules {
        let key = scene.gateway.key(tenant).await;
        let mut body = say::chat("mock", "hi", false);
        body["max_tokens"] = 5.into();
        let request = Request::chat(&key.secret, &body);
        let mut replies = Vec::new();
        while replies.last().is_none_or(|reply: &Fetched| reply.status == 200) {
            replies.push(scene.gateway.fetch(&request).await);
            assert!(replies.len() < 9, "{tenant}: no limit");
        }
        let refused = replies.last().unwrap();
        assert_eq!(refused.status, 429, "{tenant}: {:?}", refused.body);
        if ["rate", "tokens"].contains(&tenant.as_str()) {
            let kind = if tenant == "rate" { "requests" } else { "tokens" };
            let quota =
                |name: &str| refused.head.get(&format!("x-ratelimit-{name}-{kind}")).unwrap_or("none").to_owned();
            assert_eq!(
                (quota("limit").parse().ok(), quota("remaining").parse().ok()),
                (Some(if tenant == "rate" { 2 } else { 10 }), Some(0))
            );
            assert!(quota("reset").ends_with('s'), "{}", quota("reset"));
            assert!(refused.code().ends_with("_limit_reached") && refused.head.get("x-should-retry").is_none());
        } else {
            // Another code, and what SDKs obey, so that none hammers on it.
            assert_eq!(refused.code(), "budget_exceeded", "{tenant}");
            assert_eq!(refused.head.get("x-should-retry"), Some("false"), "{tenant}");
        }
        match tenant.as_str() {
            "ever" => assert_eq!(refused.head.get("retry-after"), None, "what is used up does not come back"),
            "month" => assert_month(number(refused, "retry-after")),
            _ => {
                let wait = number(refused, "retry-after");
                assert!((1..=4).contains(&wait), "{tenant}: {wait}");
                tokio::time::sleep(Duration::from_secs(wait)).await;
                let served = scene.gateway.fetch(&request).await;
                assert_eq!(served.status, 200, "{tenant}, after {wait} s: {:?}", served.body);
            }
        }
    }
}

/// A wait up to the end of the month in UTC.
fn assert_month(wait_s: u64) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let back = now + wait_s;
    // The first of a month begins a day, and is no more than 31 days away.
    assert!(back % 86_400 < 60 || back % 86_400 > 86_340, "{wait_s}");
    assert!(wait_s <= 31 * 86_400, "{wait_s}");
}

/// A gateway that gives tokens out, ten requests an address, and believes a proxy on this machine where `client` says.
async fn desk(client: &str) -> Gateway {
    let upstream = Upstream::start().await;
    let endpoint = "identity: { token_endpoint: { issuer: \"https://weir.example.com\", audience: weir, \
                    address_requests_per_minute: 10 } }";
    Gateway::start(&Config::with(&upstream).section(endpoint).section(client)).await
}

/// What the token endpoint says to a stranger behind these forwarded addresses.
async fn token(gateway: &Gateway, forwarded: &[&str]) -> u16 {
    let body = "grant_type=client_credentials";
    let mut request = Request::post("/oauth/token", "", body).without("authorization");
    request = request.header("content-type", "application/x-www-form-urlencoded");
    request.headers.extend(forwarded.iter().map(|value| ("x-forwarded-for".to_owned(), (*value).to_owned())));
    request.fetch(gateway.address).await.status
}

const TRUSTING: &str = "client: { trusted_proxies: [127.0.0.0/8, 10.0.0.0/8] }";

#[tokio::test]
async fn fr_rl_08_whoever_comes_directly_is_one_whatever_he_forwards() {
    let gateway = desk("").await;
    for n in 0..10 {
        assert_eq!(token(&gateway, &[&format!("1.1.1.{n}")]).await, 401, "{n}");
    }
    for n in 10..13 {
        assert_eq!(token(&gateway, &[&format!("1.1.1.{n}")]).await, 429, "{n}");
    }
}

#[tokio::test]
async fn fr_rl_08_behind_a_proxy_the_last_untrusted_address_counts_and_networks_are_one() {
    let gateway = desk(TRUSTING).await;
    // One client, in every way that it can be written.
    let same: [&[&str]; 10] = [
        &["1.1.1.1, 203.0.113.9"],
        &["203.0.113.9, 10.0.0.5"],
        &["9.9.9.9, 203.0.113.9, 10.0.0.5, 10.0.0.6"],
        &["::ffff:203.0.113.9"],
        &["203.0.113.9:4711"],
        &["1.2.3.4", "203.0.113.9"],
        &["203.0.113.9", "10.0.0.5"],
        &["garbage, 203.0.113.9"],
        &["203.0.113.9,"],
        &["  203.0.113.9  "],
    ];
    let mut counted = 0;
    for (n, forwarded) in same.iter().enumerate() {
        let status = token(&gateway, forwarded).await;
        assert_eq!(status, 401, "{n}");
        counted += 1;
    }
    assert_eq!(counted, 10);
    // An empty hop ends the search at the proxy, so nine were his.
    assert_eq!(token(&gateway, &["203.0.113.9"]).await, 401);
    assert_eq!(token(&gateway, &["1.1.1.1, 203.0.113.9"]).await, 429);
    // Whose address was named is no worse off.
    assert_eq!(token(&gateway, &["1.1.1.1"]).await, 401);
    // Of IPv6 a network of 64 bits is one.
    for n in 0..10 {
        assert_eq!(token(&gateway, &[&format!("2001:db8::{:x}:{:x}", n * 4099, n * 7)]).await, 401, "{n}");
    }
    assert_eq!(token(&gateway, &["[2001:db8::dead:beef]:443"]).await, 429);
    assert_eq!(token(&gateway, &["2001:db8:0:1::1"]).await, 401);
    // Whoever can't be read is counted as the proxy itself, with all that are like him.
    let mut refused = 0;
    for n in 0..12 {
        refused += u16::from(token(&gateway, &[&format!("garbage-{n}")]).await == 429);
    }
    assert!(refused >= 2, "{refused}");
    // `Forwarded` is no header that Weir believes: a proxy has to send the other one.
    let body = "grant_type=client_credentials";
    let request = Request::post("/oauth/token", "", body).without("authorization");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let request = request.header("forwarded", "for=\"[2001:db8::1]:443\"");
    assert_eq!(request.fetch(gateway.address).await.status, 429, "the proxy's own count");
}

#[tokio::test]
async fn fr_rl_08_signing_in_is_counted_by_client_too() {
    let gateway = desk(TRUSTING).await;
    let attempt = async |forwarded: &str| {
        let body = json!({"key": "wr_nothing"}).to_string();
        let request = Request::post("/session", "", body).without("authorization");
        request.header("x-forwarded-for", forwarded).fetch(gateway.admin).await.status
    };
    let mut statuses = Vec::new();
    for _ in 0..24 {
        statuses.push(attempt("203.0.113.9").await);
    }
    assert_eq!((statuses[0], statuses[23]), (401, 429), "{statuses:?}");
    assert_eq!(attempt("198.51.100.7").await, 401, "another one behind the same proxy");
}

#[tokio::test]
async fn fr_rl_08_one_key_is_one_caller_however_it_is_written() {
    let scene = Scene::with(|config| config.tenant("bound", "key_limits: { requests_per_minute: 6 }")).await;
    let key = scene.gateway.key("bound").await.secret;
    let body = || Request::chat("", &say::chat("mock", "hi", false)).without("authorization");
    let ways = [
        body().header("authorization", &format!("Bearer {key}")),
        body().header("authorization", &format!("bearer {key}")),
        body().header("authorization", &format!("BEARER {key}")),
        body().header("authorization", &format!("Bearer   {key}  ")),
        body().header("x-api-key", &key),
        body().header("x-api-key", &key).header("authorization", &format!("Bearer {key}")),
    ];
    for (n, way) in ways.iter().enumerate() {
        assert_eq!(scene.gateway.fetch(way).await.status, 200, "{n}");
    }
    for (n, way) in ways.iter().enumerate() {
        assert_eq!(scene.gateway.fetch(way).await.code(), "request_limit_reached", "{n}");
    }
}

#[tokio::test]
async fn fr_rl_08_strangers_fill_no_log_and_lock_nobody_out() {
    let client = "client: { strangers_per_minute: 10, trusted_proxies: [127.0.0.0/8] }";
    let scene = Scene::with(|config| config.section(client)).await;
    let call =
        |key: &str, from: &str| Request::chat(key, &say::chat("mock", "hi", false)).header("x-forwarded-for", from);
    let wrong = |n: usize| format!("wr_{n:08}_{}", "a".repeat(43));
    for n in 0..10 {
        assert_eq!(scene.gateway.fetch(&call(&wrong(n), "203.0.113.9")).await.status, 401, "{n}");
    }
    // Wrong keys, tokens and no key at all, wrong paths and methods: from here on nobody looks.
    let no_path = Request::get("/v1/nothing").header("x-forwarded-for", "203.0.113.9");
    let no_key = call("", "203.0.113.9").without("authorization");
    for n in 0..40 {
        let request = match n % 4 {
            0 => no_path.clone(),
            1 => no_key.clone(),
            2 => call("eyJhbGciOiJub25lIn0.e30.", "203.0.113.9"),
            _ => call(&wrong(n), "203.0.113.9"),
        };
        let refused = scene.gateway.fetch(&request).await;
        assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_strangers"), "{n}");
        assert!((1..=6).contains(&number(&refused, "retry-after")), "{:?}", refused.head);
    }
    // The neighbour behind the same address, and strangers elsewhere, are served as ever.
    assert_eq!(scene.gateway.fetch(&call(&scene.key.secret, "203.0.113.9")).await.status, 200);
    assert_eq!(scene.gateway.fetch(&call(&wrong(0), "2001:db8::1")).await.status, 401);
    let calls = scene.gateway.audit_calls(12).await;
    assert_eq!(calls.iter().filter(|call| call["outcome"] == "refused").count(), 11, "{calls:#?}");
    let counted = scene.gateway.metric("weir_refusals_total", "too_many_strangers").await;
    assert!((40.0..41.0).contains(&counted), "{counted}");
    scene.gateway.verify_audit().await;
}
