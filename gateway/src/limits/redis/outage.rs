//! What becomes of a call while Redis gives no answer: each of its lines has a rule. Pure.

use std::num::NonZeroU32;

use crate::limits::counter::{Ask, Line, Outage};

/// What is left of a call's lines.
pub(super) struct Without {
    /// What this gateway counts alone, with its part of each limit.
    pub(super) local: Option<Ask>,
    /// Whether a limit is passed uncounted.
    pub(super) allows: bool,
}

/// `None` where a line's rule is to refuse.
pub(super) fn without(ask: &Ask, nodes: NonZeroU32) -> Option<Without> {
    if ask.lines.iter().any(refuses) {
        return None;
    }
    let counted = ask.lines.iter().filter(|line| line.outage == Outage::Local);
    let lines: Vec<Line> = counted.map(|line| part(line, nodes)).collect();
    let allows = ask.lines.iter().any(|line| line.outage == Outage::Allow);
    let local = (!lines.is_empty()).then(|| Ask { lines: lines.into(), ..ask.clone() });
    Some(Without { local, allows })
}

/// Whether calls are refused where the line can't be counted.
pub(super) fn refuses(line: &Line) -> bool {
    line.outage == Outage::Refuse
}

/// A gateway's part of a limit. All parts together are the limit, unless it is smaller than the number of gateways:
/// then
/// each grants one.
fn part(line: &Line, nodes: NonZeroU32) -> Line {
    let cap = line.cap.checked_div(nodes.get().into()).unwrap_or(line.cap);
    Line { cap: cap.max(1).min(line.cap), ..line.clone() }
}

impl Without {
    /// Names for the audit record.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        let local = self.local.is_some().then_some("limits.redis.local");
        local.into_iter().chain(self.allows.then_some("limits.redis.allow"))
    }
}
