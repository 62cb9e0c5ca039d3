//! Reports of each provider, and the traps that others fell into, each by its name.

use super::*;

fn report(shape: Shape, json: &str) -> Report {
    let seen = Seen::one(json);
    assert_eq!(seen.shape(if shape == Shape::OpenAiImages { "gpt-image-1" } else { "m" }), shape, "{json}");
    let report = seen.report(shape);
    let is_broken = matches!(report.state, State::Inconsistent(_));
    assert!(!is_broken || report.buckets.used().all(|(bucket, _)| plain(bucket)), "totals alone: {report:?}");
    report
}

fn plain(bucket: Bucket) -> bool {
    matches!(bucket, Bucket::InputText | Bucket::OutputText)
}

/// The buckets of a report that adds up, as JSON.
fn buckets(shape: Shape, json: &str) -> String {
    let report = report(shape, json);
    assert_eq!(report.state, State::Complete, "{json}");
    serde_json::to_string(&report.buckets).unwrap()
}

fn fault(shape: Shape, json: &str) -> Fault {
    match report(shape, json).state {
        State::Inconsistent(fault) => fault,
        other @ (State::Complete | State::Partial | State::Absent) => panic!("{other:?}: {json}"),
    }
}

#[test]
fn openai_has_cached_tokens_inside_the_prompts() {
    let json = r#"{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100,
        "prompt_tokens_details":{"cached_tokens":300,"audio_tokens":0},
        "completion_tokens_details":{"reasoning_tokens":40,"audio_tokens":0,"accepted_prediction_tokens":0}}"#;
    assert_eq!(
        buckets(Shape::OpenAiChat, json),
        r#"{"input_text":700,"cache_read":300,"output_text":60,"reasoning":40}"#
    );
    let json = r#"{"input_tokens":1000,"input_tokens_details":{"cached_tokens":300},"output_tokens":100,
        "output_tokens_details":{"reasoning_tokens":40},"total_tokens":1100}"#;
    assert_eq!(
        buckets(Shape::OpenAiResponses, json),
        r#"{"input_text":700,"cache_read":300,"output_text":60,"reasoning":40}"#
    );
    assert_eq!(buckets(Shape::OpenAiChat, r#"{"prompt_tokens":8,"total_tokens":8}"#), r#"{"input_text":8}"#);
}

#[test]
fn anthropic_has_cached_tokens_beside_the_input_and_cache_creation_is_not_charged_twice() {
    let json = r#"{"input_tokens":50,"cache_read_input_tokens":1000,"cache_creation_input_tokens":700,
        "cache_creation":{"ephemeral_5m_input_tokens":500,"ephemeral_1h_input_tokens":200},"output_tokens":9,
        "server_tool_use":{"web_search_requests":2},"service_tier":"batch"}"#;
    assert_eq!(
        buckets(Shape::Anthropic, json),
        r#"{"input_text":50,"cache_read":1000,"cache_write_5m":500,"cache_write_1h":200,"output_text":9,"web_searches":2}"#
    );
    let all = report(Shape::Anthropic, json);
    assert_eq!((all.buckets.input_tokens(), all.tier), (1750, Some(Tier::Batch)));
    let unsaid = r#"{"input_tokens":1,"cache_creation_input_tokens":700,"output_tokens":1}"#;
    assert_eq!(buckets(Shape::Anthropic, unsaid), r#"{"input_text":1,"cache_write_5m":700,"output_text":1}"#);
    let json = r#"{"input_tokens":1,"cache_creation_input_tokens":700,"output_tokens":1,
        "cache_creation":{"ephemeral_5m_input_tokens":500,"ephemeral_1h_input_tokens":100}}"#;
    assert_eq!(fault(Shape::Anthropic, json), Fault::CacheWrite);
    assert_eq!(report(Shape::Anthropic, json).buckets, Buckets::text(701, 1));
}

