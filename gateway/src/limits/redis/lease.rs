//! Slices of budgets that this gateway takes from Redis in advance and hands out itself, for limits that say so
//! (`lease`): a call all of whose limits do needs no round trip.
//!
//! ```text
//!   taken ──► open (calls draw from it) ──(not drawn from for a sweep, more than a slice unused, or in debt)──► closed
//!                                                                                                                 │
//!             Redis is told used + held by running calls, again at each one's end ◄───────────────────────────────┘
//! ```
//!
//! A lease is a hold like a call's, of one line in one window, so that nothing is granted that Redis has not charged
//! before: never is anything overspent. What a gateway has leased and nobody uses is missing elsewhere: at most one
//! slice a limit and gateway, for at most two sweeps ([`Leases::sweep`]). What a killed gateway had leased stays
//! charged: nobody knows which of its calls drew from what.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;

use super::queue::{Job, Waiting};
use crate::exchange::CallId;
use crate::limits::counter::{Ask, Line};
use crate::limits::quantity::Amounts;
use crate::limits::window::{CalendarUnit, Window};

/// Calls that draw from leases at the same time; more go to Redis with all of their limits.
const CALLS_MAX: usize = 65_536;
/// Calls and leases that are over and remembered, for settlements that are told twice.
const OVER_MAX: usize = 4_096;
/// Lines that leases are taken for at the same time.
const TURNS: usize = 16;

/// A line in one of its windows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    line: Arc<str>,
    from_ms: u64,
}

/// What a call drew from one lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Draw {
    lease: CallId,
    amount: u64,
}

/// What a call drew for one line.
#[derive(Debug, Clone)]
pub(super) struct Drawn {
    pub(super) line: Line,
    pub(super) draws: Vec<Draw>,
}

/// A settlement, with its place where it has one of its own.
pub(super) type Told = (Option<Waiting>, Job);

struct Lease {
    key: Key,
    /// Its hold in Redis.
    ask: Ask,
    place: Option<Waiting>,
    slice: u64,
    total: u64,
    used: u64,
    out: u64,
    calls: u64,
    is_touched: bool,
}

struct Call {
    drawn: Vec<Drawn>,
    /// With the limits that Redis was asked about.
    rest: Ask,
    used: Option<Amounts>,
}

#[derive(Default)]
struct State {
    open: HashMap<Key, CallId>,
    leases: HashMap<CallId, Lease>,
    calls: HashMap<CallId, Call>,
    closed: VecDeque<CallId>,
    over: VecDeque<CallId>,
}

/// The leases of this gateway.
#[derive(Default)]
pub(super) struct Leases {
    state: Mutex<State>,
    /// Held while leases change and that is put into the queue.
    order: Mutex<()>,
    hasher: RandomState,
    turns: [tokio::sync::Mutex<()>; TURNS],
}

/// The lines of a call that lease, and the call with the others. `None` where none leases.
pub(super) fn split(ask: &Ask) -> Option<(Vec<Line>, Ask)> {
    if ask.lines.iter().all(|line| line.lease.is_none()) {
        return None;
    }
    let (leased, rest): (Vec<Line>, Vec<Line>) = ask.lines.iter().cloned().partition(|line| line.lease.is_some());
    Some((leased, Ask { lines: rest.into(), ..ask.clone() }))
}

/// A lease's own id, which is told from a call's by its version.
pub(super) fn new_id(unix_ms: u64) -> CallId {
    let random = uuid::Builder::from_bytes(*CallId::at(unix_ms).0.as_bytes());
    CallId(random.with_version(uuid::Version::Random).into_uuid())
}

/// Whether the id is a lease's and no call's.
pub(super) fn is_lease(id: uuid::Uuid) -> bool {
    id.get_version() == Some(uuid::Version::Random)
}

impl Key {
    pub(super) fn of(line: &Line, born_ms: u64) -> Self {
        let from_ms = match line.window {
            Window::Calendar { unit, zone } => CalendarUnit::span(unit, zone, born_ms).from_ms,
            Window::Total | Window::Rolling { .. } | Window::Rate { .. } | Window::Now => 0,
        };
        Self { line: Arc::clone(&line.id), from_ms }
    }
}

