//! From a call's events to response bodies: pumps, and what happens when the pump runs dry.

use super::fault::Fault;
use super::reply::Reply;
use crate::core::Event;
use crate::scheduler::Reading;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

/// Events put into one write; what is ready goes out together.
const EVENTS_PER_WRITE: usize = 64;
const STOPPED: &str = "the engine has stopped";

/// A whole answer.
pub(super) async fn whole(mut reading: Reading, mut reply: Reply) -> Result<impl IntoResponse, Fault> {
    while !reply.is_complete() {
        match reading.next().await {
            Some(Event::Failed { message, .. }) => return Err(Fault::internal(message)),
            Some(event) => reply.note(event),
            None => return Err(Fault::internal(STOPPED)),
        }
    }
    Ok(([(header::CONTENT_TYPE, "application/json")], reply.whole()))
}

/// A stream being sent. Dropping it hangs up on the scheduler.
struct Pump {
    reading: Reading,
    reply: Reply,
    first: Option<Event>,
    is_over: bool,
}

/// A streamed answer, once its first event is there.
pub(super) async fn stream(mut reading: Reading, reply: Reply) -> Result<Response, Fault> {
    let first = match reading.next().await {
        Some(Event::Failed { message, .. }) => return Err(Fault::internal(message)),
        None => return Err(Fault::internal(STOPPED)),
        first => first,
    };
    let pump = Pump { reading, reply, first, is_over: false };
    let body = Body::from_stream(stream::unfold(pump, async |mut pump| {
        let bytes = pump.next().await?;
        Some((Ok::<Bytes, std::convert::Infallible>(bytes), pump))
    }));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((StatusCode::OK, headers, body).into_response())
}

impl Pump {
    /// The next bytes; `None` after the end.
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        // Some events add no bytes, so it may take several rounds; each consumes events, of which there is an end.
        while out.is_empty() && !self.is_over {
            let mut events: Vec<Event> = self.first.take().into_iter().collect();
            if events.is_empty() && !self.reading.next_all(&mut events, EVENTS_PER_WRITE).await {
                let counts = crate::core::Counts::default();
                events.push(Event::Failed { message: STOPPED.to_owned(), counts });
            }
            for event in events {
                self.is_over = self.is_over || matches!(event, Event::Failed { .. });
                self.reply.chunk(event, &mut out);
            }
            if !self.is_over && self.reply.is_complete() {
                self.reply.done(&mut out);
                self.is_over = true;
            }
        }
        (!out.is_empty()).then(|| Bytes::from(out))
    }
}
