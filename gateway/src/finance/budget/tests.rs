//! Budgets over a ledger.

#![allow(clippy::arithmetic_side_effects, clippy::as_conversions)] // tests count small numbers

use super::*;
use crate::finance::report::tests::projected;
use crate::identity::TenantPath;
use crate::journal::fixture::{call, closing, folder};
use crate::limits::counter::Outage;
use crate::store::projection::Projection;
use crate::store::sqlite::Create;
use crate::store::{STORE_FILE, StoreUrl};

/// 2026-10-01 and 2026-10-15, 12:00.
const FIRST_MS: u64 = 1_790_812_800_000;
const NOW_MS: u64 = FIRST_MS + 14 * DAY_MS + DAY_MS / 2;

fn rule(tenant: &str, each: Each, models: &[&str]) -> BudgetRule {
    let window = Window::Calendar { unit: CalendarUnit::Month, zone: Tz::UTC };
    let rule = RuleSettings {
        name: "monthly".into(),
        quantity: Quantity::Money,
        amount: 1_000,
        window,
        models: models.iter().map(|model| Arc::from(*model)).collect(),
        endpoints: Arc::default(),
        each,
        outage: Outage::Refuse,
        lease_percent: 0,
    };
    BudgetRule { tenant: tenant.into(), rule }
}

/// Forty nano-dollars a day of `acme/a`, on two models, for half a month; `beta` costs much.
async fn ledger(folder: &std::path::Path) -> Store {
    let url = StoreUrl::from(&folder.join(STORE_FILE));
    let store = Store::open(&url, Create::IfMissing).await.unwrap();
    let mut projection = Projection::connect(&url, folder).await.unwrap();
    let mut rows = Vec::new();
    for day in 0..15_u64 {
        for (at, (tenant, model, cost)) in
            [("acme/a", "small", 10), ("acme/a", "large", 30), ("beta", "small", 9_999)].into_iter().enumerate()
        {
            let mut one = closing(call(u128::from(day) * 3 + at as u128), 1);
            one.at_ms = FIRST_MS + day * DAY_MS + 5;
            one.tenant = Some(TenantPath::parse(tenant).unwrap());
            one.model = Some(model.into());
            one.attempts[0].cost_nano = cost;
            rows.push(one);
        }
    }
    projection.commit(rows.iter(), &projected()).await.unwrap();
    store
}

#[tokio::test]
async fn a_budget_says_what_is_spent_left_and_to_be_expected() {
    let folder = folder();
    let store = ledger(folder.path()).await;
    let told = budgets(&store, &[rule("acme", Each::default(), &[])], NOW_MS).await.unwrap();
    let [budget] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((budget.spent_nano, budget.left_nano, budget.used_permille), (Some(600), Some(400), Some(600)));
    assert_eq!((budget.days.len(), budget.days[14].left_nano), (15, 400));
    assert_eq!(budget.days[0], BurnDay { day: "2026-10-01".to_owned(), spent_nano: 40, left_nano: 960 });
    // Half of today and sixteen days to come, at 40 a day.
    let seen = budget.forecast.unwrap();
    assert_eq!(seen.nano, Some(600 + 20 + 16 * 40));
    assert_eq!(seen.used_up_ms, Some(FIRST_MS + 24 * DAY_MS + DAY_MS / 2));
    assert_eq!(due(budget), ["50", "forecast"]);
    let key = alert_key(budget, NOW_MS);
    assert!(store.give_budget_alert(("acme", "monthly", ""), key, "50", NOW_MS).await.unwrap());
    let told = budgets(&store, &[rule("acme", Each::default(), &[])], NOW_MS).await.unwrap();
    assert_eq!(told[0].alerts, [Alert { kind: "50".to_owned(), at_ms: NOW_MS }]);
}

#[tokio::test]
async fn budgets_are_split_and_narrowed_as_their_limits_are() {
    let folder = folder();
    let store = ledger(folder.path()).await;
    let told = budgets(&store, &[rule("acme", Each { model: true, ..Each::default() }, &[])], NOW_MS).await.unwrap();
    let parts: Vec<_> = told.iter().map(|one| (one.part.as_deref(), one.spent_nano)).collect();
    assert_eq!(parts, [(Some("large"), Some(450)), (Some("small"), Some(150))]);
    let told = budgets(&store, &[rule("acme", Each::default(), &["sm*"])], NOW_MS).await.unwrap();
    assert_eq!(told[0].spent_nano, Some(150));
    let told = budgets(&store, &[rule("acme", Each { end_user: true, ..Each::default() }, &[])], NOW_MS).await.unwrap();
    assert_eq!((told[0].spent_nano, told[0].forecast), (None, None));
    let told = budgets(&store, &[rule("none", Each::default(), &[])], NOW_MS).await.unwrap();
    assert_eq!((told[0].spent_nano, told[0].left_nano), (Some(0), Some(1_000)));
}
