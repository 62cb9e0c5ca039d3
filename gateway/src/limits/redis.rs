//! The counter that several gateways share, in Redis: one script and one round trip for a whole reservation.
//!
//! ```text
//!   reserve ──► take.lua ──► all lines or none                   no answer ──► each line's rule: refuse, count here,
//! pass
//!                  │
//!                  └─ unseeded ──► the ledger says what was used ──► seed.lua ──► once more
//!   settle ──► a queue whose place was taken by reserve ──► settle.lua, again and again until it is told
//! ```
//!
//! A hold is known by its call's id, on this side and in Redis: everything may be told twice. What Redis loses is read
//! from the ledger again, and a running call's next renewal puts its hold back. What a gateway that was killed holds
//! there its next start settles ([`lost`]). Redis must not evict (`maxmemory-policy
//! noeviction`); without persistence a restart costs one question to the ledger for each budget.
//!
//! Start at [`RedisCounter`]; `script/take.lua` decides.

mod answer;
mod breaker;
mod draw;
mod lease;
mod link;
mod live;
mod lost;
mod outage;
mod queue;
mod script;
mod seed;
mod seen;
pub mod settings;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use redis::RedisResult;

use super::counter::{Ask, Counter, Granted, Line, NotGranted, Spent};
use super::exceeded::Remaining;
use super::quantity::Amounts;
use super::turns::Turns;
use super::window::Span;
use crate::clock;
use crate::exchange::CallId;
use crate::telemetry::metric::limits as metric;
use answer::{Answer, asked, grown, too_large};
use lease::Leases;
pub use link::Away;
use link::Link;
use live::{Held, Lives};
pub use queue::Work;
use queue::{Job, Queue};
use script::{Place, Scripts, Take};
use settings::RedisSettings;

/// How often one call asks for a past that others change meanwhile.
const SEED_ROUNDS_MAX: usize = 8;
/// Organisations that are known to be enlisted; at the bound all are forgotten and enlisted again by and by.
const ORGS_MAX: usize = 65_536;

/// Whose time counts.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The server's own, so that the clocks of gateways don't matter.
    Server,
    /// Microseconds that somebody sets.
    Given(Arc<AtomicU64>),
}

/// Counts in Redis.
pub struct RedisCounter {
    shared: Arc<Shared>,
    lives: Lives,
    queue: Queue,
    turns: Turns,
    seen: seen::Seen,
    leases: Leases,
    spent: Arc<dyn Spent>,
    local: Arc<dyn Counter>,
    settings: RedisSettings,
    /// Organisations that this gateway is named for as one that counts their calls.
    enlisted: Mutex<HashSet<Arc<str>>>,
}

/// What the counter and its work behind the scenes have in common.
struct Shared {
    link: Link,
    scripts: Scripts,
    clock: Clock,
    prefix: Arc<str>,
    /// The gateway's name, which its next start has too.
    node: Arc<str>,
    /// This start's own.
    start: Arc<str>,
}

/// Why no hold was taken or changed.
enum Failed {
    Not(NotGranted),
    Away(Away),
}

impl RedisCounter {
    /// Connects to nothing yet. `spent` tells what was used of a budget before it was counted here, `local` counts
    /// while Redis is away. `node` is the gateway's name, whose next start settles what this one can't. The work has to
    /// run as long as the counter is used.
    ///
    /// # Errors
    /// A URL or certificate makes no sense.
    pub fn new(
        settings: RedisSettings,
        time: Clock,
        spent: Arc<dyn Spent>,
        local: Arc<dyn Counter>,
        node: &str,
    ) -> RedisResult<(Arc<Self>, Work)> {
        let prefix = Arc::clone(&settings.prefix);
        let (node, start) = (node.into(), CallId::at(clock::unix_ms()).0.as_simple().to_string().into());
        let link = Link::new(&settings)?;
        let shared = Arc::new(Shared { link, scripts: Scripts::new(), clock: time, prefix, node, start });
        let (queue, work) = queue::new(Arc::clone(&shared), settings.flush_max);
        let (lives, turns, seen) = (Lives::default(), Turns::default(), seen::Seen::default());
        let (enlisted, leases) = (Mutex::default(), Leases::default());
        let counter = Self { shared, lives, queue, turns, seen, leases, spent, local, settings, enlisted };
        Ok((Arc::new(counter), work))
    }

    /// Connects for the first time. Where that fails the work goes on trying, and until then every line's own rule
    /// holds.
    ///
    /// # Errors
    /// Redis can't be reached, or can't be written.
    pub async fn start(&self) -> Result<(), Away> {
        self.shared.link.start().await
    }

    /// Waits until everything that was settled before is told; for tests, and for a refusal that it may prevent.
    pub async fn told(&self) {
        self.queue.told().await;
    }

    /// Whether Redis isn't asked at the moment.
    pub fn is_degraded(&self) -> bool {
        self.shared.link.is_open()
    }

