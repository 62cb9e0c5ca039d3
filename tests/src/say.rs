//! What a provider says: OpenAI's shapes as bytes, the plain ones and the odd ones.

pub mod dialects;

use bytes::Bytes;
use serde_json::{Value, json};

/// One server-sent event with this payload.
pub fn event(data: impl AsRef<str>) -> Bytes {
    Bytes::from(format!("data: {}\n\n", data.as_ref()))
}

/// The end marker.
pub fn done() -> Bytes {
    event("[DONE]")
}

/// A chunk that adds `content`, as the payload of an event.
pub fn delta(content: &str) -> String {
    chunk(&json!([{"index": 0, "delta": {"content": content}, "finish_reason": null}])).to_string()
}

/// The chunk that ends a choice.
pub fn finish(reason: &str) -> String {
    chunk(&json!([{"index": 0, "delta": {}, "finish_reason": reason}])).to_string()
}

/// The chunk of usage at the end.
pub fn usage(prompt: u64, completion: u64) -> String {
    let mut value = chunk(&json!([]));
    value["usage"] = tokens(prompt, completion);
    value.to_string()
}

/// Usage as an object.
pub fn tokens(prompt: u64, completion: u64) -> Value {
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
}

fn chunk(choices: &Value) -> Value {
    json!({
        "id": "chatcmpl-t1", "object": "chat.completion.chunk", "created": 1_760_000_000, "model": "mock-1",
        "choices": choices,
    })
}

/// A whole chat answer.
pub fn answer(content: &str, prompt: u64, completion: u64) -> Bytes {
    let message = json!({"role": "assistant", "content": content});
    let value = json!({
        "id": "chatcmpl-t1", "object": "chat.completion", "created": 1_760_000_000, "model": "mock-1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": tokens(prompt, completion),
    });
    Bytes::from(value.to_string())
}

/// An error body.
pub fn error(message: &str, kind: &str, code: Option<&str>) -> Bytes {
    Bytes::from(json!({"error": {"message": message, "type": kind, "param": null, "code": code}}).to_string())
}

/// A chat request for `model`.
pub fn chat(model: &str, content: &str, stream: bool) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": content}], "stream": stream})
}
