//! Prints what policy and limits cost per call, in nanoseconds: `cargo run --release -p weir --example
//! governance_timing`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use weir::clock;
use weir::config::settings::{LimitRule, PolicyEngine, PolicySettings, TenantRule};
use weir::exchange::CallId;
use weir::identity::{KeyId, Subject, TenantPath};
use weir::limits::counter::Outage;
use weir::limits::quantity::{Amounts, Quantity};
use weir::limits::rule::{Each, RuleSettings};
use weir::limits::window::{CalendarUnit, Window};
use weir::limits::{Asked, LimitRules, Limits};
use weir::policy::input::ClientInput;
use weir::policy::{self, CandidateInput, Compiled, Input, RequestInput};

/// Rounds of each measurement; the fastest of five is printed.
const ROUNDS: u32 = 20_000;
const PLENTY: u32 = 1_000_000_000;

fn main() -> anyhow::Result<()> {
    let paths = ["acme", "acme/research", "acme/research/rivers", "acme/research/rivers/ada"];
    let mut tenants = paths.into_iter().map(tenant).collect::<anyhow::Result<Vec<_>>>()?;
    if let Some(innermost) = tenants.last_mut() {
        let by_key = Each { key: true, ..Each::default() };
        innermost.rules = [budget(), RuleSettings { name: "by_key".into(), each: by_key, ..budget() }].into();
    }
    let subject = Subject {
        tenant: TenantPath::parse("acme/research/rivers/ada")?,
        key: KeyId("k3y00001".into()),
        key_epoch: 1,
        credential: weir::identity::CredentialKind::ApiKey,
        vouchers: Arc::default(),
        roles: ["developer".into()].into(),
        attributes: Arc::new(BTreeMap::from([
            ("region".to_owned(), "eu".to_owned()),
            ("data_class".to_owned(), "internal".to_owned()),
        ])),
        user: None,
    };
    policies(&subject)?;
    limits(&tenants, &subject);
    Ok(())
}

/// Tenants whose grants and rules are data of the policy.
const TENANTS: usize = 1_000;

fn policies(subject: &Subject) -> anyhow::Result<()> {
    let mut grants = serde_json::Map::new();
    let (mut networks, mut tools) = (serde_json::Map::new(), serde_json::Map::new());
    for path in (0..TENANTS).map(|number| format!("tenant-{number}")).chain(["acme".to_owned()]) {
        grants.insert(path.clone(), serde_json::json!(["small", "big-*", "m*"]));
        networks.insert(path.clone(), serde_json::json!(["10.0.0.0/8", "192.0.2.0/24"]));
        tools.insert(path, serde_json::json!(["get_weather"]));
    }
    let rules = serde_json::json!({
        "roles": {"developer": {"endpoints": ["models", "chat_completions"]}},
        "models": {"report-analysis": {"department": ["finance"]}},
        "hours": {"contractor": {"weekdays": [1, 2], "from": 8, "to": 18}},
        "networks": networks, "tools": tools, "residency": "region",
        "data_classes": {"secret": ["secret"], "internal": ["secret", "internal"]},
        "token_caps": {"intern": {"refuse_above": 512}, "developer": {"max_tokens": 4096}},
    });
    let data = serde_json::json!({"weir": {"grants": grants, "rules": rules}});
    let tools = ["get_weather".to_owned()];
    let candidate = |deployment, region, data_class| CandidateInput {
        deployment,
        provider: "openai",
        region: Some(region),
        owner: None,
        data_class: Some(data_class),
    };
    let candidates = [candidate("own", "eu", "internal"), candidate("other", "us", "public")];
    let visible = Input::visible(subject, None, "big-7b");
    let input = Input {
        request: RequestInput { endpoint: "chat_completions", max_tokens: Some(64), tools: &tools, ..visible.request },
        candidates: &candidates,
        client: ClientInput { ip: Some([192, 0, 2, 7].into()), ..ClientInput::default() },
        now_ms: 1_790_000_000_000,
        ..visible
    };
    percentiles("build the document `input`", &mut || drop(black_box(input.to_value())));
    for entrypoint in ["data.weir.authz.decision", "data.weir.abac.decision"] {
        let settings = PolicySettings::of_rule(entrypoint, Duration::from_millis(50), PolicyEngine::Auto);
        let sources = policy::source::shipped(entrypoint).iter();
        let sources = sources.map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let policy = Compiled::new(sources, vec![data.clone()], &settings)?;
        anyhow::ensure!(policy.decide(&input).is_ok(), "{:?}", policy.decide(&input));
        let (name, engine) = (entrypoint.trim_start_matches("data.weir."), policy.engine());
        percentiles(&format!("{name}, evaluated ({engine})"), &mut || drop(black_box(policy.answer(input.to_value()))));
        percentiles(&format!("{name}, remembered"), &mut || drop(black_box(policy.decide(&input))));
    }
    Ok(())
}

