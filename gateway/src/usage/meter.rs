//! What one attempt used, read from the reply as it passes. Pure.

use std::sync::Arc;

use weir_wire::delta::Usage;
use weir_wire::texts::{self, Piece};

use super::buckets::{Bucket, Buckets, Tier};
use super::report::{Report, Seen, Shape, State};
use super::tokens::Family;
use crate::exchange::UsageSource;

/// Bytes of the answer's text that wait to be counted: the size up to which a count is cheap where a call is served.
const PENDING_BYTES_MAX: usize = super::tokens::INLINE_BYTES_MAX;
/// Bytes of a finish reason; the longest that is known has some 20.
const REASON_BYTES_MAX: usize = 64;
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
    /// Whatever was reported, the larger number of each kind: providers send null, zero and cumulative counts before
    /// the true one.
    seen: Seen,
    /// How the provider counts; none: as the names of its numbers tell.
    shape: Option<Shape>,
    /// A count of what was made so far came.
    is_counted: bool,
    /// A first word about the prompt came.
    is_begun: bool,
    /// The tier that the reply names beside its usage.
    tier: Option<Tier>,
    /// Events with a choice in them.
    pub events: u64,
    said: Said,
    /// The prompt's tokens as Weir counts them, most likely; none: as many as were held.
    pub prompt: Option<u64>,
    /// Completion tokens that it can make at most; none: as many as were held. More may be said than is held so far.
    pub most: Option<u64>,
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
    /// How much of what.
    pub buckets: Buckets,
    /// The tier that the provider says it served.
    pub tier: Option<Tier>,
    /// Nano-dollars that the provider itself asks for.
    pub provider_cost_nano: Option<i64>,
    /// The report contradicts itself.
    pub is_inconsistent: bool,
}

impl Reading {
    /// Nothing was used: the upstream was not reached, or refused before working.
    pub const NONE: Reading = Reading {
        input: 0,
        output: 0,
        source: UsageSource::None,
        buckets: Buckets::NONE,
        tier: None,
        provider_cost_nano: None,
        is_inconsistent: false,
    };

    /// Text in and out, as Weir counts it.
    fn estimated(input: u64, output: u64) -> Self {
        let buckets = Buckets::text(input, output);
        Self { input, output, source: UsageSource::Estimated, buckets, ..Self::NONE }
    }
}

/// What a usage object is to its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It says what was read; what is made has only begun.
    First,
    /// It counts what was made so far.
    Count,
}

impl Meter {
    /// A meter that counts text as the model `family` does, of so many answers at once.
    pub fn of(family: Family, choices: u32, prompt: u64, shape: Option<Shape>) -> Self {
        let said = Said { family: Some(family), is_mixed: choices > 1, ..Said::default() };
        Self { said, shape, prompt: Some(prompt), ..Self::default() }
    }

    /// Takes a usage object as it was sent; reports are cumulative.
    pub fn report_raw(&mut self, raw: &[u8], word: Word) {
        let Ok(text) = std::str::from_utf8(raw) else { return };
        self.seen.see(text);
        match word {
            Word::First => self.is_begun = true,
            Word::Count => self.is_counted |= self.report_so_far().buckets.output_tokens() > 0,
        }
    }

    /// Takes two counts in OpenAI's words.
    pub fn report(&mut self, usage: &Usage) {
        if let Ok(raw) = serde_json::to_vec(usage) {
            self.report_raw(&raw, Word::Count);
        }
    }

    /// Takes the tier that a reply names outside of its usage, in whatever words.
    pub fn served_as(&mut self, tier: &str) {
        self.tier = Tier::named(tier).or(self.tier);
    }

    fn report_so_far(&self) -> Report {
        self.seen.report(self.shape.unwrap_or_else(|| self.seen.shape("")))
    }

    fn said_so_far(&self, held: Held) -> u64 {
        let said = match self.said.tokens() {
            0 => self.events,
            said => said,
        };
        said.min(self.most.unwrap_or(held.output).max(1))
    }

