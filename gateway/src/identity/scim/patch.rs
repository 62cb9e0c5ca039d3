//! Changes (RFC 7644, section 3.5.2): add, replace and remove, applied in order to a document, all or nothing.
//!
//! Two habits of well-known clients are taken as they are meant: a `remove` of `members` with a value takes those
//! members only, and an `add` to `emails[type eq "work"].value` makes the value where there is none.

use serde_json::{Map, Value};

use super::fault::{Kind, ScimFault};
use super::filter::{Filter, Literal, Op as Compared};
use super::place::{self, Place, Scope};
use super::resource::{self, Document};
use super::schema::{Attribute, Kind as ValueKind, Mutability, Schema, Type};

/// Operations of one change.
pub const OPERATIONS_MAX: usize = 1_000;
/// The schema of a change.
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Replace,
    Remove,
}

/// Applies a change.
///
/// # Errors
/// The first operation that can't be applied; the document is to be thrown away then.
pub fn apply(of: Type, document: &mut Document, body: &Value) -> Result<(), ScimFault> {
    let is_patch = |value: &Value| value.as_str().is_some_and(|urn| urn.eq_ignore_ascii_case(PATCH));
    if !member(body, "schemas").and_then(Value::as_array).is_some_and(|schemas| schemas.iter().any(is_patch)) {
        return Err(syntax(format!("`schemas` must name `{PATCH}`")));
    }
    let operations = member(body, "Operations").and_then(Value::as_array);
    let operations = operations.filter(|all| !all.is_empty() && all.len() <= OPERATIONS_MAX);
    let operations =
        operations.ok_or_else(|| syntax(format!("`Operations` must be a list of 1 to {OPERATIONS_MAX}")))?;
    for operation in operations {
        one(of, document, operation)?;
    }
    resource::check(of, document)
}

fn member<'a>(body: &'a Value, name: &str) -> Option<&'a Value> {
    body.as_object()?.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn one(of: Type, document: &mut Document, operation: &Value) -> Result<(), ScimFault> {
    let op = match member(operation, "op").and_then(Value::as_str).map(str::to_ascii_lowercase).as_deref() {
        Some("add") => Op::Add,
        Some("replace") => Op::Replace,
        Some("remove") => Op::Remove,
        Some(_) | None => return Err(syntax("`op` must be `add`, `replace` or `remove`")),
    };
    let value = member(operation, "value").unwrap_or(&Value::Null);
    let path = match member(operation, "path") {
        None | Some(Value::Null) => None,
        Some(Value::String(path)) => Some(path.as_str()).filter(|path| !path.is_empty()),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            return Err(bad_path("`path` must be text"));
        }
    };
    match (path, op) {
        (Some(path), _) => at(of, document, op, path, value),
        (None, Op::Remove) => Err(ScimFault::new(Kind::NoTarget, "`remove` needs a `path`")),
        (None, Op::Add | Op::Replace) => {
            let members = value.as_object().ok_or_else(|| syntax("without a `path`, `value` must be an object"))?;
            for (name, value) in members {
                // Whole resources come in this way: what only Weir sets is left out, as it is elsewhere.
                let known = Target::parse(of, name).ok().filter(|target| !target.is_read_only());
                if known.is_some() {
                    at(of, document, op, name, value)?;
                }
            }
            Ok(())
        }
    }
}

/// What a path points at.
enum Target {
    Extension(&'static Schema),
    Place { place: Place, filter: Option<Filter> },
}

impl Target {
    fn parse(of: Type, path: &str) -> Result<Self, ScimFault> {
        if let Some(schema) = place::extension(of, path) {
            return Ok(Self::Extension(schema));
        }
        let unknown = || bad_path(format!("`{path}` is no path of this resource"));
        let Some((outer, rest)) = path.split_once('[') else {
            let place = Place::parse(Scope::Whole(of), path).ok_or_else(unknown)?;
            return Ok(Self::Place { place, filter: None });
        };
        let place = Place::parse(Scope::Whole(of), outer).filter(|place| place.part.is_none()).ok_or_else(unknown)?;
        let (filter, part) = rest.rsplit_once(']').ok_or_else(unknown)?;
        if !place.attribute.many || place.attribute.kind != ValueKind::Complex {
            return Err(unknown());
        }
        let filter = Filter::parse(Scope::Value(place.attribute), filter)?;
        let part = match part.strip_prefix('.') {
            None if part.is_empty() => None,
            Some(part) => Some(place.attribute.part(part).ok_or_else(unknown)?),
            None => return Err(unknown()),
        };
        Ok(Self::Place { place: Place { part, ..place }, filter: Some(filter) })
    }

