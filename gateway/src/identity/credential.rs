//! Where a request carries its credential, and of which kind that is.
//!
//! Refuses two different credentials in one request, and one in a query string (they end up in logs).

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::KeyId;
use super::api_key::{self, KeyFault, PREFIX, Presented};

/// A credential as presented; nothing about it is proven yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    /// A well-formed API key.
    ApiKey(Presented<'a>),
    /// Anything else: a JWT or an opaque token of some issuer. Never printed.
    Token(&'a str),
    /// The same, presented with a proof that its key is held (RFC 9449). Never printed.
    BoundToken(&'a str),
    /// None but the connection's certificate.
    Certificate,
}

impl Credential<'_> {
    /// The part that may be logged before anything is proven.
    pub fn public_id(&self) -> Option<KeyId> {
        match self {
            Self::ApiKey(key) => Some(KeyId(key.id().into())),
            Self::Token(_) | Self::BoundToken(_) | Self::Certificate => None,
        }
    }
}

/// How a caller was proven; a policy sees its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// An API key of Weir's own.
    ApiKey,
    /// A token that its issuer signed (RFC 7519, RFC 9068).
    Jwt,
    /// A token that its issuer vouched for when asked (RFC 7662).
    Introspected,
    /// A client certificate (RFC 8705, SPIFFE).
    Certificate,
    /// A token of Weir's own token endpoint.
    WeirToken,
}

impl CredentialKind {
    /// Name in `input.subject.credential` and on the audit record.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Jwt => "jwt",
            Self::Introspected => "introspected",
            Self::Certificate => "certificate",
            Self::WeirToken => "weir_token",
        }
    }
}

/// The one credential of a request. An API key may stand in the query under the name `parameter`, where there is one.
pub fn presented<'a>(
    headers: &'a HeaderMap,
    query: Option<&'a str>,
    parameter: Option<&str>,
) -> Result<Credential<'a>, PresentedFault> {
    let (scheme, text) = text(headers, query, parameter)?;
    match (scheme, text.starts_with(PREFIX)) {
        (Scheme::Bearer, true) => Ok(Credential::ApiKey(api_key::parse(text)?)),
        (Scheme::Bearer, false) => Ok(Credential::Token(text)),
        // An API key is bound to nothing, so there is nothing to prove.
        (Scheme::Dpop, true) => Err(CredentialFault::Scheme.into()),
        (Scheme::Dpop, false) => Ok(Credential::BoundToken(text)),
    }
}

/// How a credential is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    /// By its bearer.
    Bearer,
    /// With a proof beside it.
    Dpop,
}

/// Why nothing usable is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PresentedFault {
    /// No credential, or one in a wrong place.
    #[error(transparent)]
    Credential(#[from] CredentialFault),
    /// A key that is none.
    #[error(transparent)]
    Key(#[from] KeyFault),
}

/// Why a request's credential can't be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialFault {
    /// None is there.
    #[error("no API key; send it as `Authorization: Bearer wr_..`")]
    Missing,
    /// `Authorization` with another scheme, or a header with nothing in it.
    #[error("`Authorization` must be `Bearer`, followed by the API key; `x-api-key` must not be empty")]
    Scheme,
    /// Two that differ.
    #[error("the request carries two different credentials; send one")]
    Ambiguous,
    /// In the query string.
    #[error("an API key must not stand in the URL; send it as `Authorization: Bearer wr_..` (and replace this one)")]
    InQuery,
}

/// The one credential of a request: `Authorization: Bearer` or `DPoP`, `x-api-key` (Anthropic's clients), `api-key`
/// (Azure's) or `x-goog-api-key` (Gemini's).
fn text<'a>(
    headers: &'a HeaderMap,
    query: Option<&'a str>,
    parameter: Option<&str>,
) -> Result<(Scheme, &'a str), CredentialFault> {
    let mut found: Option<(Scheme, &'a str)> = None;
    for pair in query.into_iter().flat_map(|query| query.split(['&', ';'])) {
        // Keys have nothing that a URL would hold in another form.
        match pair.split_once('=').filter(|(name, value)| Some(*name) == parameter && value.starts_with(PREFIX)) {
            Some((_, value)) if found.is_some_and(|(_, other)| other != value) => {
                return Err(CredentialFault::Ambiguous);
            }
            Some((_, value)) => found = Some((Scheme::Bearer, value)),
            None if has_credential(pair) => return Err(CredentialFault::InQuery),
            None => {}
        }
    }
    let schemes = headers.get_all(AUTHORIZATION).iter().map(|value| value.to_str().ok().and_then(scheme));
    let plain = ["x-api-key", "api-key", "x-goog-api-key"].into_iter().flat_map(|name| headers.get_all(name));
    let plain = plain.map(|value| value.to_str().ok().map(str::trim).filter(|text| !text.is_empty()));
    let plain = plain.map(|text| text.map(|text| (Scheme::Bearer, text)));
    for text in schemes.chain(plain) {
        let text = text.ok_or(CredentialFault::Scheme)?;
        if found.is_some_and(|other| other != text) {
            return Err(CredentialFault::Ambiguous);
        }
        found = Some(text);
    }
    found.ok_or(CredentialFault::Missing)
}

fn scheme(text: &str) -> Option<(Scheme, &str)> {
    let (name, token) = text.trim().split_once(' ')?;
    let all = [("bearer", Scheme::Bearer), ("dpop", Scheme::Dpop)];
    let (_, scheme) = all.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known))?;
    let token = token.trim();
    (!token.is_empty()).then_some((scheme, token))
}

/// Names under which other services take keys from the query string.
const QUERY_NAMES: [&str; 8] =
    ["api_key", "api-key", "apikey", "x-api-key", "key", "access_token", "token", "authorization"];

fn has_credential(pair: &str) -> bool {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let (name, value) = (unescape(name), unescape(value));
    let named = QUERY_NAMES.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
    named
        || memchr::memmem::find(&value, PREFIX.as_bytes()).is_some()
        || memchr::memmem::find(&name, PREFIX.as_bytes()).is_some()
}

/// Percent-decoding, once; what is no escape stays as it is.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        match (byte, hex(ahead.next()), hex(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4) | low);
                bytes = ahead;
            }
            (other, _, _) => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests;