    /// The model's own reason to end, for one choice. Only its beginning is kept: it goes into the journal.
    pub fn end(&mut self, reason: &str) {
        let end = reason.floor_char_boundary(REASON_BYTES_MAX);
        self.finish_reason = reason.get(..end).map(Arc::from);
    }

    /// Takes an event that carries a part of the answer.
    pub fn event(&mut self, data: &[u8]) {
        self.events = self.events.saturating_add(1);
        // Whoever counts along states the end too.
        if !self.is_counted {
            self.said.add(data);
        }
    }

    /// The own engine's time for the call, as it states it; only to be believed of an own engine.
    pub fn gpu_time(&self) -> Buckets {
        self.seen.gpu_time()
    }

    /// The counts, given that the request reached the upstream.
    ///
    /// A report counts where it is believable (a prompt has at least one token). Without one, the text that came is
    /// counted; events are, where no text was found in them. Where nothing at all came back, what was held is charged:
    /// hanging up is not a way to call for free.
    pub fn reading(&self, held: Held, reported: UsageSource) -> Reading {
        let report = self.report_so_far();
        // A zero beside a text is no count, and a first word none of what was made after it.
        let is_told = self.is_counted || (!self.is_begun && self.said.tokens() == 0);
        let prompt = self.prompt.unwrap_or(held.input);
        let (input, output) = (report.buckets.input_tokens(), report.buckets.output_tokens());
        match report.state {
            // Words that can't be read say nothing, and are marked.
            State::Inconsistent(_) if report.buckets.is_empty() => {
                Reading { is_inconsistent: true, ..self.unreported(held, prompt) }
            }
            // The prompt is the provider's word; what was made is counted here.
            State::Complete | State::Inconsistent(_) if !is_told && input > 0 => {
                let made = if self.events == 0 { held.output } else { self.said_so_far(held) };
                let text = report.buckets.with(Bucket::OutputText, made).with(Bucket::Reasoning, 0);
                let source = UsageSource::Estimated;
                stated(&report, self.tier, source, text)
            }
            State::Complete | State::Inconsistent(_) => {
                let source = if self.is_cut_short { UsageSource::Estimated } else { reported };
                stated(&report, self.tier, source, report.buckets)
            }
            State::Partial => Reading::estimated(prompt, output),
            State::Absent => self.unreported(held, prompt),
        }
    }

    /// Nobody stated what was used.
    fn unreported(&self, held: Held, prompt: u64) -> Reading {
        match self.events {
            0 => Reading::estimated(held.input, held.output),
            _ => Reading::estimated(prompt, self.said_so_far(held)),
        }
    }
}

