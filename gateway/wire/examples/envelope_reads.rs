//! What Weir reads in bodies, for scripts that compare it with other parsers.
//!
//! In: bodies of chat calls, each after its length in four bytes, big-endian. Out, a line of JSON each: `null` where
//! the body is refused, else what was read and the bytes that would be forwarded, in hexadecimal.

use std::io::{Read, Write};

use bytes::Bytes;
use serde_json::json;
use weir_wire::envelope::{CapName, Edits, Envelope};
use weir_wire::fault::Endpoint;

/// Bytes of one body.
const BODY_BYTES_MAX: u32 = 1 << 20;

fn main() -> std::io::Result<()> {
    let mut input = std::io::BufReader::new(std::io::stdin().lock());
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut length = [0; 4];
    while input.read_exact(&mut length).is_ok() {
        let length = u32::from_be_bytes(length).min(BODY_BYTES_MAX);
        let mut body = vec![0; usize::try_from(length).unwrap_or_default()];
        input.read_exact(&mut body)?;
        writeln!(out, "{}", read(body.into()))?;
    }
    out.flush()
}

fn read(body: Bytes) -> serde_json::Value {
    let Ok(call) = Envelope::parse(body, Endpoint::ChatCompletions) else { return serde_json::Value::Null };
    let edits = Edits {
        model: Some("upstream-model"),
        include_usage: call.stream,
        continuous_usage: false,
        output_cap: Some((CapName::MaxCompletionTokens, call.output_tokens_max.unwrap_or(77))),
    };
    let forwarded = call.splice(edits);
    let hex: String = forwarded.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "model": call.model, "stream": call.stream, "include_usage": call.include_usage,
        "max_tokens": call.output_tokens_max, "n": call.choices, "user": call.user, "tools": call.tools,
        "forwarded": hex,
    })
}
