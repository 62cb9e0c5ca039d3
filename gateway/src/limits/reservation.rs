//! What one call holds on all of its limits at once.
//!
//! Dropped before the upstream was called, a Reservation gives everything back; dropped after that without a settlement
//! it counts as used in full: hanging up is no way to call for free.

use std::sync::Arc;

use super::Standing;
use super::counter::{Ask, Counter, Granted, NotGranted};
use super::quantity::Amounts;
use crate::exchange::CallId;

/// What a call says about itself that limits may count by.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The call.
    pub call: CallId,
    /// The model as the caller names it.
    pub model: &'a str,
    /// The endpoint's name.
    pub endpoint: &'a str,
    /// Pseudonym of the end-user that the caller names.
    pub end_user: Option<&'a str>,
    /// Unix milliseconds at the call's birth: decides the budgets' windows.
    pub born_ms: u64,
}

/// Renews what one call holds.
pub struct Renewer {
    counter: Arc<dyn Counter>,
    ask: Ask,
}

impl Renewer {
    /// As [`Reservation::renew`].
    ///
    /// # Errors
    /// It is over, its places are taken, or it can't be renewed.
    pub async fn renew(&self) -> Result<(), NotGranted> {
        self.counter.extend(&self.ask, &Amounts::default()).await
    }
}

/// What one call holds.
#[must_use = "what is held is given back when this is dropped"]
pub struct Reservation {
    counter: Arc<dyn Counter>,
    ask: Ask,
    held: Amounts,
    granted: Granted,
    /// What was used, once that is known.
    used: Option<Amounts>,
    /// Whether the upstream may have worked.
    is_called: bool,
    /// Whether there is something to settle.
    is_held: bool,
}

impl Reservation {
    /// The guard is there before the counter is asked: a call that goes away while it waits leaves no hold behind.
    pub(super) async fn take(counter: Arc<dyn Counter>, ask: Ask) -> Result<Self, NotGranted> {
        let is_held = !ask.lines.is_empty();
        let (held, granted) = (ask.budgets, Granted::default());
        let mut taken = Self { counter, ask, held, granted, used: None, is_called: false, is_held };
        if is_held {
            let answer = taken.counter.reserve(&taken.ask).await;
            // A counter that can't know what became of it sees to that by itself.
            taken.is_held = answer.is_ok();
            taken.granted = answer?;
        }
        Ok(taken)
    }

    /// Holds more of the budgets, at every limit or at none, and renews the hold.
    ///
    /// # Errors
    /// A budget has no more, or can't be asked; what was held stays held.
    pub async fn extend(&mut self, more: Amounts) -> Result<(), NotGranted> {
        if self.is_held {
            self.counter.extend(&self.ask, &more).await?;
        }
        self.held = self.held.plus(&more);
        Ok(())
    }

    /// Keeps the hold from expiring ([`super::HOLD_TTL`]): due several times within that while a call runs.
    ///
    /// # Errors
    /// It expired meanwhile and its places are taken, or it can't be renewed.
    pub async fn renew(&mut self) -> Result<(), NotGranted> {
        self.extend(Amounts::default()).await
    }

    /// Keeps the hold from expiring while others have the reservation; `None` where nothing is held.
    pub fn renewer(&self) -> Option<Renewer> {
        self.is_held.then(|| Renewer { counter: Arc::clone(&self.counter), ask: self.ask.clone() })
    }

    /// Held of budgets.
    pub fn held(&self) -> Amounts {
        self.held
    }

    /// The tightest request rate after this hold; `None` where none was counted with it.
    pub fn standing_requests(&self) -> Option<&Standing> {
        self.granted.requests.as_ref()
    }

    /// The tightest token rate after this hold; `None` where none is limited.
    pub fn standing_tokens(&self) -> Option<&Standing> {
        self.granted.tokens.as_ref()
    }

    /// Names for the audit record where something was let through or counted alone.
    pub fn degraded(&self) -> &[&'static str] {
        &self.granted.degraded
    }

    /// From here on the upstream may have worked: without a settlement all that is held counts as used.
    pub fn mark_called(&mut self) {
        self.is_called = true;
    }

    /// Ends the hold with what was used: gives the rest back, or takes what is missing.
    pub fn settle(mut self, used: Amounts) {
        self.used = Some(used);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.is_held {
            let unsettled = if self.is_called { self.held } else { Amounts::default() };
            self.counter.settle(&self.ask, &self.held, &self.used.unwrap_or(unsettled));
        }
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation")
            .field("call", &self.ask.call)
            .field("held", &self.held)
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
