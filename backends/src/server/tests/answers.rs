//! What right requests get.

use super::*;

#[tokio::test]
async fn a_chat_completion_has_text_and_exact_usage() {
    let mut house = House::new(ScriptedOptions::default());
    let (status, body) = house.post(CHAT, &chat_body("hello", json!({"max_tokens": 13}))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "scripted");
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    let choice = &body["choices"][0];
    assert_eq!(choice["message"], json!({"role": "assistant", "content": "word 1 word 2"}));
    assert_eq!((&choice["finish_reason"], &choice["index"]), (&json!("length"), &json!(0)));
    assert_eq!(body["usage"], json!({"prompt_tokens": 12, "completion_tokens": 13, "total_tokens": 25}));
}

#[tokio::test]
async fn a_stream_begins_with_the_role_and_ends_with_reason_usage_and_done() {
    let mut house = House::new(script(Script::Echo));
    let extra = json!({"stream": true, "stream_options": {"include_usage": true}});
    let response = house.open(CHAT, &chat_body("crème 🦀 brûlée", extra), &[("x-weir-call-id", "c1")]).await;
    assert_eq!(response.headers()["x-weir-call-id"], "c1");
    let events = Events::new(response).all().await;
    let (done, chunks) = events.split_last().unwrap();
    assert_eq!(done, "[DONE]");
    let chunks: Vec<Value> = chunks.iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "crème 🦀 brûlée");
    let last = &chunks[chunks.len() - 2]["choices"][0];
    assert_eq!((&last["finish_reason"], &last["delta"]), (&json!("stop"), &json!({})));
    let usage = &chunks[chunks.len() - 1];
    assert_eq!(usage["choices"], json!([]));
    let made = "crème 🦀 brûlée".len() + 1;
    assert_eq!(usage["usage"]["completion_tokens"], json!(made), "every byte and the end token");
    assert!(chunks[..chunks.len() - 1].iter().all(|chunk| chunk.get("usage").is_none()));
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"] && chunk["object"] == "chat.completion.chunk"));
}

