//! What every [`Counter`] keeps, as tests of any of them: [`all`] runs them on a [`Stand`]. Only built for tests.
//!
//! Each case has an organisation of its own, so that a server with thousands of others in it can be tested as well.
#![allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

mod windows;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono_tz::Tz;
use futures_util::future::join_all;

use super::counter::{Ask, Counter, Granted, Line, NotGranted, Outage, Scope};
use super::exceeded::{LimitExceeded, LimitKind};
use super::quantity::{Amounts, Quantity};
use super::window::{CalendarUnit, Window};
use crate::exchange::CallId;

/// A counter under test, its time, and the book that it asks for what was used before.
#[async_trait]
pub trait Stand: Send + Sync {
    /// The counter. Another one after a restart.
    fn counter(&self) -> Arc<dyn Counter>;

    /// Lets so much of the counter's time pass, where the test has power over it; or waits, where it has not.
    async fn pass(&self, time: Duration);

    /// Comes back once every settlement so far has reached the counter.
    async fn settled(&self);

    /// What the book knows of a line: uses by the moment of their calls' births, of which the first answer is asked for
    /// after this.
    fn write_down(&self, line: &Line, uses: &[(u64, u64)]);

    /// Every count is lost, as after a restart: only the book knows what was used.
    fn restart(&self);

    /// How much of a budget a counter takes at a time, where its limits lease.
    fn lease(&self) -> Option<NonZeroU64> {
        None
    }
}

/// Some moment, in the middle of an hour, a day and a month.
pub const BORN_MS: u64 = 1_790_001_000_000;
const HOUR_MS: u64 = 3_600_000;
/// Holds of the cases live this long where they are not meant to expire.
const TTL: Duration = Duration::from_secs(3_600);

/// An organisation's calls.
pub struct Calls<'a> {
    /// The stand.
    pub stand: &'a dyn Stand,
    /// The organisation.
    pub org: Arc<str>,
    /// Its limits.
    pub lines: Arc<[Line]>,
}

impl<'a> Calls<'a> {
    /// Limits of an organisation that nobody used before: (quantity, cap, window), on levels `l0`, `l1` ...
    pub fn new(stand: &'a dyn Stand, limits: &[(Quantity, u64, Window)]) -> Self {
        let org: Arc<str> = format!("org-{}", CallId::at(0).0.simple()).into();
        let lines = limits.iter().enumerate();
        let lease =
            |window: &Window| stand.lease().filter(|_| matches!(window, Window::Calendar { .. } | Window::Total));
        let lines = lines
            .map(|(at, (quantity, cap, window))| Line {
                lease: lease(window),
                ..line(&org, at, *quantity, *cap, *window)
            })
            .collect();
        Self { stand, org, lines }
    }

    /// What a new call asks.
    pub fn ask(&self, amounts: Amounts, born_ms: u64) -> Ask {
        Ask {
            call: CallId::at(born_ms),
            org: Arc::clone(&self.org),
            lines: Arc::clone(&self.lines),
            rates: amounts,
            budgets: amounts,
            born_ms,
            ttl: TTL,
        }
    }

    async fn reserve(&self, ask: &Ask) -> Result<Granted, LimitExceeded> {
        exceeded(self.stand.counter().reserve(ask).await)
    }

    async fn extend(&self, ask: &Ask, more: Amounts) -> Result<(), LimitExceeded> {
        exceeded(self.stand.counter().extend(ask, &more).await)
    }

    async fn settle(&self, ask: &Ask, used: Amounts) {
        self.stand.counter().settle(ask, &ask.budgets, &used);
        self.stand.settled().await;
    }

    /// A call that holds so much money, or why it does not.
    async fn pay(&self, amount: u64) -> Result<Ask, LimitExceeded> {
        let ask = self.ask(nano(amount), BORN_MS);
        self.reserve(&ask).await.map(|_| ask)
    }
}