    fn is_read_only(&self) -> bool {
        match self {
            Self::Extension(_) => false,
            Self::Place { place, .. } => place.attribute.mutability == Mutability::ReadOnly,
        }
    }
}

fn at(of: Type, document: &mut Document, op: Op, path: &str, value: &Value) -> Result<(), ScimFault> {
    let target = Target::parse(of, path)?;
    let fixed = |part: &'static Attribute| part.mutability != Mutability::ReadWrite;
    match target {
        Target::Extension(schema) => whole_extension(document, op, schema, value),
        Target::Place { place, .. } if place.attribute.mutability == Mutability::ReadOnly => Err(read_only(path)),
        Target::Place { place, .. } if place.part.is_some_and(fixed) => Err(read_only(path)),
        Target::Place { place, filter } => {
            let outer = match place.extension {
                None => &mut *document,
                Some(schema) => inner(document, schema)?,
            };
            match filter {
                None if place.attribute.many => list(outer, op, &place, value)?,
                None => simple(outer, op, &place, value)?,
                Some(filter) => matching(outer, op, &place, &filter, value)?,
            }
            tidy(document, place.extension);
            Ok(())
        }
    }
}

fn whole_extension(document: &mut Document, op: Op, schema: &'static Schema, value: &Value) -> Result<(), ScimFault> {
    if op == Op::Remove {
        document.remove(schema.id);
        return Ok(());
    }
    let given = resource::extension(schema, value)?;
    if op == Op::Replace {
        document.remove(schema.id);
    }
    inner(document, schema)?.extend(given);
    tidy(document, Some(schema));
    Ok(())
}

fn inner<'a>(document: &'a mut Document, schema: &'static Schema) -> Result<&'a mut Document, ScimFault> {
    let inner = document.entry(schema.id).or_insert_with(|| Value::Object(Map::new()));
    inner.as_object_mut().ok_or_else(|| ScimFault::new(Kind::Internal, "a stored resource is broken"))
}

/// An extension without attributes is not there.
fn tidy(document: &mut Document, extension: Option<&'static Schema>) {
    if let Some(schema) = extension
        && document.get(schema.id).and_then(Value::as_object).is_some_and(Map::is_empty)
    {
        document.remove(schema.id);
    }
}

/// A single attribute, or a part of one.
fn simple(outer: &mut Document, op: Op, place: &Place, value: &Value) -> Result<(), ScimFault> {
    let name = place.attribute.name;
    if let Some(part) = place.part {
        let mut parts = outer.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
        match resource::value_of(part, value)?.filter(|_| op != Op::Remove) {
            Some(value) => parts.insert(part.name.to_owned(), value),
            None => parts.remove(part.name),
        };
        set(outer, name, (!parts.is_empty()).then_some(Value::Object(parts)));
        return Ok(());
    }
    let given = if op == Op::Remove { None } else { resource::value_of(place.attribute, value)? };
    let merged = match (op, outer.get(name), given) {
        (Op::Add, Some(Value::Object(old)), Some(Value::Object(new))) => {
            let mut merged = old.clone();
            merged.extend(new);
            Some(Value::Object(merged))
        }
        // To add nothing changes nothing.
        (Op::Add, Some(old), None) => Some(old.clone()),
        (_, _, given) => given,
    };
    set(outer, name, merged);
    Ok(())
}

fn set(outer: &mut Document, name: &str, value: Option<Value>) {
    match value {
        Some(value) => outer.insert(name.to_owned(), value),
        None => outer.remove(name),
    };
}

fn values(attribute: &'static Attribute, value: &Value) -> Result<Vec<Value>, ScimFault> {
    let each = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
    let each = each.iter().filter(|value| !value.is_null());
    each.filter_map(|value| resource::single(attribute, value).transpose()).collect()
}

fn list(outer: &mut Document, op: Op, place: &Place, value: &Value) -> Result<(), ScimFault> {
    let name = place.attribute.name;
    let mut many = outer.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(part) = place.part {
        let given = if op == Op::Remove { None } else { resource::value_of(part, value)? };
        many.iter_mut().filter_map(Value::as_object_mut).for_each(|one| set(one, part.name, given.clone()));
        many.retain(|one| one.as_object().is_some_and(|one| !one.is_empty()));
    } else {
        let given = values(place.attribute, value)?;
        match op {
            Op::Remove if value.is_null() => many.clear(),
            Op::Remove => many.retain(|one| !given.iter().any(|given| is_same(one, given))),
            Op::Replace => many = given,
            Op::Add => add(&mut many, given),
        }
    }
    set(outer, name, (!many.is_empty()).then_some(Value::Array(many)));
    Ok(())
}

/// Two values of a list are the same by what they are, whatever label they have.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one.get("value"), other.get("value")) {
        (Some(one), Some(other)) => one == other,
        (_, _) => one == other,
    }
}

