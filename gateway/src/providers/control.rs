//! What the own engine is told beside its requests.

use bytes::Bytes;
use pingora::http::RequestHeader;
use serde::Deserialize;

use super::transport::{CallFault, Transport};
use crate::config::settings::DeploymentRule;
use crate::exchange::CallId;
use crate::policy::Permit;
use crate::privacy::Redacted;

/// Bytes of the answer about a prompt: a number, or an error that quotes a part of the request.
const COUNT_BYTES_MAX: usize = 64 << 10;

/// Ends a call at the engine; its reply then ends with the reason `abort` and the exact usage. False where the engine
/// doesn't know the call: not yet, or not any more.
///
/// # Errors
/// The engine can't be reached.
pub async fn abort(transport: &Transport, deployment: &DeploymentRule, call: CallId) -> Result<bool, CallFault> {
    let request = || head(deployment, call).map_err(|_| CallFault::before("head_invalid"));
    let mut reply = transport.send(deployment, request()?, request, &Bytes::new()).await?;
    let status = reply.head().map_or(0, |head| head.status.as_u16());
    while let Ok(Some(_)) = reply.chunk().await {}
    transport.release(reply).await;
    Ok(status == 204)
}

/// Sets the completion tokens that a call may make in all. At the last allowance it ends without a pause. That the call
/// has ended already is no error.
///
/// # Errors
/// The engine can't be reached.
pub async fn allow(
    transport: &Transport,
    deployment: &DeploymentRule,
    call: CallId,
    tokens_total: u64,
    is_last: bool,
) -> Result<(), CallFault> {
    let body = Bytes::from(format!(r#"{{"tokens_total":{tokens_total},"is_last":{is_last}}}"#));
    let path = format!("/weir/calls/{}/allowance", call.0);
    let request = || build(deployment, "POST", &path, body.len()).map_err(|_| CallFault::before("head_invalid"));
    let mut reply = transport.send(deployment, request()?, request, &body).await?;
    while let Ok(Some(_)) = reply.chunk().await {}
    transport.release(reply).await;
    Ok(())
}

/// Tokens that a call's prompt has, by the model's own tokenizer and template. The body is the call's, with the
/// deployment's name of the model.
///
/// # Errors
/// The engine can't be reached, or counts no such body.
pub async fn count(
    transport: &Transport,
    _permit: &Permit,
    body: &Redacted,
    deployment: &DeploymentRule,
    path: &'static str,
) -> Result<u64, CallFault> {
    let body = body.bytes();
    let request = || build(deployment, "POST", path, body.len()).map_err(|_| CallFault::before("head_invalid"));
    let mut reply = transport.send(deployment, request()?, request, body).await?;
    let status = reply.head().map_or(0, |head| head.status.as_u16());
    let mut answer = Vec::new();
    while let Ok(Some(chunk)) = reply.chunk().await {
        if answer.len().saturating_add(chunk.len()) > COUNT_BYTES_MAX {
            return Err(CallFault::before("count_too_large"));
        }
        answer.extend_from_slice(&chunk);
    }
    transport.release(reply).await;
    let counted: Option<Counted> = serde_json::from_slice(&answer).ok().filter(|_| status == 200);
    counted.map(|counted| counted.prompt_tokens).ok_or(CallFault::before("not_counted"))
}

/// The engine's answer about a prompt.
#[derive(Deserialize)]
struct Counted {
    prompt_tokens: u64,
}

fn head(deployment: &DeploymentRule, call: CallId) -> pingora::Result<Box<RequestHeader>> {
    build(deployment, "DELETE", &format!("/weir/calls/{}", call.0), 0)
}

fn build(
    deployment: &DeploymentRule,
    method: &str,
    path: &str,
    body_len: usize,
) -> pingora::Result<Box<RequestHeader>> {
    let mut head = RequestHeader::build_no_case(method, path.as_bytes(), Some(5))?;
    head.insert_header("host", "localhost")?;
    head.insert_header("content-length", body_len.to_string())?;
    if body_len > 0 {
        head.insert_header("content-type", "application/json")?;
    }
    if let Some(key) = &deployment.api_key {
        let mut value = b"Bearer ".to_vec();
        value.extend_from_slice(key.expose());
        head.insert_header("authorization", value)?;
    }
    Ok(Box::new(head))
}
