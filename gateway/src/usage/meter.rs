//! What one attempt used, read from the reply as it passes. Pure.

use std::sync::Arc;

use weir_wire::delta::Usage;
use weir_wire::texts::{self, Piece};

use super::tokens::Family;
use crate::exchange::UsageSource;

/// Bytes of the answer's text that wait to be counted: the size up to which a count is cheap where a call is served.
const PENDING_BYTES_MAX: usize = super::tokens::INLINE_BYTES_MAX;
/// Names under which providers put parts of an answer, in whole replies and in events.
const SAID: [&[u8]; 10] = [
    b"content",
    b"text",
    b"delta",
    b"reasoning_content",
    b"reasoning",
    b"refusal",
    b"thinking",
    b"arguments",
    b"partial_json",
    b"transcript",
];

/// The readings of one attempt.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    /// Largest counts reported so far: providers send null, zero and cumulative counts before the true one.
    usage: Option<(u64, u64)>,
    /// Events with a choice in them.
    pub events: u64,
    said: Said,
    /// The prompt's tokens as Weir counts them, most likely; none: as many as were held.
    pub prompt: Option<u64>,
    /// The model's own finish reason, the last one seen.
    pub finish_reason: Option<Arc<str>>,
    /// Finish reasons seen: one for each choice that came to its end.
    pub finished: u32,
    /// The reply was left before its end, so that the last count that was heard may not be the last there is.
    pub is_cut_short: bool,
}

/// The answer's text so far, for the case that nobody states its tokens.
#[derive(Debug, Clone, Default)]
struct Said {
    family: Option<Family>,
    /// Parts of several answers come in turns: each is counted alone.
    is_mixed: bool,
    pending: String,
    /// Tokens of what is no longer pending, as counted.
    counted: u64,
}

impl Said {
    fn family(&self) -> Family {
        self.family.unwrap_or(Family::UNKNOWN)
    }

    fn add(&mut self, data: &[u8]) {
        texts::visit(data, |name, piece| match piece {
            Piece::Text(text) if SAID.contains(&name) => self.pending.push_str(&text),
            Piece::Text(_) | Piece::Word => {}
        });
        if self.is_mixed || self.pending.len() > PENDING_BYTES_MAX {
            self.counted = self.counted.saturating_add(self.family().vocabulary.count(&self.pending));
            self.pending.clear();
        }
    }

    /// The model's own tokens, most likely.
    fn tokens(&self) -> u64 {
        let family = self.family();
        family.likely(self.counted.saturating_add(family.vocabulary.count(&self.pending)))
    }
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
    /// A meter that counts text as the model `family` does, of so many answers at once.
    pub fn of(family: Family, choices: u32, prompt: u64) -> Self {
        let said = Said { family: Some(family), is_mixed: choices > 1, ..Said::default() };
        Self { said, prompt: Some(prompt), ..Self::default() }
    }

    /// Takes a usage report: the larger count of each kind stays, since reports are cumulative.
    pub fn report(&mut self, usage: &Usage) {
        let (input, output) = self.usage.unwrap_or((0, 0));
        self.usage = Some((input.max(usage.prompt_tokens), output.max(usage.completion_tokens)));
    }

    /// Takes an event that carries a part of the answer.
    pub fn event(&mut self, data: &[u8]) {
        self.events = self.events.saturating_add(1);
        // Whoever counts along states the end too.
        if self.usage.is_none_or(|(input, output)| input == 0 || output == 0) {
            self.said.add(data);
        }
    }

    /// The counts, given that the request reached the upstream.
    ///
    /// A report counts where it is believable (a prompt has at least one token). Without one, the text that came is
    /// counted; events are, where no text was found in them. Where nothing at all came back, what was held is charged:
    /// hanging up is not a way to call for free.
    pub fn reading(&self, held: Held, reported: UsageSource) -> Reading {
        let estimated = |input, output| Reading { input, output, source: UsageSource::Estimated };
        let prompt = self.prompt.unwrap_or(held.input);
        match self.usage {
            Some((input, output)) if input > 0 && self.is_cut_short => estimated(input, output),
            Some((input, output)) if input > 0 => Reading { input, output, source: reported },
            Some((_, output)) if output > 0 => estimated(prompt, output),
            _ if self.events == 0 => estimated(held.input, held.output),
            _ => {
                let said = match self.said.tokens() {
                    0 => self.events,
                    said => said,
                };
                estimated(prompt, said.min(held.output.max(1)))
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
        meter.is_cut_short = true;
        assert_eq!(meter.reading(HELD, UsageSource::Exact).source, UsageSource::Estimated);
    }

    #[test]
    fn a_report_without_a_prompt_is_flagged_as_an_estimate() {
        let mut meter = Meter::default();
        meter.report(&usage(0, 7));
        let reading = meter.reading(HELD, UsageSource::Provider);
        assert_eq!(reading, Reading { input: 50, output: 7, source: UsageSource::Estimated });
    }

    #[test]
    fn without_reports_text_is_counted_and_silence_costs_what_was_held() {
        let mut meter = Meter::of(Family::of("gpt-4o"), 1, 12);
        assert_eq!(meter.reading(HELD, UsageSource::Provider).output, 200);
        // One token in two events is one token.
        for data in [r#"{"choices":[{"delta":{"role":"assistant","content":"hel"}}]}"#, r#"{"delta":"lo world"}"#] {
            meter.event(data.as_bytes());
        }
        let reading = meter.reading(HELD, UsageSource::Provider);
        assert_eq!(reading, Reading { input: 12, output: 2, source: UsageSource::Estimated });
    }

    #[test]
    fn answers_that_come_in_turns_are_counted_part_by_part_and_unknown_events_one_by_one() {
        let mut mixed = Meter::of(Family::of("gpt-4o"), 2, 12);
        let mut unknown = Meter::of(Family::of("gpt-4o"), 1, 12);
        for _ in 0..3 {
            mixed.event(br#"{"text":"hel"}"#);
            unknown.event(br#"{"other":"hel"}"#);
        }
        assert_eq!(mixed.reading(HELD, UsageSource::Provider).output, 3);
        assert_eq!(unknown.reading(HELD, UsageSource::Provider).output, 3);
    }

    #[test]
    fn a_long_answer_is_counted_as_it_comes() {
        let mut meter = Meter::of(Family::of("gpt-4o"), 1, 12);
        for _ in 0..5_000 {
            meter.event(br#"{"content":" word"}"#);
        }
        let held = Held { output: 100_000, ..HELD };
        assert_eq!(meter.reading(held, UsageSource::Provider).output, 5_000);
        assert!(meter.said.pending.len() <= PENDING_BYTES_MAX);
    }
}