impl Lease {
    fn committed(&self) -> u64 {
        self.used.saturating_add(self.out)
    }

    fn free(&self) -> u64 {
        self.total.saturating_sub(self.committed())
    }

    fn told(&mut self, line: &Line) -> Told {
        let used = Amounts::only(line.quantity, self.committed());
        (self.place.take(), Job { ask: self.ask.clone(), used })
    }
}

impl Leases {
    /// What is told of leases is told in one order.
    pub(super) fn order(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.order.lock()
    }

    /// One lease is taken for a line at a time.
    pub(super) fn turn(&self, key: &Key) -> &tokio::sync::Mutex<()> {
        let [first, ..] = &self.turns;
        let index = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or_default() % TURNS;
        self.turns.get(index).unwrap_or(first)
    }

    /// Whether another call may draw.
    pub(super) fn has_room(&self) -> bool {
        self.state.lock().calls.len() < CALLS_MAX
    }

    /// Whether the call drew from leases, and with which other limits it runs.
    pub(super) fn rest(&self, call: CallId) -> Option<Ask> {
        self.state.lock().calls.get(&call).map(|call| call.rest.clone())
    }

    /// What the call drew for; empty once it is settled.
    pub(super) fn lines(&self, call: CallId) -> Option<Vec<Line>> {
        let state = self.state.lock();
        let call = state.calls.get(&call).filter(|call| call.used.is_none())?;
        Some(call.drawn.iter().map(|drawn| drawn.line.clone()).collect())
    }

    /// Takes so much from the line's open lease, if that has it.
    pub(super) fn draw(&self, key: &Key, amount: u64) -> Option<Draw> {
        let mut state = self.state.lock();
        let id = *state.open.get(key)?;
        let lease = state.leases.get_mut(&id).filter(|lease| lease.free() >= amount)?;
        lease.out = lease.out.saturating_add(amount);
        lease.calls = lease.calls.saturating_add(1);
        lease.is_touched = true;
        Some(Draw { lease: id, amount })
    }

    /// A new lease takes the place of the line's open one, which is closed first ([`Self::close_of`]).
    /// `sizes`: its own, and what the call that it is taken for draws.
    pub(super) fn open(&self, key: &Key, ask: Ask, place: Option<Waiting>, sizes: (u64, u64)) -> Draw {
        let (total, amount) = sizes;
        let slice = ask.lines.first().and_then(|line| line.lease).map_or(0, std::num::NonZeroU64::get);
        let id = ask.call;
        let lease =
            Lease { key: key.clone(), ask, place, slice, total, used: 0, out: amount, calls: 1, is_touched: true };
        let mut state = self.state.lock();
        state.open.insert(key.clone(), id);
        state.leases.insert(id, lease);
        Draw { lease: id, amount }
    }

    /// Closes the line's open lease: what it has unused goes back.
    pub(super) fn close_of(&self, key: &Key) -> Option<Told> {
        let mut state = self.state.lock();
        let id = state.open.get(key).copied()?;
        state.close(id)
    }

    /// Closes leases that nobody drew from since the last time; all of them where the gateway ends.
    pub(super) fn sweep(&self, is_end: bool) -> Vec<Told> {
        let mut state = self.state.lock();
        let mut idle = Vec::new();
        for lease in state.leases.values_mut() {
            if is_end || !std::mem::take(&mut lease.is_touched) {
                idle.push(lease.ask.call);
            }
        }
        idle.into_iter().filter_map(|id| state.close(id)).collect()
    }

    /// The call has what it drew.
    pub(super) fn begin(&self, call: CallId, drawn: Vec<Drawn>, rest: Ask) {
        self.state.lock().calls.entry(call).or_insert(Call { drawn, rest, used: None });
    }

