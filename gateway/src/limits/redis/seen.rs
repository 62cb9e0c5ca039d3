//! What lines gave when Redis was last asked about them, for whoever must not wait: headers and the input of policies.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::limits::counter::{Ask, Line};
use crate::limits::exceeded::{Remaining, Standing};
use crate::limits::quantity::Quantity;
use crate::limits::window::Window;

/// Lines that are remembered, about 200 bytes each; at the bound all are forgotten and seen again by and by.
const LINES_MAX: usize = 65_536;

/// Lines by their ids.
#[derive(Default)]
pub(super) struct Seen(Mutex<HashMap<Arc<str>, Standing>>);

impl Seen {
    pub(super) fn keep(&self, ask: &Ask, left: Vec<(usize, Standing)>) {
        let mut seen = self.0.lock();
        if seen.len().saturating_add(left.len()) > LINES_MAX {
            seen.clear();
        }
        for (at, standing) in left {
            if let Some(line) = ask.lines.get(at) {
                seen.insert(Arc::clone(&line.id), standing);
            }
        }
    }

    /// The tightest of these lines. A rate that was never asked is full; of a budget nothing is known then.
    pub(super) fn remaining(&self, lines: &[Line]) -> Remaining {
        let seen = self.0.lock();
        let mut remaining = Remaining::default();
        for line in lines {
            let kept = match line.quantity {
                Quantity::Tokens | Quantity::InputTokens | Quantity::OutputTokens => &mut remaining.tokens,
                Quantity::Money => &mut remaining.money,
                Quantity::Requests | Quantity::Concurrency => continue,
            };
            let full = || Standing::of(line, line.cap, std::time::Duration::ZERO);
            let fresh = matches!(line.window, Window::Rate { .. }).then(full);
            if let Some(standing) = seen.get(&line.id).cloned().or(fresh) {
                standing.keep_tightest(kept);
            }
        }
        remaining
    }

    pub(super) fn count(&self) -> usize {
        self.0.lock().len()
    }
}
