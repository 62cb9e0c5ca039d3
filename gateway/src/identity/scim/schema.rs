//! What attributes there are, and what holds for each (RFC 7643, sections 2 and 7).

use serde_json::{Value, json};

use super::schema_table::{COMMON, ENTERPRISE, GROUP, USER};

/// A resource type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// A person.
    User,
    /// A group of people and of groups.
    Group,
}

/// What an attribute's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// True or false.
    Bool,
    /// A moment.
    Time,
    /// Base64.
    Binary,
    /// A URI of one of these.
    Reference(&'static [&'static str]),
    /// An object of sub-attributes.
    Complex,
}

/// Who may change an attribute, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutability {
    /// The client, always.
    ReadWrite,
    /// The client, once.
    Immutable,
    /// Weir.
    ReadOnly,
}

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute {
    /// Name as written; compared without case.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// A list of values.
    pub many: bool,
    /// Must be there.
    pub required: bool,
    /// Compared with case.
    pub exact: bool,
    /// Unique in a directory.
    pub unique: bool,
    /// Who may change it.
    pub mutability: Mutability,
    /// Part of every reply.
    pub always: bool,
    /// Usual values.
    pub canonical: &'static [&'static str],
    /// Of a complex one.
    pub parts: &'static [Attribute],
    /// For people.
    pub doc: &'static str,
}

impl Attribute {
    const fn new(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self {
            name,
            kind,
            many: false,
            required: false,
            exact: false,
            unique: false,
            mutability: Mutability::ReadWrite,
            always: false,
            canonical: &[],
            parts: &[],
            doc,
        }
    }

    /// Text.
    pub(super) const fn text(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, Kind::Text, doc)
    }

    /// Another kind than text.
    pub(super) const fn of(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        let exact = matches!(kind, Kind::Binary | Kind::Reference(_));
        Self { exact, ..Self::new(name, kind, doc) }
    }

    /// An object.
    pub(super) const fn complex(name: &'static str, parts: &'static [Attribute], doc: &'static str) -> Self {
        Self { parts, ..Self::new(name, Kind::Complex, doc) }
    }

    /// A list.
    pub(super) const fn many(self) -> Self {
        Self { many: true, ..self }
    }

    /// Must be there.
    pub(super) const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// Compared with case.
    pub(super) const fn exact(self) -> Self {
        Self { exact: true, ..self }
    }

    /// Unique in a directory.
    pub(super) const fn unique(self) -> Self {
        Self { unique: true, ..self }
    }

    /// Set once.
    pub(super) const fn immutable(self) -> Self {
        Self { mutability: Mutability::Immutable, ..self }
    }

    /// Set by Weir.
    pub(super) const fn read_only(self) -> Self {
        Self { mutability: Mutability::ReadOnly, ..self }
    }

    /// Part of every reply.
    pub(super) const fn always(self) -> Self {
        Self { always: true, ..self }
    }

    /// With usual values.
    pub(super) const fn usually(self, canonical: &'static [&'static str]) -> Self {
        Self { canonical, ..self }
    }

    /// The sub-attribute of that name.
    pub fn part(&self, name: &str) -> Option<&'static Attribute> {
        find(self.parts, name)
    }

    fn document(&self) -> Value {
        let (kind, references) = match self.kind {
            Kind::Text => ("string", &[][..]),
            Kind::Bool => ("boolean", &[][..]),
            Kind::Time => ("dateTime", &[][..]),
            Kind::Binary => ("binary", &[][..]),
            Kind::Reference(types) => ("reference", types),
            Kind::Complex => ("complex", &[][..]),
        };
        let mutability = match self.mutability {
            Mutability::ReadWrite => "readWrite",
            Mutability::Immutable => "immutable",
            Mutability::ReadOnly => "readOnly",
        };
        let mut document = json!({
            "name": self.name, "type": kind, "multiValued": self.many, "description": self.doc,
            "required": self.required, "caseExact": self.exact, "mutability": mutability,
            "returned": if self.always { "always" } else { "default" },
            "uniqueness": if self.unique { "server" } else { "none" },
        });
        let Some(members) = document.as_object_mut() else { return document };
        if !self.canonical.is_empty() {
            members.insert("canonicalValues".to_owned(), self.canonical.into());
        }
        if !references.is_empty() {
            members.insert("referenceTypes".to_owned(), references.into());
        }
        if self.kind == Kind::Complex {
            members.insert("subAttributes".to_owned(), self.parts.iter().map(Attribute::document).collect());
        }
        document
    }
}

/// The attribute of that name, without case.
pub fn find(attributes: &'static [Attribute], name: &str) -> Option<&'static Attribute> {
    attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))
}

/// A schema.
#[derive(Debug, PartialEq, Eq)]
pub struct Schema {
    /// Its URN.
    pub id: &'static str,
    /// For people.
    pub name: &'static str,
    /// For people.
    pub doc: &'static str,
    /// Its attributes.
    pub attributes: &'static [Attribute],
}

impl Schema {
    /// Every schema.
    pub const ALL: [&'static Schema; 3] = [&USER, &GROUP, &ENTERPRISE];

    /// As `/Schemas` shows it (RFC 7643, section 7).
    pub fn document(&self, base: &str) -> Value {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": self.id, "name": self.name, "description": self.doc,
            "attributes": self.attributes.iter().map(Attribute::document).collect::<Vec<_>>(),
            "meta": {"resourceType": "Schema", "location": format!("{base}/Schemas/{}", self.id)},
        })
    }
}

impl Type {
    /// Both.
    pub const ALL: [Type; 2] = [Type::User, Type::Group];

    /// `User` or `Group`.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
        }
    }

    /// The last part of its endpoint.
    pub fn endpoint(self) -> &'static str {
        match self {
            Self::User => "Users",
            Self::Group => "Groups",
        }
    }

    /// Its own schema.
    pub fn schema(self) -> &'static Schema {
        match self {
            Self::User => &USER,
            Self::Group => &GROUP,
        }
    }

    /// Schemas that extend it.
    pub fn extensions(self) -> &'static [&'static Schema] {
        match self {
            Self::User => &[&ENTERPRISE],
            Self::Group => &[],
        }
    }

    /// An attribute of its own schema, or one that every resource has.
    pub fn attribute(self, name: &str) -> Option<&'static Attribute> {
        find(self.schema().attributes, name).or_else(|| find(COMMON, name))
    }

    /// As `/ResourceTypes` shows it (RFC 7643, section 6).
    pub fn document(self, base: &str) -> Value {
        let extensions = self.extensions().iter().map(|schema| json!({"schema": schema.id, "required": false}));
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": self.name(), "name": self.name(), "endpoint": format!("/{}", self.endpoint()),
            "description": self.schema().doc, "schema": self.schema().id,
            "schemaExtensions": extensions.collect::<Vec<_>>(),
            "meta": {"resourceType": "ResourceType", "location": format!("{base}/ResourceTypes/{}", self.name())},
        })
    }
}
