//! What a call holds, against counters that refuse or wait.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::*;
use crate::converse::purse::renewing;
use crate::limits::counter::{Line, Outage, Scope};
use crate::limits::quantity::Quantity;
use crate::limits::window::Window;

/// Holds whatever is asked, one at a time, or nothing where it is away.
#[derive(Default)]
struct Slow {
    is_away: bool,
    turn: Mutex<()>,
    settled: AtomicUsize,
    extended: AtomicUsize,
}

#[async_trait]
impl Counter for Slow {
    async fn reserve(&self, _ask: &Ask) -> Result<Granted, NotGranted> {
        if self.is_away { Err(NotGranted::Unavailable { why: "redis_down" }) } else { Ok(Granted::default()) }
    }
    async fn extend(&self, _ask: &Ask, _more: &Amounts) -> Result<(), NotGranted> {
        let _turn = self.turn.lock().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.extended.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
    fn settle(&self, _ask: &Ask, _held: &Amounts, _used: &Amounts) {
        self.settled.fetch_add(1, Ordering::Relaxed);
    }
}

fn ask() -> Ask {
    let scope =
        Scope { tenant: "acme".into(), key: None, models: Arc::default(), endpoints: Arc::default(), end_user: None };
    let line = Line {
        id: "acme".into(),
        level: "acme".into(),
        scope,
        quantity: Quantity::Money,
        cap: 10,
        window: Window::Total,
        outage: Outage::Refuse,
        lease: None,
    };
    Ask {
        call: CallId::at(1),
        org: "acme".into(),
        lines: [line].into(),
        rates: Amounts::default(),
        budgets: Amounts::default(),
        born_ms: 1,
        ttl: Duration::from_secs(30),
    }
}

#[tokio::test]
async fn a_call_that_was_refused_settles_nothing() {
    let counter = Arc::new(Slow { is_away: true, ..Slow::default() });
    assert!(Reservation::take(counter.clone(), ask()).await.is_err());
    assert_eq!(counter.settled.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_waits_for_the_work_and_the_work_goes_on() {
    let counter = Arc::new(Slow::default());
    let reservation = Reservation::take(counter.clone(), ask()).await.unwrap();
    let work = async {
        // It has the turn while the time of a renewal comes.
        let turn = counter.turn.lock().await;
        tokio::time::sleep(Duration::from_secs(12)).await;
        drop(turn);
        tokio::time::sleep(Duration::from_secs(15)).await;
        "done"
    };
    let done = tokio::time::timeout(Duration::from_secs(60), renewing(reservation.renewer(), work)).await;
    assert_eq!(done, Ok("done"));
    assert!(counter.extended.load(Ordering::Relaxed) >= 1);
    drop(reservation);
    assert_eq!(counter.settled.load(Ordering::Relaxed), 1);
}
