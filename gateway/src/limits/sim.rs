//! A seeded simulation of calls on any [`Counter`], against a model of what the limits mean: a plain list of all calls,
//! in which nothing is counted up. Only built for tests.
//!
//! A schedule is a few limits and some dozens of steps: calls that reserve alone or many at once, extend, renew,
//! settle,
//! ask again after a lost answer, or crash and leave their holds; nodes whose clocks are wrong and jump; restarts that
//! lose every count. After each step: no window of any limit is above its cap (but for calls
//! that used more than they held), nobody was refused who had room in every window, and every wait that was told is
//! true.
#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "an overflow fails the test")]

mod model;

use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use futures_util::future::join_all;

use super::counter::{Ask, Granted, NotGranted};
use super::quantity::{Amounts, Quantity};
use super::suite::{BORN_MS, Calls, Stand};
use super::window::{CalendarUnit, Window};
use model::{Call, Life, Model, Wants};

/// Steps of a schedule.
const STEPS: usize = 40;
/// Machines that the calls come from, each with its own clock.
const NODES: usize = 3;

/// What a stand can do beside counting.
#[derive(Debug, Clone, Copy)]
pub struct Abilities {
    /// How long a hold lives without a renewal; more than a schedule lasts where the test has no power over the
    /// counter's time.
    pub ttl: Duration,
    /// Whether counts can be lost.
    pub restarts: bool,
    /// How far the nodes' clocks may be wrong, in milliseconds.
    pub skews: &'static [i64],
}

/// What happened in schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Holds that were taken.
    pub granted: u64,
    /// Holds that were refused, each for a limit without room.
    pub refused: u64,
    /// Holds that grew.
    pub extended: u64,
    /// Calls that ended without a settlement.
    pub crashed: u64,
    /// Holds that expired.
    pub expired: u64,
    /// Restarts.
    pub restarts: u64,
}

impl Seen {
    /// Both together.
    pub fn add(&mut self, more: &Seen) {
        self.granted += more.granted;
        self.refused += more.refused;
        self.extended += more.extended;
        self.crashed += more.crashed;
        self.expired += more.expired;
        self.restarts += more.restarts;
    }
}

/// SplitMix64: the same seed, the same schedule.
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below the bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(u64::try_from(of.len()).unwrap())).unwrap()]
    }
}

struct Sim<'a> {
    stand: &'a dyn Stand,
    abilities: Abilities,
    dice: Dice,
    calls: Calls<'a>,
    model: Model,
    skew_ms: [i64; NODES],
    now_ms: u64,
    seen: Seen,
}

/// Runs one schedule.
///
/// # Errors
/// What the counter did that the limits don't mean.
pub async fn schedule(stand: &dyn Stand, abilities: Abilities, seed: u64) -> Result<Seen, String> {
    let mut dice = Dice::new(seed);
    let limits: Vec<_> = (0..=dice.below(4)).map(|_| limit(&mut dice)).collect();
    let calls = Calls::new(stand, &limits);
    let now_ms = BORN_MS + dice.below(50) * 977_777;
    let mut model = Model::new(calls.lines.clone());
    for line in calls.lines.clone().iter().filter(|line| line.window.is_budget()) {
        for _ in 0..dice.below(3) {
            let (at, used) = (now_ms - dice.below(3 * 3_600_000), dice.below(line.cap / 3 + 1));
            stand.write_down(line, &[(at, used)]);
            model.past(line, at, used);
        }
    }
    let (skew_ms, seen) = ([0; NODES], Seen::default());
    let mut sim = Sim { stand, abilities, dice, calls, model, skew_ms, now_ms, seen };
    for step in 0..STEPS {
        let done = sim.step().await;
        if stand.lease().is_some() {
            // What is on its way back to the counter is nobody's.
            stand.settled().await;
        }
        done.and_then(|()| sim.model.within_caps()).map_err(|wrong| {
            format!("seed {seed} step {step}: {wrong}\nlimits {limits:?}\ncalls {:#?}", sim.model.calls)
        })?;
    }
    sim.end().await.map_err(|wrong| format!("seed {seed} at the end: {wrong}\nlimits {limits:?}"))?;
    Ok(sim.seen)
}

