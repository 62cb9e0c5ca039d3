//! What becomes of running calls: hang-ups, allowances, aborts, a dying engine.

use super::*;
use crate::executor::{ExecutorError, ExecutorSpec, StepOutput, StepPlan};

#[tokio::test]
async fn a_hang_up_in_a_stream_frees_the_pages() {
    let mut house = House::new(slow());
    let body = chat_body(&"long ".repeat(600), json!({"stream": true, "n": 2}));
    let mut events = Events::new(house.open(CHAT, &body, &[]).await);
    for _ in 0..5 {
        events.json().await;
    }
    assert!(house.pages().await["owned"].as_u64().unwrap() > 187, "two choices share a prompt of 187 full pages");
    drop(events);
    house.freed().await;
    let (_, metrics) = house.get("/metrics").await;
    assert!(metrics.contains("weir_engine_hang_ups_total{model_name=\"scripted\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_hang_up_before_a_whole_answer_frees_the_pages() {
    let mut house = House::new(slow());
    let stream = UnixStream::connect(house.folder.path().join("own/engine.sock")).await.unwrap();
    let body = chat_body("forever", json!({"max_tokens": 4000})).to_string();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: e\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut stream = stream;
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    while house.pages().await["sequences"] == 0 {
        tokio::task::yield_now().await;
    }
    drop(stream);
    house.freed().await;
}

#[tokio::test]
async fn an_allowance_pauses_goes_on_when_renewed_and_ends_when_not() {
    let mut house = House::new(ScriptedOptions::default());
    let headers = [("x-weir-call-id", "paid"), ("x-weir-token-allowance", "4")];
    let body = chat_body("hi", json!({"stream": true, "stream_options": {"continuous_usage_stats": true}}));
    let mut events = Events::new(house.open(CHAT, &body, &headers).await);
    let mut made = 0;
    while made < 4 {
        made = events.json().await["usage"]["completion_tokens"].as_u64().unwrap();
    }
    let renewal = json!({"tokens_total": 9, "is_last": true});
    let response = house.open("/weir/calls/paid/allowance", &renewal, &[]).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let rest: Vec<String> = events.all().await.into_iter().filter(|event| !event.trim().is_empty()).collect();
    let last: Value = serde_json::from_str(&rest[rest.len() - 3]).unwrap();
    assert_eq!(last["usage"]["completion_tokens"], 9, "to the token");
    assert_eq!(last["choices"][0]["finish_reason"], "budget_exhausted");
    assert_eq!(rest[rest.len() - 2].trim(), ": weir allowance");
    assert_eq!(rest[rest.len() - 1], "[DONE]");
    let response = house.open("/weir/calls/paid/allowance", &renewal, &[]).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND, "the call is over");
}

#[tokio::test]
async fn a_usual_length_gives_way_to_the_end_of_the_context_and_a_cap_of_the_client_does_not() {
    let mut house = House::new(ScriptedOptions { context_tokens_max: 400, ..ScriptedOptions::default() });
    let long = "x".repeat(380);
    let headers = [("x-weir-output-tokens", "100")];
    let short = house.answer(&chat_body("hi", json!({})), &headers).await;
    assert_eq!(short["usage"]["completion_tokens"], 100, "{short}");
    let fitted = house.answer(&chat_body(&long, json!({})), &headers).await;
    assert!(fitted["usage"]["completion_tokens"].as_u64().unwrap() < 20, "{fitted}");
    assert_eq!(fitted["usage"]["total_tokens"], 400, "{fitted}");
    let refused = house.answer(&chat_body(&long, json!({"max_tokens": 100})), &headers).await;
    assert_eq!(refused["error"]["code"], "context_length_exceeded", "{refused}");
}

#[tokio::test]
async fn an_abort_by_id_ends_the_stream_and_frees_the_pages() {
    let mut house = House::new(slow());
    let headers = [("x-weir-call-id", "doomed")];
    let body = chat_body("hi", json!({"stream": true}));
    let mut events = Events::new(house.open(CHAT, &body, &headers).await);
    events.json().await;
    let twice = house.open(CHAT, &body, &headers).await;
    assert_eq!(twice.status(), StatusCode::CONFLICT, "an id names one call");
    let gone = house.send(request(Method::DELETE, "/weir/calls/doomed", String::new(), &[])).await;
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    let rest = events.all().await;
    let last: Value = serde_json::from_str(&rest[rest.len() - 2]).unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "abort");
    assert_eq!(rest[rest.len() - 1], "[DONE]");
    house.freed().await;
    let again = house.send(request(Method::DELETE, "/weir/calls/doomed", String::new(), &[])).await;
    assert_eq!(again.status(), StatusCode::NOT_FOUND);
}

/// Breaks after some steps: with an error, or for good.
struct Fragile {
    inner: ScriptedExecutor,
    steps: usize,
    dies: bool,
}

impl Executor for Fragile {
    fn spec(&self) -> &ExecutorSpec {
        self.inner.spec()
    }

    fn step(&mut self, plan: &StepPlan<'_>) -> Result<StepOutput, ExecutorError> {
        if self.steps == 0 {
            assert!(!self.dies, "this executor dies, as its test wants");
            return Err(ExecutorError::Compute("as its test wants".into()));
        }
        self.steps -= 1;
        self.inner.step(plan)
    }
}

fn fragile(steps: usize, dies: bool) -> House {
    House::with(Box::new(Fragile { inner: ScriptedExecutor::new(ScriptedOptions::default(), "scripted"), steps, dies }))
}

#[tokio::test]
async fn a_failure_in_mid_stream_is_an_error_event_and_never_a_silent_end() {
    for dies in [false, true] {
        let mut house = fragile(5, dies);
        let response = house.open(CHAT, &chat_body("hi", json!({"stream": true})), &[]).await;
        let events = Events::new(response).all().await;
        let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
        assert_eq!(last["error"]["type"], "server_error", "{last}");
        assert_eq!(last["error"]["code"], "engine_error");
        assert!(!events.contains(&"[DONE]".to_owned()));
    }
}

#[tokio::test]
async fn a_failure_before_the_first_token_is_an_error_status() {
    for stream in [false, true] {
        let mut house = fragile(0, false);
        let (status, body) = house.post(CHAT, &chat_body("hi", json!({"stream": stream}))).await;
        assert_eq!((status, &body["error"]["code"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("engine_error")));
        house.freed().await;
    }
}

#[tokio::test]
async fn a_dead_engine_says_so() {
    let mut house = fragile(0, true);
    let (status, _) = house.post(CHAT, &chat_body("hi", json!({}))).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    while house.get("/health").await.0 == StatusCode::OK {
        tokio::task::yield_now().await;
    }
    let (status, body) = house.post(CHAT, &chat_body("hi", json!({}))).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("engine_stopped")));
}
