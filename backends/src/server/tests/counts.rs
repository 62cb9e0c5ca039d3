//! Counts of prompts, and the machine's time in usage.

use super::*;
use crate::executor::{ExecutorError, ExecutorSpec, StepOutput, StepPlan};
use std::sync::mpsc;

#[tokio::test]
async fn a_count_is_what_the_calls_usage_states() {
    let mut house = House::new(ScriptedOptions::default());
    for content in ["hi", "", &"long ".repeat(1_630), "<|im_end|> \u{1F600}"] {
        let body = chat_body(content, json!({"max_tokens": 1, "stream": false, "n": 2}));
        let (status, counted) = house.post("/weir/count/chat", &body).await;
        assert_eq!(status, StatusCode::OK, "{counted}");
        let answer = house.answer(&body, &[]).await;
        assert_eq!(counted["prompt_tokens"], answer["usage"]["prompt_tokens"], "{answer}");
    }
    let body = json!({"model": "scripted", "prompt": ["one", "and two"], "max_tokens": 1});
    let (_, counted) = house.post("/weir/count/completions", &body).await;
    let (_, answer) = house.post(COMPLETIONS, &body).await;
    assert_eq!(counted["prompt_tokens"], answer["usage"]["prompt_tokens"], "{answer}");
    let (status, fault) = house.post("/weir/count/chat", &json!({"model": "other", "messages": []})).await;
    assert_eq!(
        (status, &fault["error"]["type"]),
        (StatusCode::BAD_REQUEST, &json!("invalid_request_error")),
        "{fault}"
    );
}

/// Waits in its first step until its test lets it go.
struct Held {
    inner: ScriptedExecutor,
    entered: mpsc::SyncSender<()>,
    go: mpsc::Receiver<()>,
}

impl Executor for Held {
    fn spec(&self) -> &ExecutorSpec {
        self.inner.spec()
    }

    fn step(&mut self, plan: &StepPlan<'_>) -> Result<StepOutput, ExecutorError> {
        self.entered.send(()).ok();
        self.go.recv().ok();
        self.inner.step(plan)
    }
}

#[tokio::test]
async fn a_count_waits_for_no_step() {
    // Two steps at most are not looked at.
    let (entered, steps) = mpsc::sync_channel(2);
    let (go, held) = mpsc::sync_channel(1_024);
    let inner = ScriptedExecutor::new(ScriptedOptions::default(), "scripted");
    let mut house = House::with(Box::new(Held { inner, entered, go: held }));
    let response = house.start(CHAT, &chat_body("hi", json!({"max_tokens": 2}))).await;
    while steps.try_recv().is_err() {
        tokio::task::yield_now().await;
    }
    // The scheduler's thread stands inside a step now, and answers nobody.
    for content in ["hi", &"long ".repeat(2_000)] {
        assert_eq!(house.post("/weir/count/chat", &chat_body(content, json!({}))).await.0, StatusCode::OK);
    }
    assert!(steps.try_recv().is_err(), "no step ended meanwhile");
    drop((go, steps));
    assert_eq!(response.await.unwrap().0, StatusCode::OK);
}

#[tokio::test]
async fn the_machines_time_is_in_the_last_word_of_usage() {
    let options = ScriptedOptions { step_delay: Duration::from_millis(2), ..ScriptedOptions::default() };
    let mut house = House::new(options);
    let whole = house.answer(&chat_body("hi", json!({"max_tokens": 4})), &[("x-weir-call-id", "one")]).await;
    let time = |usage: &Value| {
        let time = &usage["gpu_time_us"];
        ["prefill", "decode", "kv"].map(|kind| time[kind].as_u64().unwrap_or_else(|| panic!("{usage}")))
    };
    let [prefill, decode, kv] = time(&whole["usage"]);
    assert!(prefill >= 2_000 && decode >= 3 * 2_000 && kv < prefill + decode + 1_000_000, "{whole}");
    let options = json!({"include_usage": true, "continuous_usage_stats": true});
    let body = chat_body("hi", json!({"max_tokens": 4, "stream": true, "stream_options": options}));
    let events = Events::new(house.open(CHAT, &body, &[("x-weir-call-id", "two")]).await).all().await;
    let chunks: Vec<Value> = events.iter().filter_map(|event| serde_json::from_str(event).ok()).collect();
    let (last, before) = chunks.split_last().unwrap();
    let [prefill, decode, _] = time(&last["usage"]);
    assert!(prefill >= 2_000 && decode >= 3 * 2_000, "{last}");
    assert!(before[0]["usage"].get("gpu_time_us").is_none(), "not before the end: {}", before[0]);
    let metrics = house.get("/metrics").await.1;
    assert!(
        metrics.contains("weir_engine_gpu_microseconds_total{model_name=\"scripted\",kind=\"decode\"}"),
        "{metrics}"
    );
}
