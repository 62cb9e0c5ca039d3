//! Builtins that the engine lacks and policies need, on well-kept crates.
//!
//! A builtin that fails is undefined, as in OPA, unless the engine is strict. None of them waits for anything.

mod crypto;
mod glob;
mod jwt;
mod key;
pub mod moment;
mod net;
mod text;

use regorus::{Engine, Value};

/// Why a builtin has no value.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

impl Failed {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

type Answer = Result<Value, Failed>;
type Function = fn(&[Value]) -> Answer;

/// What a builtin does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// Its expression is undefined.
    Undefined,
    /// The evaluation fails.
    Fail,
}

/// Name, number of arguments, function.
const TABLE: [(&str, u8, Function); 34] = [
    (super::desugar::TEMPLATE_TEXT, 1, text::template_text),
    ("array.flatten", 1, text::flatten),
    ("crypto.md5", 1, crypto::md5),
    ("crypto.sha1", 1, crypto::sha1),
    ("crypto.sha256", 1, crypto::sha256),
    ("crypto.hmac.md5", 2, crypto::hmac_md5),
    ("crypto.hmac.sha1", 2, crypto::hmac_sha1),
    ("crypto.hmac.sha256", 2, crypto::hmac_sha256),
    ("crypto.hmac.sha512", 2, crypto::hmac_sha512),
    ("crypto.hmac.equal", 2, crypto::hmac_equal),
    ("io.jwt.decode", 1, jwt::decode),
    ("io.jwt.decode_verify", 2, jwt::decode_verify),
    ("io.jwt.encode_sign", 3, jwt::encode_sign),
    ("io.jwt.encode_sign_raw", 3, jwt::encode_sign_raw),
    ("io.jwt.verify_hs256", 2, |args| jwt::verify("HS256", args)),
    ("io.jwt.verify_hs384", 2, |args| jwt::verify("HS384", args)),
    ("io.jwt.verify_hs512", 2, |args| jwt::verify("HS512", args)),
    ("io.jwt.verify_rs256", 2, |args| jwt::verify("RS256", args)),
    ("io.jwt.verify_rs384", 2, |args| jwt::verify("RS384", args)),
    ("io.jwt.verify_rs512", 2, |args| jwt::verify("RS512", args)),
    ("io.jwt.verify_ps256", 2, |args| jwt::verify("PS256", args)),
    ("io.jwt.verify_ps384", 2, |args| jwt::verify("PS384", args)),
    ("io.jwt.verify_ps512", 2, |args| jwt::verify("PS512", args)),
    ("io.jwt.verify_es256", 2, |args| jwt::verify("ES256", args)),
    ("io.jwt.verify_es384", 2, |args| jwt::verify("ES384", args)),
    ("io.jwt.verify_eddsa", 2, |args| jwt::verify("EdDSA", args)),
    ("net.cidr_contains_matches", 2, net::contains_matches),
    ("net.cidr_intersects", 2, net::intersects),
    ("net.cidr_merge", 1, net::merge),
    ("net.cidr_overlap", 2, net::overlap),
    ("regex.globs_match", 2, glob::globs_match),
    ("crypto.hmac.sha384", 2, crypto::hmac_sha384),
    // In place of the engine's own: one fails where OPA answers, the other panics on an empty text.
    ("json.is_valid", 1, text::json_is_valid),
    ("strings.count", 2, text::count),
];

/// Number of arguments of an added builtin.
pub fn arity(name: &str) -> Option<u8> {
    TABLE.iter().find(|(known, _, _)| *known == name).map(|(_, count, _)| *count)
}

/// Adds all of them to a new engine.
pub fn register(engine: &mut Engine, on_error: OnError) {
    for (name, count, function) in TABLE {
        let extension = move |args: Vec<Value>| match (function(&args), on_error) {
            (Ok(value), _) => Ok(value),
            (Err(_), OnError::Undefined) => Ok(Value::Undefined),
            (Err(failed), OnError::Fail) => Err(anyhow::anyhow!("{name}: {failed}")),
        };
        // The only fault is a name that is there already; the test below shows that none is.
        engine.add_extension(name.to_owned(), count, Box::new(extension)).unwrap_or_default();
    }
}

fn arg(args: &[Value], at: usize) -> Result<&Value, Failed> {
    args.get(at).ok_or_else(|| Failed::new("an argument is missing"))
}

fn text_arg(args: &[Value], at: usize) -> Result<&str, Failed> {
    let value = arg(args, at)?;
    let wrong = || Failed::new(format!("operand {} must be string but got {}", at.saturating_add(1), kind(value)));
    value.as_string().map(|text| &**text).map_err(|_| wrong())
}

/// Name of a value's type, as policies see it.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Set(_) => "set",
        Value::Object(_) => "object",
        Value::Undefined => "undefined",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_added_once() {
        for (name, count, function) in TABLE {
            let mut engine = Engine::new();
            engine.add_extension(name.to_owned(), count, Box::new(move |args| Ok(function(&args).unwrap()))).unwrap();
            assert_eq!(TABLE.iter().filter(|(other, _, _)| *other == name).count(), 1, "{name}");
        }
    }

    #[test]
    fn a_failure_is_undefined_or_an_error_as_the_engine_was_made() {
        let module = "package p\na := crypto.md5(1)\nb if not crypto.md5(1)";
        let mut lenient = super::super::Rego::new(OnError::Undefined);
        lenient.add("p.rego", module).unwrap();
        let answer = lenient.query("data.p").unwrap();
        assert_eq!(answer.result[0].expressions[0].value.to_string(), r#"{"b":true}"#);
        let mut strict = super::super::Rego::new(OnError::Fail);
        strict.add("p.rego", module).unwrap();
        let fault = strict.query("data.p.a").unwrap_err();
        assert_eq!((fault.file.as_deref(), fault.place), (Some("p.rego"), Some((2, 16))), "{fault}");
    }
}
