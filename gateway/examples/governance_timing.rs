//! Prints what policy and limits cost per call, in nanoseconds: `cargo run --release -p weir --example
//! governance_timing`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir::clock;
use weir::config::settings::{LimitRule, PolicyEngine, PolicySettings, TenantRule};
use weir::identity::{KeyId, Subject, TenantPath};
use weir::limits::{LimitRules, Limits};
use weir::policy::{self, Compiled, Input};

/// Rounds of each measurement; the fastest of five is printed.
const ROUNDS: u32 = 20_000;
const PLENTY: u32 = 1_000_000_000;

fn main() -> anyhow::Result<()> {
    let tenants = [tenant("acme")?, tenant("acme/research")?];
    let subject = Subject {
        tenant: TenantPath::parse("acme/research")?,
        key: KeyId("k3y00001".into()),
        key_epoch: 1,
        credential: weir::identity::CredentialKind::ApiKey,
        vouchers: Arc::default(),
        roles: ["developer".into()].into(),
        attributes: Arc::new(BTreeMap::from([("environment".to_owned(), "production".to_owned())])),
    };
    policies(&tenants, &subject)?;
    limits(&tenants, &subject);
    Ok(())
}

fn policies(tenants: &[TenantRule], subject: &Subject) -> anyhow::Result<()> {
    let entrypoint = "data.weir.authz.decision".to_owned();
    let settings = PolicySettings {
        path: None,
        data: None,
        entrypoint,
        timeout: Duration::from_millis(50),
        engine: PolicyEngine::Auto,
    };
    let remembered = policy::prepare(&settings, tenants)?;
    // The same rules, read in a way that the scan can't follow.
    let shipped = policy::source::shipped("data.weir.authz.decision").first();
    let (name, text) = shipped.ok_or_else(|| anyhow::anyhow!("no policy ships"))?;
    let text = text.replace("input.request.model", "input[\"request\"].model") + "\n_all := input\n";
    let evaluated = Compiled::new(vec![((*name).to_owned(), text)], vec![policy::grants(tenants)], &settings)?;
    let input = Input::visible(subject, None, "big-7b");
    anyhow::ensure!(remembered.uncacheable().is_none() && evaluated.uncacheable().is_some());
    measure("build the policy's input", || drop(black_box(input.to_value())));
    measure("decide, evaluated", || drop(black_box(evaluated.decide(&input))));
    measure("decide, remembered", || drop(black_box(remembered.decide(&input))));
    Ok(())
}

fn limits(tenants: &[TenantRule], subject: &Subject) {
    let (rules, limits) = (LimitRules::new(tenants), Limits::new(clock::instant()));
    let now = clock::instant();
    measure("throttle and drop, 3 levels", || drop(black_box(limits.throttle(&rules, subject, now))));
    measure("reserve and drop, 3 levels", || drop(black_box(limits.reserve(&rules, subject, 100, now))));
    measure("throttle, reserve, settle, drop", || {
        let slot = limits.throttle(&rules, subject, now);
        if let Ok(mut held) = limits.reserve(&rules, subject, 100, now) {
            held.mark_called();
            held.settle(10);
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
    })
}