#[test]
fn cached_pictures_are_not_counted_twice() {
    let json = r#"{"prompt_tokens":1500,"completion_tokens":10,"total_tokens":1510,"cost_in_usd_ticks":37756000,
        "prompt_tokens_details":{"text_tokens":500,"image_tokens":1000,"cached_tokens":1200}}"#;
    assert_eq!(
        buckets(Shape::OpenAiChat, json),
        r#"{"input_image":300,"cache_read":500,"cache_read_image":700,"output_text":10}"#
    );
    assert_eq!(report(Shape::OpenAiChat, json).provider_cost_nano, Some(3_775_600));
    let json = r#"{"prompt_tokens":1500,"completion_tokens":10,"total_tokens":1510,
        "prompt_tokens_details":{"text_tokens":300,"image_tokens":1000,"cached_tokens":200}}"#;
    assert_eq!(
        buckets(Shape::OpenAiChat, json),
        r#"{"input_text":300,"input_image":1000,"cache_read":200,"output_text":10}"#,
        "a provider whose text is what no cache held"
    );
    let said = r#"{"total_tokens":330,"input_tokens":300,"output_tokens":30,"input_token_details":{"text_tokens":100,
        "audio_tokens":200,"cached_tokens":90,"cached_tokens_details":{"text_tokens":20,"audio_tokens":70}},
        "output_token_details":{"text_tokens":10,"audio_tokens":20}}"#;
    assert_eq!(
        buckets(Shape::OpenAiResponses, said),
        r#"{"input_text":80,"input_audio":130,"cache_read":20,"cache_read_audio":70,"output_text":10,"output_audio":20}"#
    );
}

#[test]
fn thoughts_are_inside_or_beside_the_completion_as_the_total_says() {
    let inside = r#"{"prompt_tokens":10,"completion_tokens":100,"total_tokens":110,
        "completion_tokens_details":{"reasoning_tokens":95}}"#;
    assert_eq!(buckets(Shape::OpenAiChat, inside), r#"{"input_text":10,"output_text":5,"reasoning":95}"#);
    let beside = r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":110,
        "completion_tokens_details":{"reasoning_tokens":95}}"#;
    assert_eq!(buckets(Shape::OpenAiChat, beside), r#"{"input_text":10,"output_text":5,"reasoning":95}"#);
    let neither = r#"{"prompt_tokens":10,"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":95}}"#;
    assert_eq!(fault(Shape::OpenAiChat, neither), Fault::Output);
    let total = r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":16}"#;
    assert_eq!(fault(Shape::OpenAiChat, total), Fault::Total);
}

