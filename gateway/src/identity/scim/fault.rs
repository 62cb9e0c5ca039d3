//! What SCIM refuses, in the protocol's words (RFC 7644, section 3.12).

use serde_json::{Value, json};

/// The kinds of faults; each has its status and, where the protocol has one, its `scimType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The filter can't be read.
    InvalidFilter,
    /// The body is not what the operation takes.
    InvalidSyntax,
    /// The path of a change can't be read.
    InvalidPath,
    /// A value that the schema doesn't allow.
    InvalidValue,
    /// A change of what can't be changed.
    Mutability,
    /// A change of what isn't there.
    NoTarget,
    /// More than Weir looks through.
    TooMany,
    /// A name that another resource has.
    Uniqueness,
    /// No credential of a directory.
    Unauthorized,
    /// No such resource: there is none, or it is another tenant's.
    NotFound,
    /// The endpoint takes another method.
    Method,
    /// The body is too large.
    TooLarge,
    /// The directory is full.
    Full,
    /// A part of the protocol that Weir doesn't have.
    NotImplemented,
    /// A fault of Weir's own.
    Internal,
}

impl Kind {
    /// HTTP status and `scimType`.
    pub fn face(self) -> (u16, Option<&'static str>) {
        match self {
            Self::InvalidFilter => (400, Some("invalidFilter")),
            Self::InvalidSyntax => (400, Some("invalidSyntax")),
            Self::InvalidPath => (400, Some("invalidPath")),
            Self::InvalidValue => (400, Some("invalidValue")),
            Self::Mutability => (400, Some("mutability")),
            Self::NoTarget => (400, Some("noTarget")),
            Self::TooMany => (400, Some("tooMany")),
            Self::Uniqueness => (409, Some("uniqueness")),
            Self::Unauthorized => (401, None),
            Self::NotFound => (404, None),
            Self::Method => (405, None),
            Self::TooLarge => (413, None),
            Self::Full => (507, None),
            Self::NotImplemented => (501, None),
            Self::Internal => (500, None),
        }
    }
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ScimFault {
    /// Of what kind.
    pub kind: Kind,
    /// For the caller.
    pub detail: String,
}

impl ScimFault {
    /// A refusal of that kind.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// No such resource; the same words whatever the reason.
    pub fn not_found() -> Self {
        Self::new(Kind::NotFound, "no such resource")
    }

    /// The body of the reply.
    pub fn body(&self) -> Value {
        let (status, scim_type) = self.kind.face();
        let mut body = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": status.to_string(),
            "detail": self.detail,
        });
        if let (Some(scim_type), Some(body)) = (scim_type, body.as_object_mut()) {
            body.insert("scimType".to_owned(), scim_type.into());
        }
        body
    }
}
