//! Who speaks at the other end. Owns the connection pool and the heads of upstream requests.
//!
//! [`call`] demands the permit, the reservation and the redacted body: to skip one of these steps does not compile.

pub mod control;
pub mod count;
pub mod head;
pub mod transport;

use std::sync::Arc;

use crate::config::settings::DeploymentRule;
use crate::limits::Reservation;
use crate::policy::Permit;
use crate::privacy::Redacted;

pub use head::{CallHead, Edition};
pub use transport::{CallFault, Reply, Stage, Transport};

/// Sends one attempt and waits for the head of its reply.
///
/// # Errors
/// [`CallFault`] says how far the attempt came: that decides about a retry and about what it cost.
pub async fn call(
    transport: &Transport,
    _permit: &Permit,
    reservation: &mut Reservation,
    body: &Redacted,
    deployment: &Arc<DeploymentRule>,
    head: &CallHead<'_>,
) -> Result<Reply, CallFault> {
    let request = || head.build(deployment, body.bytes().len()).map_err(|_| CallFault::before("head_invalid"));
    let first = request()?;
    reservation.mark_called();
    transport.send(deployment, first, request, body.bytes()).await
}
