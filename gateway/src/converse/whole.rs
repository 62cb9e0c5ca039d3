//! Passes a reply on that comes in one piece: read whole, checked, metered, handed over.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use weir_wire::endpoint::Dialect;
use weir_wire::reply::{self, Misfit};
use weir_wire::usage;

use super::filter::service_tier;
use super::inflate::Inflate;
use super::last_words::{self, Heard};
use super::{Client, End, Failed, Talk, Vigil, cut_end};
use crate::bounds::REPLY_BYTES_MAX;
use crate::clock;
use crate::config::settings::Secret;
use crate::exchange::Books;
use crate::providers::Reply;
use crate::refusal::Refusal;
use crate::usage::meter::Word;

/// Passes a successful reply on.
///
/// # Errors
/// [`Failed`] where the reply is unusable; nothing has reached the client then.
pub(super) async fn pass(
    talk: &Talk<'_>,
    books: &mut Books,
    client: &mut Client<'_>,
    reply: Reply,
) -> Result<End, Failed> {
    let (body, reply) = match read(talk, books, client, reply).await? {
        Ok(read) => read,
        Err(end) => return Ok(end),
    };
    account(talk, &body, books)?;
    // The books have it; it is no business of the client's.
    let body = match usage::strip_gpu_time(&body) {
        Cow::Borrowed(_) => body,
        Cow::Owned(shown) => Bytes::from(shown),
    };
    talk.running.transport.release(reply).await;
    talk.set_free(books);
    match client.whole(200, "application/json", body).await {
        Ok(()) => Ok(End::Completed),
        Err(_) => Ok(End::HungUp),
    }
}

/// Reads what a reply says of itself into the books, or says why it is none.
fn account(talk: &Talk<'_>, body: &[u8], books: &mut Books) -> Result<(), Failed> {
    let endpoint = talk.envelope.endpoint;
    let answer = reply::read(endpoint, body).map_err(|misfit| match misfit {
        Misfit::NotJson => Failed::invalid("not_json"),
        Misfit::Shape if endpoint.dialect() == Dialect::OpenAi && endpoint.generates() => Failed::invalid("no_choices"),
        Misfit::Shape => Failed::invalid("other_shape"),
    })?;
    if !endpoint.is_charged() {
        // What the provider does for nothing is no use of it.
        books.not_reached();
    }
    if let Some(live) = books.live.as_mut() {
        talk.forget(live);
        answer.id.iter().for_each(|id| talk.keep(id, live));
        live.first_token = Some(clock::instant());
        if let Some(usage) = answer.usage {
            live.meter.report_raw(usage, Word::Count);
            service_tier(body).into_iter().for_each(|tier| live.meter.served_as(tier));
        }
        if endpoint.generates() {
            live.meter.event(body);
        }
        answer.finish_reason.as_deref().into_iter().for_each(|reason| live.meter.end(reason));
    }
    Ok(())
}

/// Passes the upstream's refusal of the caller's own request on.
pub(super) async fn pass_error(
    talk: &Talk<'_>,
    books: &mut Books,
    client: &mut Client<'_>,
    reply: Reply,
    status: u16,
) -> Result<End, Failed> {
    books.not_reached();
    let body = match read(talk, books, client, reply).await? {
        Ok((body, reply)) => {
            talk.running.transport.release(reply).await;
            body
        }
        Err(end) => return Ok(end),
    };
    let readable = serde_json::from_slice::<serde_json::Value>(&body).is_ok_and(|value| value.get("error").is_some());
    // The head of a stream may be out already, where another deployment fell silent before.
    if !readable || client.has_begun() || leaks(&body, talk) {
        return Ok(End::Refused(Refusal::Malformed {
            message: format!("the model's server refused the request with status {status}"),
            param: None,
            code: "upstream_refused_request",
        }));
    }
    talk.set_free(books);
    match client.whole(status, "application/json", body).await {
        Ok(()) => Ok(End::Passed(status)),
        Err(_) => Ok(End::HungUp),
    }
}

/// Whether a JSON text for the client holds one of Weir's own upstream credentials, in whatever spelling.
pub(super) fn leaks(body: &[u8], talk: &Talk<'_>) -> bool {
    let plain = serde_json::from_slice::<serde_json::Value>(body).map(|value| value.to_string()).unwrap_or_default();
    let finds = |text: &[u8], secret: &Secret| memchr::memmem::find(text, secret.expose()).is_some();
    let holds = |secret: &Secret| finds(body, secret) || finds(plain.as_bytes(), secret);
    talk.order.iter().any(|deployment| deployment.api_key.as_ref().is_some_and(holds))
}

async fn read(
    talk: &Talk<'_>,
    books: &mut Books,
    client: &mut Client<'_>,
    mut reply: Reply,
) -> Result<Result<(Bytes, Reply), End>, Failed> {
    let encoding = reply.head().and_then(|head| head.headers.get("content-encoding")?.to_str().ok());
    let mut inflate = Inflate::new(encoding).ok_or(Failed::invalid("content_encoding"))?;
    let (mut vigil, mut body, mut single) = (Vigil::new(talk), BytesMut::new(), None);
    loop {
        match vigil.guard(client, reply.chunk()).await {
            Ok(Ok(Some(chunk))) => {
                let plain = inflate.push(chunk).map_err(|_| Failed::invalid("gzip"))?;
                if body.is_empty() && single.is_none() {
                    single = Some(plain);
                    continue;
                }
                if let Some(first) = single.take() {
                    body.extend_from_slice(&first);
                }
                body.extend_from_slice(&plain);
                if body.len() > REPLY_BYTES_MAX {
                    return Err(Failed::invalid("reply_too_large"));
                }
            }
            Ok(Ok(None)) => return Ok(Ok((single.unwrap_or_else(|| body.freeze()), reply))),
            Ok(Err(_)) => return Err(Failed::invalid("cut")),
            Err(cut) => {
                let end = cut_end(cut, client).await;
                let so_far = single.map_or(body, |first| BytesMut::from(&*first));
                hear(talk, books, reply, inflate, so_far).await;
                return Ok(Err(end));
            }
        }
    }
}

/// A reply whose client left before its head came.
pub(super) async fn unheard(talk: &Talk<'_>, books: &mut Books, reply: Reply) {
    let encoding = reply.head().and_then(|head| head.headers.get("content-encoding")?.to_str().ok());
    if let Some(inflate) = Inflate::new(encoding) {
        hear(talk, books, reply, inflate, BytesMut::new()).await;
    }
}

/// Meters a reply that nobody waits for any more, where its end is heard.
async fn hear(talk: &Talk<'_>, books: &mut Books, reply: Reply, mut inflate: Inflate, mut body: BytesMut) {
    let hear = |chunk: Option<Bytes>, books: &mut Books| match chunk {
        None => match account(talk, &body, books) {
            Ok(()) => Heard::All,
            Err(_) => Heard::Part,
        },
        Some(chunk) => match inflate.push(chunk) {
            Ok(plain) if body.len().saturating_add(plain.len()) <= REPLY_BYTES_MAX => {
                body.extend_from_slice(&plain);
                Heard::Part
            }
            Ok(_) | Err(_) => Heard::All,
        },
    };
    last_words::rest(talk, books, reply, hear).await;
}
