//! What happens to each event of a stream on its way: metered, and passed on, changed or kept back. Pure.

mod named;

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use memchr::memmem::Finder;
use weir_wire::endpoint::{Dialect, Endpoint};
use weir_wire::event;
use weir_wire::sse::{Event, encode_event};
use weir_wire::usage;

use self::named::Names;
use crate::usage::meter::{Meter, Word};

static FINISH: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"finish_reason\""));
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
static TIER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"service_tier\""));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));

/// What the client asked to see of usage.
#[derive(Debug, Clone, Copy)]
pub struct Wants {
    /// A usage chunk at the end.
    pub usage: bool,
    /// Usage on every chunk.
    pub continuous: bool,
}

/// What to do with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A part of the answer.
    Answer(Bytes),
    /// Tells of the answer without a part of it; no other deployment can take over after it.
    Frame(Bytes),
    /// Passed on, but no part of the answer: a comment, a ping.
    Aside(Bytes),
    /// The end marker.
    Done(Bytes),
    /// Not for the client.
    Drop,
    /// The upstream reports an error inside its stream.
    Error(Bytes),
}

/// Looks at one stream, event by event.
#[derive(Debug)]
pub struct Reader {
    endpoint: Endpoint,
    wants: Wants,
    named: Names,
}

impl Reader {
    /// The reader of a stream of `endpoint`.
    pub fn new(endpoint: Endpoint, wants: Wants) -> Self {
        Self { endpoint, wants, named: Names::default() }
    }

    /// The answer's id, once, when it became known.
    pub fn take_id(&mut self) -> Option<Arc<str>> {
        self.named.take_id()
    }

    /// Looks at one event.
    pub fn judge(&mut self, event: &Event, meter: &mut Meter) -> Verdict {
        let Some(data) = &event.data else { return aside(event) };
        let name = event.name.as_deref();
        if event.is_done() && self.endpoint.dialect() != Dialect::OpenAi {
            // Chat's end marker; clients would take it for the end of an answer that has none yet.
            return Verdict::Drop;
        }
        match self.endpoint.dialect() {
            Dialect::OpenAi => unnamed(event, self.wants, meter),
            Dialect::Anthropic => self.named.judge(event, self.endpoint, event::of_messages(name, data), meter),
            Dialect::Responses => self.named.judge(event, self.endpoint, event::of_responses(name, data), meter),
        }
    }
}

/// One event of chat and its like.
fn unnamed(event: &Event, wants: Wants, meter: &mut Meter) -> Verdict {
    let Some(data) = &event.data else { return aside(event) };
    if event.is_done() {
        return Verdict::Done(event.raw.clone());
    }
    if ERROR.find(data).is_some() && usage::find_error(data).is_some() {
        return Verdict::Error(event.raw.clone());
    }
    if let Some((reason, choices)) = finish_reason(data) {
        meter.end(&reason);
        meter.finished = meter.finished.saturating_add(choices);
    }
    if USAGE.find(data).is_none() {
        meter.event(data);
        return Verdict::Answer(event.raw.clone());
    }
    if let Some(raw) = usage::find_raw(data) {
        meter.report_raw(raw, Word::Count);
        if let Some(tier) = service_tier(data) {
            meter.served_as(tier);
        }
        if usage::is_usage_only_chunk(data) {
            let shown = usage::strip_gpu_time(data);
            return match wants.usage {
                true => Verdict::Answer(rewritten(event, usage::complete_usage_chunk(&shown))),
                false => Verdict::Drop,
            };
        }
    }
    meter.event(data);
    // A client that asked for usage at the end expects `null` before it; any other expects no such member.
    match wants.continuous || (wants.usage && usage::find_raw(data).is_none()) {
        true => Verdict::Answer(rewritten(event, usage::strip_gpu_time(data))),
        false => Verdict::Answer(rewritten(event, usage::strip_usage(data))),
    }
}

fn aside(event: &Event) -> Verdict {
    // The own engine's notes to the gateway are comments of this form.
    match event.raw.starts_with(b": weir") {
        true => Verdict::Drop,
        false => Verdict::Aside(event.raw.clone()),
    }
}

