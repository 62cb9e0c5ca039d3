//! What the own engine is told beside its requests.

use bytes::Bytes;
use pingora::http::RequestHeader;

use super::transport::{CallFault, Transport};
use crate::config::settings::DeploymentRule;
use crate::exchange::CallId;

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

fn head(deployment: &DeploymentRule, call: CallId) -> pingora::Result<Box<RequestHeader>> {
    let path = format!("/weir/calls/{}", call.0);
    let mut head = RequestHeader::build_no_case("DELETE", path.as_bytes(), Some(4))?;
    head.insert_header("host", "localhost")?;
    head.insert_header("content-length", "0")?;
    if let Some(key) = &deployment.api_key {
        let mut value = b"Bearer ".to_vec();
        value.extend_from_slice(key.expose());
        head.insert_header("authorization", value)?;
    }
    Ok(Box::new(head))
}
