//! The counter of one process under the simulation, and counters that are wrong on purpose.

use async_trait::async_trait;

use super::*;
use crate::limits::HOLD_TTL;
use crate::limits::counter::{Counter, Line};
use crate::limits::local::tests::Desk;

const ABILITIES: Abilities =
    Abilities { ttl: HOLD_TTL, restarts: true, skews: &[0, 900, -900, 30_000, -30_000, 1_800_000, -1_800_000] };

#[tokio::test]
async fn no_schedule_overspends_or_refuses_without_cause() {
    let (count, begun) = (count(), crate::clock::instant());
    let seen = schedules(&Desk::new(), ABILITIES, 0..count).await.unwrap_or_else(|wrong| panic!("{wrong}"));
    println!("{count} schedules from seed 0 in {:?}: {seen:?}", begun.elapsed());
    // Every kind of thing happened, or the simulation proves nothing.
    let least =
        [seen.granted, seen.refused, seen.extended, seen.crashed, seen.expired, seen.restarts].into_iter().min();
    assert!(least.unwrap() > count / 5, "{seen:?}");
}

/// How a counter may be wrong.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Reads the counter, and writes it later.
    ChecksThenTakes,
    /// Gives nothing back of what was held and not used.
    NeverGivesBack,
    /// Counts a call again that asks again.
    CountsTwice,
    /// Forgets what a call held that nobody settled.
    ForgetsTheLost,
    /// Tells everybody to come back in a second.
    LiesAboutTheWait,
}

struct Wrong {
    desk: Desk,
    fault: Fault,
}

struct WrongCounter {
    right: Arc<dyn Counter>,
    fault: Fault,
}

#[async_trait]
impl Stand for Wrong {
    fn counter(&self) -> Arc<dyn Counter> {
        Arc::new(WrongCounter { right: self.desk.counter(), fault: self.fault })
    }
    async fn pass(&self, time: Duration) {
        self.desk.pass(time).await;
    }
    async fn settled(&self) {}
    fn write_down(&self, line: &Line, uses: &[(u64, u64)]) {
        let forgets = matches!(self.fault, Fault::ForgetsTheLost);
        self.desk.write_down(line, if forgets { &[] } else { uses });
    }
    fn restart(&self) {
        self.desk.restart();
    }
}

#[async_trait]
impl Counter for WrongCounter {
    async fn reserve(&self, ask: &Ask) -> Result<Granted, NotGranted> {
        match self.fault {
            Fault::ChecksThenTakes => {
                let probe = Ask { call: crate::exchange::CallId::at(0), ..ask.clone() };
                self.right.reserve(&probe).await?;
                self.right.settle(&probe, &probe.budgets, &Amounts::default());
                tokio::task::yield_now().await;
                let lines = ask.lines.iter().map(|line| Line { cap: u64::MAX, ..line.clone() }).collect();
                self.right.reserve(&Ask { lines, ..ask.clone() }).await
            }
            Fault::CountsTwice => {
                self.right.reserve(ask).await?;
                self.right.reserve(&Ask { call: crate::exchange::CallId::at(0), ..ask.clone() }).await
            }
            Fault::LiesAboutTheWait => self.right.reserve(ask).await.map_err(|refused| match refused {
                NotGranted::Exceeded(mut exceeded) => {
                    exceeded.retry_after = exceeded.retry_after.map(|_| Duration::from_secs(1));
                    NotGranted::Exceeded(exceeded)
                }
                NotGranted::Unavailable { .. } => refused,
            }),
            Fault::NeverGivesBack | Fault::ForgetsTheLost => self.right.reserve(ask).await,
        }
    }
    async fn extend(&self, ask: &Ask, more: &Amounts) -> Result<(), NotGranted> {
        self.right.extend(ask, more).await
    }
    fn settle(&self, ask: &Ask, held: &Amounts, used: &Amounts) {
        let never = matches!(self.fault, Fault::NeverGivesBack);
        self.right.settle(ask, held, if never { held } else { used });
    }
}

#[tokio::test]
async fn a_counter_that_is_wrong_is_caught() {
    let faults = [
        (Fault::ChecksThenTakes, "granted"),
        (Fault::NeverGivesBack, "refused"),
        (Fault::CountsTwice, "refused"),
        (Fault::ForgetsTheLost, "granted"),
        (Fault::LiesAboutTheWait, "after 1s still"),
    ];
    for (fault, word) in faults {
        let wrong = Wrong { desk: Desk::new(), fault };
        let caught = schedules(&wrong, ABILITIES, 0..200).await.expect_err("it is wrong");
        let first = caught.lines().next().unwrap();
        assert!(first.contains(word), "{fault:?}: {first}");
    }
}
