//! How a refusal is written in the dialect of its endpoint: as a body, and as an event of a stream that has begun.

use serde_json::{Value, json};
use weir_wire::endpoint::{Dialect, Endpoint};

use super::{Face, Refusal};

impl Refusal {
    /// The error's body.
    pub fn body(&self, dialect: Dialect) -> Vec<u8> {
        let face = self.face();
        let value = match dialect {
            Dialect::OpenAi | Dialect::Responses => json!({"error": openai(&face)}),
            Dialect::Anthropic => json!({"type": "error", "error": anthropic(&face)}),
        };
        value.to_string().into_bytes()
    }

    /// The error as one server-sent event, for a reply whose head is out already; `number` events went before it.
    pub fn event(&self, dialect: Dialect, number: u64) -> Vec<u8> {
        let face = self.face();
        let (name, value) = match dialect {
            Dialect::OpenAi => ("", json!({"error": openai(&face)})),
            Dialect::Anthropic => ("event: error\n", json!({"type": "error", "error": anthropic(&face)})),
            // The event as documented, and the member by which OpenAI's clients tell that a stream failed.
            Dialect::Responses => (
                "event: error\n",
                json!({
                    "type": "error", "code": face.code, "message": face.message, "param": face.param,
                    "sequence_number": number, "error": openai(&face),
                }),
            ),
        };
        format!("{name}data: {value}\n\n").into_bytes()
    }
}

fn openai(face: &Face) -> Value {
    json!({"message": face.message, "type": face.kind, "param": face.param, "code": face.code})
}

/// Anthropic's error, which has no code: Weir's own stands beside.
fn anthropic(face: &Face) -> Value {
    let kind = match face.status {
        400 | 405 | 408 | 415 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        status if status < 500 => "invalid_request_error",
        _ => "api_error",
    };
    json!({"type": kind, "message": face.message, "code": face.code})
}

/// What a caller reads who asked for a path that is not there.
pub(super) fn no_such_endpoint() -> String {
    let mut paths = Endpoint::ALL.map(Endpoint::path).to_vec();
    paths.dedup();
    let paths = paths.join(", ");
    format!("no such endpoint; Weir serves {paths}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_gets_its_own_shape() {
        let refusal = Refusal::KeyRevoked;
        let body = |dialect| serde_json::from_slice::<Value>(&refusal.body(dialect)).unwrap();
        assert_eq!(body(Dialect::OpenAi)["error"]["code"], "key_revoked");
        assert_eq!(body(Dialect::Responses), body(Dialect::OpenAi));
        let error = body(Dialect::Anthropic);
        assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!("authentication_error")));
        let event = |dialect| String::from_utf8(refusal.event(dialect, 7)).unwrap();
        assert!(event(Dialect::OpenAi).starts_with("data: {\"error\""));
        assert!(event(Dialect::Anthropic).starts_with("event: error\ndata: {"));
        let responses = event(Dialect::Responses);
        let data = responses.strip_prefix("event: error\ndata: ").unwrap();
        let value: Value = serde_json::from_str(data).unwrap();
        assert_eq!((&value["type"], &value["sequence_number"]), (&json!("error"), &json!(7)));
        assert_eq!(value["error"]["code"], value["code"]);
    }
}