    /// Takes a hold in Redis, or brings it to `budgets`.
    async fn take(&self, ask: &Ask, take: Take, budgets: &Amounts) -> Result<Granted, Failed> {
        for _ in 0..SEED_ROUNDS_MAX {
            self.enlist(ask).await?;
            let unseeded = match self.once(ask, take, budgets).await? {
                Answer::Granted(granted, left) => {
                    self.seen.keep(ask, left);
                    return Ok(granted);
                }
                Answer::Full(exceeded) => return Err(Failed::Not(exceeded.into())),
                Answer::Over => return Err(Failed::Not(NotGranted::Unavailable { why: "hold_over" })),
                Answer::Unseeded(unseeded) => unseeded,
            };
            // Redis may have lost its data, and this with it.
            self.enlisted.lock().remove(&ask.org);
            self.seed(ask, &unseeded).await?;
        }
        Err(Failed::Not(NotGranted::Unavailable { why: "ledger_moving" }))
    }

    /// Once for each organisation, before its first hold: whose holds to look for after a kill.
    async fn enlist(&self, ask: &Ask) -> Result<(), Away> {
        if self.enlisted.lock().contains(&ask.org) {
            return Ok(());
        }
        self.shared.enlist(&ask.org).await?;
        let mut enlisted = self.enlisted.lock();
        if enlisted.len() >= ORGS_MAX {
            enlisted.clear();
        }
        enlisted.insert(Arc::clone(&ask.org));
        Ok(())
    }

    /// One round trip. A refusal while settlements wait to be told may be none: they give something back.
    async fn once(&self, ask: &Ask, take: Take, budgets: &Amounts) -> Result<Answer, Failed> {
        // Told while the script ran, they may have come after it.
        let had_untold = self.queue.has_untold();
        let first = self.shared.take(ask, take, budgets).await?;
        let Answer::Full(_) = first else { return Ok(first) };
        let has_untold = had_untold || self.queue.has_untold();
        if !has_untold || tokio::time::timeout(self.settings.timeout, self.told()).await.is_err() {
            return Ok(first);
        }
        self.shared.take(ask, take, budgets).await
    }

    /// What `reserve` does once a place among the settlements is kept.
    async fn begin(&self, ask: &Ask) -> Result<(Granted, Option<Ask>), Failed> {
        match self.take(ask, Take::Reserve, &ask.budgets).await {
            Ok(granted) => Ok((granted, None)),
            Err(Failed::Not(not)) => Err(Failed::Not(not)),
            Err(Failed::Away(away)) => self.begin_without(ask, away).await,
        }
    }

    /// What each line says for that case.
    async fn begin_without(&self, ask: &Ask, away: Away) -> Result<(Granted, Option<Ask>), Failed> {
        let Some(without) = outage::without(ask, self.settings.nodes) else {
            metric::fallback("refuse");
            return Err(Failed::Away(away));
        };
        let mut granted = Granted::default();
        if let Some(local) = &without.local {
            metric::fallback("local");
            granted = self.local.reserve(local).await.map_err(Failed::Not)?;
        }
        if without.allows {
            metric::fallback("allow");
        }
        granted.degraded.extend(without.names());
        Ok((granted, without.local))
    }

    /// While Redis is away, a hold grows as its lines say. To renew alone needs nobody's leave.
    async fn extend_without(&self, ask: &Ask, more: &Amounts, away: Away) -> Result<(), NotGranted> {
        if let Some(local) = self.lives.local(ask.call) {
            return self.local.extend(&local, more).await;
        }
        let refuses = ask.lines.iter().any(|line| outage::refuses(line) && grown(more, line) > 0);
        if refuses {
            metric::fallback("refuse");
            return Err(NotGranted::Unavailable { why: away.code() });
        }
        Ok(())
    }
}

impl RedisCounter {
    /// Takes a hold in Redis at every line, or at none.
    async fn reserve_exact(&self, ask: &Ask) -> Result<Granted, NotGranted> {
        if ask.lines.is_empty() {
            return Ok(Granted::default());
        }
        let Some(place) = self.queue.place() else {
            return Err(NotGranted::Unavailable { why: "settlements_full" });
        };
        // From here on a call that is given up is told to Redis as one that used nothing.
        let given_up = GivenUp { job: Some((place, Job { ask: ask.clone(), used: Amounts::default() })) };
        match self.begin(ask).await {
            Ok((granted, local)) => {
                if let Some(place) = given_up.keep() {
                    self.lives.begin(ask.call, Held { place, budgets: ask.budgets, local });
                }
                Ok(granted)
            }
            Err(Failed::Not(not)) => {
                given_up.forget();
                Err(not)
            }
            Err(Failed::Away(away)) => {
                if !away.may_have_happened() {
                    given_up.forget();
                }
                Err(NotGranted::Unavailable { why: away.code() })
            }
        }
    }

    async fn extend_exact(&self, ask: &Ask, more: &Amounts) -> Result<(), NotGranted> {
        if ask.lines.is_empty() {
            return Ok(());
        }
        let Some(held) = self.lives.held(ask.call) else {
            return Err(NotGranted::Unavailable { why: "hold_unknown" });
        };
        // What is asked for is the whole: told twice, it is the same.
        let whole = held.plus(more);
        match self.take(ask, Take::Extend, &whole).await {
            Ok(_) => {}
            Err(Failed::Not(not)) => return Err(not),
            Err(Failed::Away(away)) => self.extend_without(ask, more, away).await?,
        }
        self.lives.grow(ask.call, whole);
        Ok(())
    }