#[tokio::test]
async fn usage_so_far_is_the_last_member_of_each_chunk() {
    let mut house = House::new(ScriptedOptions::default());
    let extra = json!({"stream": true, "max_tokens": 20, "stream_options": {"continuous_usage_stats": true}});
    let events = Events::new(house.open(CHAT, &chat_body("hi", extra), &[]).await).all().await;
    let mut before = 0;
    for chunk in &events[..events.len() - 1] {
        let parsed: Value = serde_json::from_str(chunk).unwrap();
        let made = parsed["usage"]["completion_tokens"].as_u64().unwrap();
        let end = format!(r#""usage":{{"prompt_tokens":9,"completion_tokens":{made},"total_tokens":{}}}}}"#, 9 + made);
        assert!(chunk.ends_with(&end), "{chunk}");
        assert!(made >= before && made <= before + 1);
        before = made;
    }
    assert_eq!(before, 20);
}

#[tokio::test]
async fn choices_stream_side_by_side_and_the_prompt_counts_once() {
    let mut house = House::new(script(Script::Noise));
    let extra = json!({"n": 3, "seed": 4, "max_tokens": 30});
    let (_, body) = house.post(CHAT, &chat_body("three", extra.clone())).await;
    let texts: Vec<&str> = (0..3).map(|at| body["choices"][at]["message"]["content"].as_str().unwrap()).collect();
    assert!(texts[0] != texts[1] && texts[1] != texts[2]);
    assert_eq!(body["usage"], json!({"prompt_tokens": 12, "completion_tokens": 90, "total_tokens": 102}));
    let mut streamed = chat_body("three", extra);
    merge(&mut streamed, json!({"stream": true}));
    let events = Events::new(house.open(CHAT, &streamed, &[]).await).all().await;
    let mut joined = vec![String::new(); 3];
    let mut reasons = 0;
    for chunk in &events[..events.len() - 1] {
        let chunk: Value = serde_json::from_str(chunk).unwrap();
        let choice = &chunk["choices"][0];
        let at = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
        joined[at].push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        reasons += usize::from(choice["finish_reason"] == "length");
    }
    assert_eq!(joined, texts, "the same seed streams the same choices");
    assert_eq!(reasons, 3);
}

#[tokio::test]
async fn a_stop_text_is_never_shown() {
    let mut house = House::new(ScriptedOptions::default());
    for stop in [json!("d 3"), json!(["zzz", " 3"])] {
        for stream in [false, true] {
            let body = chat_body("hi", json!({"stop": stop, "stream": stream}));
            let text = if stream {
                let events = Events::new(house.open(CHAT, &body, &[]).await).all().await;
                events[..events.len() - 1]
                    .iter()
                    .filter_map(|chunk| serde_json::from_str::<Value>(chunk).ok())
                    .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
                    .collect()
            } else {
                house.post(CHAT, &body).await.1["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
            };
            let wanted = if stop.is_string() { "word 1 word 2 wor" } else { "word 1 word 2 word" };
            assert_eq!(text, wanted, "{stop} {stream}");
        }
    }
}

#[tokio::test]
async fn logprobs_have_the_shape_that_sdks_read() {
    let mut house = House::new(script(Script::Noise));
    let extra = json!({"logprobs": true, "top_logprobs": 20, "max_tokens": 4, "temperature": 0});
    let (_, body) = house.post(CHAT, &chat_body("p", extra)).await;
    let content = body["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(content.len(), 4);
    for entry in content {
        let top = entry["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 20);
        assert_eq!((&top[0]["token"], &top[0]["logprob"]), (&entry["token"], &entry["logprob"]), "greedy");
        let logprobs: Vec<f64> = top.iter().map(|top| top["logprob"].as_f64().unwrap()).collect();
        assert!(logprobs.is_sorted_by(|left, right| left >= right));
        assert!(logprobs.iter().map(|logprob| logprob.exp()).sum::<f64>() < 1.0);
        assert_eq!(entry["bytes"], json!(entry["token"].as_str().unwrap().as_bytes()));
    }
    let (_, body) = house.post(CHAT, &chat_body("p", json!({"logprobs": true, "max_tokens": 1}))).await;
    assert_eq!(body["choices"][0]["logprobs"]["content"][0]["top_logprobs"], json!([]));
}

#[tokio::test]
async fn completions_take_every_kind_of_prompt() {
    let mut house = House::new(ScriptedOptions::default());
    for (prompt, prompts, tokens) in
        [(json!("ab"), 1, 2), (json!(["ab", "cde"]), 2, 5), (json!([97, 98]), 1, 2), (json!([[97], [98, 99]]), 2, 3)]
    {
        let body = json!({"model": "scripted", "prompt": prompt, "max_tokens": 3, "n": 2, "echo": true});
        let (status, body) = house.post(COMPLETIONS, &body).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(body["object"], "text_completion");
        let choices = body["choices"].as_array().unwrap();
        assert_eq!(choices.len(), prompts * 2, "{prompt}");
        assert_eq!(body["usage"]["prompt_tokens"], tokens, "{prompt}: each prompt once");
        assert_eq!(body["usage"]["completion_tokens"], prompts * 2 * 3);
    }
    let body = json!({"model": "scripted", "prompt": ["ab", "wor"], "max_tokens": 3, "echo": true});
    let (_, body) = house.post(COMPLETIONS, &body).await;
    assert_eq!((&body["choices"][0]["text"], &body["choices"][1]["text"]), (&json!("abrd "), &json!("word 1")));
    let (_, body) = house.post(COMPLETIONS, &json!({"model": "scripted", "prompt": "a"})).await;
    assert_eq!(body["usage"]["completion_tokens"], 16, "the interface's default");
}

#[tokio::test]
async fn completions_stream_text_and_scores_with_offsets() {
    let mut house = House::new(ScriptedOptions::default());
    let body = json!({"model": "scripted", "prompt": "x", "max_tokens": 6, "logprobs": 2, "stream": true});
    let events = Events::new(house.open(COMPLETIONS, &body, &[]).await).all().await;
    let chunks: Vec<Value> =
        events[..events.len() - 1].iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect();
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(text, "ord 1 ");
    let scores = chunks.iter().map(|chunk| &chunk["choices"][0]["logprobs"]).filter(|scores| !scores.is_null());
    let offsets: Vec<u64> = scores.clone().map(|scores| scores["text_offset"][0].as_u64().unwrap()).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4, 5]);
    assert!(scores.clone().all(|scores| scores["top_logprobs"][0].as_object().unwrap().len() >= 2));
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn a_seed_repeats_itself_beside_other_calls() {
    let mut house = House::new(script(Script::Noise));
    let body = chat_body("seeded", json!({"seed": 77, "max_tokens": 60}));
    let (_, alone) = house.post(CHAT, &body).await;
    let busy = chat_body("noise", json!({"n": 8, "stream": true, "max_tokens": 100}));
    let _others = house.open(CHAT, &busy, &[]).await;
    let (_, again) = house.post(CHAT, &body).await;
    assert_eq!(alone["choices"], again["choices"]);
    let (_, other) = house.post(CHAT, &chat_body("seeded", json!({"max_tokens": 60}))).await;
    assert_ne!(alone["choices"], other["choices"], "without a seed each answer is its own");
}

#[tokio::test]
async fn a_prompt_of_200_kib_is_answered() {
    let options = ScriptedOptions { context_tokens_max: 262_144, pages_total: 16_384, ..ScriptedOptions::default() };
    let mut house = House::new(options);
    let (status, body) = house.post(CHAT, &chat_body(&"x".repeat(200 << 10), json!({"max_tokens": 5}))).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(body["usage"]["prompt_tokens"], (200 << 10) + 7);
    assert_eq!(body["choices"][0]["message"]["content"], "word ");
}

#[tokio::test]
async fn models_health_and_metrics_answer() {
    let mut house = House::new(ScriptedOptions::default());
    house.post(CHAT, &chat_body("hello", json!({"max_tokens": 3}))).await;
    let (_, models) = house.get("/v1/models").await;
    let models: Value = serde_json::from_str(&models).unwrap();
    assert_eq!(models["data"][0]["id"], "scripted");
    assert_eq!(house.get("/health").await, (StatusCode::OK, r#"{"status":"ok"}"#.to_owned()));
    house.freed().await;
    let (_, metrics) = house.get("/metrics").await;
    for line in [
        r#"weir_engine_prompt_tokens_total{model_name="scripted"} 12"#,
        r#"weir_engine_generation_tokens_total{model_name="scripted"} 3"#,
        r#"weir_engine_num_requests_running{model_name="scripted"} 0"#,
        r#"weir_engine_num_requests_waiting{model_name="scripted"} 0"#,
        r#"weir_engine_kv_cache_usage_perc{model_name="scripted"} 0"#,
        r#"weir_engine_time_to_first_token_seconds_count{model_name="scripted"} 1"#,
        r#"weir_engine_inter_token_latency_seconds_count{model_name="scripted"} 2"#,
        r#"weir_engine_request_success_total{model_name="scripted",finished_reason="length"} 1"#,
    ] {
        assert!(metrics.contains(line), "no `{line}` in\n{metrics}");
    }
}
