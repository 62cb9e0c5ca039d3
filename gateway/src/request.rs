//! Reading a client's request, and refusing one: head, body, and the polite end of a connection.

use std::any::Any;
use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Version;
use pingora::ErrorType;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use tokio::time::timeout;
use weir_wire::endpoint::{Dialect, Endpoint};
use weir_wire::envelope::Envelope;

use crate::config::settings::RequestSettings;
use crate::converse::End;
use crate::exchange::Outcome;
use crate::identity::caller::Witness;
use crate::identity::certificate::ClientCertificate;
use crate::limits::headers;
use crate::policy::envoy::HttpInput;
use crate::providers::Edition;
use crate::refusal::Refusal;

/// Bytes of an unwanted body that are read and thrown away, so that the client gets to read the refusal: one that is
/// still sending when the connection closes sees a reset instead.
const DRAIN_BYTES_MAX: usize = 128 << 20;
/// Longest wait for such bytes.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// Headers that Weir adds to a reply.
pub type Headers = Vec<(Cow<'static, str>, String)>;

/// Adds one; most names are known when the program is built and cost nothing.
pub fn add_header(head: &mut ResponseHeader, name: &Cow<'static, str>, value: &str) -> pingora::Result<()> {
    match name {
        Cow::Borrowed(name) => head.insert_header(*name, value),
        Cow::Owned(name) => head.insert_header(name.clone(), value),
    }
}

/// The peer's address, where it has one.
pub fn peer(session: &Session) -> Option<IpAddr> {
    session.client_addr()?.as_inet().map(|address| address.ip())
}

/// What the connection and the head prove beside a credential.
pub fn witness(session: &Session) -> Witness<'_> {
    let head = session.req_header();
    let digest = session.downstream_session.digest().and_then(|digest| digest.ssl_digest.as_ref());
    let certificate = digest.and_then(|tls| tls.extension.get::<ClientCertificate>());
    Witness { certificate, method: head.method.as_str(), path: head.uri.path(), headers: &head.headers }
}

/// The request as policies for Envoy know it.
pub fn http<'a>(session: &'a Session, id: uuid::Uuid, body: &'a [u8]) -> HttpInput<'a> {
    let head = session.req_header();
    let named = head.headers.get("host").and_then(|host| host.to_str().ok());
    let host = named.or_else(|| head.uri.authority().map(http::uri::Authority::as_str)).unwrap_or_default();
    let is_tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
    HttpInput {
        id,
        host,
        method: head.method.as_str(),
        target: head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str),
        scheme: if is_tls { "https" } else { "http" },
        protocol: if session.is_http2() { "HTTP/2" } else { "HTTP/1.1" },
        headers: &head.headers,
        body,
        source: session.client_addr().and_then(|address| address.as_inet()).copied(),
        destination: session.server_addr().and_then(|address| address.as_inet()).copied(),
    }
}

/// What the client says of itself, cut short.
pub fn user_agent(head: &RequestHeader) -> Option<&str> {
    let text = head.headers.get("user-agent")?.to_str().ok()?;
    text.get(..text.len().min(USER_AGENT_BYTES_MAX))
}

/// Bytes of a body that are parsed on the thread that serves calls: less than half a millisecond.
const PARSED_INLINE_MAX: usize = 128 << 10;
/// Bytes of a user agent that policies see.
const USER_AGENT_BYTES_MAX: usize = 128;
const MODELS: &str = "/v1/models";

/// The endpoint that a head names.
pub fn endpoint(head: &RequestHeader) -> Result<Endpoint, Refusal> {
    let path = head.uri.path();
    let single_model = path.strip_prefix("/v1/models/").is_some_and(|id| !id.is_empty());
    let path = if single_model { MODELS } else { path };
    let mut endpoints = Endpoint::of_path(path).peekable();
    let Some(first) = endpoints.peek().copied() else { return Err(Refusal::UnknownEndpoint) };
    match endpoints.find(|endpoint| endpoint.method() == head.method.as_str()) {
        Some(endpoint) => Ok(endpoint),
        None if first == Endpoint::ReadResponse => Err(Refusal::MethodNotAllowed { allow: "GET, DELETE" }),
        None => Err(Refusal::MethodNotAllowed { allow: first.method() }),
    }
}

