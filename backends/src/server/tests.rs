//! The real router over a real Unix socket, with the scripted executor behind it.

mod answers;
mod calls;
mod counts;
mod faults;

use super::*;
use crate::executor::Executor;
use crate::executor::scripted::{Script, ScriptedExecutor, ScriptedLanguage, ScriptedOptions};
use crate::metrics::Meters;
use crate::scheduler::Scheduler;
use axum::http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use weir_wire::sse::SseDecoder;

/// An engine that listens in a folder of its own.
struct House {
    folder: TempDir,
    tasks: JoinSet<()>,
}

fn script(script: Script) -> ScriptedOptions {
    ScriptedOptions { script, ..ScriptedOptions::default() }
}

fn slow() -> ScriptedOptions {
    ScriptedOptions { step_delay: Duration::from_millis(3), answer_tokens: 5_000, ..ScriptedOptions::default() }
}

impl House {
    fn new(options: ScriptedOptions) -> Self {
        Self::with(Box::new(ScriptedExecutor::new(options, "scripted")))
    }

    fn with(executor: Box<dyn Executor>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let language: Arc<dyn Language> = Arc::new(ScriptedLanguage::default());
        let meters = Meters::new("scripted").unwrap();
        let metrics = meters.handle();
        let (engine, _) = Engine::start(Scheduler::new(executor, language.clone(), meters)).unwrap();
        let served = Served { engine, language, name: "scripted".into(), metrics, created: 1 };
        let listener = listen::unix(&folder.path().join("own/engine.sock")).unwrap();
        let mut tasks = JoinSet::new();
        let app = router(Arc::new(served));
        tasks.spawn(async move { listen::serve_unix(listener, app, std::future::pending()).await.unwrap() });
        Self { folder, tasks }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Response<Incoming> {
        let stream = UnixStream::connect(self.folder.path().join("own/engine.sock")).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        // A connection that its test hangs up on ends with an error, as it should.
        self.tasks.spawn(async move { connection.await.unwrap_or_default() });
        sender.send_request(request).await.unwrap()
    }

    async fn open(&mut self, path: &str, body: &Value, headers: &[(&str, &str)]) -> hyper::Response<Incoming> {
        self.send(request(Method::POST, path, body.to_string(), headers)).await
    }

    /// The body of the answer to a chat call with further headers.
    async fn answer(&mut self, body: &Value, headers: &[(&str, &str)]) -> Value {
        whole(self.open(CHAT, body, headers).await).await.1
    }

    async fn post(&mut self, path: &str, body: &Value) -> (StatusCode, Value) {
        whole(self.open(path, body, &[]).await).await
    }

    /// A call whose answer is waited for apart.
    #[allow(clippy::disallowed_methods, reason = "the test waits for it")]
    async fn start(&mut self, path: &str, body: &Value) -> tokio::task::JoinHandle<(StatusCode, Value)> {
        let stream = UnixStream::connect(self.folder.path().join("own/engine.sock")).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        self.tasks.spawn(async move { connection.await.unwrap_or_default() });
        let request = request(Method::POST, path, body.to_string(), &[]);
        tokio::task::spawn(async move { whole(sender.send_request(request).await.unwrap()).await })
    }

    async fn get(&mut self, path: &str) -> (StatusCode, String) {
        let response = self.send(request(Method::GET, path, String::new(), &[])).await;
        let status = response.status();
        (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    async fn pages(&mut self) -> Value {
        serde_json::from_str(&self.get("/weir/pages").await.1).unwrap()
    }

    /// Waits until every page is free.
    async fn freed(&mut self) {
        loop {
            let pages = self.pages().await;
            if pages["sequences"] == 0 {
                assert_eq!(pages["free"], pages["total"], "{pages}");
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn request(method: Method, path: &str, body: String, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().method(method).uri(path).header("host", "engine");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::new(Bytes::from(body))).unwrap()
}

async fn whole(response: hyper::Response<Incoming>) -> (StatusCode, Value) {
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// The events of a stream, read one by one.
struct Events {
    body: Incoming,
    decoder: SseDecoder,
}

impl Events {
    fn new(response: hyper::Response<Incoming>) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), decoder: SseDecoder::default() }
    }

    /// The next event or comment as written; `None` at the end of the stream.
    async fn raw(&mut self) -> Option<String> {
        loop {
            if let Some(event) = self.decoder.next_event().unwrap() {
                return Some(String::from_utf8(event.data.unwrap_or(event.raw).to_vec()).unwrap());
            }
            let frame = self.body.frame().await?;
            self.decoder.push(&frame.unwrap().into_data().unwrap());
        }
    }

    async fn json(&mut self) -> Value {
        serde_json::from_str(&self.raw().await.unwrap()).unwrap()
    }

    async fn all(mut self) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(event) = self.raw().await {
            events.push(event);
        }
        events
    }
}

fn chat_body(content: &str, extra: Value) -> Value {
    let mut body = json!({"model": "scripted", "messages": [{"role": "user", "content": content}]});
    merge(&mut body, extra);
    body
}

fn merge(body: &mut Value, extra: Value) {
    if let (Value::Object(body), Value::Object(extra)) = (body, extra) {
        body.extend(extra);
    }
}

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