/// A line of its own level.
pub fn line(org: &str, at: usize, quantity: Quantity, cap: u64, window: Window) -> Line {
    Line {
        id: format!("{org}/l{at}|{}|{}", quantity.name(), window.name()).into(),
        level: format!("l{at}").into(),
        scope: Scope {
            tenant: org.into(),
            key: None,
            models: Arc::default(),
            endpoints: Arc::default(),
            end_user: None,
        },
        quantity,
        cap,
        window,
        outage: Outage::Refuse,
        lease: None,
    }
}

/// A calendar's unit in UTC.
pub fn calendar(unit: CalendarUnit) -> Window {
    Window::Calendar { unit, zone: Tz::UTC }
}

/// One call with so much money.
pub fn nano(nano: u64) -> Amounts {
    Amounts { requests: 1, nano, ..Amounts::default() }
}

fn exceeded<T>(answer: Result<T, NotGranted>) -> Result<T, LimitExceeded> {
    answer.map_err(|not_granted| match not_granted {
        NotGranted::Exceeded(exceeded) => exceeded,
        NotGranted::Unavailable { why } => panic!("the counter is unavailable: {why}"),
    })
}

/// Every case.
pub async fn all(stand: &dyn Stand) {
    all_lines_are_taken_or_none(stand).await;
    a_call_is_counted_once_however_often_it_asks(stand).await;
    a_hold_grows_to_the_cap_and_gives_the_rest_back(stand).await;
    a_doubled_settlement_corrects_and_never_doubles(stand).await;
    a_burst_passes_no_more_than_the_budget(stand).await;
    using_more_than_was_held_is_a_debt(stand).await;
    a_hold_belongs_to_the_window_of_its_birth(stand).await;
    a_rolling_window_gives_back_step_by_step(stand).await;
    calls_at_the_same_time_have_places(stand).await;
    a_hold_that_nobody_renews_leaves_its_place_and_stays_charged(stand).await;
    rates_are_charged_at_once_and_their_wait_is_true(stand).await;
    what_never_fits_is_told_before_what_fits_later(stand).await;
    the_largest_numbers_are_exact(stand).await;
    what_was_used_before_counts(stand).await;
    windows::every_amount_in_every_window_is_kept(stand).await;
    windows::calendars_are_kept_when_clocks_are_changed(stand).await;
}

async fn all_lines_are_taken_or_none(stand: &dyn Stand) {
    let limits = [(Quantity::Money, 100, Window::Total), (Quantity::Tokens, 10, calendar(CalendarUnit::Day))];
    let calls = Calls::new(stand, &limits);
    let of = |nano, tokens| Amounts { requests: 1, input_tokens: tokens, output_tokens: 0, nano };
    let refused = calls.reserve(&calls.ask(of(60, 11), BORN_MS)).await.unwrap_err();
    assert_eq!((&*refused.level, refused.kind, refused.too_large), ("l1", LimitKind::Tokens, true));
    calls.reserve(&calls.ask(of(60, 10), BORN_MS)).await.unwrap();
    let refused = calls.reserve(&calls.ask(of(40, 1), BORN_MS)).await.unwrap_err();
    assert_eq!((&*refused.level, refused.limit), ("l1", 10));
    // Neither refusal took any money.
    calls.reserve(&calls.ask(of(40, 0), BORN_MS)).await.unwrap();
}

async fn a_call_is_counted_once_however_often_it_asks(stand: &dyn Stand) {
    let calls = Calls::new(stand, &[(Quantity::Money, 100, Window::Total), (Quantity::Concurrency, 2, Window::Now)]);
    let ask = calls.pay(60).await.unwrap();
    for _ in 0..3 {
        calls.reserve(&ask).await.unwrap();
    }
    calls.pay(40).await.unwrap();
    calls.settle(&ask, nano(60)).await;
    assert!(calls.pay(1).await.is_err());
}