fn stated(report: &Report, tier: Option<Tier>, source: UsageSource, buckets: Buckets) -> Reading {
    Reading {
        input: buckets.input_tokens(),
        output: buckets.output_tokens(),
        source,
        buckets,
        tier: report.tier.or(tier),
        provider_cost_nano: report.provider_cost_nano,
        is_inconsistent: matches!(report.state, State::Inconsistent(_)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: Held = Held { input: 50, output: 200 };

    fn usage(prompt: u64, completion: u64) -> Usage {
        Usage::new(prompt, completion)
    }

    fn counts(reading: Reading) -> (u64, u64, UsageSource) {
        (reading.input, reading.output, reading.source)
    }

    #[test]
    fn cumulative_and_zero_reports_end_at_the_largest() {
        let mut meter = Meter::default();
        for report in [usage(0, 0), usage(40, 1), usage(40, 4), usage(40, 7)] {
            meter.report(&report);
        }
        assert_eq!(counts(meter.reading(HELD, UsageSource::Provider)), (40, 7, UsageSource::Provider));
        meter.is_cut_short = true;
        assert_eq!(meter.reading(HELD, UsageSource::Exact).source, UsageSource::Estimated);
    }

    #[test]
    fn a_report_without_a_prompt_is_flagged_as_an_estimate() {
        let mut meter = Meter::default();
        meter.report(&usage(0, 7));
        assert_eq!(counts(meter.reading(HELD, UsageSource::Provider)), (50, 7, UsageSource::Estimated));
    }

    #[test]
    fn buckets_never_overlap_and_what_contradicts_itself_is_marked() {
        let mut meter = Meter::default();
        let raw = br#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_tokens_details":
            {"cached_tokens":60},"completion_tokens_details":{"reasoning_tokens":30},"cost":0.000125}"#;
        meter.report_raw(raw, Word::Count);
        meter.served_as("flex");
        let reading = meter.reading(HELD, UsageSource::Provider);
        let split = Buckets::text(40, 20).with(Bucket::CacheRead, 60).with(Bucket::Reasoning, 30);
        assert_eq!((reading.buckets, reading.tier), (split, Some(Tier::Flex)));
        assert_eq!((reading.provider_cost_nano, reading.is_inconsistent), (Some(125_000), false));
        let raw = br#"{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":60}}"#;
        let mut meter = Meter::default();
        meter.report_raw(raw, Word::Count);
        let reading = meter.reading(HELD, UsageSource::Provider);
        assert_eq!((reading.input, reading.output, reading.is_inconsistent), (10, 5, true));
        let mut meter = Meter::default();
        meter.report_raw(br#"{"prompt_tokens":"many"}"#, Word::Count);
        let reading = meter.reading(HELD, UsageSource::Provider);
        assert_eq!((reading.input, reading.output, reading.source), (50, 200, UsageSource::Estimated));
        assert!(reading.is_inconsistent);
    }

    #[test]
    fn a_first_word_says_what_was_read_and_not_what_is_made() {
        let mut meter = Meter::of(Family::of("claude"), 1, 12, Some(Shape::Anthropic));
        meter.report_raw(br#"{"input_tokens":25,"cache_read_input_tokens":5,"output_tokens":1}"#, Word::First);
        meter.event(br#"{"delta":{"text":"hello world"}}"#);
        let reading = meter.reading(HELD, UsageSource::Provider);
        assert_eq!((reading.input, reading.source), (30, UsageSource::Estimated));
        assert!((2..5).contains(&reading.output), "{reading:?}");
        assert_eq!(reading.buckets.get(Bucket::CacheRead), 5);
        meter.report_raw(br#"{"output_tokens":9}"#, Word::Count);
        assert_eq!(counts(meter.reading(HELD, UsageSource::Provider)), (30, 9, UsageSource::Provider));
    }

    #[test]
    fn without_reports_text_is_counted_and_silence_costs_what_was_held() {
        let mut meter = Meter::of(Family::of("gpt-4o"), 1, 12, None);
        assert_eq!(meter.reading(HELD, UsageSource::Provider).output, 200);
        // One token in two events is one token.
        for data in [r#"{"choices":[{"delta":{"role":"assistant","content":"hel"}}]}"#, r#"{"delta":"lo world"}"#] {
            meter.event(data.as_bytes());
        }
        assert_eq!(counts(meter.reading(HELD, UsageSource::Provider)), (12, 2, UsageSource::Estimated));
    }

    #[test]
    fn answers_that_come_in_turns_are_counted_part_by_part_and_unknown_events_one_by_one() {
        let mut mixed = Meter::of(Family::of("gpt-4o"), 2, 12, None);
        let mut unknown = Meter::of(Family::of("gpt-4o"), 1, 12, None);
        for _ in 0..3 {
            mixed.event(br#"{"text":"hel"}"#);
            unknown.event(br#"{"other":"hel"}"#);
        }
        assert_eq!(mixed.reading(HELD, UsageSource::Provider).output, 3);
        assert_eq!(unknown.reading(HELD, UsageSource::Provider).output, 3);
    }

    #[test]
    fn a_long_answer_is_counted_as_it_comes() {
        let mut meter = Meter::of(Family::of("gpt-4o"), 1, 12, None);
        for _ in 0..5_000 {
            meter.event(br#"{"content":" word"}"#);
        }
        let held = Held { output: 100_000, ..HELD };
        assert_eq!(meter.reading(held, UsageSource::Provider).output, 5_000);
        assert!(meter.said.pending.len() <= PENDING_BYTES_MAX);
    }
}
