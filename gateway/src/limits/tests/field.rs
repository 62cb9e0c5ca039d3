//! Reports from the field about limits, each under its name. What the counters keep of them is in the suite; here they
//! come through rules and reservations.

use super::*;
use crate::limits::counter::{Line, Outage};
use crate::limits::rule::{Each, RuleSettings};
use crate::limits::window::{CalendarUnit, Span};

const DAY: Window = Window::Calendar { unit: CalendarUnit::Day, zone: chrono_tz::Tz::UTC };
const DOLLAR: u64 = 1_000_000_000;
/// One amount for everybody.
const ALL: Each = Each { key: false, end_user: false, user: false, model: false, endpoint: false };
const EACH_END_USER: Each = Each { end_user: true, ..ALL };

/// What the ledger says was used, whoever asks.
struct Ledger(u64);

#[async_trait::async_trait]
impl Spent for Ledger {
    async fn spent(&self, _line: &Line, _span: Span) -> Result<u64, NotGranted> {
        Ok(self.0)
    }
}

fn budget(amount: u64, each: Each) -> RuleSettings {
    RuleSettings {
        name: "daily".into(),
        quantity: Quantity::Money,
        amount,
        window: DAY,
        models: Arc::default(),
        endpoints: Arc::default(),
        each,
        outage: Outage::Refuse,
        lease_percent: 0,
    }
}

fn with_rules(tenants: &[(&str, Vec<RuleSettings>)]) -> (LimitRules, Vec<TenantRule>) {
    let tenants: Vec<_> = tenants
        .iter()
        .map(|(path, rules)| TenantRule { rules: rules.clone().into(), ..tenant(path, NONE, NONE) })
        .collect();
    let rules = LimitRules::new(&tenants);
    rules.prove(&tenants).unwrap();
    (rules, tenants)
}

fn pay(
    limits: &Limits,
    rules: &LimitRules,
    who: &str,
    end_user: Option<&str>,
    nano: u64,
) -> Result<Reservation, NotGranted> {
    let amounts = Amounts { requests: 1, nano, ..Amounts::default() };
    let asked = Asked { end_user, ..asked() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(limits.reserve(rules, &subject(who, "k"), &asked, amounts, amounts))
}

fn refusal(answer: Result<Reservation, NotGranted>) -> LimitExceeded {
    match answer.unwrap_err() {
        NotGranted::Exceeded(exceeded) => exceeded,
        NotGranted::Unavailable { why } => panic!("{why}"),
    }
}

/// An end-user whom nobody saw before, 64 calls at once on threads, of which 0.10 of the day's dollar is left.
#[test]
fn fr_cost_02_a_burst_for_an_unknown_end_user_passes_no_more_than_its_budget() {
    let (rules, _) = with_rules(&[("acme", vec![budget(DOLLAR, EACH_END_USER)])]);
    let limits = Limits::local(clock::instant(), Arc::new(Ledger(DOLLAR * 9 / 10)));
    let (start, held) = (Barrier::new(8), parking_lot::Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                for _ in 0..8 {
                    match pay(&limits, &rules, "acme", Some("eu_new-77"), DOLLAR / 20) {
                        Ok(mut reservation) => {
                            reservation.mark_called();
                            held.lock().push(reservation);
                        }
                        Err(NotGranted::Exceeded(exceeded)) => {
                            assert_eq!((exceeded.kind, &*exceeded.level), (LimitKind::Money, "acme per end user"));
                        }
                        Err(NotGranted::Unavailable { why }) => panic!("{why}"),
                    }
                }
            });
        }
    });
    let held = held.into_inner();
    assert_eq!(held.len(), 2);
    for reservation in held {
        reservation.settle(Amounts { requests: 1, nano: DOLLAR / 25, ..Amounts::default() });
    }
    // 0.98 is spent: 0.05 do not fit, 0.02 do. Another end-user has a budget of its own.
    assert!(pay(&limits, &rules, "acme", Some("eu_new-77"), DOLLAR / 20).is_err());
    assert!(pay(&limits, &rules, "acme", Some("eu_new-77"), DOLLAR / 50).is_ok());
    assert!(pay(&limits, &rules, "acme", Some("eu_other"), DOLLAR / 20).is_ok());
}