    /// The call drew more.
    pub(super) fn grow(&self, call: CallId, more: Vec<Drawn>) {
        let mut state = self.state.lock();
        let Some(call) = state.calls.get_mut(&call) else { return };
        for one in more {
            if let Some(known) = call.drawn.iter_mut().find(|known| known.line.id == one.line.id) {
                known.draws.extend(one.draws);
            }
        }
    }

    /// What was drawn goes back unused.
    pub(super) fn undo(&self, drawn: &[Drawn]) -> Vec<Told> {
        let mut state = self.state.lock();
        let draws = drawn.iter().flat_map(|one| one.draws.iter().map(move |draw| (&one.line, draw)));
        draws.filter_map(|(line, draw)| state.give_back(line, *draw, 0, 0)).collect()
    }

    /// The call is over: what it used stays, the rest goes back. Told again, the new use takes the place of the old.
    /// `None` where the call drew nothing.
    pub(super) fn end(&self, call: CallId, used: &Amounts) -> Option<(Ask, Vec<Told>)> {
        let mut state = self.state.lock();
        let ended = state.calls.get_mut(&call)?;
        let before = ended.used.replace(*used);
        let (drawn, rest) = (ended.drawn.clone(), ended.rest.clone());
        let mut told = Vec::new();
        for one in &drawn {
            let (mut left, mut left_before) =
                (used.of(one.line.quantity), before.map_or(0, |before| before.of(one.line.quantity)));
            for (at, draw) in one.draws.iter().enumerate() {
                let is_last = at.saturating_add(1) == one.draws.len();
                let part = |left: u64| if is_last { left } else { left.min(draw.amount) };
                let (now, old) = (part(left), part(left_before));
                left = left.saturating_sub(now);
                left_before = left_before.saturating_sub(old);
                told.extend(match before {
                    None => state.give_back(&one.line, *draw, now, 0),
                    Some(_) => state.correct(&one.line, draw.lease, now, old),
                });
            }
        }
        if before.is_none() {
            state.over.push_back(call);
            if state.over.len() > OVER_MAX
                && let Some(oldest) = state.over.pop_front()
            {
                state.calls.remove(&oldest);
            }
        }
        Some((rest, told))
    }

    /// Leases that calls may draw from.
    pub(super) fn count(&self) -> usize {
        self.state.lock().open.len()
    }
}

impl State {
    /// One of a lease's calls is over, or takes back what it drew.
    fn give_back(&mut self, line: &Line, draw: Draw, used: u64, old: u64) -> Option<Told> {
        let lease = self.leases.get_mut(&draw.lease)?;
        lease.out = lease.out.saturating_sub(draw.amount);
        lease.calls = lease.calls.saturating_sub(1);
        self.correct(line, draw.lease, used, old)
    }

    /// What a lease's calls used has changed: Redis is told where the lease is closed, and where it is off by more than
    /// a slice.
    fn correct(&mut self, line: &Line, id: CallId, used: u64, old: u64) -> Option<Told> {
        let lease = self.leases.get_mut(&id)?;
        lease.used = lease.used.saturating_add(used).saturating_sub(old);
        let is_open = self.open.get(&lease.key) == Some(&id);
        if !is_open {
            return Some(lease.told(line));
        }
        let is_off = lease.free() > lease.slice || lease.committed() > lease.total;
        if is_off { self.close(id) } else { None }
    }

    fn close(&mut self, id: CallId) -> Option<Told> {
        let lease = self.leases.get_mut(&id)?;
        if self.open.get(&lease.key) != Some(&id) {
            return None;
        }
        self.open.remove(&lease.key);
        let line = lease.ask.lines.first().cloned()?;
        let told = lease.told(&line);
        self.closed.push_back(id);
        // Those that calls still run on are kept.
        if self.closed.len() > OVER_MAX
            && let Some(oldest) = self.closed.pop_front()
        {
            match self.leases.get(&oldest).is_some_and(|lease| lease.calls > 0) {
                true => self.closed.push_back(oldest),
                false => drop(self.leases.remove(&oldest)),
            }
        }
        Some(told)
    }
}
