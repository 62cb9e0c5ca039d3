//! Whose turn it is to ask the book of usage for the past of a line: one call's at a time. Others that need the same
//! line wait for it, not for ever; nobody waits for another line.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

use super::counter::{Line, NotGranted};

/// The lines that somebody asks for now: no more than there are calls.
#[derive(Default)]
pub(super) struct Turns {
    lines: Mutex<HashMap<Arc<str>, Arc<tokio::sync::Mutex<()>>>>,
}

/// Somebody's turn, until it is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    line: Arc<str>,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for the line's turn.
    ///
    /// # Errors
    /// `ledger_slow` where those before are not done within `wait_max`.
    pub(super) async fn of(&self, line: &Line, wait_max: Duration) -> Result<Turn<'_>, NotGranted> {
        let place = Arc::clone(self.lines.lock().entry(Arc::clone(&line.id)).or_default());
        // Also who waits in vain, or goes away meanwhile, leaves nothing behind.
        let mut turn = Turn { turns: self, line: Arc::clone(&line.id), held: None };
        // Mostly nobody is before, and then there is no need of a timer.
        turn.held = match Arc::clone(&place).try_lock_owned() {
            Ok(held) => Some(held),
            Err(_) => {
                let held = timeout(wait_max, place.lock_owned()).await;
                Some(held.map_err(|_elapsed| NotGranted::Unavailable { why: "ledger_slow" })?)
            }
        };
        Ok(turn)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lines.lock().len()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut lines = self.turns.lines.lock();
        drop(self.held.take());
        // Whoever waits has it too, and took it under the same lock.
        if lines.get(&self.line).is_some_and(|place| Arc::strong_count(place) == 1) {
            lines.remove(&self.line);
        }
    }
}
