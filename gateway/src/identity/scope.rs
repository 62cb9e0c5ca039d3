//! What a key may be used for beside models: endpoints, client addresses, environments; and whose key it is.
//!
//! Pure. A list that is absent narrows nothing; a list that is there is all that is allowed.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Entries of one list at most.
pub const LIST_MAX: usize = 64;
/// Bytes of one entry at most.
pub const ENTRY_BYTES_MAX: usize = 64;

/// Whose key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// A person's.
    User,
    /// A program's: a service account.
    Service,
    /// An administrator's: for the admin API alone, never for calls.
    Admin,
}

impl KeyKind {
    /// As stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Service => "service",
            Self::Admin => "admin",
        }
    }

    /// Back from its name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::User, Self::Service, Self::Admin].into_iter().find(|kind| kind.name() == name)
    }
}

/// Where a key may be used, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scopes {
    /// Names of endpoints, such as `chat_completions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<String>>,
    /// Client addresses: CIDR ranges or single addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ips: Option<Vec<String>>,
    /// Environments of listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environments: Option<Vec<String>>,
}

/// Why a list of scopes can't be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopesFault {
    /// An empty list would let the key do nothing.
    #[error("an empty list would let the key do nothing; leave it out to allow all")]
    Empty,
    /// Too much.
    #[error("a list has at most {LIST_MAX} entries of {ENTRY_BYTES_MAX} bytes")]
    TooMuch,
    /// No range.
    #[error("`{0}` is no address and no CIDR range")]
    Ip(String),
    /// No endpoint.
    #[error("`{0}` is no endpoint's name; they are {names}", names = endpoint_names())]
    Endpoint(String),
}

fn endpoint_names() -> String {
    let names = weir_wire::fault::Endpoint::ALL.map(|endpoint| format!("`{}`", endpoint.name()));
    names.join(", ")
}

impl Scopes {
    /// Whether nothing is narrowed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the lists can be kept.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self) -> Result<(), ScopesFault> {
        let lists = [&self.endpoints, &self.ips, &self.environments];
        for list in lists.into_iter().flatten() {
            if list.is_empty() {
                return Err(ScopesFault::Empty);
            }
            let long = |entry: &String| entry.is_empty() || entry.len() > ENTRY_BYTES_MAX;
            if list.len() > LIST_MAX || list.iter().any(long) {
                return Err(ScopesFault::TooMuch);
            }
        }
        let known = |name: &String| weir_wire::fault::Endpoint::ALL.iter().any(|endpoint| endpoint.name() == name);
        if let Some(name) = self.endpoints.iter().flatten().find(|name| !known(name)) {
            return Err(ScopesFault::Endpoint(name.clone()));
        }
        match self.ips.iter().flatten().find(|text| range(text).is_none()) {
            Some(text) => Err(ScopesFault::Ip(text.clone())),
            None => Ok(()),
        }
    }

    /// Ready for use; a range that can't be read matches nothing.
    pub fn compile(&self) -> Gate {
        let texts = |list: &Option<Vec<String>>| list.as_ref().map(|list| Arc::<[String]>::from(list.as_slice()));
        Gate {
            endpoints: texts(&self.endpoints),
            ips: self.ips.as_ref().map(|list| list.iter().filter_map(|text| range(text)).collect()),
            environments: texts(&self.environments),
        }
    }
}

/// A range, or a single address as the range of itself.
pub fn range(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Scopes as they are asked for each call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gate {
    endpoints: Option<Arc<[String]>>,
    ips: Option<Arc<[IpNet]>>,
    environments: Option<Arc<[String]>>,
}

/// Where a call comes in.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The endpoint's name.
    pub endpoint: &'a str,
    /// The client's address; `None` where it is not known.
    pub ip: Option<IpAddr>,
    /// The listener's environment; `None` where it names none.
    pub environment: Option<&'a str>,
}

/// Which scope doesn't cover the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutOfScope {
    /// The endpoint.
    #[error("the key is not for this endpoint")]
    Endpoint,
    /// The client's address.
    #[error("the key is not for this client address")]
    Ip,
    /// The environment.
    #[error("the key is not for this environment")]
    Environment,
}

impl OutOfScope {
    /// Reason code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint_out_of_scope",
            Self::Ip => "ip_out_of_scope",
            Self::Environment => "environment_out_of_scope",
        }
    }
}

impl Gate {
    /// Whether calls of that endpoint may come in.
    pub fn covers_endpoint(&self, name: &str) -> bool {
        self.endpoints.as_ref().is_none_or(|list| list.iter().any(|entry| entry == name))
    }

    /// Whether anything may come in from that address, whatever it asks for.
    ///
    /// # Errors
    /// The address is not covered, or not known.
    pub fn admits_address(&self, ip: Option<IpAddr>) -> Result<(), OutOfScope> {
        Self { ips: self.ips.clone(), ..Self::default() }.admits(&Entry { endpoint: "", ip, environment: None })
    }

    /// The same, with no other endpoints than these.
    #[must_use]
    pub fn only(&self, endpoints: &[String]) -> Self {
        let left = endpoints.iter().filter(|name| self.covers_endpoint(name)).cloned();
        Self { endpoints: Some(left.collect()), ..self.clone() }
    }