fn add(many: &mut Vec<Value>, given: Vec<Value>) {
    let is_primary = |value: &Value| value.get("primary") == Some(&Value::Bool(true));
    // There is one primary value: the newest.
    if given.iter().any(is_primary) {
        let old = many.iter_mut().filter_map(Value::as_object_mut);
        old.filter(|value| value.get("primary") == Some(&Value::Bool(true))).for_each(|value| {
            value.insert("primary".to_owned(), Value::Bool(false));
        });
    }
    // A member is a member once; of other lists only the very same value is left out.
    let known: std::collections::HashSet<String> = many.iter().map(Value::to_string).collect();
    many.extend(given.into_iter().filter(|value| !known.contains(&value.to_string())));
}

/// The values of a list for which a filter holds.
fn matching(outer: &mut Document, op: Op, place: &Place, filter: &Filter, value: &Value) -> Result<(), ScimFault> {
    let name = place.attribute.name;
    let mut many = outer.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let holds = |value: &Value| value.as_object().is_some_and(|value| filter.holds(value));
    let found = many.iter().any(holds);
    match (op, place.part) {
        (Op::Remove, None) => many.retain(|value| !holds(value)),
        (Op::Remove, Some(part)) => {
            let hit = many.iter_mut().filter(|value| holds(value)).filter_map(Value::as_object_mut);
            hit.for_each(|value| set(value, part.name, None));
        }
        (Op::Replace, _) if !found => return Err(ScimFault::new(Kind::NoTarget, "no value of the list matches")),
        (Op::Add | Op::Replace, part) => {
            let made = if found { None } else { Some(made_by(filter)?) };
            let fresh = made.is_some();
            many.extend(made.map(Value::Object));
            let last = many.len().saturating_sub(1);
            for (at, value_at) in many.iter_mut().enumerate() {
                let hit = if fresh { at == last } else { holds(value_at) };
                let Some(members) = value_at.as_object_mut().filter(|_| hit) else { continue };
                change(members, op, place.attribute, part, value)?;
            }
        }
    }
    many.retain(|value| value.as_object().is_some_and(|value| !value.is_empty()));
    set(outer, name, (!many.is_empty()).then_some(Value::Array(many)));
    Ok(())
}

fn change(
    members: &mut Document,
    op: Op,
    attribute: &'static Attribute,
    part: Option<&'static Attribute>,
    value: &Value,
) -> Result<(), ScimFault> {
    if let Some(part) = part {
        set(members, part.name, resource::value_of(part, value)?);
        return Ok(());
    }
    let Some(Value::Object(given)) = resource::single(attribute, value)? else {
        return Err(ScimFault::new(Kind::InvalidValue, "the value must be an object"));
    };
    if op == Op::Replace {
        members.clear();
    }
    members.extend(given);
    Ok(())
}

/// The value for which `type eq "work"` and the like hold.
fn made_by(filter: &Filter) -> Result<Document, ScimFault> {
    match filter {
        Filter::Compare(place, Compared::Eq, literal) => {
            let value = match literal {
                Literal::Text(text) => Value::from(text.as_str()),
                Literal::Bool(value) => Value::from(*value),
                Literal::Null => return Ok(Document::new()),
            };
            Ok(Map::from_iter([(place.attribute.name.to_owned(), value)]))
        }
        Filter::Both(one, other) => {
            let mut both = made_by(one)?;
            both.extend(made_by(other)?);
            Ok(both)
        }
        Filter::Compare(..) | Filter::Present(_) | Filter::Some(..) | Filter::Either(..) | Filter::Not(_) => {
            Err(ScimFault::new(Kind::NoTarget, "no value of the list matches"))
        }
    }
}

fn syntax(detail: impl Into<String>) -> ScimFault {
    ScimFault::new(Kind::InvalidSyntax, detail)
}

fn bad_path(detail: impl Into<String>) -> ScimFault {
    ScimFault::new(Kind::InvalidPath, detail)
}

fn read_only(path: &str) -> ScimFault {
    ScimFault::new(Kind::Mutability, format!("`{path}` can't be changed"))
}
