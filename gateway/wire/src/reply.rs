//! What is read of a whole answer, by endpoint: whether it has the shape that was asked for, its usage as the provider
//! wrote it, and why it ended. Reading is lenient; nothing is built.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::endpoint::Endpoint;
use crate::json::{self, Members};

/// What is read of a whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer<'a> {
    /// The usage object, exactly as it was sent.
    pub usage: Option<&'a [u8]>,
    /// The model's own finish reason, the last one.
    pub finish_reason: Option<Cow<'a, str>>,
    /// The answer's id.
    pub id: Option<Cow<'a, str>>,
}

/// Why an answer can't be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// No JSON object.
    #[error("the answer is no json object")]
    NotJson,
    /// Not what the endpoint answers.
    #[error("the answer has another shape")]
    Shape,
}

/// The members that are looked at, of all endpoints together.
#[derive(Deserialize)]
struct Summary<'a> {
    #[serde(default, borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    choices: Option<Vec<Choice<'a>>>,
    /// Messages.
    #[serde(default)]
    content: Option<Vec<IgnoredAny>>,
    #[serde(default, borrow)]
    stop_reason: Option<Cow<'a, str>>,
    /// Responses.
    #[serde(default)]
    output: Option<Vec<IgnoredAny>>,
    #[serde(default, borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    incomplete_details: Option<Incomplete<'a>>,
    /// Embeddings.
    #[serde(default)]
    data: Option<Vec<IgnoredAny>>,
    /// Rerank.
    #[serde(default)]
    results: Option<Vec<IgnoredAny>>,
    /// Counting.
    #[serde(default)]
    input_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default, borrow)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Incomplete<'a> {
    #[serde(default, borrow)]
    reason: Option<Cow<'a, str>>,
}

/// Reads the answer of `endpoint`.
///
/// # Errors
/// It is no answer of this endpoint.
pub fn read(endpoint: Endpoint, body: &[u8]) -> Result<Answer<'_>, Misfit> {
    let all: Summary<'_> = serde_json::from_slice(body).map_err(|error| match error.is_data() {
        true => Misfit::Shape,
        false => Misfit::NotJson,
    })?;
    let is_full = |list: &Option<Vec<IgnoredAny>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let (fits, finish_reason) = match endpoint {
        Endpoint::ChatCompletions | Endpoint::Completions => {
            let choices = all.choices.unwrap_or_default();
            (!choices.is_empty(), choices.into_iter().filter_map(|choice| choice.finish_reason).next_back())
        }
        Endpoint::Messages => (all.content.is_some(), all.stop_reason),
        Endpoint::Responses => {
            let reason = all.incomplete_details.and_then(|details| details.reason);
            (all.output.is_some() && all.id.is_some(), reason.or(all.status))
        }
        Endpoint::Embeddings => (is_full(&all.data), None),
        Endpoint::Rerank => (all.results.is_some(), None),
        Endpoint::CountTokens => (all.input_tokens.is_some(), None),
        // What is stored is passed on as the provider keeps it; its usage was counted when it was made.
        Endpoint::ReadResponse | Endpoint::ResponseItems | Endpoint::DeleteResponse => (true, None),
        Endpoint::Models => (false, None),
    };
    let counted = if endpoint.is_charged() { usage(endpoint, body) } else { None };
    match fits {
        true => Ok(Answer { usage: counted, finish_reason, id: all.id }),
        false => Err(Misfit::Shape),
    }
}

/// The usage object: `usage`, or `meta` where a rerank server states what it bills in there.
fn usage(endpoint: Endpoint, body: &[u8]) -> Option<&[u8]> {
    let members = json::members(body).ok()?;
    let meta = || if endpoint == Endpoint::Rerank { object(&members, "meta", body) } else { None };
    object(&members, "usage", body).or_else(meta)
}

/// The object of that name.
pub(crate) fn object<'a>(members: &Members<'_>, name: &str, text: &'a [u8]) -> Option<&'a [u8]> {
    let value = members.get(name)?.value.of(text);
    value.starts_with(b"{").then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_and_the_end_are_found_in_every_shape() {
        let cases: [(Endpoint, &str, &str, Option<&str>); 6] = [
            (
                Endpoint::ChatCompletions,
                r#"{"usage":{"prompt_tokens":1},"choices":[{"finish_reason":"length"}]}"#,
                r#"{"prompt_tokens":1}"#,
                Some("length"),
            ),
            (
                Endpoint::Messages,
                r#"{"type":"message","content":[],"stop_reason":"end_turn","usage":{"input_tokens":1}}"#,
                r#"{"input_tokens":1}"#,
                Some("end_turn"),
            ),
            (
                Endpoint::Responses,
                r#"{"id":"resp_1","output":[{"usage":1}],"status":"completed","usage":{"input_tokens":2}}"#,
                r#"{"input_tokens":2}"#,
                Some("completed"),
            ),
            (
                Endpoint::Responses,
                r#"{"id":"r","output":[],"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"usage":{}}"#,
                "{}",
                Some("max_output_tokens"),
            ),
            (
                Endpoint::Embeddings,
                r#"{"data":[{"embedding":[0.5]}],"usage":{"total_tokens":3}}"#,
                r#"{"total_tokens":3}"#,
                None,
            ),
            (
                Endpoint::Rerank,
                r#"{"results":[],"meta":{"billed_units":{"search_units":1}}}"#,
                r#"{"billed_units":{"search_units":1}}"#,
                None,
            ),
        ];
        for (endpoint, body, usage, reason) in cases {
            let answer = read(endpoint, body.as_bytes()).unwrap();
            assert_eq!(answer.usage, Some(usage.as_bytes()), "{body}");
            assert_eq!(answer.finish_reason.as_deref(), reason, "{body}");
        }
        assert!(read(Endpoint::CountTokens, br#"{"input_tokens":7}"#).is_ok());
    }

    #[test]
    fn an_answer_of_another_endpoint_is_none() {
        let bodies = [
            (Endpoint::ChatCompletions, r#"{"choices":[{}]}"#),
            (Endpoint::Messages, r#"{"content":[]}"#),
            (Endpoint::Responses, r#"{"id":"r","output":[]}"#),
            (Endpoint::Embeddings, r#"{"data":[1]}"#),
            (Endpoint::Rerank, r#"{"results":[]}"#),
            (Endpoint::CountTokens, r#"{"input_tokens":1}"#),
        ];
        for (asked, _) in bodies {
            for (sent, body) in bodies {
                assert_eq!(read(asked, body.as_bytes()).is_ok(), asked == sent, "{asked:?} {body}");
            }
            assert_eq!(read(asked, b"<html>"), Err(Misfit::NotJson));
            assert_eq!(read(asked, b"{}"), Err(Misfit::Shape));
        }
    }
}
