//! Who comes next where more wait than run: start-time fair queueing (Goyal, Vin, Cheng 1996), by tenant and weight,
//! in classes of priority. Pure.
//!
//! A call's start tag is the later of the virtual time and the end of its tenant's last call; that call's end is its
//! start and its cost over the tenant's weight. The smallest start tag runs next, so that a tenant with a hundred times
//! the calls of another waits behind its own calls and not in front of the other's.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Virtual time of one unit of cost at weight 1: fine enough for weights up to 10,000.
const UNIT: u64 = 10_000;

/// Classes of priority; a later one runs only when no earlier one waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Somebody waits for it.
    High,
    /// The usual one.
    #[default]
    Normal,
    /// It has time.
    Low,
}

/// Whose call it is, and what it weighs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The tenant whose calls share a line.
    pub flow: Arc<str>,
    /// Its share; at least 1.
    pub weight: u32,
    /// Its class.
    pub priority: Priority,
    /// What the call costs: its tokens, at most.
    pub cost: u64,
}

/// What becomes of a call that wants to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// It runs.
    Now,
    /// It waits; [`Fair::leave`] will name its ticket.
    Waits(u64),
    /// No more may wait, or none of this tenant.
    Full,
}

/// The calls of one place, those that run and those that wait.
#[derive(Debug)]
pub struct Fair {
    running: u32,
    virtual_now: u64,
    flows: HashMap<Arc<str>, Flow>,
    /// Priority, start tag, ticket: the first one is next.
    line: BTreeSet<(Priority, u64, u64)>,
    /// Flow of each ticket.
    tickets: HashMap<u64, Arc<str>>,
    next_ticket: u64,
}

#[derive(Debug, Default)]
struct Flow {
    end: u64,
    waiting: usize,
}

impl Fair {
    /// Nobody runs or waits.
    pub fn new() -> Self {
        Self {
            running: 0,
            virtual_now: 0,
            flows: HashMap::new(),
            line: BTreeSet::new(),
            tickets: HashMap::new(),
            next_ticket: 0,
        }
    }

    /// Calls that run.
    pub fn running(&self) -> u32 {
        self.running
    }

    /// Calls that wait.
    pub fn waiting(&self) -> usize {
        self.line.len()
    }

    /// A call comes. `slots` may run at once, `waiting_max` may wait; a tenant's part of the places to wait shrinks as
    /// others wait too, so that one that comes first never takes them all.
    pub fn enter(&mut self, claim: &Claim, slots: u32, waiting_max: usize) -> Entered {
        self.forget();
        let runs = self.running < slots && self.line.is_empty();
        let lines = self.flows.values().filter(|flow| flow.waiting > 0).count();
        let flow = self.flows.entry(Arc::clone(&claim.flow)).or_default();
        let others = if flow.waiting > 0 { lines.saturating_sub(1) } else { lines };
        let share = waiting_max.checked_div(others.saturating_add(2)).unwrap_or(0).max(1);
        if !runs && (self.line.len() >= waiting_max || flow.waiting >= share) {
            return Entered::Full;
        }
        let start = self.virtual_now.max(flow.end);
        let length = claim.cost.max(1).saturating_mul(UNIT).checked_div(claim.weight.into()).unwrap_or(UNIT);
        flow.end = start.saturating_add(length.max(1));
        if runs {
            self.virtual_now = start;
            self.running = self.running.saturating_add(1);
            return Entered::Now;
        }
        flow.waiting = flow.waiting.saturating_add(1);
        let ticket = self.next_ticket;
        self.next_ticket = ticket.wrapping_add(1);
        self.line.insert((claim.priority, start, ticket));
        self.tickets.insert(ticket, Arc::clone(&claim.flow));
        Entered::Waits(ticket)
    }

    /// A call ended: the ticket that runs in its place, where one waits and there is room.
    pub fn leave(&mut self, slots: u32) -> Option<u64> {
        self.running = self.running.saturating_sub(1);
        self.admit(slots)
    }

    /// The next ticket to run, where one waits and there is room.
    pub fn admit(&mut self, slots: u32) -> Option<u64> {
        if self.running >= slots {
            return None;
        }
        let (_, start, ticket) = self.line.pop_first()?;
        self.virtual_now = self.virtual_now.max(start);
        self.running = self.running.saturating_add(1);
        self.gone(ticket);
        Some(ticket)
    }

