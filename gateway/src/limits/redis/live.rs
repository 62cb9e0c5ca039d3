//! The holds of this gateway's own running calls: what each holds in all, and its place among the settlements.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::queue::Waiting;
use crate::exchange::CallId;
use crate::limits::counter::Ask;
use crate::limits::quantity::Amounts;

/// Parts with a lock each. The bound of all is the queue's: no call is here without a place in it.
const PARTS: usize = 16;

/// What a running call holds.
pub(super) struct Held {
    pub(super) place: Waiting,
    /// Of budgets, in all.
    pub(super) budgets: Amounts,
    /// What this gateway counts of it alone.
    pub(super) local: Option<Ask>,
}

/// Running calls.
#[derive(Default)]
pub(super) struct Lives([Mutex<HashMap<CallId, Held>>; PARTS]);

impl Lives {
    /// A call that reserves again keeps what it has.
    pub(super) fn begin(&self, call: CallId, held: Held) {
        self.part(call).lock().entry(call).or_insert(held);
    }

    pub(super) fn held(&self, call: CallId) -> Option<Amounts> {
        self.part(call).lock().get(&call).map(|held| held.budgets)
    }

    pub(super) fn local(&self, call: CallId) -> Option<Ask> {
        self.part(call).lock().get(&call).and_then(|held| held.local.clone())
    }

    pub(super) fn grow(&self, call: CallId, budgets: Amounts) {
        if let Some(held) = self.part(call).lock().get_mut(&call) {
            held.budgets = budgets;
        }
    }

    pub(super) fn end(&self, call: CallId) -> Option<Held> {
        self.part(call).lock().remove(&call)
    }

    fn part(&self, call: CallId) -> &Mutex<HashMap<CallId, Held>> {
        let [first, ..] = &self.0;
        // The last byte of an id is random.
        let [.., last] = call.0.as_bytes();
        self.0.get(usize::from(*last) % PARTS).unwrap_or(first)
    }
}
