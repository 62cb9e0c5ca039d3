//! Finding, adding and cutting usage in the bytes of a chunk or an answer, without building it.
//!
//! The word is looked for first; the text is parsed only where it occurs, and only a member of the top-level object
//! counts: the word inside a message means nothing. Text that is not valid JSON has no usage and is left as it is.

use std::borrow::Cow;

use memchr::memmem;

use crate::delta::Usage;
use crate::fault::{ErrorBody, ErrorDetail};
use crate::json::{self, Members, Span};

/// The usage object that a chunk or an answer states, exactly as it was sent.
pub fn find_raw(data: &[u8]) -> Option<&[u8]> {
    let members = members_with(data, b"\"usage\"")?;
    let value = members.get("usage")?.value.of(data);
    value.starts_with(b"{").then_some(value)
}

/// The usage that a chunk or an answer states, where it does.
pub fn find_usage(data: &[u8]) -> Option<Usage> {
    let members = members_with(data, b"\"usage\"")?;
    let value = members.get("usage")?.value.of(data);
    if value.starts_with(b"{") { serde_json::from_slice(value).ok() } else { None }
}

/// The chunk without its top-level `usage` member, all other bytes as they are.
pub fn strip_usage(data: &[u8]) -> Cow<'_, [u8]> {
    match members_with(data, b"\"usage\"").and_then(|members| cut_of(&members, b"usage")) {
        Some(cut) => Cow::Owned(replace(data, cut, b"")),
        None => Cow::Borrowed(data),
    }
}

/// The chunk or answer without the machine's time in its usage, which is between the own engine and the gateway.
pub fn strip_gpu_time(data: &[u8]) -> Cow<'_, [u8]> {
    let cut = members_with(data, b"\"gpu_time_us\"").and_then(|members| {
        let usage = members.get("usage")?.value;
        let inner = json::members(usage.of(data)).ok()?;
        cut_of(&inner, b"gpu_time_us").map(|cut| cut.shifted(usage.start))
    });
    match cut {
        Some(cut) => Cow::Owned(replace(data, cut, b"")),
        None => Cow::Borrowed(data),
    }
}

/// What to cut so that a member is gone, with the comma that it takes with it.
fn cut_of(members: &Members<'_>, name: &[u8]) -> Option<Span> {
    let index = members.list.iter().position(|member| member.name.as_ref() == name)?;
    let member = members.list.get(index)?;
    let before = index.checked_sub(1).and_then(|before| members.list.get(before));
    let after = members.list.get(index.saturating_add(1));
    Some(match (before, after) {
        (Some(before), _) => Span { start: before.whole.end, end: member.whole.end },
        (None, Some(after)) => Span { start: member.whole.start, end: after.whole.start },
        (None, None) => member.whole,
    })
}

/// Whether the chunk says nothing but usage: no choices (empty, `null` or missing) and a usage object.
pub fn is_usage_only_chunk(data: &[u8]) -> bool {
    let Some(members) = members_with(data, b"\"usage\"") else {
        return false;
    };
    let has_usage = members.get("usage").is_some_and(|member| member.value.of(data).starts_with(b"{"));
    has_usage && !has_choices(&members, data)
}

/// The usage chunk with `choices: []` where the provider left it out or `null`, as strict clients demand; any other
/// chunk as it is.
pub fn complete_usage_chunk(data: &[u8]) -> Cow<'_, [u8]> {
    if !is_usage_only_chunk(data) {
        return Cow::Borrowed(data);
    }
    let Ok(members) = json::members(data) else {
        return Cow::Borrowed(data);
    };
    match members.get("choices") {
        Some(member) if member.value.of(data).starts_with(b"[") => Cow::Borrowed(data),
        Some(member) => Cow::Owned(replace(data, member.value, b"[]")),
        None => {
            let open = Span { start: members.open, end: members.open };
            Cow::Owned(replace(data, open, b"\"choices\":[],"))
        }
    }
}

/// The error that a chunk states in the place of choices, where it does.
pub fn find_error(data: &[u8]) -> Option<ErrorDetail> {
    let members = members_with(data, b"\"error\"")?;
    let value = members.get("error")?.value.of(data);
    if value == b"null" {
        return None;
    }
    let unknown = || ErrorDetail { message: "the provider sent an error".into(), ..ErrorDetail::default() };
    Some(ErrorBody::read(data).map_or_else(unknown, |body| body.error))
}

fn members_with<'a>(data: &'a [u8], word: &[u8]) -> Option<Members<'a>> {
    memmem::find(data, word)?;
    json::members(data).ok()
}

fn has_choices(members: &Members<'_>, data: &[u8]) -> bool {
    members.get("choices").is_some_and(|member| {
        let value = member.value.of(data);
        let inner = value.get(1..value.len().saturating_sub(1)).unwrap_or_default();
        value != b"null" && !(value.starts_with(b"[") && inner.trim_ascii().is_empty())
    })
}