/// The event with other data; a rewrite only ever takes away or adds, so the same length means the same data.
#[allow(clippy::needless_pass_by_value, reason = "what the rewrites give is used up here")]
fn rewritten(event: &Event, data: Cow<'_, [u8]>) -> Bytes {
    if event.data.as_ref().is_some_and(|before| before.len() == data.len()) {
        return event.raw.clone();
    }
    let name = event.name.as_ref().and_then(|name| std::str::from_utf8(name).ok());
    encode_event(name, &data)
}

/// The value of the last `"finish_reason"` member that is a string, and how many are.
///
/// A text inside a JSON string can't look like one: its quotes would be escaped.
pub fn finish_reason(data: &[u8]) -> Option<(Arc<str>, u32)> {
    let (mut last, mut count) = (None, 0_u32);
    for at in FINISH.find_iter(data) {
        let rest = data.get(at.saturating_add(FINISH.needle().len())..)?.trim_ascii_start();
        let value = rest.strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        let Some(text) = value.and_then(|value| value.strip_prefix(b"\"")) else { continue };
        let end = memchr::memchr(b'"', text)?;
        last = text.get(..end).and_then(|text| std::str::from_utf8(text).ok()).map(Arc::from);
        count = count.saturating_add(1);
    }
    Some((last?, count))
}

/// The value of the first `"service_tier"` member that is a string: what the provider served, beside its usage.
pub fn service_tier(data: &[u8]) -> Option<&str> {
    let at = TIER.find(data)?;
    let rest = data.get(at.saturating_add(TIER.needle().len())..)?.trim_ascii_start();
    let text = rest.strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    std::str::from_utf8(text.get(..memchr::memchr(b'"', text)?)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::sse::SseDecoder;

    const QUIET: Wants = Wants { usage: false, continuous: false };
    const ASKED: Wants = Wants { usage: true, continuous: false };

    fn run(stream: &str, wants: Wants) -> (String, Meter) {
        let (mut decoder, mut meter, mut out) = (SseDecoder::new(1 << 20), Meter::default(), Vec::new());
        let mut reader = Reader::new(Endpoint::ChatCompletions, wants);
        decoder.push(stream.as_bytes());
        while let Some(event) = decoder.next_event().unwrap() {
            match reader.judge(&event, &mut meter) {
                Verdict::Answer(bytes) | Verdict::Frame(bytes) | Verdict::Aside(bytes) | Verdict::Done(bytes) => {
                    out.extend_from_slice(&bytes)
                }
                Verdict::Drop => {}
                Verdict::Error(_) => out.extend_from_slice(b"ERROR"),
            }
        }
        (String::from_utf8(out).unwrap(), meter)
    }

    #[test]
    fn fr_cost_12_usage_is_metered_and_hidden_from_a_client_that_did_not_ask() {
        let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"A\"},\"finish_reason\":null}],\"usage\":null}\n\n\
            data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":40,\
            \"completion_tokens\":1,\"total_tokens\":41}}\n\n\
            data: {\"choices\":[],\"usage\":{\"prompt_tokens\":40,\"completion_tokens\":7,\"total_tokens\":47}}\n\n\
            data: [DONE]\n\n";
        let (out, meter) = run(stream, QUIET);
        assert!(!out.contains("usage"), "{out}");
        assert!(out.ends_with("data: [DONE]\n\n"));
        assert_eq!(meter.finish_reason.as_deref(), Some("stop"));
        let reading = meter.reading(Default::default(), crate::exchange::UsageSource::Provider);
        assert_eq!((reading.input, reading.output), (40, 7));
        assert!(run(stream, ASKED).0.contains("\"choices\":[],\"usage\""));
    }

    #[test]
    fn a_text_that_talks_of_usage_and_errors_passes_untouched() {
        let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{} \\\"error\\\" \
            \\\"finish_reason\\\":\\\"stop\\\"\"},\"finish_reason\":null}]}\n\n";
        let (out, meter) = run(stream, QUIET);
        assert_eq!(out, stream);
        assert_eq!(meter.finish_reason, None);
    }

    #[test]
    fn an_error_inside_the_stream_is_seen() {
        assert_eq!(run("data: {\"error\":{\"message\":\"overloaded\"}}\n\n", QUIET).0, "ERROR");
    }

    #[test]
    fn the_engines_notes_are_kept_back_and_other_comments_pass() {
        // The blank line that ended the note stays; it means nothing.
        assert_eq!(run(": weir allowance\n\n: ping\n\n", QUIET).0, "\n: ping\n\n");
    }
}
