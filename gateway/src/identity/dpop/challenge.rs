//! What a client is told about proofs: the challenge of a refusal (RFC 9449, section 7.1) and the nonce (section 9).

use super::{DpopFault, DpopRule};
use crate::refusal::Refusal;

impl DpopFault {
    /// The `error` of a challenge, which is the refusal's code too.
    pub fn error(self) -> &'static str {
        match self {
            Self::Nonce => "use_dpop_nonce",
            Self::TokenUnbound | Self::OtherKey | Self::NotConfigured => "invalid_token",
            Self::Missing
            | Self::Many
            | Self::Malformed
            | Self::Type
            | Self::Algorithm
            | Self::Key
            | Self::PrivateKey
            | Self::Signature
            | Self::Claims
            | Self::Id
            | Self::Method
            | Self::Url
            | Self::Time
            | Self::Old
            | Self::FromTheFuture
            | Self::TokenHash
            | Self::Replayed
            | Self::ReplaysFull => "invalid_dpop_proof",
        }
    }
}

/// Headers of a refusal with status 401, where proofs are taken.
pub fn headers(rule: &DpopRule, refusal: &Refusal, now_s: u64) -> Vec<(&'static str, String)> {
    if refusal.face().status != 401 {
        return Vec::new();
    }
    let algorithms: Vec<String> = rule.algorithms.iter().map(|one| format!("{one:?}")).collect();
    let algorithms = algorithms.join(" ");
    let error = if let Refusal::InvalidProof(fault) = refusal { Some(fault.error()) } else { None };
    let error = error.map_or_else(String::new, |error| format!("error=\"{error}\", "));
    let mut headers = vec![("www-authenticate", format!("DPoP realm=\"weir\", {error}algs=\"{algorithms}\""))];
    if let (Some(nonces), Refusal::InvalidProof(_)) = (&rule.nonces, refusal) {
        headers.push(("dpop-nonce", nonces.current(now_s)));
    }
    headers
}
