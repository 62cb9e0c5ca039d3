//! Three gateways, each with a store of its own, and one Redis that their limits are counted in. Skipped, with a note,
//! where `WEIR_REDIS` names no server.

use std::time::Duration;

use e2e::client::Request;
use e2e::clock;
use e2e::config::Config;
use e2e::gateway::Gateway;
use e2e::say;
use e2e::servers::redis::Redis;
use e2e::upstream::Upstream;
use futures_util::future::join_all;

struct Three {
    redis: Redis,
    upstream: Upstream,
    gateways: Vec<Gateway>,
    requests: Vec<Request>,
}

impl Three {
    /// `rules`: of the tenant `bound`.
    async fn start(rules: &str) -> Option<Self> {
        let redis = Redis::start()?;
        let upstream = Upstream::start().await;
        let config = Config::with(&upstream)
            .tenant("bound", &format!("limit_rules: [{rules}]"))
            .section("redis: { url: \"file:./redis_url\", nodes: 3, timeout_ms: 500 }");
        let (mut gateways, mut requests) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let mut gateway = Gateway::prepare(&config);
            gateway.write("redis_url", &redis.url());
            gateway.spawn().await;
            let key = gateway.key("bound/team").await;
            requests.push(Request::chat(&key.secret, &say::chat("mock", "hi", false)));
            gateways.push(gateway);
        }
        Some(Self { redis, upstream, gateways, requests })
    }

    /// The statuses of so many calls at each gateway, all at once.
    async fn calls(&self, each: usize) -> Vec<u16> {
        let calls = self.gateways.iter().zip(&self.requests).flat_map(|pair| std::iter::repeat_n(pair, each));
        join_all(calls.map(async |(gateway, request)| gateway.fetch(request).await.status)).await
    }
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|one| **one == status).count()
}

#[tokio::test]
async fn three_gateways_grant_a_days_calls_once() {
    let Some(mut three) = Three::start("{ name: day, what: requests, amount: 60, per: day, window: calendar }").await
    else {
        return;
    };
    let statuses = three.calls(30).await;
    assert_eq!((count(&statuses, 200), three.upstream.count()), (60, 60), "{statuses:?}");
    // One of them is killed: what it counted stays counted.
    three.gateways[1].kill().await;
    three.gateways[1].spawn().await;
    assert_eq!(count(&three.calls(2).await, 200), 0);
}

#[tokio::test]
async fn without_redis_each_limits_own_rule_holds_and_counting_goes_on_by_itself() {
    let rules = "{ name: day, what: requests, amount: 1000, per: day, window: calendar, when_unavailable: refuse }";
    let Some(mut three) = Three::start(rules).await else { return };
    assert_eq!(count(&three.calls(2).await, 200), 6);
    three.redis.away();
    for _ in 0..3 {
        let statuses = three.calls(3).await;
        assert_eq!(count(&statuses, 503), 9, "{statuses:?}");
    }
    assert!(three.gateways[0].metric("weir_limits_degraded", "").await > 0.5);
    three.redis.back();
    clock::eventually("counted again", async || {
        (three.gateways[0].fetch(&three.requests[0]).await.status == 200).then_some(())
    })
    .await;
    clock::within("all count", Duration::from_secs(5), async {
        while count(&three.calls(1).await, 200) < 3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn gateways_that_lease_pass_no_budget_and_keep_a_slice_each_at_most() {
    let Some(mut three) = Three::start("{ name: all, what: requests, amount: 100, per: ever, lease: 10 }").await else {
        return;
    };
    let served = count(&three.calls(60).await, 200);
    // Each may keep a slice of ten that others would have used.
    assert!((80..=100).contains(&served), "{served}");
    // What a gateway has leased and not used it gives back when it ends.
    three.gateways[0].terminate().await;
    three.gateways[1].terminate().await;
    let mut more = 0;
    while three.gateways[2].fetch(&three.requests[2]).await.status == 200 {
        more += 1;
    }
    assert_eq!((served + more, three.upstream.count()), (100, 100));
    assert!(three.gateways[2].metric("weir_limits_leases_total", "taken").await > 0.5);
}
