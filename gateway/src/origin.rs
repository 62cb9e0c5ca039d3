//! Where a call comes from: the client's address, its country where a trusted proxy tells it, and the environment of
//! the listener that took it.
//!
//! A header decides nothing unless the socket's own peer is a proxy that the configuration trusts.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use ipnet::IpNet;
use pingora::proxy::Session;

use crate::config::Settings;
use crate::config::settings::ClientSettings;
use crate::identity::scope::client_ip;

/// Header in which proxies list the addresses that they were called from.
const FORWARDED: &str = "x-forwarded-for";
/// Bytes of a country's or region's code.
const GEO_BYTES_MAX: usize = 16;

/// What is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The client's address: the peer's, or behind trusted proxies the last that is none of theirs.
    pub ip: Option<IpAddr>,
    /// Country or region, as the trusted proxy's header says.
    pub geo: Option<String>,
    /// The listener's environment, where it names one.
    pub environment: Option<Arc<str>>,
}

impl Origin {
    /// The origin of a session's request.
    pub fn of(session: &Session, settings: &Settings) -> Self {
        let address = |address: Option<&pingora::protocols::l4::socket::SocketAddr>| address?.as_inet().copied();
        let peer = address(session.client_addr()).map(|address| address.ip());
        let port = address(session.server_addr()).map(|address| address.port());
        // Listeners differ in their ports: two on one port can't be opened.
        let listener = settings.listeners.iter().find(|listener| Some(listener.address.port()) == port);
        let (ip, geo) = client(&session.req_header().headers, peer, &settings.client);
        Self { ip, geo, environment: listener.and_then(|listener| listener.environment.clone()) }
    }
}

/// The client's address where a connection of `peer` brought these headers.
pub fn address(headers: &HeaderMap, peer: Option<IpAddr>, settings: &ClientSettings) -> Option<IpAddr> {
    client(headers, peer, settings).0
}

fn client(headers: &HeaderMap, peer: Option<IpAddr>, settings: &ClientSettings) -> (Option<IpAddr>, Option<String>) {
    let is_proxy = |ip: IpAddr| settings.trusted_proxies.iter().any(|range: &IpNet| range.contains(&ip.to_canonical()));
    if !peer.is_some_and(is_proxy) {
        return (peer, None);
    }
    let values: Vec<_> = headers.get_all(FORWARDED).iter().map(http::HeaderValue::to_str).collect();
    // A header that is no text hides what stands before it: then nobody knows who calls.
    let ip = match values.iter().all(Result::is_ok) {
        true => client_ip(peer, values.iter().flatten().copied(), &settings.trusted_proxies),
        false => None,
    };
    let geo = settings.geo_header.as_deref().and_then(|name| {
        let mut values = headers.get_all(name).iter();
        let one = values.next()?.to_str().ok()?;
        let is_code = |text: &str| {
            (1..=GEO_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        (values.next().is_none() && is_code(one)).then(|| one.to_owned())
    });
    (ip, geo)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(list: &[(&str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn headers_count_only_where_the_peer_is_a_trusted_proxy() {
        let settings = ClientSettings {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            geo_header: Some("cf-ipcountry".into()),
            ..ClientSettings::default()
        };
        let both = headers(&[("x-forwarded-for", b"192.0.2.9, 10.1.1.1"), ("cf-ipcountry", b"DE")]);
        let of = |headers: &HeaderMap, peer: &str| {
            let (ip, geo) = client(headers, peer.parse().ok(), &settings);
            (ip.map(|ip| ip.to_string()).unwrap_or_default(), geo.unwrap_or_default())
        };
        let pair = |ip: &str, geo: &str| (ip.to_owned(), geo.to_owned());
        assert_eq!(of(&both, "10.0.0.1"), pair("192.0.2.9", "DE"));
        assert_eq!(of(&both, "203.0.113.1"), pair("203.0.113.1", ""));
        for (list, want) in [
            (&[("x-forwarded-for", &b"\xff, 192.0.2.9"[..])][..], pair("", "")),
            (&[("cf-ipcountry", b"DE"), ("cf-ipcountry", b"FR")], pair("10.0.0.1", "")),
            (&[("cf-ipcountry", b"D E")], pair("10.0.0.1", "")),
            (&[("cf-ipcountry", b"")], pair("10.0.0.1", "")),
        ] {
            assert_eq!(of(&headers(list), "10.0.0.1"), want, "{list:?}");
        }
    }
}