/// Parameters of the questions about stored responses, in whose place a provider does nothing else.
const STORED_PARAMETERS: [&str; 7] = ["include", "include[]", "include%5B%5D", "limit", "order", "after", "before"];
/// Bytes of such a query at most.
const QUERY_BYTES_MAX: usize = 1_024;

/// The query that goes on to the provider: that of a question about a stored response.
pub fn stored_query(head: &RequestHeader, endpoint: Endpoint) -> Result<Option<String>, Refusal> {
    let Some(query) = head.uri.query().filter(|query| endpoint.is_about_stored() && !query.is_empty()) else {
        return Ok(None);
    };
    let name = |pair: &str| pair.split_once('=').map_or(pair, |(name, _)| name).to_owned();
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.=&%[]".contains(&b);
    let unknown = query.split('&').map(name).find(|name| !STORED_PARAMETERS.contains(&name.as_str()));
    let param = match unknown {
        None if query.len() <= QUERY_BYTES_MAX && query.bytes().all(is_plain) => return Ok(Some(query.to_owned())),
        other => other,
    };
    let message = "this parameter of the query is not supported".to_owned();
    Err(Refusal::Malformed { message, param, code: "unsupported_parameter" })
}

/// The id in `/v1/models/ID`, percent-decoding left to the comparison: aliases need none.
pub fn model_id(head: &RequestHeader) -> Option<String> {
    head.uri.path().strip_prefix("/v1/models/").map(str::to_owned)
}

/// What the head says of the body: its type, its encoding, its length.
pub fn check_head(head: &RequestHeader, endpoint: Option<Endpoint>, limits: RequestSettings) -> Result<(), Refusal> {
    if endpoint.is_some_and(|endpoint| endpoint.method() != "POST") {
        return Ok(());
    }
    let text = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap_or("?").trim());
    let is_json =
        |kind: &str| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    if text("content-type").is_some_and(|kind| !is_json(kind)) {
        return Err(Refusal::UnsupportedContentType);
    }
    if text("content-encoding").is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(Refusal::UnsupportedEncoding);
    }
    let length = text("content-length").and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| length > limits.body_bytes_max) {
        return Err(Refusal::BodyTooLarge { max: limits.body_bytes_max });
    }
    Ok(())
}

/// Refuses a head with two framings: Pingora believes the first and takes the second out, but a server before it may
/// have believed the second. HTTP/1.1 without `host` is refused too (RFC 9112, section 3.2).
pub fn check_framing(session: &Session) -> Result<(), Refusal> {
    let Some(http1) = session.downstream_session.as_http1() else { return Ok(()) };
    let head = session.req_header();
    let refusal = |message: &str, code| Err(Refusal::Malformed { message: message.to_owned(), param: None, code });
    if head.version == Version::HTTP_11 && !head.headers.contains_key("host") {
        return refusal("the `host` header is missing", "missing_host");
    }
    // The bytes are only looked at for the few heads that are chunked.
    let names = |line: &[u8]| line.get(..15).is_some_and(|name| name.eq_ignore_ascii_case(b"content-length:"));
    let is_chunked = head.headers.contains_key("transfer-encoding");
    if is_chunked && http1.get_headers_raw_bytes().split(|byte| *byte == b'\n').any(names) {
        return refusal("`content-length` and `transfer-encoding` in one request", "bad_framing");
    }
    Ok(())
}

