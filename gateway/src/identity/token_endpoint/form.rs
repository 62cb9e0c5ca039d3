//! A form of the token endpoint (RFC 6749, section 3.2) and the client's own credential in it. Pure.
//!
//! Refuses a parameter that stands twice, two ways of naming the client, and what is no form.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use url::form_urlencoded;

use super::fault::OAuthFault;

/// Bytes of a form: two tokens of the largest size do not fit, two of a usual one do.
pub const FORM_BYTES_MAX: usize = 16 << 10;
/// Parameters of one form.
const PARAMETERS_MAX: usize = 32;
/// Parameters that may stand more than once (RFC 8693, section 2.1).
const REPEATABLE: [&str; 2] = ["audience", "resource"];

/// The parameters of one request. Never printed: they hold tokens.
pub struct Form {
    single: HashMap<String, String>,
    targets: Vec<String>,
}

impl Form {
    /// Reads a form. A parameter without a value counts as not sent.
    ///
    /// # Errors
    /// It is none, or a parameter stands twice.
    pub fn parse(body: &[u8]) -> Result<Self, OAuthFault> {
        if !body.is_ascii() {
            return Err(OAuthFault::Form);
        }
        let (mut single, mut targets) = (HashMap::new(), Vec::new());
        for (at, (name, value)) in form_urlencoded::parse(body).enumerate() {
            // What is no UTF-8 once it is decoded comes out with this mark.
            let is_text = |text: &str| !text.contains(['\u{fffd}', '\0']);
            if at >= PARAMETERS_MAX || !is_text(&name) || !is_text(&value) {
                return Err(OAuthFault::Form);
            }
            if value.is_empty() {
                continue;
            }
            if REPEATABLE.contains(&&*name) {
                targets.push(value.into_owned());
            } else if single.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(OAuthFault::Repeated);
            }
        }
        Ok(Self { single, targets })
    }

    /// A parameter, where it was sent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.single.get(name).map(String::as_str)
    }

    /// A parameter that must be there.
    ///
    /// # Errors
    /// It is not.
    pub fn need(&self, name: &'static str) -> Result<&str, OAuthFault> {
        self.get(name).ok_or(OAuthFault::Missing(name))
    }

    /// Every audience and resource that was asked for.
    pub fn targets(&self) -> &[String] {
        &self.targets
    }
}

/// The client's id and secret as it sent them. Never printed.
pub struct ClientSecret {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

/// How the client names itself: in the header or in the form, or not at all.
///
/// # Errors
/// In two ways, in one that Weir doesn't know, or without its secret.
pub fn client(headers: &HeaderMap, form: &Form) -> Result<Option<ClientSecret>, OAuthFault> {
    if ["client_assertion", "client_assertion_type"].into_iter().any(|name| form.get(name).is_some()) {
        return Err(OAuthFault::ClientMethod);
    }
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let in_form = (form.get("client_id"), form.get("client_secret"));
    match (sent.next(), sent.next(), in_form) {
        (Some(_), Some(_), _) | (Some(_), _, (_, Some(_))) => Err(OAuthFault::TwoMethods),
        (Some(header), None, (named, None)) => {
            let found = header.to_str().ok().and_then(basic).ok_or(OAuthFault::ClientMethod)?;
            match named {
                Some(named) if named != found.id => Err(OAuthFault::TwoMethods),
                Some(_) | None => Ok(Some(found)),
            }
        }
        (None, _, (Some(id), Some(secret))) => Ok(Some(ClientSecret { id: id.to_owned(), secret: secret.to_owned() })),
        (None, _, (None, None)) => Ok(None),
        // A client without a secret is none that Weir knows.
        (None, _, (Some(_), None) | (None, Some(_))) => Err(OAuthFault::ClientMethod),
    }
}

/// `Basic`, of which both halves are encoded as in a form (RFC 6749, section 2.3.1).
fn basic(header: &str) -> Option<ClientSecret> {
    let (scheme, encoded) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some(ClientSecret { id: decoded(id), secret: decoded(secret) })
}

fn decoded(text: &str) -> String {
    let mut pairs = form_urlencoded::parse(text.as_bytes());
    match (pairs.next(), pairs.next()) {
        (Some((name, value)), None) if value.is_empty() => name.into_owned(),
        // More than one value: nobody's name.
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[&str]) -> HeaderMap {
        list.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect()
    }

    fn basic_of(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn a_parameter_stands_once_and_an_empty_one_not_at_all() {
        let form = Form::parse(b"grant_type=a%20b+c&scope=&audience=x&audience=y&resource=z&unknown=1").unwrap();
        assert_eq!((form.get("grant_type"), form.get("scope")), (Some("a b c"), None));
        assert_eq!(form.targets(), ["x", "y", "z"]);
        assert_eq!(form.need("subject_token").unwrap_err(), OAuthFault::Missing("subject_token"));
        let fault = |body: &[u8]| Form::parse(body).map(|_| ()).unwrap_err();
        assert_eq!(fault(b"scope=a&scope=a"), OAuthFault::Repeated);
        assert_eq!(fault("scope=ä".as_bytes()), OAuthFault::Form);
        assert_eq!(fault(b"scope=%ff"), OAuthFault::Form);
        assert_eq!(fault(b"scope=%00"), OAuthFault::Form);
        assert_eq!(fault("audience=1&".repeat(40).as_bytes()), OAuthFault::Form);
    }

    #[test]
    fn a_client_names_itself_in_one_way() {
        let none = headers(&[]);
        let both = basic_of("id:secret%3Dx");
        let cases: [(&HeaderMap, &str, Result<Option<(&str, &str)>, OAuthFault>); 9] = [
            (&none, "grant_type=x", Ok(None)),
            (&none, "client_id=i&client_secret=s", Ok(Some(("i", "s")))),
            (&none, "client_id=i", Err(OAuthFault::ClientMethod)),
            (&none, "client_assertion=x", Err(OAuthFault::ClientMethod)),
            (&headers(&[&both]), "", Ok(Some(("id", "secret=x")))),
            (&headers(&[&both]), "client_id=id", Ok(Some(("id", "secret=x")))),
            (&headers(&[&both]), "client_id=other", Err(OAuthFault::TwoMethods)),
            (&headers(&[&both]), "client_secret=s", Err(OAuthFault::TwoMethods)),
            (&headers(&["Bearer x"]), "", Err(OAuthFault::ClientMethod)),
        ];
        for (headers, body, expected) in cases {
            let form = Form::parse(body.as_bytes()).unwrap();
            let found = client(headers, &form).map(|client| client.map(|client| (client.id, client.secret)));
            let found = found.as_ref().map(|c| c.as_ref().map(|(id, secret)| (id.as_str(), secret.as_str())));
            assert_eq!(found.map_err(|fault| *fault), expected, "{body}");
        }
        let two = headers(&[&both, &both]);
        assert_eq!(client(&two, &Form::parse(b"").unwrap()).err(), Some(OAuthFault::TwoMethods));
    }
}
