//! The holds of calls, and when those end that nobody renews.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use crate::exchange::CallId;
use crate::limits::counter::{Ask, Line};
use crate::limits::quantity::Amounts;

/// Holds that run in one shard at the same time: an organisation's calls. About 200 bytes each; far above what one
/// process serves, and at the bound a call is refused.
const LIVE_MAX: usize = 262_144;
/// Holds that are over but remembered in one shard, for late and doubled settlements: those of some seconds of a busy
/// organisation. About 200 bytes each.
const OVER_MAX: usize = 4_096;

/// Where a hold is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Live,
    /// Not renewed in time. Charged in full until it is settled.
    Expired,
    Settled,
}

/// What one call holds.
#[derive(Debug, Clone)]
pub(super) struct Hold {
    pub(super) lines: Arc<[Line]>,
    pub(super) born_ms: u64,
    /// Charged to rates.
    pub(super) rates: Amounts,
    /// Charged to budgets.
    pub(super) budgets: Amounts,
    pub(super) life: Life,
    pub(super) expires_ns: u64,
}

/// Every hold of one shard.
#[derive(Debug, Default)]
pub(super) struct Holds {
    holds: HashMap<CallId, Hold>,
    /// When holds end; a renewed hold has its old entry until that is due. At most twice the live ones and some.
    ends: BinaryHeap<Reverse<(u64, CallId)>>,
    /// Holds that are over, oldest first.
    over: VecDeque<CallId>,
    live: usize,
}

impl Holds {
    pub(super) fn life(&self, call: CallId) -> Option<Life> {
        self.holds.get(&call).map(|hold| hold.life)
    }

    pub(super) fn get(&self, call: CallId) -> Option<&Hold> {
        self.holds.get(&call)
    }

    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Holds and ends that are in memory, whichever are more.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.holds.len().max(self.ends.len())
    }

    pub(super) fn is_full(&self) -> bool {
        self.live >= LIVE_MAX
    }

    pub(super) fn begin(&mut self, ask: &Ask, now_ns: u64) {
        let expires_ns = expiry(ask, now_ns);
        let hold = Hold {
            lines: Arc::clone(&ask.lines),
            born_ms: ask.born_ms,
            rates: ask.rates,
            budgets: ask.budgets,
            life: Life::Live,
            expires_ns,
        };
        self.holds.insert(ask.call, hold);
        self.live = self.live.saturating_add(1);
        self.ends.push(Reverse((expires_ns, ask.call)));
        if self.ends.len() > self.live.saturating_mul(2).saturating_add(OVER_MAX) {
            let holds = &self.holds;
            self.ends.retain(|Reverse((_, call))| holds.get(call).is_some_and(|hold| hold.life == Life::Live));
        }
    }

    /// Adds to the hold and renews it; an expired one lives again.
    pub(super) fn grow(&mut self, ask: &Ask, more: &Amounts, now_ns: u64) {
        let Some(hold) = self.holds.get_mut(&ask.call) else { return };
        hold.budgets = hold.budgets.plus(more);
        hold.expires_ns = expiry(ask, now_ns);
        if hold.life == Life::Expired {
            hold.life = Life::Live;
            self.live = self.live.saturating_add(1);
            self.ends.push(Reverse((hold.expires_ns, ask.call)));
        }
    }

    /// Puts the ended hold in the place of the one that ran.
    pub(super) fn end(&mut self, call: CallId, ended: Hold) {
        match self.holds.insert(call, ended).map(|before| before.life) {
            Some(Life::Live) => {
                self.live = self.live.saturating_sub(1);
                self.remember(call);
            }
            Some(Life::Expired | Life::Settled) | None => {}
        }
    }

    /// The next hold that is due, now expired.
    pub(super) fn expired(&mut self, now_ns: u64) -> Option<Hold> {
        while let Some(Reverse((due_ns, call))) = self.ends.peek().copied() {
            if due_ns > now_ns {
                return None;
            }
            self.ends.pop();
            let Some(hold) = self.holds.get_mut(&call).filter(|hold| hold.life == Life::Live) else { continue };
            if hold.expires_ns > now_ns {
                self.ends.push(Reverse((hold.expires_ns, call)));
                continue;
            }
            let before = hold.clone();
            hold.life = Life::Expired;
            self.live = self.live.saturating_sub(1);
            self.remember(call);
            return Some(before);
        }
        None
    }

    fn remember(&mut self, call: CallId) {
        self.over.push_back(call);
        while self.over.len() > OVER_MAX {
            let Some(oldest) = self.over.pop_front() else { return };
            if self.holds.get(&oldest).is_some_and(|hold| hold.life != Life::Live) {
                self.holds.remove(&oldest);
            }
        }
    }
}

fn expiry(ask: &Ask, now_ns: u64) -> u64 {
    now_ns.saturating_add(u64::try_from(ask.ttl.as_nanos()).unwrap_or(u64::MAX))
}