/// Parses a body: a long one on a thread that serves nobody, since that takes milliseconds.
pub async fn parse(body: Bytes, endpoint: Endpoint) -> Result<Envelope, Refusal> {
    if body.len() <= PARSED_INLINE_MAX {
        return Ok(Envelope::parse(body, endpoint)?);
    }
    let parsing = tokio::task::spawn_blocking(move || Envelope::parse(body, endpoint));
    let parsed = parsing.await.map_err(|error| Refusal::Internal { what: error.to_string() })?;
    Ok(parsed?)
}

/// Reads the whole body; `None` where the client went away before its end.
pub async fn body(session: &mut Session, limits: RequestSettings) -> Result<Option<Bytes>, Refusal> {
    if expects_continue(session.req_header()) && session.downstream_session.write_continue_response().await.is_err() {
        return Ok(None);
    }
    match timeout(limits.body_timeout, read(session, limits.body_bytes_max)).await {
        Ok(read) => read,
        Err(_) => Err(Refusal::BodyTimeout),
    }
}

async fn read(session: &mut Session, max: usize) -> Result<Option<Bytes>, Refusal> {
    let (mut single, mut body) = (None::<Bytes>, BytesMut::new());
    loop {
        let chunk = match session.downstream_session.read_request_body().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(Some(single.unwrap_or_else(|| body.freeze()))),
            Err(error) if is_framing(error.etype()) => {
                // Where this body ends nobody can say, so nothing after it is read as a request.
                session.set_keepalive(None);
                return Err(broken_framing());
            }
            Err(_) => return Ok(None),
        };
        // The common case is one chunk: it passes without a copy.
        if body.is_empty() && single.is_none() && chunk.len() <= max {
            single = Some(chunk);
            continue;
        }
        if let Some(first) = single.take() {
            body.extend_from_slice(&first);
        }
        if body.len().saturating_add(chunk.len()) > max {
            return Err(Refusal::BodyTooLarge { max });
        }
        body.extend_from_slice(&chunk);
    }
}

/// Whether a body could not be read because of its own bytes; Pingora has no kinds of its own for two of the reasons.
fn is_framing(kind: &ErrorType) -> bool {
    matches!(kind, ErrorType::InvalidHTTPHeader | ErrorType::H1Error)
        || matches!(kind.as_str(), "InvalidChunk" | "InvalidTrailerEnd")
}

fn broken_framing() -> Refusal {
    Refusal::Malformed { message: "the body's chunked framing is broken".to_owned(), param: None, code: "bad_framing" }
}

/// The client's trace context, where it is well-formed (W3C Trace Context, section 3.2).
pub fn traceparent(head: &RequestHeader) -> Option<String> {
    let text = head.headers.get("traceparent")?.to_str().ok()?;
    let is_hex = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    (lengths == [2, 32, 16, 2] && text.split('-').all(is_hex)).then(|| text.to_owned())
}

/// Which edition of Anthropic's API the client speaks: Weir passes on what is well-formed.
pub fn edition(head: &RequestHeader, endpoint: Endpoint) -> Edition {
    if endpoint.dialect() != Dialect::Anthropic {
        return Edition::default();
    }
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b',' | b' ');
    let text = |name: &str| {
        let all = head.headers.get_all(name).iter().map(|value| value.to_str().ok());
        let joined = all.collect::<Option<Vec<_>>>()?.join(",");
        (!joined.is_empty() && joined.len() <= EDITION_BYTES_MAX && joined.bytes().all(is_plain)).then_some(joined)
    };
    Edition { version: text("anthropic-version"), betas: text("anthropic-beta") }
}

/// Bytes of `anthropic-version` and of `anthropic-beta` at most.
const EDITION_BYTES_MAX: usize = 512;

/// Tells the client why. `metadata` is the address of the document that tells where tokens come from.
pub async fn refuse(
    session: &mut Session,
    refusal: &Refusal,
    dialect: Dialect,
    headers: &Headers,
    metadata: Option<&str>,
) {
    let body = Bytes::from(refusal.body(dialect));
    let Ok(head) = refusal_head(refusal, body.len(), headers, metadata) else { return };
    reply(session, head, body).await;
}

