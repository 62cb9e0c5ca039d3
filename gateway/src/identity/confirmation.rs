//! What a token is bound to (RFC 7800): a certificate (RFC 8705) or a key (RFC 9449). Pure.
//!
//! A bound token is nothing without its proof. A binding of a kind that Weir can't check is one that fails.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value as Json;

use super::token::TokenFault;

/// What a token is bound to; nothing for one that its bearer alone presents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Confirmation {
    /// SHA-256 of the certificate (`x5t#S256`).
    pub certificate: Option<[u8; 32]>,
    /// Thumbprint of the proof's key (`jkt`).
    pub key: Option<[u8; 32]>,
}

impl Confirmation {
    /// Reads `cnf`.
    ///
    /// # Errors
    /// It is no object of members that can be checked.
    pub fn read(claim: Option<&Json>) -> Result<Self, TokenFault> {
        let Some(claim) = claim else { return Ok(Self::default()) };
        let members = claim.as_object().filter(|members| !members.is_empty()).ok_or(TokenFault::Unbound)?;
        let mut read = Self::default();
        for (name, value) in members {
            let place = match name.as_str() {
                "x5t#S256" => &mut read.certificate,
                "jkt" => &mut read.key,
                _ => return Err(TokenFault::Unbound),
            };
            *place = Some(hash(value).ok_or(TokenFault::Unbound)?);
        }
        Ok(read)
    }

    /// Whether the connection's certificate is the one, where the token names one.
    ///
    /// # Errors
    /// There is none, or another.
    pub fn fits_certificate(&self, presented: Option<&[u8; 32]>) -> Result<(), TokenFault> {
        match (&self.certificate, presented) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(TokenFault::Unbound),
            (Some(bound), Some(presented)) if bound == presented => Ok(()),
            (Some(_), Some(_)) => Err(TokenFault::OtherCertificate),
        }
    }
}

/// SHA-256 as base64url.
fn hash(value: &Json) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(value.as_str()?).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HASH: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn only_bindings_that_can_be_checked_are_read() {
        assert_eq!(Confirmation::read(None), Ok(Confirmation::default()));
        let both = Confirmation::read(Some(&json!({"jkt": HASH, "x5t#S256": HASH}))).unwrap();
        assert_eq!((both.certificate, both.key), (Some([0; 32]), Some([0; 32])));
        for other in [
            json!(null),
            json!({}),
            json!("x"),
            json!({"jkt": "x"}),
            json!({"jkt": 7}),
            json!({"x5t#S256": format!("{HASH}=")}),
            json!({"jkt": HASH, "kid": "x"}),
            json!({"jwk": {}}),
        ] {
            assert_eq!(Confirmation::read(Some(&other)), Err(TokenFault::Unbound), "{other}");
        }
    }

    #[test]
    fn a_bound_token_needs_the_very_certificate() {
        let bound = Confirmation { certificate: Some([1; 32]), key: None };
        assert_eq!(bound.fits_certificate(Some(&[1; 32])), Ok(()));
        assert_eq!(bound.fits_certificate(Some(&[2; 32])), Err(TokenFault::OtherCertificate));
        assert_eq!(bound.fits_certificate(None), Err(TokenFault::Unbound));
        assert_eq!(Confirmation::default().fits_certificate(None), Ok(()));
    }
}
