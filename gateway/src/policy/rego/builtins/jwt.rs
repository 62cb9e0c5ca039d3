//! `io.jwt.*` (RFC 7519) for policies. Callers' own tokens are proven by `identity`, not here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use regorus::Value;
use serde_json::Value as Json;

use super::{Answer, Failed, arg, crypto, key, text_arg};
use crate::clock;

/// Tokens within tokens (`cty: JWT`).
const NESTING_MAX: usize = 8;
/// Nanoseconds of a second, as the claims' floating point takes it.
const SECOND_NS: f64 = 1e9;
const MS_NS: f64 = 1e6;

/// A token in its parts.
struct Parts<'a> {
    /// What is signed.
    message: &'a str,
    header: Value,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

fn parts(token: &str) -> Result<Parts<'_>, Failed> {
    let mut pieces = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (pieces.next(), pieces.next(), pieces.next(), pieces.next())
    else {
        let count = token.split('.').count();
        let text = match count {
            1 => "encoded JWT had no period separators".to_owned(),
            _ => format!("encoded JWT must have 3 sections, found {count}"),
        };
        return Err(Failed::new(text));
    };
    let decode = |part: &str, name: &str| {
        let bytes = key::LENIENT.decode(part);
        bytes.map_err(|fault| Failed::new(format!("JWT {name} had invalid encoding: {fault}")))
    };
    let message = token.get(..token.rfind('.').unwrap_or_default()).unwrap_or_default();
    let header = json(&decode(header, "header")?)?;
    header.as_object().map_err(|_| Failed::new("the JWT's header is no object"))?;
    Ok(Parts { message, header, payload: decode(payload, "payload")?, signature: decode(signature, "signature")? })
}

fn json(bytes: &[u8]) -> Result<Value, Failed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Failed::new("not UTF-8"))?;
    Value::from_json_str(text).map_err(|_| Failed::new("not JSON"))
}

fn member<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.as_object().ok()?.get(&Value::from(name))
}

fn text<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    member(object, name)?.as_string().ok().map(|text| &**text)
}

/// `[header, payload, signature]`; proves nothing.
pub(super) fn decode(args: &[Value]) -> Answer {
    let mut token = text_arg(args, 0)?.to_owned();
    for _ in 0..NESTING_MAX {
        let parts = parts(&token)?;
        if text(&parts.header, "enc").is_some() {
            return Err(Failed::new("JWT is a JWE object, which is not supported"));
        }
        if is_nested(&parts) {
            token = inner(parts.payload)?;
            continue;
        }
        let payload = json(&parts.payload)?;
        payload.as_object().map_err(|_| Failed::new("the JWT's payload is no object"))?;
        return Ok(Value::from(vec![parts.header, payload, crypto::hex(&parts.signature)]));
    }
    Err(Failed::new("tokens are nested too deep"))
}

/// Whether the payload is a token of its own.
fn is_nested(parts: &Parts<'_>) -> bool {
    text(&parts.header, "cty").is_some_and(|kind| kind.eq_ignore_ascii_case("JWT"))
}

fn inner(payload: Vec<u8>) -> Result<String, Failed> {
    let inner = String::from_utf8(payload).map_err(|_| Failed::new("not UTF-8"))?;
    Ok(inner.trim().trim_matches('"').to_owned())
}

/// Whether the signature is that of one of the keys, or of the secret.
pub(super) fn verify(algorithm: &str, args: &[Value]) -> Answer {
    let (token, key) = (text_arg(args, 0)?, text_arg(args, 1)?);
    let parts = parts(token)?;
    if algorithm.starts_with("HS") {
        let good = key::verifies_secret(key, algorithm, parts.message.as_bytes(), &parts.signature);
        return Ok(Value::from(good));
    }
    let keys = key::read(key)?;
    Ok(Value::from(is_signed(&parts, &keys, algorithm)))
}

/// The key that the token names is tried alone where it is there, as OPA does; else all of them.
fn is_signed(parts: &Parts<'_>, keys: &[key::Key], algorithm: &str) -> bool {
    let named = text(&parts.header, "kid").and_then(|id| keys.iter().find(|key| key.id.as_deref() == Some(id)));
    let good = |key: &key::Key| key.verifies(algorithm, parts.message.as_bytes(), &parts.signature);
    named.map_or_else(|| keys.iter().any(good), good)
}

/// What a token must be.
struct Constraints<'a> {
    keys: Vec<key::Key>,
    secret: Option<&'a str>,
    algorithm: Option<&'a str>,
    issuer: Option<&'a str>,
    audience: Option<&'a str>,
    now_ns: f64,
}

