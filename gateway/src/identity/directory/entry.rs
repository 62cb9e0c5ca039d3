//! From a SCIM document to what the store keeps beside it: names to find a user by, facts to take attributes from.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::UserName;
use crate::identity::scim::filter::folded;
use crate::identity::scim::place::{Place, Scope};
use crate::identity::scim::resource::Document;
use crate::identity::scim::schema::Kind;
use crate::identity::scim::{Schema, Type};
use crate::store::directory::UserEntry;
use crate::store::directory_group::GroupEntry;

/// Bytes of a fact; a longer text is none.
const FACT_BYTES_MAX: usize = 1_024;

/// The forms in which a caller's name is looked up, the surest first.
pub fn forms(name: &UserName) -> Vec<String> {
    match name {
        UserName::Level(level) => vec![format!("n:{level}"), format!("h:{level}")],
        UserName::Claim(text) => vec![format!("x:{text}"), format!("n:{}", folded(text))],
        UserName::Mail(text) => vec![format!("n:{}", folded(text)), format!("m:{}", folded(text))],
    }
}

/// The forms in which a user can be found: the whole name, the part of it before `@`, the client's own id, addresses.
fn found_by(document: &Document) -> BTreeSet<String> {
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    let name = text("userName").map(folded).unwrap_or_default();
    let mut all = BTreeSet::from([format!("n:{name}")]);
    if let Some((handle, _)) = name.split_once('@') {
        all.insert(format!("h:{handle}"));
    }
    all.extend(text("externalId").map(|id| format!("x:{id}")));
    let mails = document.get("emails").and_then(Value::as_array).into_iter().flatten();
    let mails = mails.filter_map(|mail| mail.get("value")?.as_str());
    all.extend(mails.map(|mail| format!("m:{}", folded(mail))));
    all
}

/// Every single text and truth value of a document, by its place.
fn facts(document: &Document) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (name, value) in document {
        let schema = Type::User.extensions().iter().find(|schema| schema.id == name);
        match (schema, value) {
            (Some(schema), Value::Object(inner)) => {
                for (name, value) in inner {
                    fact(&format!("{}:{name}", schema.id), value, &mut all);
                }
            }
            (_, value) => fact(name, value, &mut all),
        }
    }
    all
}

fn fact(place: &str, value: &Value, all: &mut BTreeMap<String, String>) {
    match value {
        Value::String(text) if text.len() <= FACT_BYTES_MAX => drop(all.insert(place.to_owned(), text.clone())),
        Value::Bool(value) => drop(all.insert(place.to_owned(), value.to_string())),
        Value::Object(parts) => {
            for (name, part) in parts.iter().filter(|(_, part)| part.is_string() || part.is_boolean()) {
                fact(&format!("{place}.{name}"), part, all);
            }
        }
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {}
    }
}

/// The place of a fact as it is written in the configuration; an extension's attribute needs no URN where its name is
/// none of the core schema. `None` where there is none of this name, or it is a list.
pub fn fact_place(text: &str) -> Option<String> {
    let extended = |schema: &&'static Schema| Place::parse(Scope::Whole(Type::User), &format!("{}:{text}", schema.id));
    let place = Place::parse(Scope::Whole(Type::User), text);
    let place = place.or_else(|| Type::User.extensions().iter().find_map(extended))?;
    let leaf = place.part.unwrap_or(place.attribute);
    if place.attribute.many || leaf.kind == Kind::Complex {
        return None;
    }
    let urn = place.extension.map(|schema| format!("{}:", schema.id)).unwrap_or_default();
    let part = place.part.map(|part| format!(".{}", part.name)).unwrap_or_default();
    Some(format!("{urn}{}{part}", place.attribute.name))
}

/// A user's entry.
pub fn user(document: &Document) -> UserEntry {
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    let names: Value = found_by(document).into_iter().collect();
    UserEntry {
        user_name: text("userName").map(folded).unwrap_or_default(),
        external_id: text("externalId").map(str::to_owned),
        active: document.get("active") != Some(&Value::Bool(false)),
        names: names.to_string(),
        facts: facts(document).into_iter().map(|(name, text)| (name, Value::from(text))).collect::<Value>().to_string(),
        document: Value::Object(document.clone()).to_string(),
    }
}

/// A group's entry.
pub fn group(document: &Document) -> GroupEntry {
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    let members = document.get("members").and_then(Value::as_array).into_iter().flatten();
    let members: BTreeSet<&str> = members.filter_map(|member| member.get("value")?.as_str()).collect();
    let mut plain: Map<String, Value> = document.clone();
    plain.remove("members");
    GroupEntry {
        name: text("displayName").map(folded).unwrap_or_default(),
        external_id: text("externalId").map(str::to_owned),
        document: Value::Object(plain).to_string(),
        members: members.into_iter().map(str::to_owned).collect(),
    }
}
