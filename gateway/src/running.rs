//! State that outlives every World: counters, holds, health, pools, keys, the journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::admin::Sessions;
use crate::identity::directory::Directories;
use crate::identity::dpop::replay::Replays;
use crate::identity::issuers::Issuers;
use crate::identity::keyring::Keyring;
use crate::identity::own_tokens::OwnTokens;
use crate::identity::token_endpoint::throttle::Throttle;
use crate::journal::Journal;
use crate::limits::Limits;
use crate::policy::Pushed;
use crate::policy::bundle::Bundles;
use crate::policy::decision_log::DecisionLog;
use crate::providers::Transport;
use crate::routing::stored::Stored;
use crate::routing::{Health, Queues, RetryBudget};
use crate::store::Store;
use crate::world::World;

/// Everything that a reload must not lose.
pub struct Running {
    /// The World that new calls are born into.
    pub world: ArcSwap<World>,
    /// Data that was pushed to the policy. Whoever builds another World holds it until that World is there.
    pub pushed: tokio::sync::Mutex<Pushed>,
    /// Policy bundles: those that decide, and those that were.
    pub bundles: Bundles,
    /// Openings and closings.
    pub journal: Journal,
    /// What is kept of decisions.
    pub decisions: DecisionLog,
    /// Keys, usage rows, the audit head.
    pub store: Store,
    /// Keys in memory.
    pub keyring: Keyring,
    /// Issuers' keys, and tokens that were proven lately.
    pub issuers: Issuers,
    /// Keys for Weir's own tokens, and such tokens that were proven lately.
    pub own_tokens: OwnTokens,
    /// How often tokens were asked for.
    pub token_requests: Throttle,
    /// How often requests came without a valid credential.
    pub strangers: Throttle,
    /// Proofs of possession that were used lately.
    pub replays: Replays,
    /// Users and groups that identity providers told of.
    pub directories: Directories,
    /// Limits' counters.
    pub limits: Limits,
    /// Responses that providers keep.
    pub stored: Stored,
    /// Cool-downs.
    pub health: Health,
    /// The purse of retries.
    pub retries: RetryBudget,
    /// Lines in front of busy deployments.
    pub queues: Queues,
    /// Places of those who count long prompts.
    pub counting: crate::usage::tokens::pool::Pool,
    /// Connections to upstreams.
    pub transport: Transport,
    /// People who are signed in on the finance page.
    pub sessions: Sessions,
    /// Calls that are running.
    pub in_flight: Flights,
    /// Set when the process is about to stop: new calls are refused.
    pub draining: AtomicBool,
    /// Whether every listener takes connections.
    pub listening: AtomicBool,
    /// Whether the own engine is ready; true where there is none.
    pub engine_ready: AtomicBool,
    /// Revisions given out so far.
    pub revisions: AtomicU64,
}

/// Counts the calls that are running, and tells when the last one ended.
#[derive(Debug, Default, Clone)]
pub struct Flights(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    calls: AtomicUsize,
    ended: Notify,
}

/// One running call; dropping it ends it.
#[derive(Debug)]
pub struct InFlight(Arc<Counted>);

impl Flights {
    /// One more call.
    pub fn enter(&self) -> InFlight {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        InFlight(self.0.clone())
    }

    /// Calls that are running.
    pub fn count(&self) -> usize {
        self.0.calls.load(Ordering::Relaxed)
    }

    /// Waits until none is running, for at most `wait`. Gives the number that still is.
    pub async fn drained(&self, wait: Duration) -> usize {
        let all_ended = async {
            loop {
                let ended = self.0.ended.notified();
                if self.count() == 0 {
                    return;
                }
                ended.await;
            }
        };
        match tokio::time::timeout(wait, all_ended).await {
            Ok(()) => 0,
            Err(_) => self.count(),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.calls.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn draining_ends_with_the_last_call_and_not_later() {
        let flights = Flights::default();
        let (first, second) = (flights.enter(), flights.enter());
        assert_eq!(flights.drained(Duration::from_secs(1)).await, 2);
        drop(first);
        let begun = tokio::time::Instant::now();
        let ended = tokio::join!(flights.drained(Duration::from_secs(60)), async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(second);
        });
        assert_eq!(ended.0, 0);
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
    }
}
