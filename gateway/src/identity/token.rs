//! Signed tokens (RFC 7515, RFC 7519): a strict front, and the signature by jsonwebtoken. Pure.
//!
//! The front closes what the crate leaves open: critical members, unencoded payloads, members that stand twice, and
//! base64url that is not canonical are refused; the algorithm is one that the issuer is configured with and that the
//! key is for (RFC 8725). Key material and addresses in a header are ignored. Start at [`Token::parse`].

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::Value as Json;

use super::jwk::KeySet;

/// Bytes of a token: a longer one is refused before anything is decoded.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Characters of a key id; a longer one names nothing.
const KEY_ID_BYTES_MAX: usize = 256;

/// Why a token is not accepted. Each has a code of its own; clients learn only that the token is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenFault {
    /// Over [`TOKEN_BYTES_MAX`].
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// Not three parts: an encrypted or a broken token.
    #[error("a token has three parts between points")]
    Parts,
    /// A part is no canonical base64url without padding.
    #[error("a part of the token is not canonical base64url")]
    Encoding,
    /// The header is no JSON object, or a member stands twice.
    #[error("the token's header is no plain JSON object")]
    Header,
    /// The payload is no JSON object, or a member stands twice.
    #[error("the token's claims are no plain JSON object")]
    Claims,
    /// The header lists members that must be understood, and Weir understands none.
    #[error("the token's header has critical members")]
    Critical,
    /// The payload is not base64url (RFC 7797).
    #[error("the token's payload is not encoded")]
    Unencoded,
    /// The payload is compressed.
    #[error("the token's payload is compressed")]
    Compressed,
    /// `none`, an unknown algorithm, or one that the issuer isn't configured with.
    #[error("the token's algorithm is not allowed for its issuer")]
    Algorithm,
    /// The key id is no plain text of a fair length.
    #[error("the token's key id is malformed")]
    KeyId,
    /// No key of the issuer has that id.
    #[error("no key of the issuer has the token's key id")]
    UnknownKey,
    /// No key id, and not exactly one key fits the algorithm.
    #[error("the token names no key and not exactly one fits")]
    AmbiguousKey,
    /// The key is for another algorithm or another use.
    #[error("the key is not for the token's algorithm")]
    WrongKey,
    /// Another signature.
    #[error("the token's signature is wrong")]
    Signature,
    /// No configured issuer has that name.
    #[error("no configured issuer has the token's `iss`")]
    Issuer,
    /// `typ` is not that of an access token.
    #[error("the token's `typ` is not that of an access token")]
    Type,
    /// `aud` is missing or names somebody else.
    #[error("the token is not for this audience")]
    Audience,
    /// `sub` is missing or empty.
    #[error("the token has no subject")]
    Subject,
    /// `exp` is missing.
    #[error("the token has no end")]
    NoExpiry,
    /// A time is no whole number of seconds that a clock can show.
    #[error("a time of the token is malformed")]
    Time,
    /// `exp` has passed.
    #[error("the token is expired")]
    Expired,
    /// `nbf` is ahead.
    #[error("the token is not valid yet")]
    NotYet,
    /// `iat` is ahead.
    #[error("the token was issued in the future")]
    FromTheFuture,
    /// Valid for longer than the issuer's tokens may be, or issued too long ago.
    #[error("the token's life is longer than its issuer's may be")]
    TooOld,
    /// The client that asked for it isn't one of those that may.
    #[error("the token's client is not allowed")]
    Client,
    /// The claims give no tenant path of the issuer.
    #[error("the token's claims give no tenant")]
    Tenant,
    /// The issuer says that the token is none of its own, expired or revoked.
    #[error("the issuer says that the token is not active")]
    Inactive,
    /// The issuer was asked about the token and said nothing usable.
    #[error("the issuer does not answer about the token")]
    NoAnswer,
    /// The issuer's keys can't be had.
    #[error("the issuer's keys are not available")]
    NoKeys,
    /// The token is bound to a key or certificate that the connection doesn't prove.
    #[error("the token is bound to a proof that is missing")]
    Unbound,
    /// The token is bound to another certificate than the connection's.
    #[error("the token is bound to another certificate")]
    OtherCertificate,
}

impl TokenFault {
    /// Reason code for the audit record, metrics and `weir token check`.
    pub fn code(self) -> &'static str {
        match self {
            Self::TooLong => "token_too_long",
            Self::Parts => "token_malformed",
            Self::Encoding => "token_encoding",
            Self::Header => "token_header",
            Self::Claims => "token_claims",
            Self::Critical => "token_critical_header",
            Self::Unencoded => "token_unencoded_payload",
            Self::Compressed => "token_compressed",
            Self::Algorithm => "token_algorithm",
            Self::KeyId => "token_key_id",
            Self::UnknownKey => "token_unknown_key",
            Self::AmbiguousKey => "token_ambiguous_key",
            Self::WrongKey => "token_wrong_key",
            Self::Signature => "token_signature",
            Self::Issuer => "token_issuer",
            Self::Type => "token_type",
            Self::Audience => "token_audience",
            Self::Subject => "token_subject",
            Self::NoExpiry => "token_no_expiry",
            Self::Time => "token_time",
            Self::Expired => "token_expired",
            Self::NotYet => "token_not_yet_valid",
            Self::FromTheFuture => "token_from_the_future",
            Self::TooOld => "token_too_old",
            Self::Client => "token_client",
            Self::Tenant => "token_tenant",
            Self::Inactive => "token_inactive",
            Self::NoAnswer => "introspection_unavailable",
            Self::NoKeys => "issuer_keys_unavailable",
            Self::Unbound => "token_unbound",
            Self::OtherCertificate => "token_other_certificate",
        }
    }
}

