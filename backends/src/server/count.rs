//! How many tokens a prompt has, for the gateway to hold before it calls: the body of a call in, its count out.
//!
//! Reads and tokenises as the call itself would, so both can't differ. Never reaches the scheduler: a count waits for
//! no step and delays none.

use super::fault::Fault;
use super::{Body, INLINE_BYTES_MAX, Served, ask};
use crate::core::Ask;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::Semaphore;
use weir_wire::chat::ChatRequest;
use weir_wire::completion::CompletionRequest;

/// Long prompts that are counted at the same time: each holds a core, which the calls that run need more.
const COUNTING_MAX: usize = 2;
static COUNTING: Semaphore = Semaphore::const_new(COUNTING_MAX);

/// What a prompt has.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Counted {
    /// Tokens of all prompts of the call, its template's included: what its usage will state.
    prompt_tokens: u64,
}

/// Counts a chat call's prompt.
pub(super) async fn chat(State(served): State<Arc<Served>>, body: Body) -> Result<Json<Counted>, Fault> {
    count(served, body, |served, body| Ok(ask::chat(served, &ChatRequest::read(body)?)?.0)).await
}

/// Counts the prompts of a completions call.
pub(super) async fn completions(State(served): State<Arc<Served>>, body: Body) -> Result<Json<Counted>, Fault> {
    count(served, body, |served, body| Ok(ask::completion(served, CompletionRequest::read(body)?)?.0)).await
}

async fn count(
    served: Arc<Served>,
    body: Body,
    read: fn(&Served, &[u8]) -> Result<Ask, Fault>,
) -> Result<Json<Counted>, Fault> {
    let body = body?;
    let place = match body.len() > INLINE_BYTES_MAX {
        // It goes with the work, which runs to its end also where nobody waits for it any more.
        true => Some(COUNTING.acquire().await.map_err(|_| Fault::internal("the prompt could not be counted"))?),
        false => None,
    };
    super::off_worker(body.len(), move || {
        let _place = place;
        let ask = read(&served, &body)?;
        let tokens = ask.prompts.iter().fold(0_usize, |sum, prompt| sum.saturating_add(prompt.len()));
        Ok(Json(Counted { prompt_tokens: u64::try_from(tokens).unwrap_or(u64::MAX) }))
    })
    .await
}
