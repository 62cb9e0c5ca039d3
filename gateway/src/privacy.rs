//! What leaves, and in which form. Redaction itself is not built yet, so a permit that demands it refuses the call.

use bytes::Bytes;

use crate::policy::Permit;
use crate::refusal::Refusal;

/// A body that may leave: made only from a [`Permit`].
#[derive(Debug, Clone)]
pub struct Redacted(Bytes);

impl Redacted {
    /// Takes over a body whose permit asks for no redaction.
    ///
    /// # Errors
    /// [`Refusal::RedactionUnavailable`] where the permit's obligations demand redaction: fail closed.
    pub fn unchanged(body: Bytes, permit: &Permit) -> Result<Self, Refusal> {
        if permit.demands_redaction() {
            return Err(Refusal::RedactionUnavailable { rule: permit.rule().clone() });
        }
        Ok(Self(body))
    }

    /// The bytes to send.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}