/// Times each call alone.
fn percentiles(what: &str, once: &mut dyn FnMut()) {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begun = clock::instant();
            once();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    let at = |per_mille: usize| times.get(times.len().saturating_mul(per_mille).div_euclid(1_000));
    let us = |time: Option<&Duration>| time.copied().unwrap_or_default().as_secs_f64() * 1e6;
    println!("{what:<34} p50 {:>7.2} us   p99 {:>7.2} us", us(at(500)), us(at(990)));
}

fn limits(tenants: &[TenantRule], subject: &Subject) {
    let (rules, limits) = (LimitRules::new(tenants), Limits::new(clock::instant()));
    let now = clock::instant();
    let amounts = Amounts { requests: 1, input_tokens: 40, output_tokens: 60, nano: 1_000 };
    let reserve = || {
        let born_ms = clock::unix_ms();
        let asked = Asked { call: CallId::at(born_ms), model: "big-7b", endpoint: "chat", end_user: None, born_ms };
        // A counter of this process never waits.
        limits.reserve(&rules, subject, &asked, amounts, amounts).now_or_never()
    };
    measure("throttle and drop, 5 levels", || drop(black_box(limits.throttle(&rules, subject, now))));
    let lines = "reserve, 5 budgets and 5 rates";
    let mut kept = Vec::with_capacity(1 << 16);
    percentiles(lines, &mut || kept.push(black_box(reserve())));
    drop(kept);
    measure("reserve and drop, 5 + 5 lines", || drop(black_box(reserve())));
    measure("throttle, reserve, settle, drop", || {
        let slot = limits.throttle(&rules, subject, now);
        if let Some(Ok(mut held)) = reserve() {
            held.mark_called();
            held.settle(Amounts { output_tokens: 10, ..amounts });
        }
        drop(black_box(slot));
    });
}

fn measure(what: &str, mut once: impl FnMut()) {
    let mut round = || {
        let begun: Instant = clock::instant();
        (0..ROUNDS).for_each(|_| once());
        begun.elapsed().checked_div(ROUNDS).unwrap_or_default()
    };
    let fastest = (0..5).map(|_| round()).min().unwrap_or_default();
    println!("{what:<34} {:>9} ns", fastest.as_nanos());
}

fn tenant(path: &str) -> anyhow::Result<TenantRule> {
    let limits = LimitRule {
        requests_per_minute: NonZeroU32::new(PLENTY),
        tokens_per_minute: NonZeroU64::new(u64::from(PLENTY) * 1_000),
        concurrency: NonZeroU32::new(PLENTY),
    };
    Ok(TenantRule {
        path: TenantPath::parse(path)?,
        models: vec!["small".to_owned(), "big-*".to_owned()],
        roles: Vec::new(),
        attributes: BTreeMap::new(),
        limits,
        key_limits: limits,
        rules: [budget()].into(),
        share: 1,
        priority: Default::default(),
    })
}

/// Dollars of a calendar month.
fn budget() -> RuleSettings {
    RuleSettings {
        name: "monthly".into(),
        quantity: Quantity::Money,
        amount: u64::from(PLENTY) * 1_000_000_000,
        window: Window::Calendar { unit: CalendarUnit::Month, zone: chrono_tz::Europe::Berlin },
        models: Arc::default(),
        endpoints: Arc::default(),
        each: Each::default(),
        outage: Outage::Refuse,
        lease_percent: 0,
    }
}