#[test]
fn gemini_has_thoughts_and_tools_beside_and_caches_inside() {
    let json = r#"{"promptTokenCount":1000,"cachedContentTokenCount":600,"candidatesTokenCount":50,
        "thoughtsTokenCount":200,"toolUsePromptTokenCount":30,"totalTokenCount":1280,"trafficType":"ON_DEMAND_PRIORITY",
        "promptTokensDetails":[{"modality":"TEXT","tokenCount":300},{"modality":"AUDIO","tokenCount":700}],
        "cacheTokensDetails":[{"modality":"AUDIO","tokenCount":600}],
        "candidatesTokensDetails":[{"modality":"TEXT","tokenCount":20},{"modality":"IMAGE","tokenCount":30}]}"#;
    assert_eq!(
        buckets(Shape::Gemini, json),
        r#"{"input_text":330,"input_audio":100,"cache_read_audio":600,"output_text":20,"output_image":30,"reasoning":200}"#
    );
    assert_eq!(report(Shape::Gemini, json).tier, Some(Tier::Priority));
    let inside = r#"{"promptTokenCount":10,"candidatesTokenCount":50,"thoughtsTokenCount":20,"totalTokenCount":60}"#;
    assert_eq!(buckets(Shape::Gemini, inside), r#"{"input_text":10,"output_text":30,"reasoning":20}"#);
    for (json, expected) in [
        (r#"{"promptTokenCount":10,"candidatesTokenCount":50,"totalTokenCount":61}"#, Fault::Total),
        (r#"{"promptTokenCount":10,"cachedContentTokenCount":11,"candidatesTokenCount":1}"#, Fault::Input),
        (
            r#"{"promptTokenCount":10,"promptTokensDetails":[{"modality":"TEXT","tokenCount":9}],"totalTokenCount":10}"#,
            Fault::Input,
        ),
        (
            r#"{"promptTokenCount":1,"candidatesTokenCount":5,"candidatesTokensDetails":[{"modality":"TEXT","tokenCount":6}]}"#,
            Fault::Output,
        ),
    ] {
        assert_eq!(fault(Shape::Gemini, json), expected, "{json}");
    }
}

#[test]
fn bedrock_cohere_pictures_and_sound_are_counted_in_their_ways() {
    let json = r#"{"inputTokens":10,"outputTokens":5,"totalTokens":115,"cacheReadInputTokens":70,
        "cacheWriteInputTokens":30,"cacheDetails":[{"inputTokens":20,"ttl":"5m"},{"inputTokens":10,"ttl":"1h"}]}"#;
    assert_eq!(
        buckets(Shape::Bedrock, json),
        r#"{"input_text":10,"cache_read":70,"cache_write_5m":20,"cache_write_1h":10,"output_text":5}"#
    );
    assert_eq!(fault(Shape::Bedrock, r#"{"inputTokens":10,"outputTokens":5,"totalTokens":16}"#), Fault::Total);
    let json = r#"{"billed_units":{"search_units":2},"tokens":{"input_tokens":4000}}"#;
    assert_eq!(buckets(Shape::Cohere, json), r#"{"search_units":2}"#);
    let json = r#"{"total_tokens":4200,"input_tokens":50,"output_tokens":4150,
        "input_tokens_details":{"text_tokens":50,"image_tokens":0}}"#;
    assert_eq!(buckets(Shape::OpenAiImages, json), r#"{"input_text":50,"output_image":4150}"#);
    assert_eq!(buckets(Shape::OpenAiResponses, r#"{"type":"duration","seconds":90.5}"#), r#"{"audio_ms":90500}"#);
    assert_eq!(buckets(Shape::OpenAiResponses, r#"{"type":"duration","seconds":12}"#), r#"{"audio_ms":12000}"#);
}

#[test]
fn a_providers_own_cost_is_read_without_a_binary_fraction() {
    let cost = |json: &str| Seen::one(json).report(Shape::OpenAiChat).provider_cost_nano;
    assert_eq!(cost(r#"{"prompt_tokens":1,"completion_tokens":1,"cost":0.000123456}"#), Some(123_456));
    assert_eq!(cost(r#"{"prompt_tokens":1,"completion_tokens":1,"cost":1.4e-7}"#), Some(140));
    assert_eq!(cost(r#"{"prompt_tokens":1,"completion_tokens":1,"cost":{"total_cost":0.006}}"#), Some(6_000_000));
    assert_eq!(cost(r#"{"prompt_tokens":1,"completion_tokens":1}"#), None);
}

/// The usage objects of one stream, taken in order.
fn stream(shape: Shape, objects: &[&str]) -> Report {
    let mut seen = Seen::default();
    objects.iter().for_each(|json| seen.see(json));
    seen.report(shape)
}

#[test]
fn fr_cost_12_nulls_and_zeros_say_nothing_and_of_cumulative_reports_the_greatest_counts() {
    let chat = |prompt, completion| format!(r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion}}}"#);
    let (first, second, last) = (chat(40, 1), chat(40, 4), chat(40, 7));
    let gemini = |input, output| format!(r#"{{"promptTokenCount":{input},"candidatesTokenCount":{output}}}"#);
    for (case, shape, objects) in [
        ("a", Shape::OpenAiChat, vec!["null", "null", &last]),
        ("b", Shape::Gemini, vec![&gemini(0, 0), &gemini(40, 7)]),
        ("e", Shape::OpenAiChat, vec![&first, &second, &last]),
    ] {
        let report = stream(shape, &objects);
        assert_eq!((report.buckets, report.state), (Buckets::text(40, 7), State::Complete), "{case}");
    }
    let half = stream(Shape::Anthropic, &[r#"{"input_tokens":0,"output_tokens":0}"#, r#"{"output_tokens":7}"#]);
    assert_eq!(half.state, State::Partial, "c: to be estimated");
    assert_eq!(stream(Shape::OpenAiChat, &[]).state, State::Absent, "d: to be estimated");
}

#[test]
fn what_is_no_usage_is_never_guessed() {
    for json in ["{", "[1", r#"{"prompt_tokens":-1}"#, r#"{"prompt_tokens":1.5}"#, r#"{"prompt_tokens":"7"}"#] {
        let state = Seen::one(json).report(Shape::OpenAiChat).state;
        assert_eq!(state, State::Inconsistent(Fault::Malformed), "{json}");
    }
    let deep = format!("{}1{}", r#"{"a":"#.repeat(40), "}".repeat(40));
    assert_eq!(Seen::one(&deep).report(Shape::OpenAiChat).state, State::Inconsistent(Fault::Malformed));
    let most = format!(r#"{{"prompt_tokens":{0},"completion_tokens":{0}}}"#, u64::MAX);
    assert_eq!(fault(Shape::OpenAiChat, &most), Fault::Malformed, "no prompt is so long");
}

/// Whatever numbers a report holds: where it is believed, its buckets are its totals.
#[test]
fn buckets_add_up_to_the_providers_totals() {
    let mut state = 7_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut believed = 0;
    for _ in 0..3_000 {
        let (prompt, completion, cached, image) = (draw(20), draw(20), draw(12), draw(8));
        let (thoughts, is_beside) = (draw(12), draw(2) == 1);
        let total = prompt + completion + if is_beside { thoughts } else { 0 };
        let json = format!(
            r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total},
            "prompt_tokens_details":{{"cached_tokens":{cached},"image_tokens":{image}}},
            "completion_tokens_details":{{"reasoning_tokens":{thoughts}}}}}"#
        );
        let report = Seen::one(&json).report(Shape::OpenAiChat);
        if total > 0 && !matches!(report.state, State::Inconsistent(_)) {
            believed += 1;
            assert_eq!(report.buckets.input_tokens() + report.buckets.output_tokens(), total, "{json}");
            assert_eq!(report.buckets.cache_read_tokens(), cached, "{json}");
            assert_eq!(report.buckets.get(Bucket::Reasoning), thoughts, "{json}");
        }
        let (write, long, tools) = (draw(9), draw(9), draw(9));
        let json = format!(
            r#"{{"promptTokenCount":{prompt},"candidatesTokenCount":{completion},"thoughtsTokenCount":{thoughts},
            "toolUsePromptTokenCount":{tools},"cachedContentTokenCount":{cached},
            "totalTokenCount":{}}}"#,
            prompt + completion + thoughts + tools
        );
        let report = Seen::one(&json).report(Shape::Gemini);
        if cached <= prompt {
            assert!(!matches!(report.state, State::Inconsistent(_)), "{json}");
            assert_eq!(report.buckets.input_tokens(), prompt + tools, "{json}");
            assert_eq!(report.buckets.output_tokens(), completion + thoughts, "{json}");
        }
        let json = format!(
            r#"{{"input_tokens":{prompt},"output_tokens":{completion},"cache_read_input_tokens":{cached},
            "cache_creation_input_tokens":{},"cache_creation":{{"ephemeral_5m_input_tokens":{write},
            "ephemeral_1h_input_tokens":{long}}}}}"#,
            write + long
        );
        let report = Seen::one(&json).report(Shape::Anthropic);
        assert_eq!(report.buckets.input_tokens(), prompt + cached + write + long, "{json}");
    }
    assert!(believed > 700, "{believed}");
}
