//! What was used of a budget before Redis counted it: read from the ledger, once, by one call of this gateway at a
//! time.
//! Of gateways that read it at the same time the first one counts; the others look again.

use std::time::Duration;

use super::answer::Answer;
use super::script::{AHEAD_MS, past, step};
use super::{Failed, RedisCounter};
use crate::limits::counter::{Ask, Line, NotGranted, Spent};
use crate::limits::window::{Span, Window};

/// How long the ledger may take for one answer, and how long a call waits for another one that reads it.
const LEDGER_WAIT_MAX: Duration = Duration::from_secs(2);

impl RedisCounter {
    /// Puts in the past of these lines, unless somebody else did meanwhile.
    pub(super) async fn seed(&self, ask: &Ask, unseeded: &[(usize, Option<u64>)]) -> Result<(), Failed> {
        for line in unseeded.iter().filter_map(|(at, _)| ask.lines.get(*at)) {
            let _turn = self.turns.of(line, LEDGER_WAIT_MAX).await.map_err(Failed::Not)?;
            // A hold of nothing on this line alone tells whether it is known by now, without taking anything.
            let look = Ask { lines: [line.clone()].into(), ..ask.clone() };
            let Answer::Unseeded(still) = self.shared.look(&look).await? else { continue };
            let known_from = still.first().and_then(|(_, known_from)| *known_from);
            let Some(span) = past(line, ask.born_ms, known_from) else { continue };
            let uses = uses(self.spent.as_ref(), ask, line, span).await.map_err(Failed::Not)?;
            self.shared.seed(ask, line, span, known_from, &uses).await?;
        }
        Ok(())
    }
}

/// What the ledger knows of the line in the span, and in windows of the calendar that other gateways' clocks may have
/// reached already.
async fn uses(spent: &dyn Spent, ask: &Ask, line: &Line, span: Span) -> Result<Vec<(u64, u64)>, NotGranted> {
    match line.window {
        Window::Rolling { ms } => uses_by_step(spent, line, span, step(ms)).await,
        Window::Calendar { unit, zone } => {
            let (mut uses, mut window) = (Vec::new(), span);
            let last_ms = ask.born_ms.saturating_add(AHEAD_MS);
            while window.from_ms <= last_ms {
                uses.push((window.from_ms, used(spent, line, window).await?));
                if window.to_ms <= window.from_ms || window.to_ms == u64::MAX {
                    break;
                }
                window = unit.span(zone, window.to_ms);
            }
            Ok(uses)
        }
        Window::Total | Window::Rate { .. } | Window::Now => Ok(vec![(span.from_ms, used(spent, line, span).await?)]),
    }
}

/// The steps of a rolling window, found by halving whatever isn't empty.
async fn uses_by_step(spent: &dyn Spent, line: &Line, span: Span, step: u64) -> Result<Vec<(u64, u64)>, NotGranted> {
    let (mut uses, mut spans) = (Vec::new(), vec![span]);
    while let Some(Span { from_ms, to_ms }) = spans.pop() {
        let used = used(spent, line, Span { from_ms, to_ms }).await?;
        let steps = to_ms.saturating_sub(from_ms).div_ceil(step);
        if used == 0 {
            continue;
        }
        if steps <= 1 {
            uses.push((from_ms, used));
            continue;
        }
        let middle = from_ms.saturating_add(steps.div_ceil(2).saturating_mul(step));
        spans.extend([Span { from_ms, to_ms: middle }, Span { from_ms: middle, to_ms }]);
    }
    Ok(uses)
}

async fn used(spent: &dyn Spent, line: &Line, span: Span) -> Result<u64, NotGranted> {
    let answer = tokio::time::timeout(LEDGER_WAIT_MAX, spent.spent(line, span)).await;
    answer.map_err(|_elapsed| NotGranted::Unavailable { why: "ledger_slow" })?
}