    /// A call waits no longer. `false`: it was admitted already.
    pub fn cancel(&mut self, ticket: u64) -> bool {
        let found = self.line.iter().find(|(_, _, other)| *other == ticket).copied();
        let Some(place) = found else { return false };
        self.line.remove(&place);
        self.gone(ticket);
        true
    }

    fn gone(&mut self, ticket: u64) {
        let flow = self.tickets.remove(&ticket).and_then(|name| self.flows.get_mut(&name));
        if let Some(flow) = flow {
            flow.waiting = flow.waiting.saturating_sub(1);
        }
    }

    /// Tenants without a call that waits, and whose past no longer counts.
    fn forget(&mut self) {
        let now = self.virtual_now;
        if self.running == 0 && self.line.is_empty() {
            self.flows.clear();
        } else if self.flows.len() > self.line.len().saturating_mul(2).saturating_add(FLOWS_KEPT) {
            self.flows.retain(|_, flow| flow.waiting > 0 || flow.end > now);
        }
    }
}

/// Tenants that are remembered before it is looked who can be forgotten.
const FLOWS_KEPT: usize = 64;

impl Default for Fair {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(flow: &str, weight: u32, priority: Priority) -> Claim {
        Claim { flow: flow.into(), weight, priority, cost: 10 }
    }

    /// Fills the one slot, lets everybody wait, and tells the order in which they run.
    fn order(claims: &[Claim]) -> Vec<String> {
        let mut fair = Fair::new();
        assert_eq!(fair.enter(&claim("first", 1, Priority::Normal), 1, 100), Entered::Now);
        let mut names = HashMap::new();
        for claim in claims {
            match fair.enter(claim, 1, 10_000) {
                Entered::Waits(ticket) => names.insert(ticket, claim.flow.to_string()),
                other @ (Entered::Now | Entered::Full) => panic!("{other:?}"),
            };
        }
        std::iter::from_fn(|| fair.leave(1)).map(|ticket| names.remove(&ticket).unwrap()).collect()
    }

    #[test]
    fn a_flood_waits_behind_itself() {
        let mut claims: Vec<_> = (0..100).map(|_| claim("flood", 1, Priority::Normal)).collect();
        claims.extend([claim("calm", 1, Priority::Normal), claim("calm", 1, Priority::Normal)]);
        let order = order(&claims);
        let places: Vec<_> = order.iter().enumerate().filter(|(_, name)| *name == "calm").map(|(at, _)| at).collect();
        assert!(places[0] <= 1 && places[1] <= 3, "{places:?}");
    }

    #[test]
    fn weights_are_shares() {
        let mut claims = Vec::new();
        for _ in 0..90 {
            claims.extend([claim("heavy", 2, Priority::Normal), claim("light", 1, Priority::Normal)]);
        }
        let order = order(&claims);
        let heavy = order.iter().take(90).filter(|name| *name == "heavy").count();
        assert!((58..=62).contains(&heavy), "{heavy} of 90");
    }

    #[test]
    fn earlier_classes_run_first() {
        let order =
            order(&[claim("c", 1, Priority::Low), claim("b", 1, Priority::Normal), claim("a", 1, Priority::High)]);
        assert_eq!(order, ["a", "b", "c"]);
    }

    #[test]
    fn nobody_takes_all_the_places_to_wait() {
        let mut fair = Fair::new();
        let flood = claim("flood", 1, Priority::Normal);
        while fair.enter(&flood, 1, 10) != Entered::Full {}
        assert_eq!((fair.running(), fair.waiting()), (1, 5));
        assert!(matches!(fair.enter(&claim("calm", 1, Priority::Normal), 1, 10), Entered::Waits(_)));
        assert_eq!(fair.enter(&flood, 1, 10), Entered::Full);
    }

    #[test]
    fn who_left_the_line_takes_no_turn_and_no_place() {
        let mut fair = Fair::new();
        let one = claim("one", 1, Priority::Normal);
        assert_eq!(fair.enter(&one, 1, 10), Entered::Now);
        let (Entered::Waits(a), Entered::Waits(b)) = (fair.enter(&one, 1, 10), fair.enter(&one, 1, 10)) else {
            panic!("there is room to wait");
        };
        assert!(fair.cancel(a) && !fair.cancel(a));
        assert_eq!((fair.leave(1), fair.leave(1)), (Some(b), None));
        assert_eq!((fair.running(), fair.waiting()), (0, 0));
    }
}
