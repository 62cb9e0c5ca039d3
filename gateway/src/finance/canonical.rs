//! JSON in one form only, after RFC 8785: members sorted, no spaces, whole numbers. Pure.
//!
//! Two that mean the same have the same bytes, so that a digest says whether something was changed. Fractions are
//! refused: nothing that is signed here has one.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::audit::record::hex;

/// A number that is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a number that is not whole can't be written canonically")]
pub struct NotWhole;

/// Writes a value canonically.
///
/// # Errors
/// A number is not whole.
pub fn canonical(value: &Value) -> Result<String, NotWhole> {
    let mut out = String::new();
    write(value, &mut out)?;
    Ok(out)
}

/// SHA-256 of a text, hexadecimal.
pub fn digest(text: &str) -> String {
    let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    String::from_utf8_lossy(&hex(&hash)).into_owned()
}

fn write(value: &Value, out: &mut String) -> Result<(), NotWhole> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) if number.is_f64() => return Err(NotWhole),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => quoted(text, out),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                out.push(if at == 0 { '[' } else { ',' });
                write(item, out)?;
            }
            out.push_str(if items.is_empty() { "[]" } else { "]" });
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            // The order that RFC 8785 section 3.2.3 wants: by UTF-16 units.
            members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            for (at, (name, member)) in members.iter().enumerate() {
                out.push(if at == 0 { '{' } else { ',' });
                quoted(name, out);
                out.push(':');
                write(member, out)?;
            }
            out.push_str(if members.is_empty() { "{}" } else { "}" });
        }
    }
    Ok(())
}

/// serde_json escapes exactly what RFC 8785 section 3.2.2.2 escapes.
fn quoted(text: &str, out: &mut String) {
    out.push_str(&Value::from(text).to_string());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_meaning_has_one_text() {
        let value = json!({"b": [1, -2, 9_223_372_036_854_775_807_i64], "a": {"\u{20ac}": "\u{1}\"\\\n/", "1": null},
            "\u{fb33}": true, "\u{1f600}": false, "": {}, "e": []});
        let text = "{\"\":{},\"a\":{\"1\":null,\"€\":\"\\u0001\\\"\\\\\\n/\"},\
             \"b\":[1,-2,9223372036854775807],\"e\":[],\"😀\":false,\"\u{fb33}\":true}";
        assert_eq!(canonical(&value).unwrap(), text);
        let again: Value = serde_json::from_str(text).unwrap();
        assert_eq!(canonical(&again).unwrap(), text);
        assert_eq!(canonical(&json!({"a": 1.5})), Err(NotWhole));
    }

    #[test]
    fn a_digest_is_that_of_the_bytes() {
        assert_eq!(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
