//! Calls whose limits lease: what they want is drawn from this gateway's leases, and only the rest is asked of Redis.

use super::lease::{self, Draw, Drawn, Key, Leases, Told};
use super::queue::Job;
use super::{Failed, GivenUp, RedisCounter, Take, outage};
use crate::exchange::CallId;
use crate::limits::counter::{Ask, Granted, HOLD_OVER, Line, NotGranted};
use crate::limits::quantity::Amounts;
use crate::telemetry::metric::limits as metric;

/// What is drawn and not yet the call's: dropped, it goes back.
struct Drawing<'a> {
    counter: &'a RedisCounter,
    drawn: Vec<Drawn>,
}

impl Drop for Drawing<'_> {
    fn drop(&mut self) {
        if !self.drawn.is_empty() {
            self.counter.tell(|leases| leases.undo(&self.drawn));
        }
    }
}

impl RedisCounter {
    /// A call with lines that lease: every one of them, then the rest, or none.
    pub(super) async fn reserve_leased(&self, ask: &Ask, lines: &[Line], rest: Ask) -> Result<Granted, NotGranted> {
        if self.leases.rest(ask.call).is_some() {
            return self.reserve_again(ask).await;
        }
        let mut drawing = match self.draw_all(ask, lines, &ask.budgets).await {
            Ok(drawing) => drawing,
            // Who is refused hears of all limits that have no room, and the longest wait: Redis is asked about all.
            Err(Failed::Not(NotGranted::Exceeded(_))) => return self.reserve_exact(ask).await,
            Err(Failed::Not(not @ NotGranted::Unavailable { .. })) => return Err(not),
            // Each line's own rule holds then.
            Err(Failed::Away(_)) => return self.reserve_exact(ask).await,
        };
        let granted = self.reserve_exact(&rest).await?;
        self.leases.begin(ask.call, std::mem::take(&mut drawing.drawn), rest);
        Ok(granted)
    }

    /// A call that asks again has what it has.
    async fn reserve_again(&self, ask: &Ask) -> Result<Granted, NotGranted> {
        let Some(rest) = self.leases.rest(ask.call).filter(|_| self.leases.lines(ask.call).is_some()) else {
            return Err(NotGranted::Unavailable { why: HOLD_OVER });
        };
        self.reserve_exact(&rest).await
    }

    /// Draws more for a call that drew before.
    pub(super) async fn extend_leased(&self, ask: &Ask, more: &Amounts, lines: &[Line]) -> Result<(), NotGranted> {
        let Some(rest) = self.leases.rest(ask.call) else {
            return Err(NotGranted::Unavailable { why: "hold_unknown" });
        };
        let growing: Vec<Line> = lines.iter().filter(|line| more.of(line.quantity) > 0).cloned().collect();
        let mut drawing = match self.draw_all(ask, &growing, more).await {
            Ok(drawing) => Some(drawing),
            Err(Failed::Not(not)) => return Err(not),
            Err(Failed::Away(away)) if growing.iter().any(outage::refuses) => {
                return Err(NotGranted::Unavailable { why: away.code() });
            }
            Err(Failed::Away(_)) => None,
        };
        self.extend_exact(&rest, more).await?;
        if let Some(drawing) = drawing.as_mut() {
            self.leases.grow(ask.call, std::mem::take(&mut drawing.drawn));
        }
        Ok(())
    }

    async fn draw_all(&self, ask: &Ask, lines: &[Line], amounts: &Amounts) -> Result<Drawing<'_>, Failed> {
        let mut drawing = Drawing { counter: self, drawn: Vec::with_capacity(lines.len()) };
        for line in lines {
            let draw = self.draw(ask, line, amounts.of(line.quantity)).await?;
            drawing.drawn.push(Drawn { line: line.clone(), draws: vec![draw] });
        }
        Ok(drawing)
    }

    async fn draw(&self, ask: &Ask, line: &Line, amount: u64) -> Result<Draw, Failed> {
        let key = Key::of(line, ask.born_ms);
        if let Some(draw) = self.leases.draw(&key, amount) {
            return Ok(draw);
        }
        let _turn = self.leases.turn(&key).lock().await;
        if let Some(draw) = self.leases.draw(&key, amount) {
            return Ok(draw);
        }
        self.tell(|leases| leases.close_of(&key).into_iter().collect());
        let slice = line.lease.map_or(0, std::num::NonZeroU64::get);
        let taken = self.lease(ask, line, &key, (slice.max(amount), amount)).await;
        match taken {
            // Where a slice does not fit any more: what the call itself wants.
            Err(Failed::Not(NotGranted::Exceeded(_))) if slice > amount => {
                self.lease(ask, line, &key, (amount, amount)).await
            }
            other => other,
        }
    }

    /// Takes a lease of so much, and draws so much from it.
    async fn lease(&self, ask: &Ask, line: &Line, key: &Key, sizes: (u64, u64)) -> Result<Draw, Failed> {
        let (size, _) = sizes;
        let Some(place) = self.queue.place() else {
            return Err(Failed::Not(NotGranted::Unavailable { why: "settlements_full" }));
        };
        let budgets = Amounts::only(line.quantity, size);
        let own = Ask {
            call: lease::new_id(ask.born_ms),
            lines: [line.clone()].into(),
            rates: Amounts::default(),
            budgets,
            ..ask.clone()
        };
        let given_up = GivenUp { job: Some((place, Job { ask: own.clone(), used: Amounts::default() })) };
        match self.take(&own, Take::Reserve, &budgets).await {
            Ok(_) => {
                metric::lease("taken");
                let place = given_up.keep();
                Ok(self.leases.open(key, own, place, sizes))
            }
            Err(Failed::Not(not)) => {
                metric::lease("refused");
                given_up.forget();
                Err(Failed::Not(not))
            }
            Err(Failed::Away(away)) => {
                if !away.may_have_happened() {
                    given_up.forget();
                }
                Err(Failed::Away(away))
            }
        }
    }

    /// Tells Redis of leases that were closed, and of what closed ones used: in the order in which that changed, since
    /// of two that are told of one lease the later counts.
    pub(super) fn tell(&self, change: impl FnOnce(&Leases) -> Vec<Told>) {
        let _order = self.leases.order();
        for (place, job) in change(&self.leases) {
            metric::lease("told");
            match place {
                Some(place) => self.queue.put(place, job),
                None => self.queue.put_late(job),
            }
        }
    }

    /// Ends a call's draws; `None` where it drew nothing.
    pub(super) fn end_leased(&self, call: CallId, used: &Amounts) -> Option<Ask> {
        let mut ended = None;
        self.tell(|leases| {
            let (rest, told) = leases.end(call, used).unzip();
            ended = rest;
            told.unwrap_or_default()
        });
        ended
    }
}
