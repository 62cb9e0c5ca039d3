//! What a reply may still say: the part of the call's hold that covers completion tokens. A stream's part is held in
//! slices and grows while the reply runs; when a budget has no more, the stream ends with a finish reason of its own.
//!
//! The own engine is told what is covered and stops at that token. Elsewhere Weir counts what passes and cuts, so that
//! a stream goes beyond its hold by less than one slice.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use weir_wire::delta::BUDGET_EXHAUSTED;

use super::{End, Talk};
use crate::config::settings::{DeploymentRule, Provider};
use crate::exchange::{Attempt, Books};
use crate::identity::Subject;
use crate::limits::counter::NotGranted;
use crate::limits::estimate::Estimate;
use crate::limits::quantity::Amounts;
use crate::limits::{Asked, Limits, Renewer, Reservation};
use crate::providers::control;
use crate::refusal::Refusal;
use crate::telemetry::metric;
use crate::usage::price::fare::Fare;
use crate::world::World;

/// Completion tokens of one slice: some seconds of a reply. A smaller one asks shared counters more often, a larger one
/// keeps more of a scarce budget from others.
pub const SLICE_TOKENS: u64 = 256;
/// Pause between two renewals of a hold: two may be missed before it is over.
const RENEWED: Duration = Duration::from_secs(10);
/// Longest wait for the engine to take a larger allowance; it answers between two steps.
const ALLOWANCE_WAIT: Duration = Duration::from_secs(2);

/// What of a reply's completion tokens is covered by the call's hold.
#[derive(Debug)]
pub struct Purse {
    /// Prompt tokens held.
    input: u64,
    /// Completion tokens covered, over all choices.
    covered: u64,
    /// Completion tokens that the call may make at most, over all choices.
    most: u64,
    /// A budget had no more, and the engine was told so.
    is_last: bool,
    /// Attempts that failed whose cost is held beside this.
    failed: usize,
}

/// The money or the tokens of a budget have run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted;

/// What a call asks of its limits, for [`hold`].
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Who calls.
    pub subject: &'a Subject,
    /// What limits may count it by.
    pub asked: &'a Asked<'a>,
    /// What it may use at most.
    pub estimate: &'a Estimate,
    /// Who could serve it.
    pub candidates: &'a [Arc<DeploymentRule>],
    /// At which prices.
    pub fare: Fare<'a>,
    /// Whether a stream was asked for.
    pub stream: bool,
}

impl<'a> Wish<'a> {
    /// A call's wish.
    pub fn new(
        subject: &'a Subject,
        asked: &'a Asked<'a>,
        estimate: &'a Estimate,
        candidates: &'a [Arc<DeploymentRule>],
        fare: Fare<'a>,
        stream: bool,
    ) -> Self {
        Self { subject, asked, estimate, candidates, fare, stream }
    }
}

/// Takes the call's hold: rates in full; budgets in full too, or the prompt and the first slice where it is a stream
/// that can be stopped at the token, or that would not fit otherwise.
///
/// # Errors
/// A limit was reached, or can't be counted.
pub async fn hold(limits: &Limits, world: &World, wish: &Wish<'_>) -> Result<(Reservation, Purse), NotGranted> {
    let (rules, held) = (&world.limits, wish.estimate.held);
    let whole = wish.estimate.amounts();
    let mut purse = Purse { input: held.input, covered: held.output, most: held.output, is_last: false, failed: 0 };
    let reserve = |budgets| limits.reserve(rules, wish.subject, wish.asked, whole, budgets);
    if !wish.stream || held.output <= SLICE_TOKENS || !rules.has_budgets(wish.subject, wish.asked) {
        return Ok((reserve(whole).await?, purse));
    }
    let first = Amounts {
        output_tokens: SLICE_TOKENS,
        nano: wish.fare.dearest(wish.candidates, held.input, SLICE_TOKENS),
        ..whole
    };
    // A provider may think long without a word, which only the whole hold covers; the own engine tells each token.
    let is_own = wish.candidates.iter().all(|rule| rule.provider == Provider::Engine);
    if !is_own {
        match reserve(whole).await {
            Err(NotGranted::Exceeded(exceeded)) if exceeded.is_budget() => {}
            other => return Ok((other?, purse)),
        }
    }
    purse.covered = SLICE_TOKENS;
    Ok((reserve(first).await?, purse))
}

/// Grows the hold in time. Called whenever a part of the reply was read.
///
/// # Errors
/// A budget has no more, and what was covered is used up: the stream has to end.
pub(super) async fn keep(talk: &Talk<'_>, books: &mut Books) -> Result<(), Exhausted> {
    // Out of the books while it works with them; nothing else asks for it meanwhile.
    let Some(mut purse) = books.purse.take() else { return Ok(()) };
    let kept = purse.keep(talk, books).await;
    books.purse = Some(purse);
    kept
}

/// Holds what attempts that failed have cost, beside what is held for the next one.
///
/// # Errors
/// There is not enough for another attempt.
pub(super) async fn cover_failed(books: &mut Books) -> Result<(), Refusal> {
    let (Some(reservation), Some(purse)) = (books.reservation.as_mut(), books.purse.as_mut()) else { return Ok(()) };
    // A round that only waited for a place made no attempt, and those before it are held already.
    let failed = books.attempts.iter().skip(purse.failed).map(Attempt::amounts);
    let cost = failed.fold(Amounts::default(), |sum, cost| sum.plus(&cost));
    if cost != Amounts::default() {
        reservation.extend(cost).await?;
    }
    purse.failed = books.attempts.len();
    Ok(())
}

