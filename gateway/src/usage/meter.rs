//! What one attempt used, read from the reply as it passes. Pure.

use std::sync::Arc;

use weir_wire::delta::Usage;

use crate::exchange::UsageSource;

/// Characters of text per token where nothing better is known; English prose has about four.
const BYTES_PER_TOKEN: u64 = 4;

/// The readings of one attempt.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    /// Largest counts reported so far: providers send null, zero and cumulative counts before the true one.
    usage: Option<(u64, u64)>,
    /// Events with a choice in them.
    pub events: u64,
    /// Bytes of such events.
    pub content_bytes: u64,
    /// The model's own finish reason, the last one seen.
    pub finish_reason: Option<Arc<str>>,
    /// Finish reasons seen: one for each choice that came to its end.
    pub finished: u32,
}

/// What was held for an attempt before it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Prompt tokens, estimated.
    pub input: u64,
    /// Completion tokens: the cap times the choices.
    pub output: u64,
}

/// The counts of one attempt and where they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Prompt tokens.
    pub input: u64,
    /// Completion tokens.
    pub output: u64,
    /// Where they come from.
    pub source: UsageSource,
}

impl Reading {
    /// Nothing was used: the upstream was not reached, or refused before working.
    pub const NONE: Reading = Reading { input: 0, output: 0, source: UsageSource::None };
}

impl Meter {
    /// Takes a usage report: the larger count of each kind stays, since reports are cumulative.
    pub fn report(&mut self, usage: &Usage) {
        let (input, output) = self.usage.unwrap_or((0, 0));
        self.usage = Some((input.max(usage.prompt_tokens), output.max(usage.completion_tokens)));
    }

    /// Takes an event that carries a part of the answer, `bytes` long.
    pub fn event(&mut self, bytes: usize) {
        self.events = self.events.saturating_add(1);
        self.content_bytes = self.content_bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// The counts, given that the request reached the upstream.
    ///
    /// A report counts where it is believable (a prompt has at least one token). Without one, a stream's events are
    /// counted: most providers send one token an event. Where nothing at all came back, what was held is charged:
    /// hanging up is not a way to call for free.
    pub fn reading(&self, held: Held, reported: UsageSource) -> Reading {
        match self.usage {
            Some((input, output)) if input > 0 => Reading { input, output, source: reported },
            Some((_, output)) if output > 0 => Reading { input: held.input, output, source: UsageSource::Estimated },
            _ if self.events == 0 => Reading { input: held.input, output: held.output, source: UsageSource::Estimated },
            _ => {
                let by_bytes = self.content_bytes.checked_div(BYTES_PER_TOKEN.saturating_mul(16)).unwrap_or(0);
                let output = self.events.max(by_bytes).min(held.output.max(1));
                Reading { input: held.input, output, source: UsageSource::Estimated }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: Held = Held { input: 50, output: 200 };

    fn usage(prompt: u64, completion: u64) -> Usage {
        Usage { prompt_tokens: prompt, completion_tokens: completion, ..Usage::default() }
    }

    #[test]
    fn cumulative_and_zero_reports_end_at_the_largest() {
        let mut meter = Meter::default();
        for report in [usage(0, 0), usage(40, 1), usage(40, 7), usage(40, 4)] {
            meter.report(&report);
        }
        let reading = meter.reading(HELD, UsageSource::Provider);
        assert_eq!(reading, Reading { input: 40, output: 7, source: UsageSource::Provider });
    }

    #[test]
    fn a_report_without_a_prompt_is_flagged_as_an_estimate() {
        let mut meter = Meter::default();
        meter.report(&usage(0, 7));
        let reading = meter.reading(HELD, UsageSource::Provider);
        assert_eq!(reading, Reading { input: 50, output: 7, source: UsageSource::Estimated });
    }

    #[test]
    fn without_reports_events_are_counted_and_silence_costs_what_was_held() {
        let mut meter = Meter::default();
        assert_eq!(meter.reading(HELD, UsageSource::Provider).output, 200);
        meter.event(100);
        meter.event(100);
        let reading = meter.reading(HELD, UsageSource::Provider);
        assert_eq!(reading, Reading { input: 50, output: 3, source: UsageSource::Estimated });
    }
}
