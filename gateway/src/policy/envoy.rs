//! The shape of questions and answers that policies of Envoy's external authorization know (opa-envoy-plugin), so that
//! such policies decide here as they stand. Pure.
//!
//! The question is `input.attributes.request.http` with `parsed_path`, `parsed_query` and `parsed_body`; Weir's own
//! document lies beside it as `input.weir`. Headers that carry credentials are left out: who calls is in
//! `input.weir.subject`. The answer is a boolean, or an object with `allowed`. What Envoy would change of the request
//! (`headers` of an allowed one, `request_headers_to_remove`, query parameters, dynamic metadata) has no effect, for
//! Weir passes no header or query of the client on. Start at [`document`] and [`decision`].

use core::net::SocketAddr;
use std::collections::BTreeMap;

use http::HeaderMap;
use regorus::Value;

use super::input::Input;
use super::permit::NAME_BYTES_MAX;
use crate::identity::api_key::PREFIX;

/// Headers that carry credentials.
const CREDENTIALS: [&str; 8] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "dpop",
    "x-forwarded-client-cert",
];
/// Members of an answer that Envoy acts on and Weir has no use for.
const WITHOUT_EFFECT: [&str; 5] = [
    "headers",
    "request_headers_to_remove",
    "query_parameters_to_set",
    "query_parameters_to_remove",
    "dynamic_metadata",
];

/// A request as Envoy would describe it.
#[derive(Debug, Clone, Copy)]
pub struct HttpInput<'a> {
    /// The call's id.
    pub id: uuid::Uuid,
    /// Host, and port where one is named.
    pub host: &'a str,
    /// Method.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'a str,
    /// All of them.
    pub headers: &'a HeaderMap,
    /// The body; empty where there is none.
    pub body: &'a [u8],
    /// The client's address.
    pub source: Option<SocketAddr>,
    /// The listener's address.
    pub destination: Option<SocketAddr>,
}

/// The document `input`.
pub fn document(input: &Input<'_>) -> Value {
    let Some(http) = &input.http else { return object([("weir", input.to_value())]) };
    let (path, query) = http.target.split_once('?').unwrap_or((http.target, ""));
    let parsed_path = path.trim_start_matches('/').split('/').map(|part| Value::from(unescaped(part, false)));
    let attributes = object([
        ("request", object([("http", http.to_value())])),
        ("source", peer(http.source)),
        ("destination", peer(http.destination)),
        ("metadataContext", object([])),
    ]);
    let fixed = [
        ("attributes", attributes),
        ("parsed_path", Value::from(parsed_path.collect::<Vec<_>>())),
        ("parsed_query", parsed_query(query)),
        ("truncated_body", false.into()),
        ("version", object([("encoding", "protojson".into()), ("ext_authz", "v3".into())])),
        ("weir", input.to_value()),
    ];
    // It was parsed once before, and duplicate members refused: this is what is forwarded.
    let body =
        serde_json::from_slice::<serde_json::Value>(http.body).ok().map(|body| ("parsed_body", Value::from(body)));
    object(fixed.into_iter().chain(body))
}

impl HttpInput<'_> {
    fn to_value(self) -> Value {
        let size = i64::try_from(self.body.len()).unwrap_or(i64::MAX);
        object([
            ("id", self.id.to_string().into()),
            ("method", self.method.into()),
            ("path", self.target.into()),
            ("host", self.host.into()),
            ("scheme", self.scheme.into()),
            ("protocol", self.protocol.into()),
            ("size", size.into()),
            ("headers", self.headers_value()),
            ("body", String::from_utf8_lossy(self.body).into_owned().into()),
        ])
    }

    fn headers_value(self) -> Value {
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in self.headers {
            let text = String::from_utf8_lossy(value.as_bytes());
            if CREDENTIALS.contains(&name.as_str()) || name.as_str().starts_with("x-weir-") || text.contains(PREFIX) {
                continue;
            }
            // Envoy joins the lines of one name.
            let line = all.entry(name.as_str().to_owned()).or_default();
            if !line.is_empty() {
                line.push(',');
            }
            line.push_str(&text);
        }
        let own =
            [(":method", self.method), (":path", self.target), (":scheme", self.scheme), (":authority", self.host)];
        all.extend(own.map(|(name, text)| (name.to_owned(), text.to_owned())));
        object(all.iter().map(|(name, text)| (name.as_str(), text.as_str().into())))
    }
}

fn peer(address: Option<SocketAddr>) -> Value {
    let address = address.map(|address| {
        let ip = address.ip().to_canonical().to_string();
        let socket = object([("address", ip.into()), ("portValue", u64::from(address.port()).into())]);
        ("address", object([("socketAddress", socket)]))
    });
    object(address)
}

/// Every name with the list of its values.
fn parsed_query(query: &str) -> Value {
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        all.entry(unescaped(name, true)).or_default().push(unescaped(value, true).into());
    }
    object(all.iter().map(|(name, values)| (name.as_str(), Value::from(values.clone()))))
}

/// Percent-decoded; in a query `+` is a space.
fn unescaped(text: &str, in_query: bool) -> String {
    let text = if in_query { text.replace('+', " ") } else { text.to_owned() };
    String::from_utf8_lossy(&crate::identity::credential::unescape(&text)).into_owned()
}

/// A decision in Weir's own words, for the one judge of decisions. What is unknown goes through to it and is refused.
pub fn decision(value: Value) -> Value {
    let Value::Object(members) = &value else { return value };
    let member = |name: &str| members.get(&Value::from(name));
    let Some(allowed) = member("allowed") else { return value };
    let is_allowed = *allowed == Value::from(true);
    let mut own = BTreeMap::from([(Value::from("allow"), allowed.clone())]);
    for (name, value) in members.iter() {
        let text = if let Value::String(text) = name { &**text } else { "" };
        match text {
            "allowed" => {}
            // Only what refuses has a status and a text for the caller.
            "http_status" | "body" if is_allowed => {}
            "body" => {
                let reason = if let Value::String(text) = value { cut(text) } else { value.clone() };
                own.entry("reason".into()).or_insert(reason);
            }
            "response_headers_to_add" => {
                if let Some(added) = obligation(value).filter(|_| is_allowed) {
                    own.insert("obligations".into(), object([("headers", added)]));
                }
            }
            other if WITHOUT_EFFECT.contains(&other) => {}
            _ => {
                own.insert(name.clone(), value.clone());
            }
        }
    }
    Value::from(own)
}

/// A refusal's text, short enough for a reason; without one there is the usual code.
fn cut(text: &str) -> Value {
    let plain: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let plain = plain.trim();
    let end = (0..=plain.len().min(NAME_BYTES_MAX)).rev().find(|end| plain.is_char_boundary(*end)).unwrap_or(0);
    match plain.get(..end) {
        Some(short) if !short.is_empty() => short.into(),
        Some(_) | None => "policy_denied".into(),
    }
}

/// Headers as one object; Envoy also takes a list of them. Nothing where there are none.
fn obligation(value: &Value) -> Option<Value> {
    let Value::Array(items) = value else {
        let is_empty = matches!(value, Value::Object(members) if members.is_empty());
        return (!is_empty).then(|| value.clone());
    };
    let mut all = BTreeMap::new();
    for item in items.iter() {
        let Value::Object(members) = item else { return Some(value.clone()) };
        all.extend(members.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    (!all.is_empty()).then(|| Value::from(all))
}

fn object<'a>(members: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::from(members.into_iter().map(|(name, value)| (Value::from(name), value)).collect::<BTreeMap<_, _>>())
}

#[cfg(test)]
mod tests;
