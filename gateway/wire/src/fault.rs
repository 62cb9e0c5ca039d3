//! The error body of the OpenAI API, and the endpoints it is spoken on.
//!
//! Writing is strict, reading is lenient: providers put text, numbers or other shapes where the body belongs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::endpoint::Endpoint;

/// `{"error": {...}}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// What went wrong, in the four members that OpenAI's SDKs read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// Text for people.
    pub message: String,
    /// The class, like `invalid_request_error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The parameter at fault.
    pub param: Option<String>,
    /// The code for programs, like `context_length_exceeded`.
    pub code: Option<String>,
}

impl ErrorBody {
    /// An error with a code and no parameter.
    pub fn new(kind: &str, code: &str, message: impl Into<String>) -> Self {
        let error = ErrorDetail { message: message.into(), kind: kind.into(), param: None, code: Some(code.into()) };
        Self { error }
    }

    /// The same error, naming the parameter at fault.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.error.param = Some(param.into());
        self
    }

    /// The body's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings always serialise; an empty body would still be told apart by its status.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a provider's error body, whatever its shape; None where it is no JSON or tells nothing.
    pub fn read(body: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(body).ok()?;
        let inner = value.get("error").filter(|inner| !inner.is_null()).unwrap_or(&value);
        let message = ["message", "detail", "error", "msg"]
            .iter()
            .find_map(|name| inner.get(name).and_then(text))
            .or_else(|| inner.as_str().map(str::to_owned))?;
        let member = |name: &str| inner.get(name).and_then(text);
        let error = ErrorDetail {
            message,
            kind: member("type").unwrap_or_default(),
            param: member("param"),
            code: member("code"),
        };
        Some(Self { error })
    }
}

/// A string as it is, a number in digits; nothing else.
fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned).or_else(|| value.as_number().map(ToString::to_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_errors_have_all_four_members() {
        let body = ErrorBody::new("invalid_request_error", "unknown_model", "no model `x`").with_param("model");
        let text = String::from_utf8(body.to_bytes()).unwrap();
        assert_eq!(
            text,
            r#"{"error":{"message":"no model `x`","type":"invalid_request_error","param":"model","code":"unknown_model"}}"#
        );
        assert_eq!(ErrorBody::read(text.as_bytes()), Some(body));
    }

    #[test]
    fn providers_error_shapes_are_read() {
        let cases = [
            (r#"{"error":{"message":"slow down","type":"rate","code":429}}"#, "slow down", Some("429")),
            (r#"{"error":"model not found"}"#, "model not found", None),
            (r#"{"detail":"Not Found"}"#, "Not Found", None),
            (r#"{"object":"error","message":"too long","code":400}"#, "too long", Some("400")),
        ];
        for (body, message, code) in cases {
            let read = ErrorBody::read(body.as_bytes()).unwrap();
            assert_eq!((read.error.message.as_str(), read.error.code.as_deref()), (message, code), "{body}");
        }
        for nothing in ["", "<html>", "{}", "[1]", "null", r#"{"error":null}"#] {
            assert_eq!(ErrorBody::read(nothing.as_bytes()), None, "{nothing}");
        }
    }
}
