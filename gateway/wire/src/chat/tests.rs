use super::*;

fn read(extra: &str) -> Result<ChatRequest, RequestFault> {
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{extra}}}"#);
    ChatRequest::read(body.as_bytes())
}

#[test]
fn a_full_request_is_read() {
    let extra = r#","temperature":0.5,"top_p":1,"top_k":40,"min_p":0.1,"presence_penalty":-2,"frequency_penalty":2,
        "repetition_penalty":1.1,"seed":-7,"logit_bias":{"50256":-100},"stop":["a","b"],"n":3,"logprobs":true,
        "top_logprobs":20,"max_completion_tokens":9,"stream":true,"stream_options":{"include_usage":true},
        "user":"u","unknown":{"deep":[1]}"#;
    let request = read(extra).unwrap();
    assert_eq!(request.sampling.stops(), ["a", "b"]);
    assert_eq!(request.sampling.logit_bias.as_ref().unwrap().get(&50256), Some(&-100.0));
    assert_eq!(request.output_tokens_max(), Some(9));
    assert!(request.sampling.wants_usage() && !request.sampling.wants_continuous_usage());
}

#[test]
fn nulls_are_absent() {
    let request =
        read(r#","stream":null,"n":null,"stop":null,"logprobs":null,"stream_options":null,"max_tokens":null"#);
    let request = request.unwrap();
    assert!(!request.sampling.stream && !request.logprobs && request.output_tokens_max().is_none());
}

#[test]
fn content_may_be_text_parts_or_nothing() {
    let body = br#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},
        {"type":"text","text":"b"}]},{"role":"assistant","content":null},{"role":"assistant"}]}"#;
    let request = ChatRequest::read(body).unwrap();
    let texts: Vec<String> = request.messages.iter().map(Message::text).collect();
    assert_eq!(texts, ["ab", "", ""]);
    let image = br#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#;
    assert_eq!(ChatRequest::read(image).unwrap_err().param(), Some("messages"));
}

#[test]
fn ranges_are_refused_by_their_parameters_name() {
    let cases = [
        (r#","temperature":2.1"#, "temperature"),
        (r#","temperature":-0.1"#, "temperature"),
        (r#","temperature":1e39"#, "temperature"),
        (r#","top_p":0"#, "top_p"),
        (r#","top_p":1.01"#, "top_p"),
        (r#","top_k":-2"#, "top_k"),
        (r#","min_p":2"#, "min_p"),
        (r#","presence_penalty":3"#, "presence_penalty"),
        (r#","frequency_penalty":-3"#, "frequency_penalty"),
        (r#","repetition_penalty":0"#, "repetition_penalty"),
        (r#","n":0"#, "n"),
        (r#","n":129"#, "n"),
        (r#","stop":["a","b","c","d","e"]"#, "stop"),
        (r#","stop":"""#, "stop"),
        (r#","logit_bias":{"1":101}"#, "logit_bias"),
        (r#","max_tokens":0"#, "max_tokens"),
        (r#","max_tokens":1,"max_completion_tokens":1"#, "max_completion_tokens"),
        (r#","logprobs":true,"top_logprobs":21"#, "top_logprobs"),
        (r#","top_logprobs":1"#, "top_logprobs"),
    ];
    for (extra, param) in cases {
        assert_eq!(read(extra).unwrap_err().param(), Some(param), "{extra}");
    }
}

#[test]
fn wrong_types_and_duplicates_are_refused() {
    for extra in [r#","temperature":"hot""#, r#","stream":1"#, r#","seed":1.5"#, r#","logit_bias":{"x":1}"#] {
        assert!(matches!(read(extra), Err(RequestFault::Shape(_))), "{extra}");
    }
    assert!(matches!(read(r#","n":1,"n":2"#), Err(RequestFault::Json(_))));
}