/// A well-formed token; nothing about it is proven.
pub struct Token<'a> {
    message: &'a str,
    signature: &'a str,
    algorithm: Option<Algorithm>,
    /// The key that it names.
    pub key_id: Option<String>,
    /// Its `typ`, in lower case, without `application/`.
    pub kind: Option<String>,
    /// What is signed, decoded.
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl<'a> Token<'a> {
    /// Takes a token in compact form apart (RFC 7515, section 5.2).
    ///
    /// # Errors
    /// Whatever is not its plainest form.
    pub fn parse(text: &'a str) -> Result<Self, TokenFault> {
        Self::parse_within(text, TOKEN_BYTES_MAX)
    }

    /// [`parse`](Self::parse) for a signed text that is no credential and may be longer.
    ///
    /// # Errors
    /// As there.
    pub fn parse_within(text: &'a str, bytes_max: usize) -> Result<Self, TokenFault> {
        if text.len() > bytes_max {
            return Err(TokenFault::TooLong);
        }
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenFault::Parts);
        };
        let (message, _) = text.rsplit_once('.').ok_or(TokenFault::Parts)?;
        let header = plain_object(&decode(header)?).ok_or(TokenFault::Header)?;
        for (name, fault) in
            [("crit", TokenFault::Critical), ("b64", TokenFault::Unencoded), ("zip", TokenFault::Compressed)]
        {
            if header.get(name).is_some() {
                return Err(fault);
            }
        }
        let payload = decode(payload)?;
        decode(signature)?;
        let key_id = match header.get("kid") {
            None => None,
            Some(Json::String(id)) if id.len() <= KEY_ID_BYTES_MAX && !id.chars().any(char::is_control) => {
                Some(id.clone())
            }
            Some(_) => return Err(TokenFault::KeyId),
        };
        let kind = match header.get("typ") {
            None => None,
            Some(Json::String(kind)) => Some(plain_kind(kind)),
            Some(_) => return Err(TokenFault::Type),
        };
        let algorithm = header.get("alg").and_then(Json::as_str).and_then(algorithm);
        Ok(Self { message, signature, algorithm, key_id, kind, payload })
    }

    /// Proves the signature with one of the issuer's keys, by an algorithm that the issuer is configured with. The
    /// token only says which: it can't bring its own.
    ///
    /// # Errors
    /// Another algorithm, no key or not one key that fits, another signature.
    pub fn verify(&self, keys: &KeySet, allowed: &[Algorithm]) -> Result<(), TokenFault> {
        let algorithm = self.algorithm.filter(|asked| allowed.contains(asked)).ok_or(TokenFault::Algorithm)?;
        let key = match &self.key_id {
            Some(id) => {
                let mut named = keys.named(id).peekable();
                named.peek().ok_or(TokenFault::UnknownKey)?;
                named.find(|key| key.fits(algorithm)).ok_or(TokenFault::WrongKey)?
            }
            None => {
                let mut fitting = keys.all().filter(|key| key.fits(algorithm));
                match (fitting.next(), fitting.next()) {
                    (Some(only), None) => only,
                    (None, _) | (Some(_), Some(_)) => return Err(TokenFault::AmbiguousKey),
                }
            }
        };
        // An error is a key or a signature of another shape.
        let good = jsonwebtoken::crypto::verify(self.signature, self.message.as_bytes(), key.decoding(), algorithm);
        if good.unwrap_or(false) { Ok(()) } else { Err(TokenFault::Signature) }
    }

    /// The claims; proven only where [`verify`](Self::verify) was there before.
    ///
    /// # Errors
    /// They are no JSON object, or a member stands twice at any depth.
    pub fn claims(&self) -> Result<Json, TokenFault> {
        plain_object(&self.payload).ok_or(TokenFault::Claims)
    }
}

/// The header of a token, by its text. Key material in it is proven by nothing but the token's own signature.
///
/// # Errors
/// It is no plain JSON object.
pub(super) fn header(text: &str) -> Result<Json, TokenFault> {
    let header = text.split('.').next().ok_or(TokenFault::Parts)?;
    plain_object(&decode(header)?).ok_or(TokenFault::Header)
}

/// `at+jwt` of `application/AT+JWT` (RFC 7515, section 4.1.9).
fn plain_kind(kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    kind.strip_prefix("application/").filter(|rest| !rest.contains('/')).unwrap_or(&kind).to_owned()
}

/// Names exactly as RFC 7518 and RFC 8037 write them; `none` is no algorithm.
pub fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "HS256" => Algorithm::HS256,
        "HS384" => Algorithm::HS384,
        "HS512" => Algorithm::HS512,
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}

/// Canonical base64url without padding, so that one token has one text.
fn decode(part: &str) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Encoding)
}

/// A JSON object whose members stand once, at every depth.
pub(super) fn plain_object(bytes: &[u8]) -> Option<Json> {
    weir_wire::json::check(bytes).ok()?;
    let json: Json = serde_json::from_slice(bytes).ok()?;
    json.is_object().then_some(json)
}

#[cfg(test)]
mod tests;
