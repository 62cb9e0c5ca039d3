//! Calls at the same time. Owns the count of one level and the [`Slot`], which a call holds while it runs.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::rules::Plan;
use super::{Shared, Standing};

/// Calls that run at one level.
#[derive(Debug, Default)]
pub(super) struct Running(u32);

impl Running {
    /// Counts one call in, or refuses it at the limit.
    pub(super) fn enter(&mut self, limit: Option<NonZeroU32>) -> bool {
        let has_room = limit.is_none_or(|limit| self.0 < limit.get());
        self.0 = self.0.saturating_add(u32::from(has_room));
        has_room
    }

    pub(super) fn leave(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }

    pub(super) fn count(&self) -> u32 {
        self.0
    }
}

/// A place at every level of a caller's path; dropping it gives the place back.
#[must_use = "the place is given back when this is dropped"]
pub struct Slot {
    pub(super) shared: Arc<Shared>,
    pub(super) plan: Arc<Plan>,
    pub(super) requests: Option<Standing>,
}

impl Slot {
    /// The tightest request rate of the path after this call; `None` where none is limited.
    pub fn requests(&self) -> Option<&Standing> {
        self.requests.as_ref()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut states = self.shared.states(&self.plan);
        for level in &self.plan.levels {
            if let Some(state) = states.get_mut(&level.id) {
                state.running.leave();
            }
        }
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("key", &self.plan.key).field("requests", &self.requests).finish_non_exhaustive()
    }
}
