//! Texts and arrays.

use regorus::Value;

use super::{Answer, Failed, arg, kind, text_arg};

/// What a template prints for the set that holds its expression's value, or nothing.
pub(super) fn template_text(args: &[Value]) -> Answer {
    let set = arg(args, 0)?.as_set().map_err(|_| Failed::new("a template's expression comes as a set"))?;
    Ok(Value::from(set.iter().next().map_or_else(|| "<undefined>".to_owned(), printed)))
}

fn printed(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Set(_) | Value::Object(_) => {
            inner(value)
        }
        Value::Undefined => "<undefined>".to_owned(),
    }
}

/// As Rego writes a value; texts within have their quotes.
fn inner(value: &Value) -> String {
    let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(", ");
    match value {
        Value::Array(items) => format!("[{}]", list(&mut items.iter().map(inner))),
        Value::Set(items) if items.is_empty() => "set()".to_owned(),
        Value::Set(items) => format!("{{{}}}", list(&mut items.iter().map(inner))),
        Value::Object(members) => {
            format!(
                "{{{}}}",
                list(&mut members.iter().map(|(name, value)| format!("{}: {}", inner(name), inner(value))))
            )
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
        Value::Undefined => "<undefined>".to_owned(),
    }
}

/// Arrays within an array give way to their items, one level deep.
pub(super) fn flatten(args: &[Value]) -> Answer {
    let value = arg(args, 0)?;
    let items =
        value.as_array().map_err(|_| Failed::new(format!("operand 1 must be array but got {}", kind(value))))?;
    let mut flat = Vec::with_capacity(items.len());
    for item in items.iter() {
        match item {
            Value::Array(inner) => flat.extend(inner.iter().cloned()),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Set(_)
            | Value::Object(_)
            | Value::Undefined => flat.push(item.clone()),
        }
    }
    Ok(Value::from(flat))
}

/// Whether a text is JSON; what is no text isn't.
pub(super) fn json_is_valid(args: &[Value]) -> Answer {
    let is_json = |text: &str| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    Ok(Value::from(arg(args, 0)?.as_string().is_ok_and(|text| is_json(text))))
}

/// How often a text holds another, without overlaps; the empty one stands before, between and behind all characters.
pub(super) fn count(args: &[Value]) -> Answer {
    let (text, part) = (text_arg(args, 0)?, text_arg(args, 1)?);
    let count = if part.is_empty() { text.chars().count().saturating_add(1) } else { text.matches(part).count() };
    Ok(Value::from(u64::try_from(count).unwrap_or(u64::MAX)))
}