    /// Whether a call may come in there. What is not known is not covered.
    ///
    /// # Errors
    /// The scope that says no.
    pub fn admits(&self, entry: &Entry<'_>) -> Result<(), OutOfScope> {
        let listed = |list: &Option<Arc<[String]>>, name: Option<&str>| {
            list.as_ref().is_none_or(|list| name.is_some_and(|name| list.iter().any(|entry| entry == name)))
        };
        // `::ffff:10.0.0.1` is 10.0.0.1: a range must not be walked around by the family of the socket.
        let ip = entry.ip.map(|ip| ip.to_canonical());
        let inside = |list: &Arc<[IpNet]>| ip.is_some_and(|ip| list.iter().any(|range| range.contains(&ip)));
        if !listed(&self.endpoints, Some(entry.endpoint)) {
            Err(OutOfScope::Endpoint)
        } else if !self.ips.as_ref().is_none_or(inside) {
            Err(OutOfScope::Ip)
        } else if !listed(&self.environments, entry.environment) {
            Err(OutOfScope::Environment)
        } else {
            Ok(())
        }
    }
}

/// The client's address: the socket's, or, where that is a trusted proxy's, the last address of `x-forwarded-for` that
/// is no trusted proxy's. A header that can't be read ends the search at the last address that could.
pub fn client_ip<'a>(
    socket: Option<IpAddr>,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[IpNet],
) -> Option<IpAddr> {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|range| range.contains(&ip.to_canonical()));
    let mut found = socket?;
    for hop in forwarded.flat_map(|value| value.split(',')).rev() {
        if !is_trusted(&found) {
            break;
        }
        let Some(ip) = address(hop.trim()) else { break };
        found = ip;
    }
    Some(found.to_canonical())
}

/// An address as proxies write it: bare, or with the port that some add to it.
fn address(hop: &str) -> Option<IpAddr> {
    let with_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || hop.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    hop.parse().ok().or_else(with_port).or_else(in_brackets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|text| (*text).to_owned()).collect())
    }

    fn entry(endpoint: &'static str, ip: &str, environment: Option<&'static str>) -> Entry<'static> {
        Entry { endpoint, ip: ip.parse().ok(), environment }
    }

    #[test]
    fn each_scope_narrows_and_the_unknown_is_not_covered() {
        let all = Scopes::default().compile();
        assert_eq!(all.admits(&entry("models", "", None)), Ok(()));
        let scopes = Scopes {
            endpoints: some(&["chat_completions"]),
            ips: some(&["10.0.0.0/8", "2001:db8::1"]),
            environments: some(&["prod"]),
        };
        assert_eq!(scopes.check(), Ok(()));
        let gate = scopes.compile();
        let cases = [
            (entry("chat_completions", "10.1.2.3", Some("prod")), Ok(())),
            (entry("chat_completions", "::ffff:10.1.2.3", Some("prod")), Ok(())),
            (entry("chat_completions", "2001:db8::1", Some("prod")), Ok(())),
            (entry("models", "10.1.2.3", Some("prod")), Err(OutOfScope::Endpoint)),
            (entry("chat_completions", "11.1.2.3", Some("prod")), Err(OutOfScope::Ip)),
            (entry("chat_completions", "", Some("prod")), Err(OutOfScope::Ip)),
            (entry("chat_completions", "10.1.2.3", Some("test")), Err(OutOfScope::Environment)),
            (entry("chat_completions", "10.1.2.3", None), Err(OutOfScope::Environment)),
        ];
        for (entry, expected) in cases {
            assert_eq!(gate.admits(&entry), expected, "{entry:?}");
        }
    }

    #[test]
    fn lists_that_can_not_be_meant_are_refused() {
        let of = |ips: &[&str]| Scopes { ips: some(ips), ..Scopes::default() };
        assert_eq!(of(&[]).check(), Err(ScopesFault::Empty));
        assert_eq!(of(&["10.0.0.0/33"]).check(), Err(ScopesFault::Ip("10.0.0.0/33".to_owned())));
        let unknown = Scopes { endpoints: some(&["chat"]), ..Scopes::default() };
        assert!(unknown.check().unwrap_err().to_string().contains("`chat_completions`"));
        // One that was stored all the same lets nobody in.
        assert_eq!(of(&["x"]).compile().admits(&entry("models", "10.0.0.1", None)), Err(OutOfScope::Ip));
    }

    #[test]
    fn a_forwarded_address_counts_only_behind_a_trusted_proxy() {
        let trusted: Vec<IpNet> = ["10.0.0.0/8"].iter().filter_map(|text| range(text)).collect();
        let client = |socket: &str, list: &[&str], trusted: &[IpNet]| {
            client_ip(socket.parse().ok(), list.iter().copied(), trusted).map(|ip| ip.to_string())
        };
        let cases: [(&str, &[&str], &str); 11] = [
            ("192.0.2.1", &["127.0.0.1"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.9:4711"], "192.0.2.9"),
            ("10.0.0.1", &["[2001:db8::1]:443, 10.0.0.2:80"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["192.0.2.9:"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.9"], "192.0.2.9"),
            ("10.0.0.1", &["127.0.0.1, 192.0.2.9"], "192.0.2.9"),
            ("10.0.0.1", &["127.0.0.1", "192.0.2.9, 10.0.0.2"], "192.0.2.9"),
            ("10.0.0.1", &["127.0.0.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("::ffff:10.0.0.1", &["192.0.2.9"], "192.0.2.9"),
        ];
        for (socket, list, expected) in cases {
            assert_eq!(client(socket, list, &trusted).as_deref(), Some(expected), "{socket} {list:?}");
        }
        assert_eq!(client("10.0.0.1", &["192.0.2.9"], &[]).as_deref(), Some("10.0.0.1"));
        assert_eq!(client("", &["192.0.2.9"], &trusted), None);
    }
}