fn constraints(value: &Value) -> Result<Constraints<'_>, Failed> {
    let members = value.as_object().map_err(|_| Failed::new("operand 2 must be object"))?;
    #[allow(clippy::as_conversions, reason = "milliseconds since 1970 are exact in 53 bits")]
    let now_ns = clock::unix_ms() as f64 * MS_NS;
    let mut found =
        Constraints { keys: Vec::new(), secret: None, algorithm: None, issuer: None, audience: None, now_ns };
    let mut has_cert = false;
    for (name, value) in members.iter() {
        let name = name.as_string().map_err(|_| Failed::new("a constraint's name must be a string"))?;
        let wrong = || Failed::new(format!("{name} constraint: wrong type"));
        let text = || value.as_string().map(|text| &**text).map_err(|_| wrong());
        match &**name {
            "cert" => {
                has_cert = true;
                found.keys = key::read(text()?)?;
            }
            "secret" => found.secret = Some(text()?),
            "alg" => found.algorithm = Some(text()?),
            "iss" => found.issuer = Some(text()?),
            "aud" => found.audience = Some(text()?),
            "time" => found.now_ns = float(value).ok_or_else(wrong)?,
            _ => return Err(Failed::new(format!("unknown token validation constraint: {name}"))),
        }
    }
    match (has_cert, found.secret) {
        (true, None) | (false, Some(_)) => Ok(found),
        (false, None) => Err(Failed::new("no verification key constraint")),
        (true, Some(_)) => Err(Failed::new("duplicate key constraints")),
    }
}

/// `[valid, header, payload]`; the latter two are empty where the token is not valid.
pub(super) fn decode_verify(args: &[Value]) -> Answer {
    let mut token = text_arg(args, 0)?.to_owned();
    let constraints = constraints(arg(args, 1)?)?;
    let invalid = || Value::from(vec![Value::from(false), Value::new_object(), Value::new_object()]);
    for _ in 0..NESTING_MAX {
        let parts = parts(&token)?;
        if !is_acceptable(&parts, &constraints) {
            return Ok(invalid());
        }
        // The inner token counts, and must be as good.
        if is_nested(&parts) {
            token = inner(parts.payload)?;
            continue;
        }
        let payload = json(&parts.payload)?;
        return Ok(match holds(&payload, &constraints)? {
            true => Value::from(vec![Value::from(true), parts.header, payload]),
            false => invalid(),
        });
    }
    Err(Failed::new("tokens are nested too deep"))
}

/// Algorithm, critical members and signature.
fn is_acceptable(parts: &Parts<'_>, constraints: &Constraints<'_>) -> bool {
    let Some(algorithm) = text(&parts.header, "alg") else { return false };
    if constraints.algorithm.is_some_and(|wanted| wanted != algorithm) || member(&parts.header, "crit").is_some() {
        return false;
    }
    match constraints.secret {
        Some(secret) => key::verifies_secret(secret, algorithm, parts.message.as_bytes(), &parts.signature),
        None => is_signed(parts, &constraints.keys, algorithm),
    }
}

/// Issuer, audience and times.
fn holds(payload: &Value, constraints: &Constraints<'_>) -> Result<bool, Failed> {
    payload.as_object().map_err(|_| Failed::new("the JWT's payload is no object"))?;
    if constraints.issuer.is_some_and(|issuer| text(payload, "iss") != Some(issuer)) {
        return Ok(false);
    }
    let audience = match (member(payload, "aud"), constraints.audience) {
        (None, None) => true,
        (Some(Value::String(one)), Some(wanted)) => **one == *wanted,
        (Some(Value::Array(many)), Some(wanted)) => many.iter().any(|one| *one == Value::from(wanted)),
        (_, _) => false,
    };
    let seconds = |name: &str| match member(payload, name) {
        None => Ok(None),
        Some(value) => {
            let seconds = float(value).ok_or_else(|| Failed::new("a time claim must be a number"))?;
            Ok(Some(seconds * SECOND_NS))
        }
    };
    let expired = seconds("exp")?.is_some_and(|at| constraints.now_ns >= at);
    let early = seconds("nbf")?.is_some_and(|at| constraints.now_ns < at);
    Ok(audience && !expired && !early)
}

/// A number as floating point, whatever its size.
fn float(value: &Value) -> Option<f64> {
    let Value::Number(_) = value else { return None };
    value.to_string().parse().ok()
}

/// Signs a header and a payload that are values.
pub(super) fn encode_sign(args: &[Value]) -> Answer {
    let as_json = |at: usize| -> Result<String, Failed> {
        let value = arg(args, at)?;
        let json = value.to_json_str().map_err(|_| Failed::new("not JSON"))?;
        let json: Json = serde_json::from_str(&json).map_err(|_| Failed::new("not JSON"))?;
        Ok(json.to_string())
    };
    signed(&as_json(0)?, &as_json(1)?, &as_json(2)?)
}

/// Signs a header and a payload that are texts.
pub(super) fn encode_sign_raw(args: &[Value]) -> Answer {
    signed(text_arg(args, 0)?, text_arg(args, 1)?, text_arg(args, 2)?)
}

fn signed(header: &str, payload: &str, jwk: &str) -> Answer {
    let parsed = json(header.as_bytes())?;
    let algorithm = text(&parsed, "alg").ok_or_else(|| Failed::new("the header lacks `alg`"))?;
    let kind = text(&parsed, "typ").is_none_or(|kind| kind == "JWT");
    if kind && json(payload.as_bytes()).is_err() {
        return Err(Failed::new("type is JWT but payload is not JSON"));
    }
    let jwk: Json = serde_json::from_str(jwk).map_err(|_| Failed::new("failed to parse a JWK key"))?;
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = key::sign(&jwk, algorithm, message.as_bytes())?;
    Ok(Value::from(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))))
}