async fn a_hold_grows_to_the_cap_and_gives_the_rest_back(stand: &dyn Stand) {
    let calls = Calls::new(stand, &[(Quantity::Money, 100, Window::Total), (Quantity::Money, 1_000, Window::Total)]);
    let mut ask = calls.pay(30).await.unwrap();
    let more = Amounts { nano: 35, ..Amounts::default() };
    calls.extend(&ask, more).await.unwrap();
    calls.extend(&ask, more).await.unwrap();
    let refused = calls.extend(&ask, Amounts { nano: 1, ..Amounts::default() }).await.unwrap_err();
    assert_eq!((&*refused.level, refused.kind), ("l0", LimitKind::Money));
    calls.extend(&ask, Amounts::default()).await.unwrap();
    assert!(calls.pay(1).await.is_err());
    ask.budgets.nano = 100;
    calls.settle(&ask, nano(55)).await;
    assert!(calls.pay(46).await.is_err());
    calls.pay(45).await.unwrap();
}

async fn a_doubled_settlement_corrects_and_never_doubles(stand: &dyn Stand) {
    let calls = Calls::new(stand, &[(Quantity::Money, 100, Window::Total)]);
    let ask = calls.pay(100).await.unwrap();
    for used in [40, 40, 50, 50] {
        calls.settle(&ask, nano(used)).await;
    }
    assert!(calls.pay(51).await.is_err());
    calls.pay(50).await.unwrap();
}

/// FR-COST-02: 64 calls at once for an end-user that was never seen, of which the budget has room for two.
async fn a_burst_passes_no_more_than_the_budget(stand: &dyn Stand) {
    let cents = |cents: u64| cents * 10_000_000;
    let calls = Calls::new(stand, &[(Quantity::Money, cents(100), calendar(CalendarUnit::Day))]);
    let first = calls.lines.first().unwrap();
    stand.write_down(first, &[(BORN_MS - 1_000, cents(90))]);
    let asks: Vec<_> = (0..64).map(|_| calls.ask(nano(cents(5)), BORN_MS)).collect();
    let answers = join_all(asks.iter().map(|ask| calls.reserve(ask))).await;
    let granted: Vec<_> = asks.iter().zip(&answers).filter(|(_, answer)| answer.is_ok()).map(|(ask, _)| ask).collect();
    assert_eq!(granted.len(), 2);
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
    assert!(refused.clone().all(|refused| refused.kind == LimitKind::Money && refused.retry_after.is_some()));
    for ask in granted {
        calls.settle(ask, nano(cents(4))).await;
    }
    assert!(calls.pay(cents(5)).await.is_err());
    calls.pay(cents(2)).await.unwrap();
}

/// FR-COST-09: 80,000 left, 50,000 held, 140,000 used: the settlement never fails, and the debt holds the next call up.
async fn using_more_than_was_held_is_a_debt(stand: &dyn Stand) {
    let calls = Calls::new(stand, &[(Quantity::Tokens, 80_000, calendar(CalendarUnit::Hour))]);
    let tokens = |tokens| Amounts { requests: 1, output_tokens: tokens, ..Amounts::default() };
    let ask = calls.ask(tokens(50_000), BORN_MS);
    calls.reserve(&ask).await.unwrap();
    calls.settle(&ask, tokens(140_000)).await;
    let refused = calls.reserve(&calls.ask(tokens(1), BORN_MS)).await.unwrap_err();
    assert_eq!(refused.retry_after, Some(Duration::from_millis(HOUR_MS / 2)));
    // A correction shows that all of it was recorded: 60,000 less is no debt any more, and nothing is left.
    calls.settle(&ask, tokens(80_000)).await;
    assert!(calls.reserve(&calls.ask(tokens(1), BORN_MS)).await.is_err());
    calls.settle(&ask, tokens(79_999)).await;
    calls.reserve(&calls.ask(tokens(1), BORN_MS)).await.unwrap();
}