fn limit(dice: &mut Dice) -> (Quantity, u64, Window) {
    if dice.below(5) == 0 {
        return (Quantity::Concurrency, 1 + dice.below(8), Window::Now);
    }
    let quantities = [
        Quantity::Requests,
        Quantity::InputTokens,
        Quantity::OutputTokens,
        Quantity::Tokens,
        Quantity::Money,
        Quantity::Money,
    ];
    let windows = [
        Window::Calendar { unit: CalendarUnit::Hour, zone: Tz::Asia__Kathmandu },
        Window::Calendar { unit: CalendarUnit::Day, zone: Tz::Europe__Berlin },
        Window::Rolling { ms: 60_000 },
        Window::Rolling { ms: 3_600_000 },
        Window::Total,
    ];
    let quantity = dice.pick(&quantities);
    let cap = if quantity == Quantity::Requests { 1 + dice.below(20) } else { 20 + dice.below(400) };
    (quantity, cap, dice.pick(&windows))
}

impl Sim<'_> {
    async fn step(&mut self) -> Result<(), String> {
        match self.dice.below(20) {
            0..=5 => self.reserve(1).await,
            6 | 7 => {
                let many = 2 + self.dice.below(12);
                self.reserve(many).await
            }
            8..=10 => self.extend().await,
            11..=13 => self.settle().await,
            14 => self.ask_again().await,
            15 => self.crash(),
            16 | 17 => self.pass().await,
            18 => {
                let node = self.node();
                self.skew_ms[node] = self.dice.pick(self.abilities.skews);
                Ok(())
            }
            _ => self.restart(),
        }
    }

    /// Calls that come at the same moment and ask for the same: exactly as many pass as there is room for.
    async fn reserve(&mut self, many: u64) -> Result<(), String> {
        let node = self.node();
        let born_ms = self.now_ms.saturating_add_signed(self.skew_ms[node]);
        let amounts = amounts(&mut self.dice, if many > 1 { 20 } else { 80 }, 1);
        let asks: Vec<Ask> =
            (0..many).map(|_| Ask { ttl: self.abilities.ttl, ..self.calls.ask(amounts, born_ms) }).collect();
        let counter = self.stand.counter();
        let answers = join_all(asks.iter().map(|ask| counter.reserve(ask))).await;
        // The order in which they came is the counter's own; the granted ones are counted first.
        let (granted, refused): (Vec<_>, Vec<_>) =
            asks.into_iter().zip(answers).partition(|(_, answer)| answer.is_ok());
        for (ask, _) in granted {
            if let Some(full) = self.model.full(&ask.budgets, born_ms, Wants::Begin) {
                return Err(format!("{amounts:?} born at {born_ms} was granted above {full:?}"));
            }
            self.model.calls.push(Call::new(ask, node, self.model.passed_ms));
            self.seen.granted += 1;
        }
        for (ask, answer) in refused {
            self.refused(&ask, &answer.err(), many - 1)?;
            self.seen.refused += 1;
        }
        Ok(())
    }

    /// A refusal is right where some limit has no room, names one of those, and tells a wait that is true.
    fn refused(&self, ask: &Ask, refused: &Option<NotGranted>, others: u64) -> Result<(), String> {
        let Some(NotGranted::Exceeded(exceeded)) = refused else {
            return Err(format!("unavailable: {refused:?}"));
        };
        let Some(full) = self.model.full_but_leased(&exceeded.level, &ask.budgets, ask.born_ms, Wants::Begin, others)
        else {
            return Err(format!(
                "{:?} born at {} was refused in spite of room: {exceeded:?}",
                ask.budgets, ask.born_ms
            ));
        };
        if exceeded.too_large != (full.amount > full.cap) {
            return Err(format!("too large or not: {exceeded:?} {full:?}"));
        }
        // Where a clock goes ahead, others have been before it.
        let is_last = self.model.is_last(ask.born_ms);
        // With leases, one that is refused for what others draw may come before one that is granted.
        let is_settled = others == 0 || self.stand.lease().is_none();
        let Some(wait) = exceeded.retry_after.filter(|_| is_last && is_settled) else { return Ok(()) };
        let later = ask.born_ms + u64::try_from(wait.as_millis()).unwrap();
        match self.model.full(&ask.budgets, later, Wants::Grow) {
            Some(full) => Err(format!("after {wait:?} still {full:?}")),
            None => Ok(()),
        }
    }

    async fn extend(&mut self) -> Result<(), String> {
        let Some(at) = self.any(|call| call.life != Life::Settled) else { return Ok(()) };
        let more = if self.dice.below(3) == 0 { Amounts::default() } else { amounts(&mut self.dice, 40, 0) };
        let call = &self.model.calls[at];
        let (ask, revives) = (call.ask.clone(), call.is_expired(self.model.passed_ms));
        let answer = self.stand.counter().extend(&ask, &more).await;
        let full = self.model.full(&more, ask.born_ms, if revives { Wants::Revive } else { Wants::Grow });
        match answer {
            Ok(()) if full.is_some() => Err(format!("grew by {more:?} above {full:?}")),
            Ok(()) => {
                let passed_ms = self.model.passed_ms;
                self.model.calls[at].grow(&more, passed_ms);
                self.seen.extended += 1;
                Ok(())
            }
            Err(NotGranted::Exceeded(exceeded))
                if full.is_some()
                    || self.model.full_but_leased(&exceeded.level, &more, ask.born_ms, Wants::Grow, 0).is_some() =>
            {
                Ok(())
            }
            Err(why) => Err(format!("did not grow by {more:?} in spite of room: {why:?}")),
        }
    }

    async fn settle(&mut self) -> Result<(), String> {
        // Now and then a settlement is told twice, or corrected.
        let again = self.dice.below(8) == 0;
        let Some(at) = self.any(|call| again || call.life != Life::Settled) else { return Ok(()) };
        let held = self.model.calls[at].held;
        let percent = if self.dice.below(15) == 0 { 100 + self.dice.below(60) } else { self.dice.below(101) };
        let part = |held: u64| held * percent / 100;
        let used = Amounts {
            requests: held.requests,
            input_tokens: part(held.input_tokens),
            output_tokens: part(held.output_tokens),
            nano: part(held.nano),
        };
        self.stand.counter().settle(&self.model.calls[at].ask, &held, &used);
        self.model.settle(at, used);
        self.stand.settled().await;
        Ok(())
    }

    /// An answer was lost: the call asks again, gets the same one, and holds nothing more.
    async fn ask_again(&mut self) -> Result<(), String> {
        let Some(at) = self.any(|_| true) else { return Ok(()) };
        let call = &self.model.calls[at];
        let ask = call.ask.clone();
        let answer: Result<Granted, NotGranted> = self.stand.counter().reserve(&ask).await;
        if call.life == Life::Settled {
            // Whatever it hears, it may take nothing.
            return Ok(());
        }
        let wants = if call.is_expired(self.model.passed_ms) { Wants::Revive } else { Wants::Grow };
        let full = self.model.full(&Amounts::default(), ask.born_ms, wants);
        match answer {
            Ok(_) if full.is_some() => Err(format!("lives again above {full:?}")),
            Ok(_) => {
                let passed_ms = self.model.passed_ms;
                self.model.calls[at].grow(&Amounts::default(), passed_ms);
                Ok(())
            }
            Err(NotGranted::Exceeded(_)) if full.is_some() => Ok(()),
            Err(why) => Err(format!("asked again and refused: {why:?}")),
        }
    }

    /// A node dies: nobody settles or renews its calls any more.
    fn crash(&mut self) -> Result<(), String> {
        let node = self.node();
        for call in self.model.calls.iter_mut().filter(|call| call.node == node && call.life == Life::Running) {
            call.life = Life::Lost;
            self.seen.crashed += 1;
        }
        Ok(())
    }

    async fn pass(&mut self) -> Result<(), String> {
        let longest = self.dice.pick(&[500, 5_000, 40_000, 2_000_000]);
        let ms = 1 + self.dice.below(longest);
        let live = |model: &Model| model.calls.iter().filter(|call| call.is_live(model.passed_ms)).count();
        let before = live(&self.model);
        self.now_ms += ms;
        self.model.passed_ms += ms;
        self.seen.expired += u64::try_from(before - live(&self.model)).unwrap();
        self.stand.pass(Duration::from_millis(ms)).await;
        Ok(())
    }

    /// Every count is lost. The journal ends what ran at what it held, and the book knows all of it.
    fn restart(&mut self) -> Result<(), String> {
        if !self.abilities.restarts || self.dice.below(3) > 0 {
            return Ok(());
        }
        for call in std::mem::take(&mut self.model.calls) {
            for line in self.calls.lines.iter().filter(|line| line.window.is_budget()) {
                let used = call.charged().of(line.quantity);
                self.stand.write_down(line, &[(call.ask.born_ms, used)]);
                self.model.past(line, call.ask.born_ms, used);
            }
        }
        self.stand.restart();
        self.seen.restarts += 1;
        Ok(())
    }

    /// What is left is the cap less what was used and is held: nothing was lost on the way.
    async fn end(&mut self) -> Result<(), String> {
        self.stand.counter().finish();
        self.stand.settled().await;
        for line in self.calls.lines.clone().iter().filter(|line| line.window.is_budget()) {
            let (cap, committed) = (i128::from(line.cap), self.model.fullest(line, self.now_ms));
            let left = u64::try_from((cap - committed).max(0)).unwrap();
            let alone = Calls { stand: self.stand, org: self.calls.org.clone(), lines: Arc::new([line.clone()]) };
            let of = |amount| alone.ask(Amounts::only(line.quantity, amount), self.now_ms);
            let counter = self.stand.counter();
            if counter.reserve(&of(left + 1)).await.is_ok() {
                return Err(format!("{} more than the {left} that were left of {line:?} was granted", left + 1));
            }
            if committed <= cap && counter.reserve(&of(left)).await.is_err() {
                return Err(format!("the {left} that were left of {line:?} were refused"));
            }
        }
        Ok(())
    }

    fn node(&mut self) -> usize {
        usize::try_from(self.dice.next()).unwrap() % NODES
    }

    fn any(&mut self, fits: impl Fn(&Call) -> bool) -> Option<usize> {
        let places: Vec<_> = (0..self.model.calls.len()).filter(|at| fits(&self.model.calls[*at])).collect();
        (!places.is_empty()).then(|| self.dice.pick(&places))
    }
}

fn amounts(dice: &mut Dice, most: u64, requests: u64) -> Amounts {
    let mut some = || dice.below(most + 1);
    Amounts { requests, input_tokens: some(), output_tokens: some(), nano: some() }
}

/// Runs the schedules of these seeds one after the other.
///
/// # Errors
/// The first thing that went wrong.
pub async fn schedules(stand: &dyn Stand, abilities: Abilities, seeds: std::ops::Range<u64>) -> Result<Seen, String> {
    let mut seen = Seen::default();
    for seed in seeds {
        seen.add(&schedule(stand, abilities, seed).await?);
    }
    Ok(seen)
}

/// How many schedules a test runs: a few thousand, or as many as the promise speaks of where `WEIR_SOAK` is set.
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's own switch")]
pub fn count() -> u64 {
    if std::env::var_os("WEIR_SOAK").is_some() { 100_000 } else { 2_000 }
}

#[cfg(test)]
mod tests;
