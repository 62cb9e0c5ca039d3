//! Nonces that the gateway gives out and takes back in proofs (RFC 9449, section 9). Pure: nothing is stored.
//!
//! A nonce is a keyed hash of its time span. The key comes from the newest pepper, so that every gateway of one
//! deployment takes the nonces of the others.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

/// Seconds of one nonce; it is taken for one span more.
const SPAN_S: u64 = 120;
/// Bytes of a nonce.
const NONCE_BYTES: usize = 16;

/// Makes and knows nonces.
#[derive(Clone, PartialEq, Eq)]
pub struct Nonces([u8; 32]);

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces(..)")
    }
}

impl Nonces {
    /// Of a secret that the gateways share.
    pub fn new(secret: &[u8]) -> Self {
        Self(blake3::derive_key("weir dpop nonce v1", secret))
    }

    /// The nonce of now.
    pub fn current(&self, now_s: u64) -> String {
        self.of(now_s / SPAN_S)
    }

    /// Whether it is the nonce of now or of the span before.
    pub fn takes(&self, said: &str, now_s: u64) -> bool {
        let span = now_s / SPAN_S;
        [span, span.saturating_sub(1)].into_iter().any(|span| said.as_bytes().ct_eq(self.of(span).as_bytes()).into())
    }

    fn of(&self, span: u64) -> String {
        let hash = blake3::keyed_hash(&self.0, &span.to_be_bytes());
        URL_SAFE_NO_PAD.encode(hash.as_bytes().get(..NONCE_BYTES).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_taken_for_its_span_and_the_next() {
        let (ours, theirs) = (Nonces::new(b"one secret"), Nonces::new(b"another"));
        let nonce = ours.current(SPAN_S * 10);
        assert!(ours.takes(&nonce, SPAN_S * 10) && ours.takes(&nonce, SPAN_S * 12 - 1));
        assert!(!ours.takes(&nonce, SPAN_S * 12) && !ours.takes(&nonce, SPAN_S * 10 - 1));
        assert!(!theirs.takes(&nonce, SPAN_S * 10) && !ours.takes("", 0));
        assert!(Nonces::new(b"one secret").takes(&nonce, SPAN_S * 10), "another process with the same secret");
    }
}
