#![allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]

use std::time::Duration;

use super::*;
use crate::exchange::CallId;
use crate::limits::counter::{Outage, Scope};

const ROOM: Room = Room { others: 0, lines_max: 1_000, own_max: 1_000 };
const SECOND: u64 = 1_000_000_000;

fn line(name: &str, quantity: Quantity, cap: u64, window: Window) -> Line {
    let scope =
        Scope { tenant: "acme".into(), key: None, models: Arc::default(), endpoints: Arc::default(), end_user: None };
    Line { id: name.into(), level: name.into(), scope, quantity, cap, window, outage: Outage::Refuse, lease: None }
}

fn ask(call: u128, lines: &Arc<[Line]>, amount: u64) -> Ask {
    let amounts = Amounts { requests: 1, input_tokens: amount, output_tokens: 0, nano: amount };
    Ask {
        call: CallId(uuid::Uuid::from_u128(call)),
        org: "acme".into(),
        lines: Arc::clone(lines),
        rates: amounts,
        budgets: amounts,
        born_ms: 5,
        ttl: Duration::from_secs(30),
    }
}

/// Reserves where nothing was used before.
fn reserve(ledger: &mut Ledger, ask: &Ask, now_ns: u64) -> Result<Granted, Denied> {
    let answer = ledger.reserve(ask, now_ns, ROOM);
    let Err(Denied::Unseeded(unseeded)) = answer else { return answer };
    for (at, span) in unseeded {
        ledger.seed(&ask.lines[at], ask.born_ms, span, &[]);
    }
    ledger.reserve(ask, now_ns, ROOM)
}

#[test]
fn a_line_at_the_cap_of_all_lines_is_refused_and_nothing_is_taken() {
    let room = Room { others: 8, lines_max: 10, own_max: 10 };
    let mut ledger = Ledger::new(false);
    let three: Arc<[Line]> =
        ["a", "b", "c"].map(|name| line(name, Quantity::Tokens, 9, Window::Rate { ms: 60_000 })).into();
    let Err(Denied::Exceeded(refused)) = ledger.reserve(&ask(1, &three, 5), 0, room) else { panic!() };
    assert_eq!((refused.kind, refused.limit), (crate::limits::LimitKind::Levels, 10));
    let two: Arc<[Line]> = three.iter().take(2).cloned().collect();
    assert!(ledger.reserve(&ask(2, &two, 9), 0, room).is_ok());
    assert_eq!((ledger.len(), ledger.live()), (2, 1));
}

#[test]
fn a_rates_expired_hold_drains_like_a_use_and_a_late_settlement_adds_only_what_is_missing() {
    let lines: Arc<[Line]> = [line("a", Quantity::Tokens, 100, Window::Rate { ms: 100_000 })].into();
    let mut ledger = Ledger::new(false);
    let lost = ask(1, &lines, 100);
    reserve(&mut ledger, &lost, 0).unwrap();
    ledger.expire(30 * SECOND);
    assert_eq!(ledger.live(), 0);
    // A hold that runs would keep its level from draining below it when others give back; a use does not.
    assert!(reserve(&mut ledger, &ask(2, &lines, 31), 30 * SECOND).is_err());
    assert!(reserve(&mut ledger, &ask(2, &lines, 30), 30 * SECOND).is_ok());
    ledger.settle(&lost, &Amounts { input_tokens: 20, ..Amounts::default() }, 30 * SECOND);
    assert!(reserve(&mut ledger, &ask(3, &lines, 1), 30 * SECOND).is_err());
    ledger.settle(&lost, &Amounts { input_tokens: 120, ..Amounts::default() }, 30 * SECOND);
    // 20 more than it was charged.
    assert!(reserve(&mut ledger, &ask(3, &lines, 1), 50 * SECOND).is_err());
    assert!(reserve(&mut ledger, &ask(3, &lines, 1), 51 * SECOND).is_ok());
}

#[test]
fn holds_that_are_over_are_remembered_within_bounds() {
    let lines: Arc<[Line]> = [line("a", Quantity::Money, 100, Window::Total)].into();
    let mut ledger = Ledger::new(false);
    for call in 0..20_000 {
        let ask = ask(call, &lines, 60);
        reserve(&mut ledger, &ask, SECOND).unwrap();
        ledger.settle(&ask, &Amounts::default(), SECOND);
    }
    assert!(ledger.holds.remembered() <= 4_200, "{}", ledger.holds.remembered());
    // A call that was forgotten changes nothing any more; one that is known may not begin again.
    ledger.settle(&ask(0, &lines, 60), &Amounts { nano: 99, ..Amounts::default() }, SECOND);
    assert_eq!(reserve(&mut ledger, &ask(19_999, &lines, 60), SECOND), Err(Denied::Unavailable("hold_over")));
    assert!(reserve(&mut ledger, &ask(20_000, &lines, 100), SECOND).is_ok());
}

#[test]
fn a_changed_cap_keeps_what_was_used_and_is_held() {
    let of = |cap| -> Arc<[Line]> {
        [line("a", Quantity::Money, cap, Window::Total), line("b", Quantity::Tokens, cap, Window::Rate { ms: 1_000 })]
            .into()
    };
    let mut ledger = Ledger::new(false);
    reserve(&mut ledger, &ask(1, &of(100), 80), 0).unwrap();
    assert!(reserve(&mut ledger, &ask(2, &of(120), 41), 0).is_err());
    assert!(reserve(&mut ledger, &ask(3, &of(120), 40), 0).is_ok());
    let remaining = ledger.remaining(&of(130), 5, 0);
    let left = |standing: Option<crate::limits::Standing>| standing.map(|standing| standing.remaining);
    assert_eq!((left(remaining.money), left(remaining.tokens)), (Some(10), Some(10)));
    assert!(reserve(&mut ledger, &ask(4, &of(50), 1), 0).is_err());
}

#[test]
fn a_hold_that_is_not_there_cannot_grow() {
    let lines: Arc<[Line]> = [line("a", Quantity::Money, 100, Window::Total)].into();
    let mut ledger = Ledger::new(false);
    let none = Amounts::default();
    assert_eq!(ledger.extend(&ask(1, &lines, 1), &none, 0), Err(Denied::Unavailable("hold_unknown")));
    reserve(&mut ledger, &ask(1, &lines, 1), 0).unwrap();
    ledger.settle(&ask(1, &lines, 1), &none, 0);
    assert_eq!(ledger.extend(&ask(1, &lines, 1), &none, 0), Err(Denied::Unavailable("hold_over")));
}
