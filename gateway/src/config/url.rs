//! Base URLs of deployments: `http://`, `https://`, `unix:`. Refuses credentials in them; never repeats the URL.

use std::sync::Arc;

use http::uri::Authority;

/// A base URL in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseUrl {
    /// Over TCP.
    Tcp {
        /// Host name or address, without brackets.
        host: Arc<str>,
        /// Port, the scheme's own where none is written.
        port: u16,
        /// `https`.
        tls: bool,
        /// Path without a slash at its end.
        path: Arc<str>,
    },
    /// A Unix socket's path as written; the base path is `/v1`.
    Unix(String),
}

/// Why a text is no base URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// Another scheme, or none.
    #[error("must begin with `https://`, `http://` or `unix:`")]
    Scheme,
    /// `user:password@host`.
    #[error("a URL must not hold a credential; use `api_key` with `env:NAME` or `file:PATH`")]
    Credential,
    /// `?` or `#`.
    #[error("a base URL has no `?` and no `#`")]
    Query,
    /// No usable host or port.
    #[error("has no valid host and port")]
    Host,
    /// A path with blanks, control characters or others that need encoding.
    #[error("its path has characters that are not allowed in a URL")]
    Path,
    /// `unix:` with nothing after it.
    #[error("`unix:` needs the path of a socket, such as `unix:./run/engine.sock`")]
    Socket,
}

/// Parses a base URL.
pub fn parse(text: &str) -> Result<BaseUrl, UrlFault> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return if path.is_empty() || path.contains('\0') {
            Err(UrlFault::Socket)
        } else {
            Ok(BaseUrl::Unix(path.to_owned()))
        };
    }
    let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err(UrlFault::Scheme),
    };
    if rest.contains(['?', '#']) {
        return Err(UrlFault::Query);
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(UrlFault::Credential);
    }
    let authority: Authority = authority.parse().map_err(|_| UrlFault::Host)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let written = authority.as_str().len() > authority.host().len();
    let port = match (authority.port_u16(), written) {
        (Some(port), _) => port,
        (None, true) => return Err(UrlFault::Host),
        (None, false) => {
            if tls {
                443
            } else {
                80
            }
        }
    };
    let path = path.trim_end_matches('/');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(&b);
    match (host.is_empty() || port == 0, path.bytes().all(plain)) {
        (true, _) => Err(UrlFault::Host),
        (false, false) => Err(UrlFault::Path),
        (false, true) => Ok(BaseUrl::Tcp { host: host.into(), port, tls, path: path.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(text: &str) -> (String, u16, bool, String) {
        match parse(text) {
            Ok(BaseUrl::Tcp { host, port, tls, path }) => (host.to_string(), port, tls, path.to_string()),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn urls_come_apart() {
        assert_eq!(tcp("https://api.example.com/v1/"), ("api.example.com".into(), 443, true, "/v1".into()));
        assert_eq!(tcp("http://127.0.0.1:8000"), ("127.0.0.1".into(), 8000, false, String::new()));
        assert_eq!(tcp("http://[::1]:9/a/b"), ("::1".into(), 9, false, "/a/b".into()));
        assert_eq!(parse("unix:./run/e.sock"), Ok(BaseUrl::Unix("./run/e.sock".into())));
        assert_eq!(parse("unix:///run/e.sock"), Ok(BaseUrl::Unix("/run/e.sock".into())));
    }

    #[test]
    fn bad_urls_are_refused_by_kind() {
        let table = [
            ("ftp://x", UrlFault::Scheme),
            ("api.example.com/v1", UrlFault::Scheme),
            ("https://user:pw@example.com", UrlFault::Credential),
            ("https://example.com/v1?key=1", UrlFault::Query),
            ("https://", UrlFault::Host),
            ("https:///v1", UrlFault::Host),
            ("http://host:0", UrlFault::Host),
            ("http://host:99999", UrlFault::Host),
            ("http://host:", UrlFault::Host),
            ("http://ho st", UrlFault::Host),
            ("http://host/a b", UrlFault::Path),
            ("unix:", UrlFault::Socket),
        ];
        for (text, fault) in table {
            assert_eq!(parse(text), Err(fault), "{text}");
        }
    }
}