/// The key has no limit of its own; its tenant has 25 dollars a day, of which 87.50 are spent.
#[test]
fn fr_cost_06_the_tightest_of_all_levels_refuses_and_names_itself() {
    let (rules, tenants) = with_rules(&[
        ("acme", vec![budget(1_000 * DOLLAR, ALL)]),
        ("acme/lab", vec![budget(25 * DOLLAR, ALL)]),
        ("acme/lab/x", vec![budget(500 * DOLLAR, Each { key: true, ..ALL })]),
    ]);
    let limits = Limits::local(clock::instant(), Arc::new(Ledger(87 * DOLLAR + DOLLAR / 2)));
    let refused = refusal(pay(&limits, &rules, "acme/lab/x", None, 1));
    assert_eq!((&*refused.level, refused.kind, refused.limit), ("acme/lab", LimitKind::Money, 25 * DOLLAR));
    assert_eq!(refused.to_string(), "limit of 25 dollars per calendar day (UTC) reached at `acme/lab`");
    assert!(pay(&limits, &rules, "acme", None, 1).is_ok(), "the level above has room");

    // Whichever limit's registration is lost, the start-up test sees it.
    for lost in 0..tenants.len() {
        let mut without = tenants.clone();
        without[lost].rules = Arc::default();
        let fault = LimitRules::new(&without).prove(&tenants).unwrap_err();
        let level = ["acme", "acme/lab", "acme/lab/x per key"][lost];
        assert_eq!(fault.to_string(), format!("the limit on money at `{level}` counts no call"));
    }
}

/// 80,000 left, 50,000 held, 140,000 used: the settlement does not fail, and the debt blocks the next call.
#[test]
fn fr_cost_09_a_settlement_beyond_the_budget_is_a_debt() {
    let tokens = RuleSettings { quantity: Quantity::Tokens, ..budget(80_000, ALL) };
    let (rules, _) = with_rules(&[("acme", vec![tokens])]);
    let scene = Scene::new();
    let who = subject("acme", "k");
    let mut held = scene.reserve(&rules, &who, 50_000).unwrap();
    held.mark_called();
    held.settle(used(140_000));
    assert_eq!(scene.remaining(&rules, &who), Some(0));
    let refused = scene.reserve(&rules, &who, 1).unwrap_err();
    assert!(refused.retry_after.is_some_and(|wait| wait > Duration::ZERO) && !refused.too_large);
}

/// Balances beyond 2^53, counted up by ones.
#[test]
fn fr_rl_06_large_balances_are_exact() {
    const BALANCE: u64 = 9_007_199_254_740_993;
    let (rules, _) = with_rules(&[("acme", vec![budget(731_205_998_144_203_417, ALL)])]);
    let limits = Limits::local(clock::instant(), Arc::new(Ledger(BALANCE)));
    for _ in 0..3 {
        let mut held = pay(&limits, &rules, "acme", None, 1).unwrap();
        held.mark_called();
    }
    let left = limits.remaining(&rules, &subject("acme", "k"), &asked()).money.unwrap().remaining;
    assert_eq!(731_205_998_144_203_417 - left, 9_007_199_254_740_996);
}

/// The limiter's half: the name that is counted is the verified key's own, however its secret was presented, and a
/// flood of new ones neither grows the table without bound nor frees an offender.
#[test]
fn fr_rl_08_an_offender_stays_counted_while_others_come_and_go() {
    let rules = rules(&[("acme", NONE, limit(10, 0, 0))]);
    let now = clock::instant();
    let limits = Limits::bounded(now, 1_000);
    let offender = subject("acme", "offender");
    for _ in 0..10 {
        drop(limits.throttle(&rules, &offender, now).unwrap());
    }
    let mut most = 0;
    for number in 0..20_000_u32 {
        // Refused at the bound or served, a stranger changes nothing for the offender.
        drop(limits.throttle(&rules, &subject("acme", &format!("stranger-{number}")), now));
        most = most.max(limits.tracked());
    }
    assert!(most <= 1_000, "{most}");
    // Its own count is there, or nobody new is counted at all.
    let refused = limits.throttle(&rules, &offender, now).unwrap_err();
    assert!(matches!(refused.kind, LimitKind::Requests | LimitKind::Levels), "{refused}");
}

/// The half of the report that applies here: nobody is trusted for being rich. (Weir has no credit codes and no payment
/// webhooks; a budget is changed in the configuration.) 200 reservations are left and 500 calls come at once.
#[test]
fn fr_cost_15_a_rich_caller_is_reserved_for_like_any_other() {
    let (rules, _) = with_rules(&[("acme", vec![budget(200 * DOLLAR, ALL)])]);
    let limits = Limits::new(clock::instant());
    let (start, granted) = (Barrier::new(5), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                start.wait();
                for _ in 0..100 {
                    if let Ok(mut held) = pay(&limits, &rules, "acme", None, DOLLAR) {
                        held.mark_called();
                        granted.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert_eq!(granted.load(Ordering::SeqCst), 200);
    assert_eq!(limits.remaining(&rules, &subject("acme", "k"), &asked()).money.unwrap().remaining, 0);
}
