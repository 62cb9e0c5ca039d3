//! Places in a resource: `userName`, `name.familyName`, `emails.value`, `urn:…:User:department` (RFC 7644, section
//! 3.10).

use serde_json::{Map, Value};

use super::Type;
use super::schema::{Attribute, Kind, Schema, find};

/// Bytes of a place as written, at most: the longest URN, an attribute and a part of it.
pub const PLACE_BYTES_MAX: usize = 256;

/// An attribute, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The extension that it belongs to; `None`: the resource itself.
    pub extension: Option<&'static Schema>,
    /// The attribute.
    pub attribute: &'static Attribute,
    /// The part of a complex one.
    pub part: Option<&'static Attribute>,
}

/// Where names are looked up.
#[derive(Debug, Clone, Copy)]
pub enum Scope {
    /// A whole resource.
    Whole(Type),
    /// One value of a complex attribute.
    Value(&'static Attribute),
}

impl Place {
    /// Reads a place; `None` where no schema has it.
    pub fn parse(scope: Scope, text: &str) -> Option<Self> {
        if text.len() > PLACE_BYTES_MAX {
            return None;
        }
        match scope {
            Scope::Whole(of) => Self::of_resource(of, text),
            Scope::Value(outer) => Some(Self { extension: None, attribute: outer.part(text)?, part: None }),
        }
    }

    fn of_resource(of: Type, text: &str) -> Option<Self> {
        for schema in of.extensions() {
            if let Some(rest) = after_urn(text, schema.id) {
                return Self::within(Some(schema), rest, |name| find(schema.attributes, name));
            }
        }
        let rest = after_urn(text, of.schema().id).unwrap_or(text);
        Self::within(None, rest, |name| of.attribute(name))
    }

    fn within(
        extension: Option<&'static Schema>,
        text: &str,
        named: impl Fn(&str) -> Option<&'static Attribute>,
    ) -> Option<Self> {
        match text.split_once('.') {
            None => Some(Self { extension, attribute: named(text)?, part: None }),
            Some((name, part)) => {
                let attribute = named(name)?;
                Some(Self { extension, attribute, part: Some(attribute.part(part)?) })
            }
        }
    }

    /// What is compared at this place: the part, the `value` of a complex attribute of many, or the attribute itself.
    pub fn compared(&self) -> Option<&'static Attribute> {
        match (self.part, self.attribute.kind) {
            (Some(part), _) => Some(part),
            (None, Kind::Complex) if self.attribute.many => self.attribute.part("value"),
            (None, Kind::Complex) => None,
            (None, Kind::Text | Kind::Bool | Kind::Time | Kind::Binary | Kind::Reference(_)) => Some(self.attribute),
        }
    }

    /// The attribute as it stands, a list or a single value.
    pub fn whole<'a>(&self, resource: &'a Map<String, Value>) -> Option<&'a Value> {
        let outer = match self.extension {
            Some(schema) => resource.get(schema.id)?.as_object()?,
            None => resource,
        };
        outer.get(self.attribute.name)
    }

    /// Every value that is compared at this place.
    pub fn values<'a>(&self, resource: &'a Map<String, Value>) -> Vec<&'a Value> {
        let Some(whole) = self.whole(resource) else { return Vec::new() };
        let each = whole.as_array().map_or_else(|| std::slice::from_ref(whole), Vec::as_slice);
        let part = self.part.or_else(|| self.compared().filter(|_| self.attribute.kind == Kind::Complex));
        match part {
            Some(part) => each.iter().filter_map(|value| value.get(part.name)).collect(),
            None => each.iter().collect(),
        }
    }
}

/// What follows a schema's URN and a colon; URNs are compared without case.
fn after_urn<'a>(text: &'a str, urn: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(urn.len())?;
    rest.strip_prefix(':').filter(|_| head.eq_ignore_ascii_case(urn))
}

/// The schema that a text names by its URN.
pub fn extension(of: Type, text: &str) -> Option<&'static Schema> {
    of.extensions().iter().copied().find(|schema| schema.id.eq_ignore_ascii_case(text))
}
