//! From a credential to a proven caller, whatever kind it is of.

use super::credential::Credential;
use super::{Identified, IdentityFault, Subject, api_key};
use crate::running::Running;
use crate::world::World;

/// Proves who calls. Waits only where an issuer has to be asked.
///
/// # Errors
/// The reason goes on the audit record; a client learns less.
pub async fn identify(
    running: &Running,
    world: &World,
    credential: &Credential<'_>,
    now_ms: u64,
) -> Result<Identified, IdentityFault> {
    match credential {
        Credential::ApiKey(key) => running.keyring.identify(key, &world.peppers, &world.tenants, now_ms),
        Credential::Token(_) => Err(IdentityFault::Key(api_key::KeyFault::Shape)),
    }
}

/// Whether a caller that was proven still is. Cheap: for streams that are running.
pub fn is_live(running: &Running, subject: &Subject, now_ms: u64) -> bool {
    running.keyring.is_live(&subject.key, subject.key_epoch, now_ms)
}