/// A reply of the own engine that ended at its last allowance was ended by a budget.
pub(super) fn ended(books: &Books, end: End) -> End {
    let reason = books.live.as_ref().and_then(|live| live.meter.finish_reason.as_deref());
    if matches!(end, End::Completed) && reason == Some(BUDGET_EXHAUSTED) { End::Exhausted } else { end }
}

/// Does the work and keeps the hold from expiring meanwhile.
pub(crate) async fn renewing<T>(renewer: Option<Renewer>, work: impl Future<Output = T>) -> T {
    let Some(renewer) = renewer else { return work.await };
    tokio::select! {
        biased;
        done = work => done,
        // Both go on together: the work may hold what the renewal waits for.
        never = renew(&renewer) => match never {},
    }
}

async fn renew(renewer: &Renewer) -> Infallible {
    loop {
        sleep(RENEWED).await;
        // A reply whose end is being written has settled its hold already; what can't be renewed now is tried again.
        match timeout(RENEWED, renewer.renew()).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => tracing::debug!(%why, "a hold was not renewed"),
            Err(_) => tracing::debug!("a hold was not renewed in time"),
        }
    }
}

impl Purse {
    /// Completion tokens covered, over all choices.
    pub fn covered(&self) -> u64 {
        self.covered
    }

    async fn keep(&mut self, talk: &Talk<'_>, books: &mut Books) -> Result<(), Exhausted> {
        let used = books.live.as_ref().map_or(0, |live| live.output_so_far());
        while self.covered < self.most && self.is_due(used) {
            if self.grow(talk, books, used).await.is_err() {
                return self.end(talk, books, used).await;
            }
            self.tell(talk, books, false).await;
        }
        Ok(())
    }

    /// Half a slice ahead, so that no stream ever waits; after a refusal only once more, at the very end.
    fn is_due(&self, used: u64) -> bool {
        let ahead = if self.is_last { 0 } else { SLICE_TOKENS / 2 };
        used.saturating_add(ahead) >= self.covered
    }

    /// By a slice, or what was said at once beyond one; or by a part of one where a budget has no more: it is used to
    /// its last token.
    async fn grow(&mut self, talk: &Talk<'_>, books: &mut Books, used: u64) -> Result<(), NotGranted> {
        let mut refused = Ok(());
        let said = used.saturating_add(SLICE_TOKENS / 2).saturating_sub(self.covered);
        let wanted = (said > SLICE_TOKENS).then_some(said);
        for tokens in wanted.into_iter().chain([SLICE_TOKENS, 64, 16, 4, 1]) {
            refused = self.grow_by(tokens, talk, books).await;
            if !matches!(refused, Err(NotGranted::Exceeded(_))) {
                break;
            }
        }
        refused
    }

    async fn grow_by(&mut self, tokens: u64, talk: &Talk<'_>, books: &mut Books) -> Result<(), NotGranted> {
        let Some(reservation) = books.reservation.as_mut() else { return Ok(()) };
        let next = self.covered.saturating_add(tokens).min(self.most);
        let price = |output| talk.fare().dearest(talk.order, self.input, output);
        let nano = price(next);
        let more = Amounts {
            requests: 0,
            input_tokens: 0,
            output_tokens: next.saturating_sub(self.covered),
            nano: nano.saturating_sub(price(self.covered)),
        };
        reservation.extend(more).await?;
        self.covered = next;
        metric::hold_extended();
        if let Some(live) = books.live.as_mut() {
            live.cover(next);
        }
        let nano = i64::try_from(nano).unwrap_or(i64::MAX);
        let journal = books.journal.as_mut().map(|journal| journal.grow(next, nano));
        match journal {
            Some(Err(_)) => Err(NotGranted::Unavailable { why: "journal_unavailable" }),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// No more: the engine ends at the token by itself, a stream from elsewhere runs to the end of what is covered.
    async fn end(&mut self, talk: &Talk<'_>, books: &mut Books, used: u64) -> Result<(), Exhausted> {
        if !self.is_last {
            self.is_last = true;
            self.tell(talk, books, true).await;
        }
        let is_own = books.live.as_ref().is_some_and(|live| live.deployment.provider == Provider::Engine);
        if is_own || used < self.covered { Ok(()) } else { Err(Exhausted) }
    }

    /// Tells the own engine what is covered now.
    async fn tell(&self, talk: &Talk<'_>, books: &Books, is_last: bool) {
        let Some(live) = books.live.as_ref().filter(|live| live.deployment.provider == Provider::Engine) else {
            return;
        };
        let told = control::allow(&talk.running.transport, &live.deployment, talk.call, self.covered, is_last);
        match timeout(ALLOWANCE_WAIT, told).await {
            Ok(Ok(())) => {}
            // It ends at its allowance then, which is the safe side.
            Ok(Err(fault)) => tracing::warn!(call = %talk.call.0, %fault, "the engine did not take an allowance"),
            Err(_) => tracing::warn!(call = %talk.call.0, "the engine took too long for an allowance"),
        }
    }
}
