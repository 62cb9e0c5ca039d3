//! The engine's HTTP face: the OpenAI endpoints, health and metrics, and the gateway's internal endpoints.
//!
//! Owns reading requests and writing answers; decides nothing about scheduling. A client that goes away drops its
//! response, the response drops its [`crate::scheduler::Reading`], and that frees the call's pages.
//! Start at [`router`]; `ask.rs` turns requests into asks, `reply.rs` events into answers, `listen.rs` opens the door.

mod ask;
mod control;
mod count;
mod fault;
pub mod listen;
mod reply;
pub mod secret;
mod stream;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // an overflow in a test is a failed test
mod tests;

use crate::core::Ask;
use crate::language::Language;
use crate::scheduler::Engine;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use fault::Fault;
use metrics_exporter_prometheus::PrometheusHandle;
use reply::{Form, Reply};
use std::sync::Arc;
use weir_wire::chat::ChatRequest;
use weir_wire::completion::CompletionRequest;

/// The largest request body. A prompt that fills a context of a million tokens is smaller.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// Bodies above this are read and tokenised on the blocking pool, not on a worker.
const INLINE_BYTES_MAX: usize = 8 << 10;
/// The longest call id.
const CALL_ID_BYTES_MAX: usize = 128;

/// Names the call for renewals and aborts; echoed. At most one live call may have it.
static CALL_ID: HeaderName = HeaderName::from_static("x-weir-call-id");
/// Completion tokens that the call may make over all choices. At that token it pauses, for at most
/// [`crate::scheduler::ALLOWANCE_PAUSE`]; without a renewal it then ends with the reason `budget_exhausted` and,
/// on a stream, the comment `: weir allowance`.
static TOKEN_ALLOWANCE: HeaderName = HeaderName::from_static("x-weir-token-allowance");

/// Completion tokens per choice where the body names no cap: a usual length, which gives way to the context's end.
static OUTPUT_TOKENS: HeaderName = HeaderName::from_static("x-weir-output-tokens");

/// One served model: what the endpoints need to know of it.
pub struct Served {
    /// The way to the scheduler.
    pub engine: Engine,
    /// Tokenizer and template.
    pub language: Arc<dyn Language>,
    /// The name that requests must carry.
    pub name: String,
    /// The engine's metrics.
    pub metrics: PrometheusHandle,
    /// When it was loaded, in seconds since the Unix epoch.
    pub created: u64,
}

/// All endpoints of a served model.
pub fn router(served: Arc<Served>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completions))
        .route("/v1/models", get(control::models))
        .route("/health", get(control::health))
        .route("/metrics", get(control::metrics))
        .route("/weir/pages", get(control::pages))
        .route("/weir/count/chat", post(count::chat))
        .route("/weir/count/completions", post(count::completions))
        .route("/weir/calls/{call_id}/allowance", post(control::renew))
        .route("/weir/calls/{call_id}", delete(control::abort))
        .fallback(async || Fault::not_found())
        .method_not_allowed_fallback(async || Fault::wrong_method())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(served)
}

type Body = Result<Bytes, BytesRejection>;

async fn chat(State(served): State<Arc<Served>>, headers: HeaderMap, body: Body) -> Result<Response, Fault> {
    let (body, reader) = (body?, served.clone());
    let (ask, form) = off_worker(body.len(), move || {
        let request = ChatRequest::read(&body)?;
        ask::check_extras(&body)?;
        ask::chat(&reader, &request)
    })
    .await?;
    answer(&served, &headers, ask, form).await
}

async fn completions(State(served): State<Arc<Served>>, headers: HeaderMap, body: Body) -> Result<Response, Fault> {
    let (body, reader) = (body?, served.clone());
    let (ask, form) = off_worker(body.len(), move || {
        let request = CompletionRequest::read(&body)?;
        ask::completion(&reader, request)
    })
    .await?;
    answer(&served, &headers, ask, form).await
}

/// Runs work whose time grows with the body where it can't hold up other calls.
async fn off_worker<T: Send + 'static>(
    body_bytes: usize,
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    if body_bytes <= INLINE_BYTES_MAX {
        return work();
    }
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "reading a request failed");
        Err(Fault::internal("the request could not be read"))
    })
}

/// Hands the ask in and answers, streamed or whole. The status is sent with the first event, so that a call which
/// fails at once gets an error status and not a broken stream.
async fn answer(served: &Arc<Served>, headers: &HeaderMap, mut ask: Ask, mut form: Form) -> Result<Response, Fault> {
    let id = call_id(headers)?;
    form.gpu_time = id.is_some();
    ask.allowance = number(headers, &TOKEN_ALLOWANCE)?;
    if let Some(tokens) = number(headers, &OUTPUT_TOKENS)? {
        ask.tokens_usual = usize::try_from(tokens.max(1)).ok();
    }
    let logprobs = ask.logprobs;
    let choices = ask.prompts.len().saturating_mul(ask.choices);
    let param = form.prompt_param();
    let reading = served.engine.submit(ask, id.clone()).await.map_err(|error| Fault::from_submit(&error, param))?;
    let is_streamed = form.stream;
    let reply = Reply::new(form, served.clone(), choices, logprobs);
    let mut response = if is_streamed {
        stream::stream(reading, reply).await?
    } else {
        stream::whole(reading, reply).await?.into_response()
    };
    if let Some(value) = id.and_then(|id| HeaderValue::from_str(&id).ok()) {
        response.headers_mut().insert(CALL_ID.clone(), value);
    }
    Ok(response)
}

fn call_id(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let Some(value) = headers.get(&CALL_ID) else { return Ok(None) };
    match value.to_str() {
        Ok(id) if !id.is_empty() && id.len() <= CALL_ID_BYTES_MAX => Ok(Some(id.to_owned())),
        Ok(_) | Err(_) => Err(Fault::invalid("x-weir-call-id", "`x-weir-call-id` must be 1 to 128 visible characters")),
    }
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, Fault> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| Fault::invalid(name.as_str(), format!("`{name}` must be a whole number")))
}
