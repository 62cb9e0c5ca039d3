//! The end of a stream that its caller's budget ends: the last events, each dialect's own, with Weir's finish reason.

use serde_json::{Value, json};

use crate::delta::BUDGET_EXHAUSTED;
use crate::endpoint::{Dialect, Endpoint};
use crate::sse::encode_event;

/// What is known of a stream that has to end.
#[derive(Debug, Clone, Copy)]
pub struct Ending<'a> {
    /// The endpoint, whose dialect the stream speaks.
    pub endpoint: Endpoint,
    /// Choices that were asked for.
    pub choices: u32,
    /// Data of the first event that was passed on: it names the answer.
    pub first: Option<&'a [u8]>,
    /// Events that were passed on.
    pub passed: u64,
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Completion tokens so far.
    pub output_tokens: u64,
    /// Whether the client asked for usage at the end of a chat.
    pub wants_usage: bool,
}

impl Ending<'_> {
    /// The bytes that end the stream.
    pub fn bytes(&self) -> Vec<u8> {
        let first: Value = self.first.and_then(|data| serde_json::from_slice(data).ok()).unwrap_or_default();
        match self.endpoint.dialect() {
            Dialect::OpenAi => self.chunks(&first),
            Dialect::Anthropic => self.messages(),
            Dialect::Responses => self.responses(&first),
        }
    }

    fn chunks(&self, first: &Value) -> Vec<u8> {
        let is_chat = self.endpoint == Endpoint::ChatCompletions;
        let object = if is_chat { "chat.completion.chunk" } else { "text_completion" };
        let choice = |index: u32| match is_chat {
            true => json!({"index": index, "delta": {}, "logprobs": null, "finish_reason": BUDGET_EXHAUSTED}),
            false => json!({"index": index, "text": "", "logprobs": null, "finish_reason": BUDGET_EXHAUSTED}),
        };
        let chunk = |choices: Vec<Value>| {
            let mut chunk = json!({"object": object, "choices": choices});
            for name in ["id", "created", "model"] {
                if let Some(value) = first.get(name) {
                    set(&mut chunk, name, value.clone());
                }
            }
            chunk
        };
        let mut out = event(None, &chunk((0..self.choices).map(choice).collect()));
        if self.wants_usage {
            let mut usage = chunk(Vec::new());
            let counts = json!({
                "prompt_tokens": self.input_tokens,
                "completion_tokens": self.output_tokens,
                "total_tokens": self.input_tokens.saturating_add(self.output_tokens),
            });
            set(&mut usage, "usage", counts);
            out.extend(event(None, &usage));
        }
        out.extend(encode_event(None, b"[DONE]"));
        out
    }

    fn messages(&self) -> Vec<u8> {
        let delta = json!({
            "type": "message_delta",
            "delta": {"stop_reason": BUDGET_EXHAUSTED, "stop_sequence": null},
            "usage": {"output_tokens": self.output_tokens},
        });
        let mut out = event(Some("message_delta"), &delta);
        out.extend(event(Some("message_stop"), &json!({"type": "message_stop"})));
        out
    }

    fn responses(&self, first: &Value) -> Vec<u8> {
        let mut response = json!({
            "object": "response",
            "status": "incomplete",
            "incomplete_details": {"reason": BUDGET_EXHAUSTED},
            "usage": {
                "input_tokens": self.input_tokens,
                "output_tokens": self.output_tokens,
                "total_tokens": self.input_tokens.saturating_add(self.output_tokens),
            },
        });
        for name in ["id", "created_at", "model", "output"] {
            if let Some(value) = first.get("response").and_then(|response| response.get(name)) {
                set(&mut response, name, value.clone());
            }
        }
        let done = json!({"type": "response.incomplete", "sequence_number": self.passed, "response": response});
        event(Some("response.incomplete"), &done)
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

fn event(name: Option<&str>, data: &Value) -> Vec<u8> {
    encode_event(name, data.to_string().as_bytes()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDING: Ending<'_> = Ending {
        endpoint: Endpoint::ChatCompletions,
        choices: 2,
        first: Some(br#"{"id":"chatcmpl-1","created":7,"model":"m","choices":[{"delta":{"content":"x"}}]}"#),
        passed: 4,
        input_tokens: 5,
        output_tokens: 9,
        wants_usage: true,
    };

    fn text(ending: Ending<'_>) -> String {
        String::from_utf8(ending.bytes()).unwrap()
    }

    #[test]
    fn a_chat_ends_with_a_reason_for_each_choice_usage_and_the_marker() {
        let text = text(ENDING);
        let events: Vec<&str> = text.split("\n\n").map(|event| event.trim_start_matches("data: ")).collect();
        let finish: Value = serde_json::from_str(events[0]).unwrap();
        assert_eq!((&finish["id"], &finish["model"]), (&json!("chatcmpl-1"), &json!("m")));
        for choice in 0..2 {
            assert_eq!(finish["choices"][choice]["finish_reason"], "budget_exhausted");
        }
        let usage: Value = serde_json::from_str(events[1]).unwrap();
        assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &json!(14)));
        assert_eq!(events[2], "[DONE]");
        assert!(!self::text(Ending { wants_usage: false, ..ENDING }).contains("usage"));
    }

    #[test]
    fn the_other_dialects_end_in_their_own_words() {
        let messages = text(Ending { endpoint: Endpoint::Messages, ..ENDING });
        assert!(messages.starts_with("event: message_delta\ndata: {"), "{messages}");
        assert!(messages.contains(r#""stop_reason":"budget_exhausted""#), "{messages}");
        assert!(messages.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"), "{messages}");
        let first = br#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","model":"m"}}"#;
        let responses = text(Ending { endpoint: Endpoint::Responses, first: Some(first), ..ENDING });
        let data: Value = serde_json::from_str(responses.split("data: ").nth(1).unwrap()).unwrap();
        assert_eq!(data["response"]["incomplete_details"]["reason"], "budget_exhausted");
        assert_eq!((&data["response"]["id"], &data["sequence_number"]), (&json!("resp_1"), &json!(4)));
    }
}