async fn a_hold_belongs_to_the_window_of_its_birth(stand: &dyn Stand) {
    let calls = Calls::new(stand, &[(Quantity::Money, 100, calendar(CalendarUnit::Hour))]);
    let next = BORN_MS + HOUR_MS / 2;
    let old = calls.ask(nano(100), next - 1);
    calls.reserve(&old).await.unwrap();
    let refused = calls.reserve(&calls.ask(nano(1), next - 1)).await.unwrap_err();
    assert_eq!((refused.retry_after, refused.too_large), (Some(Duration::from_millis(1)), false));
    let new = calls.ask(nano(100), next);
    calls.reserve(&new).await.unwrap();
    // Settled after the boundary, it gives back where it was born.
    calls.settle(&old, nano(10)).await;
    assert!(calls.reserve(&calls.ask(nano(1), next + 1)).await.is_err());
    calls.reserve(&calls.ask(nano(90), next - 1)).await.unwrap();
    assert!(calls.reserve(&calls.ask(nano(1), next - 1)).await.is_err());
}

async fn a_rolling_window_gives_back_step_by_step(stand: &dyn Stand) {
    let ms = 60_000;
    let calls = Calls::new(stand, &[(Quantity::Money, 100, Window::Rolling { ms })]);
    let begin = BORN_MS - BORN_MS % ms;
    for (at, amount) in [(0, 30), (10_500, 30), (20_000, 40)] {
        calls.reserve(&calls.ask(nano(amount), begin + at)).await.unwrap();
    }
    let refused = calls.reserve(&calls.ask(nano(50), begin + 20_250)).await.unwrap_err();
    let wait = refused.retry_after.unwrap();
    // The step of the second leaves sixty steps after it ended.
    assert_eq!(wait, Duration::from_millis(11_000 + ms - 20_250));
    assert!(calls.reserve(&calls.ask(nano(50), begin + 11_000 + ms - 1)).await.is_err());
    calls.reserve(&calls.ask(nano(50), begin + 11_000 + ms)).await.unwrap();
}

async fn calls_at_the_same_time_have_places(stand: &dyn Stand) {
    let calls = Calls::new(stand, &[(Quantity::Concurrency, 2, Window::Now)]);
    let one = calls.pay(0).await.unwrap();
    let _two = calls.pay(0).await.unwrap();
    let refused = calls.pay(0).await.unwrap_err();
    assert_eq!((refused.kind, refused.retry_after, refused.too_large), (LimitKind::Concurrency, None, false));
    calls.settle(&one, nano(0)).await;
    calls.settle(&one, nano(0)).await;
    let _three = calls.pay(0).await.unwrap();
    assert!(calls.pay(0).await.is_err());
}

async fn a_hold_that_nobody_renews_leaves_its_place_and_stays_charged(stand: &dyn Stand) {
    let calls = Calls::new(stand, &[(Quantity::Concurrency, 1, Window::Now), (Quantity::Money, 100, Window::Total)]);
    let short = |amount| Ask { ttl: Duration::from_millis(200), ..calls.ask(nano(amount), BORN_MS) };
    let lost = short(60);
    calls.reserve(&lost).await.unwrap();
    stand.pass(Duration::from_millis(120)).await;
    calls.extend(&lost, Amounts::default()).await.unwrap();
    stand.pass(Duration::from_millis(120)).await;
    assert_eq!(calls.pay(1).await.unwrap_err().kind, LimitKind::Concurrency);
    stand.pass(Duration::from_millis(120)).await;
    assert_eq!(calls.pay(41).await.unwrap_err().kind, LimitKind::Money);
    let other = calls.pay(40).await.unwrap();
    // It may come back as long as its place is free.
    assert_eq!(calls.extend(&lost, Amounts::default()).await.unwrap_err().kind, LimitKind::Concurrency);
    // A late settlement gives back what was not used, and no place.
    calls.settle(&lost, nano(10)).await;
    assert_eq!(calls.pay(1).await.unwrap_err().kind, LimitKind::Concurrency);
    calls.settle(&other, nano(40)).await;
    assert!(calls.pay(51).await.is_err());
    calls.pay(50).await.unwrap();
}

