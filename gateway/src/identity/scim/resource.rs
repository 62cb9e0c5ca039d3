//! What a resource may hold: a client's document becomes one with the schema's own names, without what only Weir sets.
//!
//! Refuses values of another type, members that stand twice, and more than the bounds. Members that no schema has are
//! left out (RFC 7643, section 3.3 leaves that to the server): nothing unknown is kept.

use serde_json::{Map, Value};

use super::fault::{Kind as FaultKind, ScimFault};
use super::moment;
use super::place;
use super::schema::{Attribute, Kind, Mutability, Schema, Type, find};
use crate::identity::token::plain_object;

/// Bytes of one text.
pub const TEXT_BYTES_MAX: usize = 8_192;
/// Bytes of a name that is looked up: `userName`, `externalId`, a group's `displayName`.
pub const NAME_BYTES_MAX: usize = 512;
/// Values of one list.
pub const VALUES_MAX: usize = 64;
/// Members of one group in one document.
pub const MEMBERS_MAX: usize = 20_000;

/// A resource's document: canonical names, no read-only attributes.
pub type Document = Map<String, Value>;

/// Reads a body; a member that stands twice is refused at every depth.
///
/// # Errors
/// `invalidSyntax`.
pub fn parse(body: &[u8]) -> Result<Value, ScimFault> {
    plain_object(body).ok_or_else(|| syntax("the body must be one JSON object, no member of it twice"))
}

/// Takes a client's document for a new resource or in place of one (RFC 7644, sections 3.3 and 3.5.1).
///
/// # Errors
/// `invalidSyntax` where it is no resource of this type, `invalidValue` where a value can't be taken.
pub fn accept(of: Type, body: &Value) -> Result<Document, ScimFault> {
    let members = body.as_object().ok_or_else(|| syntax("the body must be an object"))?;
    let schemas = members.iter().find(|(name, _)| name.eq_ignore_ascii_case("schemas"));
    let schemas = schemas.and_then(|(_, value)| value.as_array());
    let is_own = |value: &Value| value.as_str().is_some_and(|urn| urn.eq_ignore_ascii_case(of.schema().id));
    if !schemas.is_some_and(|schemas| schemas.iter().any(is_own)) {
        return Err(syntax(format!("`schemas` must name `{}`", of.schema().id)));
    }
    let mut document = Document::new();
    for (name, value) in members {
        if let Some(schema) = place::extension(of, name) {
            let inner = extension(schema, value)?;
            put(&mut document, schema.id, (!inner.is_empty()).then_some(Value::Object(inner)))?;
        } else if let Some(attribute) = of.attribute(name).filter(|found| found.mutability != Mutability::ReadOnly) {
            put(&mut document, attribute.name, value_of(attribute, value)?)?;
        }
    }
    check(of, &document)?;
    Ok(document)
}

fn put(document: &mut Document, name: &str, value: Option<Value>) -> Result<(), ScimFault> {
    let Some(value) = value else { return Ok(()) };
    match document.insert(name.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(syntax(format!("`{name}` stands twice"))),
    }
}

/// The attributes of an extension.
///
/// # Errors
/// As [`accept`].
pub fn extension(schema: &'static Schema, value: &Value) -> Result<Document, ScimFault> {
    let mut document = Document::new();
    if value.is_null() {
        return Ok(document);
    }
    let members = value.as_object().ok_or_else(|| wrong(schema.id, "an object"))?;
    for (name, value) in members {
        if let Some(attribute) = find(schema.attributes, name) {
            put(&mut document, attribute.name, value_of(attribute, value)?)?;
        }
    }
    Ok(document)
}

/// Whether a document is whole: what must be there is there, and names can be looked up.
///
/// # Errors
/// `invalidValue`.
pub fn check(of: Type, document: &Document) -> Result<(), ScimFault> {
    for attribute in of.schema().attributes.iter().filter(|attribute| attribute.required) {
        let text = document.get(attribute.name).and_then(Value::as_str).unwrap_or_default();
        if text.trim().is_empty() {
            return Err(value(format!("`{}` must be there", attribute.name)));
        }
    }
    for name in ["userName", "externalId", "displayName"] {
        let text = document.get(name).and_then(Value::as_str).unwrap_or_default();
        if text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(value(format!("`{name}` has at most {NAME_BYTES_MAX} bytes without control characters")));
        }
    }
    for (name, value) in document {
        if let Some(many) = value.as_array() {
            bounded(name, many)?;
        }
    }
    Ok(())
}