    fn settle_exact(&self, ask: &Ask, used: &Amounts) {
        if ask.lines.is_empty() {
            return;
        }
        let job = Job { ask: ask.clone(), used: *used };
        match self.lives.end(ask.call) {
            Some(held) => {
                if let Some(local) = &held.local {
                    self.local.settle(local, &held.budgets, used);
                }
                self.queue.put(held.place, job);
            }
            // Told again, or by the next start of its gateway.
            None => self.queue.put_late(job),
        }
    }
}

#[async_trait]
impl Counter for RedisCounter {
    async fn reserve(&self, ask: &Ask) -> Result<Granted, NotGranted> {
        if let Some(exceeded) = too_large(ask, |line| asked(ask, line)) {
            return Err(exceeded.into());
        }
        match lease::split(ask) {
            Some((leased, rest)) if self.leases.has_room() => self.reserve_leased(ask, &leased, rest).await,
            Some(_) | None => self.reserve_exact(ask).await,
        }
    }

    async fn extend(&self, ask: &Ask, more: &Amounts) -> Result<(), NotGranted> {
        if let Some(exceeded) = too_large(ask, |line| grown(more, line)) {
            return Err(exceeded.into());
        }
        match self.leases.lines(ask.call) {
            Some(leased) => self.extend_leased(ask, more, &leased).await,
            None => self.extend_exact(ask, more).await,
        }
    }

    fn settle(&self, ask: &Ask, _held: &Amounts, used: &Amounts) {
        match self.end_leased(ask.call, used) {
            Some(rest) => self.settle_exact(&rest, used),
            None => self.settle_exact(ask, used),
        }
    }

    fn remaining(&self, _org: &str, lines: &[Line], _born_ms: u64) -> Remaining {
        self.seen.remaining(lines)
    }

    fn sweep(&self) {
        self.tell(|leases| leases.sweep(false));
        metric::leases(self.leases.count());
        self.local.sweep();
    }

    fn finish(&self) {
        self.tell(|leases| leases.sweep(true));
    }

    fn tracked(&self) -> usize {
        self.seen.count().saturating_add(self.local.tracked())
    }
}

/// A call whose reservation isn't decided yet; dropped, Redis is told that it used nothing.
struct GivenUp {
    job: Option<(queue::Waiting, Job)>,
}

impl GivenUp {
    /// The call has its hold: its place is for its settlement.
    fn keep(mut self) -> Option<queue::Waiting> {
        self.job.take().map(|(place, _)| place)
    }

    /// Redis took nothing.
    fn forget(mut self) {
        self.job = None;
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        if let Some((place, job)) = self.job.take() {
            place.put(job);
        }
    }
}

impl Shared {
    fn place(&self) -> Place<'_> {
        let now_us = match &self.clock {
            Clock::Server => 0,
            Clock::Given(us) => us.load(Ordering::Acquire).max(1),
        };
        Place { prefix: &self.prefix, now_us, node: &self.node, start: &self.start }
    }

    async fn take(&self, ask: &Ask, take: Take, budgets: &Amounts) -> Result<Answer, Failed> {
        let script = self.scripts.take(self.place(), ask, take, budgets);
        let answer = match self.link.ask(&script).await {
            Ok(words) => answer::read(ask, &words).ok_or(Away::Strange),
            Err(away) => Err(away),
        };
        metric::asked(match &answer {
            Ok(Answer::Granted(..)) => "granted",
            Ok(Answer::Full(_)) => "exceeded",
            Ok(Answer::Unseeded(_)) => "unseeded",
            Ok(Answer::Over) => "over",
            Err(away) => away.code(),
        });
        answer.map_err(Failed::Away)
    }

    /// Asks about a hold without taking it.
    async fn look(&self, ask: &Ask) -> Result<Answer, Failed> {
        let script = self.scripts.take(self.place(), ask, Take::Look, &ask.budgets);
        let words = self.link.ask(&script).await?;
        answer::read(ask, &words).ok_or(Failed::Away(Away::Strange))
    }

    async fn seed(
        &self,
        ask: &Ask,
        line: &Line,
        span: Span,
        known_from: Option<u64>,
        uses: &[(u64, u64)],
    ) -> Result<(), Away> {
        self.link.ask(&self.scripts.seed(self.place(), ask, line, span, known_from, uses)).await.map(drop)
    }

    async fn settle(&self, job: &Job) -> Result<(), Away> {
        self.link.ask(&self.scripts.settle(self.place(), &job.ask, &job.used)).await.map(drop)
    }

    /// Settles a hold of an earlier start by the lines that it kept.
    async fn end(&self, org: &str, call: CallId, member: &str, lines: &[String], used: &Amounts) -> Result<(), Away> {
        self.link.ask(&self.scripts.end(self.place(), org, call, member, lines, used)).await.map(drop)
    }
}

impl std::fmt::Debug for RedisCounter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisCounter").field("degraded", &self.is_degraded()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
