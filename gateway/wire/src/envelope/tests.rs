use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

mod shapes;

fn chat(body: &str) -> Result<Envelope, EnvelopeFault> {
    Envelope::parse(Bytes::from(body.to_owned()), Endpoint::ChatCompletions)
}

fn with(extra: &str) -> Result<Envelope, EnvelopeFault> {
    chat(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{extra}}}"#))
}

#[test]
fn a_whole_call_is_read() {
    let call = with(
        r#","stream":true,"stream_options":{"include_usage":true},"max_completion_tokens":9,"n":2,"best_of":3,
        "user":"u\u00e9","tools":[{"type":"function","function":{"name":"f"}}],"Temperature":1,"x":{"Model":1}"#,
    )
    .unwrap();
    assert_eq!((call.model.as_str(), call.stream, call.include_usage, call.continuous_usage), ("m", true, true, false));
    assert_eq!((call.output_tokens_max, call.cap_name), (Some(9), Some(CapName::MaxCompletionTokens)));
    assert_eq!((call.choices, call.best_of, call.user.as_deref()), (2, Some(3), Some("ué")));
    assert_eq!(call.tools, ["f"]);
    assert_eq!(call.prompt.of(call.body()), br#"[{"role":"user","content":"hi"}]"#);
    let plain = with("").unwrap();
    assert_eq!((plain.stream, plain.choices, plain.output_tokens_max, plain.tools.is_empty()), (false, 1, None, true));
    assert_eq!((plain.prompt_items, plain.prompt_bytes), (1, 6));
}

#[test]
fn nulls_are_absent() {
    let nulls = r#","stream":null,"stream_options":null,"max_tokens":null,"max_completion_tokens":4,"n":null,"user":null,"tools":null"#;
    assert_eq!(with(nulls).unwrap().output_tokens_max, Some(4));
}

#[test]
fn faults_name_their_parameter() {
    let cases = [
        (r#","stream":"yes""#, Some("stream")),
        (r#","stream":1"#, Some("stream")),
        (r#","max_tokens":0"#, Some("max_tokens")),
        (r#","max_tokens":-1"#, Some("max_tokens")),
        (r#","max_tokens":1.0"#, Some("max_tokens")),
        (r#","max_tokens":1e3"#, Some("max_tokens")),
        (r#","max_tokens":"5""#, Some("max_tokens")),
        (r#","max_tokens":4294967296"#, Some("max_tokens")),
        (r#","max_tokens":1,"max_completion_tokens":1"#, Some("max_completion_tokens")),
        (r#","n":0"#, Some("n")),
        (r#","n":129"#, Some("n")),
        (r#","n":[]"#, Some("n")),
        (r#","n":4,"best_of":3"#, Some("best_of")),
        (r#","user":{}"#, Some("user")),
        (r#","user":"\ud800""#, Some("user")),
        (r#","stream_options":[]"#, Some("stream_options")),
        (r#","stream_options":{"include_usage":1}"#, Some("stream_options.include_usage")),
        (r#","tools":{}"#, Some("tools")),
        (r#","stream":true,"stream":true"#, None),
    ];
    for (extra, param) in cases {
        assert_eq!(with(extra).unwrap_err().param(), param, "{extra}");
    }
}

#[test]
fn model_and_prompt_must_be_there_and_sound() {
    let long = format!(r#"{{"model":"{}","messages":[1]}}"#, "m".repeat(MODEL_BYTES_MAX + 1));
    let cases = [
        (r#"{"messages":[1]}"#, Some("model")),
        (r#"{"model":null,"messages":[1]}"#, Some("model")),
        (r#"{"model":7,"messages":[1]}"#, Some("model")),
        (r#"{"model":"","messages":[1]}"#, Some("model")),
        (r#"{"model":"a\nb","messages":[1]}"#, Some("model")),
        (r#"{"model":"a\u009fb","messages":[1]}"#, Some("model")),
        (long.as_str(), Some("model")),
        (r#"{"model":"m"}"#, Some("messages")),
        (r#"{"model":"m","messages":[]}"#, Some("messages")),
        (r#"{"model":"m","messages":[ ]}"#, Some("messages")),
        (r#"{"model":"m","messages":"hi"}"#, Some("messages")),
        (r#"{"model":"m","prompt":"hi"}"#, Some("messages")),
        ("[]", None),
        ("", None),
    ];
    for (body, param) in cases {
        assert_eq!(chat(body).unwrap_err().param(), param, "{body}");
    }
    for prompt in ["7", "[]", "{}", "null"] {
        let body = Bytes::from(format!(r#"{{"model":"m","prompt":{prompt}}}"#));
        assert_eq!(Envelope::parse(body, Endpoint::Completions).unwrap_err().param(), Some("prompt"));
    }
}

#[test]
fn prompts_are_measured_without_their_dress() {
    let cases = [
        (r#""abcd""#, 1, 4),
        (r#"["ab","cd\n"]"#, 2, 5),
        ("[1, 2,3]", 1, 12),
        ("[[1,2],[3]]", 2, 12),
        (r#""\u4e2d""#, 1, 3),
    ];
    for (prompt, items, bytes) in cases {
        let body = Bytes::from(format!(r#"{{"model":"m","prompt":{prompt}}}"#));
        let call = Envelope::parse(body, Endpoint::Completions).unwrap();
        assert_eq!((call.prompt_items, call.prompt_bytes), (items, bytes), "{prompt}");
    }
    let image = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{}"}}}}]}}]}}"#,
        "A".repeat(100_000)
    );
    let call = chat(&image).unwrap();
    assert_eq!((call.media_parts, call.prompt_bytes), (1, 13));
}

#[test]
fn other_spellings_are_refused_where_weir_reads() {
    let cases = [
        (r#","Model":"x""#, "model"),
        (r#","STREAM":true"#, "stream"),
        (r#","Max_Tokens":1"#, "max_tokens"),
        (r#","\u006dODEL":1"#, "model"),
        (r#","ſtream":true"#, "stream"),
        (r#","max_to\u212aens":1"#, "max_tokens"),
        (r#","Messages":[]"#, "messages"),
        (r#","stream_options":{"Include_Usage":true}"#, "stream_options.include_usage"),
    ];
    for (extra, param) in cases {
        let fault = with(extra).unwrap_err();
        assert!(matches!(fault, EnvelopeFault::Spelling { .. }), "{extra}");
        assert_eq!(fault.param(), Some(param), "{extra}");
    }
    with(r#","Temperature":1,"mod el":1,"metadata":{"Model":1,"STREAM":2}"#).unwrap();
}

#[test]
fn splicing_changes_only_what_it_must() {
    let all = Edits {
        model: Some("q\"1"),
        include_usage: true,
        continuous_usage: true,
        output_cap: Some((CapName::MaxTokens, 7)),
    };
    let cases = [
        (
            r#" {"model" : "m","messages":[1]}"#,
            r#" {"max_tokens":7,"stream_options":{"include_usage":true,"continuous_usage_stats":true},"model" : "q\"1","messages":[1]}"#,
        ),
        (
            r#"{"messages":[1],"stream_options":{},"model":"m","max_completion_tokens": 9 }"#,
            r#"{"messages":[1],"stream_options":{"include_usage":true,"continuous_usage_stats":true},"model":"q\"1","max_completion_tokens": 7 }"#,
        ),
        (
            r#"{"stream_options":{"include_usage": false, "x":1},"model":"m","messages":[1],"max_tokens":null,"max_completion_tokens":null}"#,
            r#"{"stream_options":{"continuous_usage_stats":true,"include_usage": true, "x":1},"model":"q\"1","messages":[1],"max_tokens":7,"max_completion_tokens":null}"#,
        ),
        (
            r#"{"model":"m","stream_options":null,"max_tokens":null,"max_completion_tokens":8,"messages":[1]}"#,
            r#"{"model":"q\"1","stream_options":{"include_usage":true,"continuous_usage_stats":true},"max_tokens":null,"max_completion_tokens":7,"messages":[1]}"#,
        ),
    ];
    for (body, spliced) in cases {
        let out = chat(body).unwrap().splice(all);
        assert_eq!(String::from_utf8_lossy(&out), spliced);
        let again = Envelope::parse(out.clone(), Endpoint::ChatCompletions).unwrap();
        assert_eq!((again.model.as_str(), again.output_tokens_max), ("q\"1", Some(7)));
        assert_eq!(again.splice(all).as_ptr(), again.body().as_ptr(), "a second splice changes nothing");
    }
}

#[test]
fn without_changes_nothing_is_copied() {
    let call = with(r#","max_tokens":7,"stream_options":{"include_usage":true}"#).unwrap();
    let same = Edits {
        model: Some("m"),
        include_usage: true,
        continuous_usage: false,
        output_cap: Some((CapName::MaxCompletionTokens, 7)),
    };
    for edits in [Edits::default(), same] {
        assert_eq!(call.splice(edits).as_ptr(), call.body().as_ptr());
    }
}

/// Any JSON value.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A body with random unknown members and a random choice of the ones that a splice may touch.
fn body() -> impl Strategy<Value = Value> {
    let cap = prop::sample::select(vec!["", "max_tokens", "max_completion_tokens"]);
    let options = prop::sample::select(vec![
        Value::Null,
        json!({}),
        json!({"x": [1]}),
        json!({"include_usage": false}),
        json!({"x": 1, "include_usage": true, "continuous_usage_stats": false}),
    ]);
    let parts = (prop::collection::btree_map("x.{0,8}", value(), 0..5), cap, options, any::<bool>(), "m[ -~é]{0,9}");
    parts.prop_map(|(extra, cap, options, with_options, model)| {
        let mut map: Map<String, Value> = extra.into_iter().collect();
        map.insert("model".into(), model.into());
        map.insert("messages".into(), json!([{"role": "user", "content": "hi"}]));
        if !cap.is_empty() {
            map.insert(cap.into(), 5.into());
        }
        if with_options {
            map.insert("stream_options".into(), options);
        }
        Value::Object(map)
    })
}

proptest! {
    #[test]
    fn splicing_changes_these_members_alone(
        body in body(), pretty: bool, model in any::<String>(), usage: bool, cap in 1..9_u32
    ) {
        let text = if pretty { serde_json::to_vec_pretty(&body) } else { serde_json::to_vec(&body) }.unwrap();
        let call = Envelope::parse(Bytes::from(text), Endpoint::ChatCompletions).unwrap();
        let edits = Edits {
            model: Some(&model),
            include_usage: usage,
            continuous_usage: false,
            output_cap: Some((CapName::MaxTokens, cap)),
        };
        let found: Value = serde_json::from_slice(&call.splice(edits)).unwrap();
        let mut expected = body.clone();
        let map = expected.as_object_mut().unwrap();
        map.insert("model".into(), model.into());
        let name = if body.get("max_completion_tokens").is_some() { "max_completion_tokens" } else { "max_tokens" };
        map.insert(name.into(), cap.into());
        if usage {
            let options = map.entry("stream_options").or_insert(Value::Null);
            if options.is_null() {
                *options = json!({});
            }
            options.as_object_mut().unwrap().insert("include_usage".into(), true.into());
        }
        prop_assert_eq!(found, expected);
    }
}