async fn rates_are_charged_at_once_and_their_wait_is_true(stand: &dyn Stand) {
    let calls = Calls::new(stand, &[(Quantity::Tokens, 1_000, Window::Rate { ms: 1_000 })]);
    let tokens = |tokens| Amounts { requests: 1, input_tokens: tokens, ..Amounts::default() };
    let ask = calls.ask(tokens(1_000), BORN_MS);
    let granted = calls.reserve(&ask).await.unwrap();
    let standing = granted.tokens.unwrap();
    assert_eq!((&*standing.level, standing.limit), ("l0", 1_000));
    let next = calls.ask(tokens(300), BORN_MS);
    let refused = calls.reserve(&next).await.unwrap_err();
    let wait = refused.retry_after.unwrap();
    assert!(wait <= Duration::from_millis(300) && wait > Duration::from_millis(100), "{wait:?}");
    stand.pass(wait).await;
    calls.reserve(&next).await.unwrap();
    // What was not used comes back, but never more than would be there without the call.
    calls.settle(&ask, tokens(0)).await;
    calls.settle(&next, tokens(0)).await;
    assert!(calls.reserve(&calls.ask(tokens(1_001), BORN_MS)).await.unwrap_err().too_large);
    calls.reserve(&calls.ask(tokens(1_000), BORN_MS)).await.unwrap();
}

async fn what_never_fits_is_told_before_what_fits_later(stand: &dyn Stand) {
    let limits = [
        (Quantity::Money, 100, calendar(CalendarUnit::Hour)),
        (Quantity::Money, 100, calendar(CalendarUnit::Day)),
        (Quantity::Money, 200, Window::Total),
    ];
    let calls = Calls::new(stand, &limits);
    calls.pay(100).await.unwrap();
    let refused = calls.pay(50).await.unwrap_err();
    // Both windows are full; only after the longer wait the call fits.
    let span = CalendarUnit::Day.span(Tz::UTC, BORN_MS);
    assert_eq!((&*refused.level, refused.retry_after), ("l1", Some(Duration::from_millis(span.to_ms - BORN_MS))));
    assert!(calls.pay(101).await.unwrap_err().too_large);
}

/// FR-RL-06: counts beyond 2^53 are exact, and what is beyond 2^63 is refused and never wraps.
async fn the_largest_numbers_are_exact(stand: &dyn Stand) {
    const EXACT: u64 = 9_007_199_254_740_993;
    let calls = Calls::new(stand, &[(Quantity::Money, EXACT + 3, Window::Total)]);
    calls.pay(EXACT).await.unwrap();
    for _ in 0..3 {
        assert!(calls.pay(4).await.is_err());
        calls.pay(1).await.unwrap();
    }
    assert!(calls.pay(1).await.is_err());
    let large = u64::try_from(i64::MAX).unwrap();
    let calls = Calls::new(stand, &[(Quantity::Money, large, Window::Total)]);
    calls.pay(large - 1).await.unwrap();
    assert!(calls.pay(large).await.is_err());
    assert!(calls.pay(2).await.is_err());
    calls.pay(1).await.unwrap();
    assert!(calls.pay(1).await.is_err());
}

async fn what_was_used_before_counts(stand: &dyn Stand) {
    let limits = [
        (Quantity::Money, 100, calendar(CalendarUnit::Hour)),
        (Quantity::Money, 1_000, Window::Rolling { ms: HOUR_MS }),
        (Quantity::Money, 10_000, Window::Total),
    ];
    let calls = Calls::new(stand, &limits);
    let hour = BORN_MS - HOUR_MS / 2;
    for line in calls.lines.iter() {
        stand.write_down(line, &[(hour - HOUR_MS, 5_000), (hour - 1, 900), (hour, 60), (BORN_MS, 20)]);
    }
    // The hour has 20 left, the last sixty minutes 20 and all time 4,020.
    assert!(calls.pay(21).await.is_err());
    calls.pay(20).await.unwrap();
    // A line that is known asks nobody for its next window.
    for line in calls.lines.iter() {
        stand.write_down(line, &[(hour + HOUR_MS, 1_000_000)]);
    }
    calls.reserve(&calls.ask(nano(100), hour + HOUR_MS)).await.unwrap();
}