fn bounded(name: &str, many: &[Value]) -> Result<(), ScimFault> {
    let most = if name == "members" { MEMBERS_MAX } else { VALUES_MAX };
    if many.len() > most {
        return Err(value(format!("`{name}` has at most {most} values")));
    }
    let is_primary = |value: &&Value| value.get("primary") == Some(&Value::Bool(true));
    if many.iter().filter(is_primary).count() > 1 {
        return Err(value(format!("`{name}` has more than one primary value")));
    }
    Ok(())
}

/// A value as the schema takes it; `None` where it stands for no value (RFC 7643, section 2.5).
///
/// # Errors
/// `invalidValue`.
pub fn value_of(attribute: &'static Attribute, given: &Value) -> Result<Option<Value>, ScimFault> {
    if given.is_null() {
        return Ok(None);
    }
    if !attribute.many {
        return single(attribute, given);
    }
    let given = given.as_array().ok_or_else(|| wrong(attribute.name, "a list"))?;
    bounded(attribute.name, given)?;
    let mut many = Vec::with_capacity(given.len());
    for value in given {
        many.extend(single(attribute, value)?);
    }
    Ok((!many.is_empty()).then_some(Value::Array(many)))
}

/// One value, of a list or alone.
///
/// # Errors
/// `invalidValue`.
pub fn single(attribute: &'static Attribute, given: &Value) -> Result<Option<Value>, ScimFault> {
    match attribute.kind {
        Kind::Complex => complex(attribute, given),
        Kind::Bool => boolean(attribute, given).map(Some),
        Kind::Text | Kind::Time | Kind::Binary | Kind::Reference(_) => {
            let text = given.as_str().ok_or_else(|| wrong(attribute.name, "text"))?;
            if text.len() > TEXT_BYTES_MAX || text.contains('\0') {
                return Err(value(format!("`{}` has at most {TEXT_BYTES_MAX} bytes, none zero", attribute.name)));
            }
            if attribute.kind == Kind::Time && moment::parse(text).is_none() {
                return Err(wrong(attribute.name, "a moment"));
            }
            Ok(Some(given.clone()))
        }
    }
}

/// Some clients write `"True"` for true.
fn boolean(attribute: &Attribute, given: &Value) -> Result<Value, ScimFault> {
    match given {
        Value::Bool(_) => Ok(given.clone()),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true.into()),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false.into()),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Err(wrong(attribute.name, "true or false"))
        }
    }
}

fn complex(attribute: &'static Attribute, given: &Value) -> Result<Option<Value>, ScimFault> {
    let Some(members) = given.as_object() else {
        // Some clients give the `value` alone.
        let Some(part) = attribute.part("value").filter(|_| given.is_string()) else {
            return Err(wrong(attribute.name, "an object"));
        };
        return Ok(Some(serde_json::json!({ part.name: given })));
    };
    let mut document = Document::new();
    for (name, value) in members {
        let Some(part) = attribute.part(name).filter(|part| part.mutability != Mutability::ReadOnly) else { continue };
        // Where others are, Weir knows better than the client.
        if !matches!(part.name, "$ref") {
            put(&mut document, part.name, value_of(part, value)?)?;
        }
    }
    Ok((!document.is_empty()).then_some(Value::Object(document)))
}

fn syntax(detail: impl Into<String>) -> ScimFault {
    ScimFault::new(FaultKind::InvalidSyntax, detail)
}

fn value(detail: impl Into<String>) -> ScimFault {
    ScimFault::new(FaultKind::InvalidValue, detail)
}

fn wrong(name: &str, wanted: &str) -> ScimFault {
    value(format!("`{name}` must be {wanted}"))
}