fn replace(data: &[u8], span: Span, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len().saturating_add(text.len()));
    out.extend_from_slice(Span { start: 0, end: span.start }.of(data));
    out.extend_from_slice(text);
    out.extend_from_slice(Span { start: span.end, end: data.len() }.of(data));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: &str = r#"{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}"#;

    #[test]
    fn usage_is_found_only_at_the_top() {
        let some = format!(r#"{{"choices":[],"usage":{USAGE}}}"#);
        assert_eq!(find_usage(some.as_bytes()), Some(Usage::new(3, 1)));
        for none in [
            r#"{"choices":[],"usage":null}"#.to_owned(),
            r#"{"choices":[{"delta":{"content":"\"usage\":{\"prompt_tokens\":9}"}}]}"#.to_owned(),
            format!(r#"{{"choices":[{{"usage":{USAGE}}}]}}"#),
            format!(r#"{{"choices":[],"usage":{USAGE}"#),
            r#"{"x":["usage"]}"#.to_owned(),
            "[DONE]".to_owned(),
        ] {
            assert_eq!(find_usage(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn stripping_leaves_all_other_bytes() {
        let cases = [
            (r#"{"a":1, "usage":{"x":[1,2]}}"#, r#"{"a":1}"#),
            (r#"{"a":1,"usage":null , "b":2 }"#, r#"{"a":1 , "b":2 }"#),
            (r#"{ "usage":{} , "b":2}"#, r#"{ "b":2}"#),
            (r#"{ "usage":{} }"#, r#"{  }"#),
            (r#"{"a":"\"usage\"","b":{"usage":1}}"#, r#"{"a":"\"usage\"","b":{"usage":1}}"#),
            (r#"{"usage":"#, r#"{"usage":"#),
        ];
        for (data, left) in cases {
            assert_eq!(String::from_utf8_lossy(&strip_usage(data.as_bytes())), left);
        }
    }

    #[test]
    fn the_machines_time_is_cut_from_usage_and_from_nowhere_else() {
        let cases = [
            (r#"{"a":1,"usage":{"x":1,"gpu_time_us":{"kv":2}}}"#, r#"{"a":1,"usage":{"x":1}}"#),
            (r#"{"usage":{"gpu_time_us":{"kv":2}, "x":1},"a":1}"#, r#"{"usage":{"x":1},"a":1}"#),
            (r#"{"usage":{"gpu_time_us":2}}"#, r#"{"usage":{}}"#),
            (
                r#"{"gpu_time_us":2,"usage":{"x":{"gpu_time_us":2}}}"#,
                r#"{"gpu_time_us":2,"usage":{"x":{"gpu_time_us":2}}}"#,
            ),
            (r#"{"usage":"gpu_time_us","a":"\"gpu_time_us\""}"#, r#"{"usage":"gpu_time_us","a":"\"gpu_time_us\""}"#),
        ];
        for (data, left) in cases {
            assert_eq!(String::from_utf8_lossy(&strip_gpu_time(data.as_bytes())), left);
        }
    }

    #[test]
    fn fr_sse_09_usage_chunks_have_choices_whatever_the_provider_sent() {
        for choices in [r#""choices":[],"#, r#""choices":[ ],"#, r#""choices":null,"#, ""] {
            let data = format!(r#"{{"id":"c",{choices}"usage":{USAGE}}}"#);
            assert!(is_usage_only_chunk(data.as_bytes()), "{data}");
            let whole: serde_json::Value = serde_json::from_slice(&complete_usage_chunk(data.as_bytes())).unwrap();
            assert_eq!(whole.get("choices"), Some(&serde_json::json!([])), "{data}");
            assert_eq!(find_usage(data.as_bytes()), Some(Usage::new(3, 1)));
        }
        for other in [r#"{"choices":[],"prompt_filter_results":[]}"#, r#"{"choices":[{}],"usage":{}}"#] {
            assert!(!is_usage_only_chunk(other.as_bytes()));
            assert_eq!(complete_usage_chunk(other.as_bytes()), other.as_bytes());
        }
    }

    #[test]
    fn errors_are_found_in_chunks() {
        let found = find_error(br#"{"error":{"message":"overloaded","type":"server_error","code":503}}"#).unwrap();
        assert_eq!((found.message.as_str(), found.code.as_deref()), ("overloaded", Some("503")));
        assert_eq!(find_error(br#"{"error":"boom"}"#).unwrap().message, "boom");
        assert_eq!(find_error(br#"{"error":{}}"#).unwrap().message, "the provider sent an error");
        for none in [r#"{"error":null,"choices":[]}"#, r#"{"choices":[{"delta":{"content":"\"error\""}}]}"#] {
            assert_eq!(find_error(none.as_bytes()), None);
        }
    }
}
