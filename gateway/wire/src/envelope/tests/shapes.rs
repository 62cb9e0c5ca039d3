//! Bodies of the endpoints that are no chat.

use super::*;

fn parse(endpoint: Endpoint, body: &Value) -> Result<Envelope, EnvelopeFault> {
    Envelope::parse(Bytes::from(body.to_string()), endpoint)
}

fn base(endpoint: Endpoint) -> Value {
    match endpoint {
        Endpoint::Messages | Endpoint::CountTokens => {
            json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
        }
        Endpoint::Responses | Endpoint::Embeddings => json!({"model": "m", "input": "hi"}),
        Endpoint::Rerank => json!({"model": "m", "query": "q", "documents": ["a", "b"]}),
        Endpoint::ChatCompletions
        | Endpoint::Completions
        | Endpoint::ReadResponse
        | Endpoint::ResponseItems
        | Endpoint::DeleteResponse
        | Endpoint::Models => json!({}),
    }
}

fn with(endpoint: Endpoint, more: &Value) -> Result<Envelope, EnvelopeFault> {
    let mut body = base(endpoint);
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    parse(endpoint, &body)
}

#[test]
fn each_shape_is_read() {
    let call = with(
        Endpoint::Messages,
        &json!({
            "max_tokens": 9, "stream": true, "system": "be kind",
            "tools": [{"name": "f"}], "mcp_servers": [{"type": "url", "name": "shop"}],
        }),
    )
    .unwrap();
    assert_eq!((call.output_tokens_max, call.cap_name, call.stream), (Some(9), Some(CapName::MaxTokens), true));
    assert_eq!(call.tools, ["f", "shop"]);
    let more = json!({"max_output_tokens": 9, "instructions": "be kind", "store": false, "n": 7});
    let call = with(Endpoint::Responses, &more).unwrap();
    assert_eq!((call.output_tokens_max, call.cap_name, call.choices), (Some(9), Some(CapName::MaxOutputTokens), 1));
    assert_eq!((call.store, call.prompt_bytes), (false, "hi".len() + "be kind".len()));
    let call = with(Endpoint::Responses, &json!({"previous_response_id": "resp_1"})).unwrap();
    assert_eq!((call.stored_response.as_deref(), call.store), (Some("resp_1"), true));
    let about = Envelope::about_stored(Endpoint::ReadResponse, "m", "resp_1");
    assert_eq!((about.splice(Edits::default()).len(), about.stored_response.as_deref()), (0, Some("resp_1")));
    let call = with(Endpoint::Embeddings, &json!({"input": ["a", "bc"], "stream": true})).unwrap();
    assert_eq!((call.prompt_items, call.prompt_bytes, call.stream), (2, 3, false));
    assert_eq!(with(Endpoint::Embeddings, &json!({"input": [[1, 2], [3]]})).unwrap().prompt_bytes, 12);
    let call = with(Endpoint::Rerank, &json!({})).unwrap();
    assert_eq!((call.prompt_items, call.prompt_bytes), (2, 3));
}

#[test]
fn faults_name_their_parameter_in_each_shape() {
    let cases = [
        (Endpoint::Messages, json!({"messages": []}), "messages"),
        (Endpoint::Messages, json!({"max_tokens": 0}), "max_tokens"),
        (Endpoint::Messages, json!({"max_tokens": 1, "max_output_tokens": 1}), "max_output_tokens"),
        (Endpoint::Messages, json!({"max_completion_tokens": 1}), "max_completion_tokens"),
        (Endpoint::Messages, json!({"container": "c"}), "container"),
        (Endpoint::Messages, json!({"System": "x"}), "system"),
        (Endpoint::Responses, json!({"input": null}), "input"),
        (Endpoint::Responses, json!({"input": {}}), "input"),
        (Endpoint::Responses, json!({"max_output_tokens": 1, "max_tokens": 2}), "max_tokens"),
        (Endpoint::Responses, json!({"background": true}), "background"),
        (Endpoint::Responses, json!({"conversation": {"id": "c"}}), "conversation"),
        (Endpoint::Responses, json!({"prompt": {"id": "p"}}), "prompt"),
        (Endpoint::Responses, json!({"input": [{"type": "item_reference", "id": "i"}]}), "input[].item_reference"),
        (Endpoint::Responses, json!({"input": [{"id": "i"}]}), "input[].item_reference"),
        (Endpoint::Responses, json!({"input": ["text"]}), "input"),
        (Endpoint::Embeddings, json!({"input": []}), "input"),
        (Endpoint::Rerank, json!({"query": ""}), "query"),
        (Endpoint::Rerank, json!({"documents": "a"}), "documents"),
        (Endpoint::Rerank, json!({"documents": []}), "documents"),
    ];
    for (endpoint, more, param) in cases {
        let fault = with(endpoint, &more).unwrap_err();
        assert_eq!(fault.param(), Some(param), "{endpoint:?} {more}");
    }
    assert!(with(Endpoint::Responses, &json!({"background": false, "conversation": null})).is_ok());
    assert!(with(Endpoint::Responses, &json!({"input": [{"role": "user", "content": "x"}]})).is_ok());
}

#[test]
fn caps_are_spliced_under_the_endpoints_own_name() {
    let edits = |name| Edits { output_cap: Some((name, 5)), ..Edits::default() };
    let spliced = |endpoint, more: Value, name| {
        let call = with(endpoint, &more).unwrap();
        serde_json::from_slice::<Value>(&call.splice(edits(name))).unwrap()
    };
    assert_eq!(spliced(Endpoint::Messages, json!({}), CapName::MaxTokens)["max_tokens"], 5);
    let null = spliced(Endpoint::Responses, json!({"max_output_tokens": null}), CapName::MaxOutputTokens);
    assert_eq!(null["max_output_tokens"], 5);
    let own = spliced(Endpoint::Responses, json!({"max_output_tokens": 9}), CapName::MaxOutputTokens);
    assert_eq!(own["max_output_tokens"], 5);
}

#[test]
fn pictures_are_no_text() {
    let data = "iVBORw0KGgo".repeat(1_000);
    let source = json!({"type": "base64", "media_type": "image/png", "data": data});
    let message = json!({"role": "user", "content": [{"type": "image", "source": source}]});
    let call = with(Endpoint::Messages, &json!({"messages": [message]})).unwrap();
    assert_eq!(call.media_parts, 1);
    assert!(call.prompt_bytes < 100, "{}", call.prompt_bytes);
}
