//! What is read of one named event of a stream: Anthropic's messages and OpenAI's responses.
//!
//! The many small events are told by their name alone; only the few that carry usage, an id or an end are parsed.

use std::borrow::Cow;

use crate::json::{self, Members, Span, unescape};
use crate::reply::object;

/// What an event is to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Keeps the connection alive, and no more.
    Ping,
    /// Tells of the answer without a part of it: its beginning, its parts' borders.
    Frame,
    /// A part of the answer.
    Part,
    /// The last event of a stream that came to its end.
    Last,
    /// The provider gives up.
    Error,
}

/// What is read of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<'a> {
    /// What it is to the stream.
    pub class: Class,
    /// The usage object in it, exactly as it was sent.
    pub usage: Option<&'a [u8]>,
    /// The model's own finish reason.
    pub finish_reason: Option<Cow<'a, str>>,
    /// The answer's id.
    pub id: Option<Cow<'a, str>>,
}

impl Named<'_> {
    const fn plain(class: Class) -> Self {
        Self { class, usage: None, finish_reason: None, id: None }
    }
}

/// One event of `/v1/messages`.
///
/// Usage stands in `message_start` (in its message; what was read, and a first count of what is made) and in
/// `message_delta` (at the top; cumulative).
pub fn of_messages<'a>(name: Option<&[u8]>, data: &'a [u8]) -> Named<'a> {
    match &*kind(name, data) {
        b"ping" => Named::plain(Class::Ping),
        b"content_block_delta" => Named::plain(Class::Part),
        b"message_stop" => Named::plain(Class::Last),
        b"error" => Named::plain(Class::Error),
        b"message_start" => inside(data, "message", |message, members| Named {
            usage: object(members, "usage", message),
            id: text(members, "id", message),
            ..Named::plain(Class::Frame)
        }),
        b"message_delta" => {
            let delta = inside(data, "delta", |delta, members| Named {
                finish_reason: text(members, "stop_reason", delta),
                ..Named::plain(Class::Frame)
            });
            let usage = json::members(data).ok().and_then(|members| object(&members, "usage", data));
            Named { usage, ..delta }
        }
        _ => Named::plain(Class::Frame),
    }
}

/// One event of `/v1/responses`. The whole response, with its usage, stands in the last event.
pub fn of_responses<'a>(name: Option<&[u8]>, data: &'a [u8]) -> Named<'a> {
    let kind = kind(name, data);
    let class = match &*kind {
        b"response.completed" | b"response.incomplete" => Class::Last,
        b"error" | b"response.failed" => Class::Error,
        b"response.created" | b"response.in_progress" | b"response.queued" => Class::Frame,
        b"keepalive" => return Named::plain(Class::Ping),
        other if other.ends_with(b".delta") => return Named::plain(Class::Part),
        _ => return Named::plain(Class::Frame),
    };
    inside(data, "response", |response, members| {
        let details = object(members, "incomplete_details", response);
        let reason = details.and_then(|details| text(&json::members(details).ok()?, "reason", details));
        let status = || text(members, "status", response).filter(|_| class != Class::Frame);
        Named {
            class,
            usage: object(members, "usage", response),
            finish_reason: reason.or_else(status),
            id: text(members, "id", response),
        }
    })
    .of(class)
}

impl Named<'_> {
    fn of(self, class: Class) -> Self {
        Self { class, ..self }
    }
}

/// What the event calls itself: by its name, or by its `type` where a server leaves the name out.
fn kind<'a>(name: Option<&'a [u8]>, data: &'a [u8]) -> Cow<'a, [u8]> {
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        return Cow::Borrowed(name);
    }
    let found = json::members(data).ok().and_then(|members| text(&members, "type", data));
    found.map_or(Cow::Borrowed(b"".as_slice()), |text| Cow::Owned(text.into_owned().into_bytes()))
}

/// Reads the object of that name inside `data`; a plain frame where there is none.
fn inside<'a>(data: &'a [u8], name: &str, read: impl Fn(&'a [u8], &Members<'a>) -> Named<'a>) -> Named<'a> {
    let span = json::members(data).ok().and_then(|members| members.get(name).map(|member| member.value));
    let value = span.unwrap_or(Span::default()).of(data);
    match json::members(value) {
        Ok(members) => read(value, &members),
        Err(_) => Named::plain(Class::Frame),
    }
}

fn text<'a>(members: &Members<'_>, name: &str, data: &'a [u8]) -> Option<Cow<'a, str>> {
    let value = members.get(name)?.value.of(data);
    if value.starts_with(b"\"") { unescape(value).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_state_usage_in_two_places() {
        let start =
            br#"{"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":25,"output_tokens":1}}}"#;
        for name in [Some(b"message_start".as_slice()), None] {
            let read = of_messages(name, start);
            assert_eq!(read.class, Class::Frame);
            assert_eq!(read.usage, Some(br#"{"input_tokens":25,"output_tokens":1}"#.as_slice()));
            assert_eq!(read.id.as_deref(), Some("msg_1"));
        }
        let delta = br#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}}"#;
        let read = of_messages(Some(b"message_delta"), delta);
        assert_eq!(read.usage, Some(br#"{"output_tokens":9}"#.as_slice()));
        assert_eq!(read.finish_reason.as_deref(), Some("tool_use"));
        let class = |name: &str| of_messages(Some(name.as_bytes()), b"{}").class;
        assert_eq!(class("ping"), Class::Ping);
        assert_eq!(class("content_block_start"), Class::Frame);
        assert_eq!(class("content_block_delta"), Class::Part);
        assert_eq!(class("message_stop"), Class::Last);
        assert_eq!(class("error"), Class::Error);
    }

    #[test]
    fn a_response_ends_in_one_of_three_ways() {
        let event = |status: &str| {
            format!(r#"{{"response":{{"id":"resp_1","status":"{status}","usage":{{"input_tokens":3}}}}}}"#)
        };
        for (name, class) in [("completed", Class::Last), ("incomplete", Class::Last), ("failed", Class::Error)] {
            let data = event(name);
            let read = of_responses(Some(format!("response.{name}").as_bytes()), data.as_bytes());
            assert_eq!((read.class, read.finish_reason.as_deref()), (class, Some(name)));
            assert_eq!(read.usage, Some(br#"{"input_tokens":3}"#.as_slice()));
            assert_eq!(read.id.as_deref(), Some("resp_1"));
        }
        let created = br#"{"type":"response.created","response":{"id":"resp_1","status":"in_progress","usage":null}}"#;
        let read = of_responses(None, created);
        assert_eq!((read.class, read.usage, read.finish_reason), (Class::Frame, None, None));
        assert_eq!(of_responses(Some(b"response.output_text.delta"), b"{}").class, Class::Part);
        assert_eq!(of_responses(Some(b"error"), br#"{"type":"error","code":"x"}"#).class, Class::Error);
    }
}
