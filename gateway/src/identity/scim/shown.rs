//! What of a resource a reply shows (RFC 7644, section 3.9), and the whole document that it is taken from.

use serde_json::{Map, Value, json};

use super::moment;
use super::place::{Place, Scope};
use super::resource::Document;
use super::schema::Type;

/// Names in one list of attributes.
const NAMES_MAX: usize = 100;

/// Which attributes a client wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    only: Option<Vec<String>>,
    without: Vec<String>,
}

impl Shown {
    /// From `attributes` and `excludedAttributes`; the first one wins where both are there.
    pub fn new(attributes: Option<Vec<String>>, excluded: Option<Vec<String>>) -> Self {
        let some = |names: Vec<String>| names.into_iter().filter(|name| !name.is_empty()).take(NAMES_MAX).collect();
        let only: Option<Vec<String>> = attributes.map(some).filter(|names: &Vec<String>| !names.is_empty());
        let without = if only.is_some() { Vec::new() } else { excluded.map(some).unwrap_or_default() };
        Self { only, without }
    }

    /// The part of a whole document that is shown.
    pub fn of(&self, of: Type, mut whole: Document) -> Document {
        let Some(only) = &self.only else {
            self.without.iter().for_each(|name| take_out(of, &mut whole, name));
            return whole;
        };
        let mut shown = Map::new();
        let always = |name: &&String| of.attribute(name).is_some_and(|attribute| attribute.always);
        for name in whole.keys().filter(always) {
            shown.extend(whole.get(name).map(|value| (name.clone(), value.clone())));
        }
        only.iter().for_each(|name| put_in(of, &mut shown, &whole, name));
        shown
    }
}

fn take_out(of: Type, whole: &mut Document, name: &str) {
    if let Some(schema) = super::place::extension(of, name) {
        whole.remove(schema.id);
        return;
    }
    let Some(place) = Place::parse(Scope::Whole(of), name).filter(|place| !place.attribute.always) else { return };
    let outer = match place.extension {
        Some(schema) => whole.get_mut(schema.id).and_then(Value::as_object_mut),
        None => Some(whole),
    };
    let Some(outer) = outer else { return };
    match place.part {
        None => drop(outer.remove(place.attribute.name)),
        Some(part) => {
            let Some(value) = outer.get_mut(place.attribute.name) else { return };
            each(value).for_each(|one| drop(one.remove(part.name)));
        }
    }
}

fn each(value: &mut Value) -> impl Iterator<Item = &mut Document> {
    let all: Vec<&mut Value> = match value {
        Value::Array(many) => many.iter_mut().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => vec![value],
    };
    all.into_iter().filter_map(Value::as_object_mut)
}

fn put_in(of: Type, shown: &mut Document, whole: &Document, name: &str) {
    if let Some(schema) = super::place::extension(of, name) {
        shown.extend(whole.get(schema.id).map(|value| (schema.id.to_owned(), value.clone())));
        return;
    }
    let Some(place) = Place::parse(Scope::Whole(of), name) else { return };
    let Some(value) = place.whole(whole) else { return };
    let outer = match place.extension {
        None => shown,
        Some(schema) => {
            let inner = shown.entry(schema.id).or_insert_with(|| Value::Object(Map::new()));
            let Some(inner) = inner.as_object_mut() else { return };
            inner
        }
    };
    let Some(part) = place.part else {
        outer.insert(place.attribute.name.to_owned(), value.clone());
        return;
    };
    // Several parts of one attribute come together in it.
    let picked = |from: &Value, into: Option<&Value>| {
        let mut one = into.and_then(Value::as_object).cloned().unwrap_or_default();
        one.extend(from.get(part.name).map(|value| (part.name.to_owned(), value.clone())));
        Value::Object(one)
    };
    let old = outer.get(place.attribute.name);
    let new = match value.as_array() {
        None => picked(value, old),
        Some(many) => {
            let at = |at: usize| old.and_then(Value::as_array).and_then(|old| old.get(at));
            many.iter().enumerate().map(|(place, value)| picked(value, at(place))).collect()
        }
    };
    outer.insert(place.attribute.name.to_owned(), new);
}

/// What Weir itself knows of a resource.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Its id.
    pub id: &'a str,
    /// Unix milliseconds.
    pub created_ms: u64,
    /// Unix milliseconds.
    pub changed_ms: u64,
}

/// A group that a user is a member of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The group's id.
    pub group: String,
    /// Its name.
    pub display: String,
}

/// A resource as it is shown whole. `base` is the address of the endpoint, without a slash at its end.
pub fn whole(of: Type, document: Document, about: &About<'_>, groups: &[Membership], base: &str) -> Document {
    let mut whole = document;
    let own = std::iter::once(of.schema().id);
    let extended = of.extensions().iter().map(|schema| schema.id).filter(|id| whole.contains_key(*id));
    let schemas: Vec<&str> = own.chain(extended).collect();
    refer(&mut whole, base);
    if !groups.is_empty() {
        let group = |group: &Membership| {
            json!({
                "value": group.group, "$ref": format!("{base}/Groups/{}", group.group), "display": group.display,
                "type": "direct",
            })
        };
        whole.insert("groups".to_owned(), groups.iter().map(group).collect());
    }
    whole.insert("schemas".to_owned(), schemas.into());
    whole.insert("id".to_owned(), about.id.into());
    let meta = json!({
        "resourceType": of.name(), "created": moment::text(about.created_ms),
        "lastModified": moment::text(about.changed_ms),
        "location": format!("{base}/{}/{}", of.endpoint(), about.id),
    });
    whole.insert("meta".to_owned(), meta);
    whole
}

/// Says where members and managers are.
fn refer(whole: &mut Document, base: &str) {
    let members = whole.get_mut("members").and_then(Value::as_array_mut);
    for member in members.into_iter().flatten().filter_map(Value::as_object_mut) {
        let kind = member.get("type").and_then(Value::as_str).unwrap_or("User");
        let of = Type::ALL.into_iter().find(|of| of.name().eq_ignore_ascii_case(kind)).unwrap_or(Type::User);
        let place = format!("{base}/{}/{}", of.endpoint(), member.get("value").and_then(Value::as_str).unwrap_or(""));
        member.insert("$ref".to_owned(), place.into());
    }
    for schema in Type::User.extensions() {
        let manager = whole.get_mut(schema.id).and_then(|inner| inner.get_mut("manager"));
        let Some(manager) = manager.and_then(Value::as_object_mut) else { continue };
        if let Some(id) = manager.get("value").and_then(Value::as_str) {
            let place = format!("{base}/Users/{id}");
            manager.insert("$ref".to_owned(), place.into());
        }
    }
}
