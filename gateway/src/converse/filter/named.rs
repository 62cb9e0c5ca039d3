//! Streams of named events: everything passes untouched, since usage stands where every client of these dialects
//! expects it. Pure.

use std::sync::Arc;

use weir_wire::endpoint::Endpoint;
use weir_wire::event::{Class, Named};
use weir_wire::sse::Event;

use super::Verdict;
use crate::usage::meter::{Meter, Word};

/// What is kept of a stream between its events.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The answer's id, until it is taken.
    id: Option<Arc<str>>,
    has_id: bool,
}

impl Names {
    pub(super) fn take_id(&mut self) -> Option<Arc<str>> {
        self.id.take()
    }

    /// Looks at one event, of which `read` was read.
    #[allow(clippy::needless_pass_by_value, reason = "what was read is used up here")]
    pub(super) fn judge(&mut self, event: &Event, endpoint: Endpoint, read: Named<'_>, meter: &mut Meter) -> Verdict {
        if let Some(reason) = &read.finish_reason {
            meter.end(reason);
            meter.finished = meter.finished.saturating_add(1);
        }
        if !self.has_id
            && let Some(id) = &read.id
        {
            (self.id, self.has_id) = (Some(Arc::from(&**id)), true);
        }
        if let Some(raw) = read.usage {
            // The first count of what is made is no count yet: until a later one comes, the meter estimates.
            let is_count = endpoint != Endpoint::Messages || read.finish_reason.is_some() || is_cumulative(event);
            meter.report_raw(raw, if is_count { Word::Count } else { Word::First });
            if let Some(tier) = event.data.as_deref().and_then(super::service_tier) {
                meter.served_as(tier);
            }
        }
        let raw = event.raw.clone();
        match read.class {
            Class::Ping => Verdict::Aside(raw),
            Class::Frame => Verdict::Frame(raw),
            Class::Part => {
                meter.event(event.data.as_deref().unwrap_or_default());
                Verdict::Answer(raw)
            }
            Class::Last => Verdict::Done(raw),
            Class::Error => Verdict::Error(raw),
        }
    }
}

/// Whether the event is a `message_delta`, whose usage counts everything made so far.
fn is_cumulative(event: &Event) -> bool {
    event.name.as_deref() == Some(b"message_delta")
}

#[cfg(test)]
mod tests {
    use weir_wire::sse::SseDecoder;

    use super::super::{Reader, Wants};
    use super::*;
    use crate::exchange::UsageSource;
    use crate::usage::meter::Held;

    const HELD: Held = Held { input: 50, output: 200 };

    fn run(endpoint: Endpoint, stream: &str) -> (Vec<Verdict>, Meter) {
        let (mut decoder, mut meter) = (SseDecoder::new(1 << 20), Meter::default());
        let mut reader = Reader::new(endpoint, Wants { usage: false, continuous: false });
        decoder.push(stream.as_bytes());
        let mut verdicts = Vec::new();
        while let Some(event) = decoder.next_event().unwrap() {
            verdicts.push(reader.judge(&event, &mut meter));
        }
        (verdicts, meter)
    }

    const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\
        \"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":5,\"output_tokens\":1}}}\n\n";
    const PART: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\"}\n\n";
    const END: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\
        \"usage\":{\"output_tokens\":9}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

    #[test]
    fn usage_of_messages_is_put_together_from_both_ends() {
        let (verdicts, meter) = run(Endpoint::Messages, &format!("{START}{PART}{END}"));
        let reading = meter.reading(HELD, UsageSource::Provider);
        assert_eq!((reading.input, reading.output, reading.source), (30, 9, UsageSource::Provider));
        assert_eq!(meter.finish_reason.as_deref(), Some("end_turn"));
        assert!(matches!(
            verdicts.as_slice(),
            [Verdict::Frame(_), Verdict::Answer(_), Verdict::Frame(_), Verdict::Done(_)]
        ));
    }

    #[test]
    fn a_first_count_is_not_taken_for_the_last() {
        let (_, meter) = run(Endpoint::Messages, &format!("{START}{PART}{PART}{PART}"));
        let reading = meter.reading(HELD, UsageSource::Provider);
        assert_eq!((reading.output, reading.source), (3, UsageSource::Estimated));
    }

    #[test]
    fn a_response_states_its_usage_at_the_end() {
        let stream = "event: response.created\ndata: {\"response\":{\"id\":\"resp_1\",\"usage\":null}}\n\n\
            event: response.output_text.delta\ndata: {\"delta\":\"a\"}\n\n\
            event: response.completed\ndata: {\"response\":{\"id\":\"resp_1\",\"status\":\"completed\",\
            \"usage\":{\"input_tokens\":7,\"output_tokens\":3,\"total_tokens\":10}}}\n\n";
        let (verdicts, meter) = run(Endpoint::Responses, stream);
        let reading = meter.reading(HELD, UsageSource::Provider);
        assert_eq!((reading.input, reading.output, reading.source), (7, 3, UsageSource::Provider));
        assert!(matches!(verdicts.as_slice(), [Verdict::Frame(_), Verdict::Answer(_), Verdict::Done(_)]));
    }
}