/// Sends a whole reply, and lets the client read it even if it is still sending its body.
pub async fn reply(session: &mut Session, head: ResponseHeader, body: Bytes) {
    let unread = !session.downstream_session.is_body_done();
    if unread {
        session.set_keepalive(None);
    }
    // A client that went away meanwhile misses nothing.
    if session.write_response_header(Box::new(head), false).await.is_ok() {
        session.write_response_body(Some(body), true).await.unwrap_or(());
    }
    if unread && !session.is_http2() && !expects_continue(session.req_header()) {
        drain(session).await;
    }
}

/// Whether the client waits for `100 Continue` before it sends its body (RFC 9110, section 10.1.1).
fn expects_continue(head: &RequestHeader) -> bool {
    head.headers.get("expect").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn refusal_head(
    refusal: &Refusal,
    body_len: usize,
    headers: &Headers,
    metadata: Option<&str>,
) -> pingora::Result<ResponseHeader> {
    let face = refusal.face();
    let mut head = ResponseHeader::build_no_case(face.status, Some(16))?;
    head.insert_header("content-type", "application/json")?;
    head.insert_header("content-length", body_len.to_string())?;
    if face.status == 401 && !matches!(refusal, Refusal::InvalidProof(_)) {
        head.insert_header("www-authenticate", challenge(refusal, metadata))?;
    }
    for (name, value) in headers {
        match &**name {
            // A client may be told of more than one way.
            "www-authenticate" => head.append_header("www-authenticate", value).map(|_| ())?,
            _ => add_header(&mut head, name, value)?,
        }
    }
    let limits = if let Refusal::Limit(exceeded) = refusal {
        headers::exceeded(exceeded)
    } else {
        face.retry_after.into_iter().flat_map(headers::retry_after).collect()
    };
    for (name, value) in limits {
        head.insert_header(name, value)?;
    }
    if face.retry_after.is_none() && face.status != 502 && face.status != 504 {
        head.insert_header("x-should-retry", "false")?;
    }
    if let Refusal::MethodNotAllowed { allow } = refusal {
        head.insert_header("allow", *allow)?;
    }
    Ok(head)
}

/// RFC 6750, section 3, and RFC 9728, section 5.1: a caller that sent nothing learns how to, one that sent a bad
/// credential that it is bad.
fn challenge(refusal: &Refusal, metadata: Option<&str>) -> String {
    let is_bad = matches!(refusal, Refusal::InvalidKey { .. } | Refusal::InvalidToken { .. } | Refusal::KeyRevoked);
    let plain = if is_bad { r#"Bearer realm="weir", error="invalid_token""# } else { r#"Bearer realm="weir""# };
    match metadata {
        Some(address) => format!(r#"{plain}, resource_metadata="{address}""#),
        None => plain.to_owned(),
    }
}

/// Reads the rest of the body away, bounded in bytes and time.
async fn drain(session: &mut Session) {
    let rest = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Ok(Some(chunk)) = session.downstream_session.read_request_body().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    timeout(DRAIN_TIME_MAX, rest).await.unwrap_or(());
}

/// After a panic: what can still be told depends on how far the reply had come.
pub async fn after_panic(session: &mut Session, dialect: Dialect, panic: Box<dyn Any + Send>) -> End {
    let refusal = Refusal::Internal { what: panic_text(&*panic) };
    drop(panic);
    tracing::error!(%refusal, "a call panicked");
    if session.response_written().is_none() {
        return End::Refused(refusal);
    }
    session.set_keepalive(None);
    let event = Bytes::from(refusal.event(dialect, 0));
    session.write_response_body(Some(event), true).await.unwrap_or(());
    End::Broken(Outcome::Failed, refusal)
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".to_owned())
}
