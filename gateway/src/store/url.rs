//! Where a store is: a file of SQLite's, or a schema of a PostgreSQL server.
//!
//! Refuses parameters of the URL that mean nothing, and a server on another machine is spoken to only over TLS that
//! proves it, unless the URL itself says otherwise.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::{Host, Url};

use super::node::Node;
use super::postgres::{LOCK_WAIT, STATEMENT_MAX, TRANSACTION_IDLE_MAX};

/// Parameters that a URL may have.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "statement-cache-capacity",
    "application_name",
    "host",
    "port",
    "dbname",
    "user",
    "schema",
];
/// Bytes of the name of a schema: what PostgreSQL keeps of a name.
const SCHEMA_BYTES_MAX: usize = 63;

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A file of SQLite's.
    File(PathBuf),
    /// A schema on a PostgreSQL server.
    Server(ServerUrl),
}

/// A PostgreSQL server, database, schema, and how to get in. Never printed whole: it may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    text: Arc<str>,
    schema: Option<Arc<str>>,
}

/// Why a URL names no store. Nothing of the URL is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// Another scheme, or no URL.
    #[error("is no URL such as `postgres://weir@localhost/weir`")]
    NoUrl,
    /// A parameter that is not known.
    #[error("has a parameter that means nothing; known are {}", PARAMETERS.join(", "))]
    Parameter,
    /// Not the name of a schema.
    #[error("has a schema that is no name of at most 63 of a-z, 0-9 and `_`")]
    Schema,
    /// A value that the driver refuses.
    #[error("has a value that can't be used")]
    Value,
}

impl ServerUrl {
    /// Parses `postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?schema=NAME&sslmode=MODE..]`.
    pub fn parse(text: &str) -> Result<Self, UrlFault> {
        let mut url = Url::parse(text).map_err(|_| UrlFault::NoUrl)?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(UrlFault::NoUrl);
        }
        let pairs: Vec<(String, String)> = url.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
        if pairs.iter().any(|(name, _)| !PARAMETERS.contains(&name.as_str())) {
            return Err(UrlFault::Parameter);
        }
        let (schema, rest): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(name, _)| name == "schema");
        let schema = schema.into_iter().next_back().map(|(_, name)| name);
        if !schema.as_deref().is_none_or(is_schema) {
            return Err(UrlFault::Schema);
        }
        url.set_query(None);
        if !rest.is_empty() {
            url.query_pairs_mut().extend_pairs(rest);
        }
        let server = Self { text: url.as_str().into(), schema: schema.map(Arc::from) };
        server.options(None).map_err(|_| UrlFault::Value)?;
        Ok(server)
    }

    /// Whether it holds a password: such a URL is a secret.
    pub fn has_password(&self) -> bool {
        Url::parse(&self.text).is_ok_and(|url| url.password().is_some())
    }

    /// The schema that it names; without one PostgreSQL's own search path holds.
    pub(super) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// Options of every connection; those of a node's own connection name the node.
    pub(super) fn options(&self, node: Option<&Node>) -> Result<PgConnectOptions, sqlx::Error> {
        let url = Url::parse(&self.text).map_err(|error| sqlx::Error::Configuration(error.into()))?;
        let mut options = PgConnectOptions::from_str(&self.text)?;
        if !url.query_pairs().any(|(name, _)| name == "sslmode") {
            let is_near = options.get_socket().is_some() || is_loopback(options.get_host());
            options = options.ssl_mode(if is_near { PgSslMode::Prefer } else { PgSslMode::VerifyFull });
        }
        if !url.query_pairs().any(|(name, _)| name == "application_name") {
            options = options.application_name("weir");
        }
        let ms = |time: std::time::Duration| time.as_millis().to_string();
        options = options.options([
            ("statement_timeout", ms(STATEMENT_MAX)),
            ("lock_timeout", ms(LOCK_WAIT)),
            ("idle_in_transaction_session_timeout", ms(TRANSACTION_IDLE_MAX)),
        ]);
        if let Some(schema) = &self.schema {
            options = options.options([("search_path", &**schema)]);
        }
        if let Some(node) = node {
            options = options.options([("weir.node", node.as_str())]);
        }
        Ok(options.disable_statement_logging())
    }
}

impl fmt::Display for ServerUrl {
    /// Host, database and schema: what an operator needs to know, and no credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = Url::parse(&self.text).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or("localhost");
        write!(f, "postgres://{host}{}", url.as_ref().map_or("", Url::path))?;
        self.schema.as_deref().map_or(Ok(()), |schema| write!(f, "?schema={schema}"))
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<&StoreUrl> for StoreUrl {
    fn from(url: &StoreUrl) -> Self {
        url.clone()
    }
}

impl<P: AsRef<Path> + ?Sized> From<&P> for StoreUrl {
    fn from(path: &P) -> Self {
        StoreUrl::File(path.as_ref().to_owned())
    }
}

/// Written without quotes everywhere, so that it is the same name in every setting.
fn is_schema(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    first
        && name.len() <= SCHEMA_BYTES_MAX
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn is_loopback(host: &str) -> bool {
    match Host::parse(host) {
        Ok(Host::Domain(name)) => name == "localhost",
        Ok(Host::Ipv4(address)) => address.is_loopback(),
        Ok(Host::Ipv6(address)) => address.is_loopback(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_never_shows_its_password() {
        let url = ServerUrl::parse("postgres://weir:geheim@db.example:5433/prod?schema=weir&sslmode=require").unwrap();
        assert!(url.has_password());
        assert_eq!(url.schema(), Some("weir"));
        assert_eq!(format!("{url} {:?}", StoreUrl::Server(url.clone())).matches("geheim").count(), 0);
        let options = url.options(None).unwrap();
        assert_eq!(
            (options.get_host(), options.get_port(), options.get_database()),
            ("db.example", 5433, Some("prod"))
        );
        assert!(matches!(options.get_ssl_mode(), PgSslMode::Require));
        assert!(options.get_options().unwrap().contains("search_path=weir"));
        assert!(!ServerUrl::parse("postgres://weir@localhost/weir").unwrap().has_password());
    }

    #[test]
    fn a_server_elsewhere_must_prove_itself_unless_the_url_says_otherwise() {
        let mode = |text: &str| ServerUrl::parse(text).unwrap().options(None).unwrap().get_ssl_mode();
        assert!(matches!(mode("postgres://weir@db.example/weir"), PgSslMode::VerifyFull));
        assert!(matches!(mode("postgres://weir@10.0.0.9/weir"), PgSslMode::VerifyFull));
        assert!(matches!(mode("postgres://weir@db.example/weir?sslmode=disable"), PgSslMode::Disable));
        for near in ["localhost", "127.0.0.1", "[::1]", "%2Fvar%2Frun%2Fpostgresql"] {
            assert!(matches!(mode(&format!("postgres://weir@{near}/weir")), PgSslMode::Prefer), "{near}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (text, fault) in [
            ("mysql://weir@localhost/weir", UrlFault::NoUrl),
            ("weir.db", UrlFault::NoUrl),
            ("postgres://localhost/weir?ssl_mode=require", UrlFault::Parameter),
            ("postgres://localhost/weir?password=x", UrlFault::Parameter),
            ("postgres://localhost/weir?schema=a;b", UrlFault::Schema),
            ("postgres://localhost/weir?schema=", UrlFault::Schema),
            ("postgres://localhost/weir?sslmode=sometimes", UrlFault::Value),
        ] {
            assert_eq!(ServerUrl::parse(text), Err(fault), "{text}");
        }
    }
}
