//! What a provider says in other dialects than chat: Anthropic's messages, OpenAI's responses, embeddings, rerank.

use bytes::Bytes;
use serde_json::{Value, json};

/// One named event whose payload tells its name too.
pub fn named(data: &Value) -> Bytes {
    Bytes::from(format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default()))
}

/// A whole message that says `text`.
pub fn message(text: &str, input: u64, output: u64) -> Value {
    json!({
        "id": "msg_t1", "type": "message", "role": "assistant", "model": "mock-1",
        "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": input, "output_tokens": output},
    })
}

/// The first event of a streamed message: what was read, and a first count of what is made.
pub fn message_start(input: u64) -> Value {
    let mut message = message("", input, 1);
    message["content"] = json!([]);
    message["stop_reason"] = Value::Null;
    json!({"type": "message_start", "message": message})
}

/// A part of the text.
pub fn message_text(text: &str) -> Value {
    json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
}

/// The events after the last part, the last of which ends the stream.
pub fn message_end(output: u64) -> [Value; 3] {
    [
        json!({"type": "content_block_stop", "index": 0}),
        json!({
            "type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": output},
        }),
        json!({"type": "message_stop"}),
    ]
}

/// All events of a message of these words.
pub fn message_events(words: &[&str], input: u64, output: u64) -> Vec<Value> {
    let block = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    let begin = [message_start(input), block, json!({"type": "ping"})];
    begin.into_iter().chain(words.iter().map(|word| message_text(word))).chain(message_end(output)).collect()
}

/// A whole response that says `text`.
pub fn response(id: &str, text: &str, input: u64, output: u64) -> Value {
    let content = json!([{"type": "output_text", "text": text, "annotations": []}]);
    json!({
        "id": id, "object": "response", "created_at": 1_760_000_000, "status": "completed", "model": "mock-1",
        "error": null, "incomplete_details": null, "instructions": null, "metadata": {},
        "output": [{"id": "msg_t1", "type": "message", "role": "assistant", "status": "completed", "content": content}],
        "parallel_tool_calls": true, "temperature": 1, "tool_choice": "auto", "tools": [], "top_p": 1,
        "usage": {
            "input_tokens": input, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": output, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": input + output,
        },
    })
}

/// The first event of a streamed response.
pub fn response_created(id: &str) -> Value {
    let mut begun = response(id, "", 0, 0);
    begun["status"] = "in_progress".into();
    begun["output"] = json!([]);
    begun["usage"] = Value::Null;
    json!({"type": "response.created", "response": begun, "sequence_number": 0})
}

/// A part of the text.
pub fn response_text(text: &str, number: u64) -> Value {
    json!({
        "type": "response.output_text.delta", "item_id": "msg_t1", "output_index": 0, "content_index": 0,
        "delta": text, "logprobs": [], "sequence_number": number,
    })
}

/// All events of a response of these words.
pub fn response_events(id: &str, words: &[&str], input: u64, output: u64) -> Vec<Value> {
    let mut events = vec![response_created(id)];
    for (word, number) in words.iter().zip(1..) {
        events.push(response_text(word, number));
    }
    let whole = response(id, &words.concat(), input, output);
    events.push(json!({"type": "response.completed", "response": whole, "sequence_number": events.len()}));
    events
}

/// A vector for each input.
pub fn embeddings(inputs: usize, tokens: u64) -> Value {
    let vector = |index| json!({"object": "embedding", "index": index, "embedding": [0.25, -0.5]});
    json!({
        "object": "list", "model": "mock-1", "data": (0..inputs).map(vector).collect::<Vec<_>>(),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })
}

/// The documents in their order, as Jina states usage.
pub fn ranks(documents: usize, tokens: u64) -> Value {
    let rank = |index| json!({"index": index, "relevance_score": 0.5});
    json!({
        "model": "mock-1", "results": (0..documents).map(rank).collect::<Vec<_>>(), "usage": {"total_tokens": tokens},
    })
}

/// A small request of each endpoint, by its path.
pub fn request(path: &str, model: &str, stream: bool) -> Value {
    let messages = json!([{"role": "user", "content": "hi"}]);
    match path {
        "/v1/completions" => json!({"model": model, "prompt": "hi", "stream": stream}),
        "/v1/messages" => json!({"model": model, "messages": messages, "max_tokens": 64, "stream": stream}),
        "/v1/messages/count_tokens" => json!({"model": model, "messages": messages}),
        "/v1/responses" => json!({"model": model, "input": "hi", "stream": stream}),
        "/v1/embeddings" => json!({"model": model, "input": "hi"}),
        "/v1/rerank" => json!({"model": model, "query": "hi", "documents": ["a", "b"]}),
        _ => json!({"model": model, "messages": messages, "stream": stream}),
    }
}

/// A whole answer of each endpoint.
pub fn answer(path: &str, input: u64, output: u64) -> Bytes {
    let value = match path {
        "/v1/messages" => message("a b c", input, output),
        "/v1/messages/count_tokens" => json!({"input_tokens": input}),
        "/v1/responses" => response("resp_t1", "a b c", input, output),
        "/v1/embeddings" => embeddings(1, input),
        "/v1/rerank" => ranks(2, input),
        _ => return super::answer("a b c", input, output),
    };
    Bytes::from(value.to_string())
}

/// The payloads of a whole stream in a dialect of named events.
pub fn events(path: &str, words: &[&str], input: u64, output: u64) -> Vec<Value> {
    match path {
        "/v1/messages" => message_events(words, input, output),
        _ => response_events("resp_t1", words, input, output),
    }
}
