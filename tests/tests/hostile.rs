//! Replies that are made to break the books: whatever a provider says, its own call is charged, the calls behind it are
//! served and recorded, and the next start finds all of them.

use e2e::client::Request;
use e2e::config::Config;
use e2e::gateway::Gateway;
use e2e::say;
use e2e::servers::postgres::Postgres;
use e2e::upstream::{Script, Step, Upstream};
use serde_json::{Value, json};

use crate::scene::Scene;

/// An answer with these words as its usage's prompt tokens.
fn answer(prompt_tokens: &str) -> Script {
    let said = r#"{"id":"c","object":"chat.completion","created":1,"model":"mock-1","choices":[{"index":0,"message":
        {"role":"assistant","content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":PROMPT,
        "completion_tokens":1}}"#;
    Script::json(200, said.replace("PROMPT", prompt_tokens))
}

#[tokio::test]
async fn counts_that_are_none_are_charged_as_estimates_and_stop_nothing() {
    let mut scene = Scene::new().await;
    let absurd = ["18446744073709551615", "9223372036854775807", "5000000000000000", "1e300", "-1"];
    for prompt_tokens in absurd {
        scene.upstream.next(answer(prompt_tokens));
        assert_eq!(scene.gateway.fetch(&scene.whole()).await.status, 200, "{prompt_tokens}");
        // The largest count that is believed, twice: their sums are whole numbers still.
        scene.upstream.next(answer("4294967296"));
        assert_eq!(scene.gateway.fetch(&scene.whole()).await.status, 200, "after {prompt_tokens}");
    }
    let rows = scene.gateway.usage_rows(2 * absurd.len()).await;
    for row in &rows {
        assert!(row["cost_nano"].as_i64().unwrap() > 0, "{row}");
    }
    assert_eq!(rows.iter().filter(|row| row["source"] == "estimated").count(), absurd.len(), "{rows:#?}");
    scene.gateway.kill().await;
    scene.gateway.spawn().await;
    assert_eq!(scene.gateway.fetch(&scene.whole()).await.status, 200);
}

#[tokio::test]
async fn a_finish_reason_without_end_takes_no_other_calls_rows_along() {
    let mut scene = Scene::new().await;
    let mut long: Value = serde_json::from_slice(&say::answer("a", 7, 3)).unwrap();
    long["choices"][0]["finish_reason"] = "x".repeat(1_200_000).into();
    scene.upstream.next(Script::json(200, long.to_string()));
    scene.gateway.fetch(&scene.whole()).await;
    scene.gateway.usage_rows(1).await;
    let row: Value = serde_json::from_str(&scene.gateway.weir(&["usage", "rows"]).await.stdout).unwrap();
    assert_eq!(row["finish_reason"].as_str().map(str::len), Some(64), "{row}");
    scene.upstream.next(Script::stream().event(say::finish(&"y".repeat(1_200_000))).send(say::done()));
    scene.gateway.open(&scene.streamed()).await.rest().await;
    // Running when it is killed: its row comes from the journal.
    scene.upstream.always(Script::stream().event(say::delta("a")).then(Step::Hold));
    let mut running = scene.gateway.open(&scene.streamed()).await;
    running.data().await;
    scene.gateway.kill().await;
    scene.gateway.spawn().await;
    assert_eq!(scene.gateway.usage_rows(3).await.len(), 3);
}

#[tokio::test]
async fn a_response_id_that_no_database_takes_is_not_kept() {
    let Some(postgres) = Postgres::start() else { return };
    let upstream = Upstream::start().await;
    let store = format!("store: {{ url: \"{}?schema=weir\" }}", postgres.database("weir"));
    let mut gateway = Gateway::start(&Config::with(&upstream).section(&store)).await;
    let key = gateway.key("acme").await;
    let ask = Request::post("/v1/responses", &key.secret, json!({"model": "mock", "input": "hi"}).to_string());
    for id in ["resp_\u{0}", "resp_'; --", "../resp", ""] {
        upstream.next(Script::json(200, say::dialects::response(id, "a", 7, 3).to_string()));
        gateway.fetch(&ask).await;
    }
    gateway.usage_rows(4).await;
    gateway.kill().await;
    gateway.spawn().await;
    assert_eq!(gateway.fetch(&ask).await.status, 200);
}
