//! What a token is narrowed to: `scope` (RFC 6749, section 3.3) as Weir understands it. Pure.
//!
//! ```text
//!   model:gpt-*  endpoint:chat_completions  role:reader
//! ```
//! Of each kind: none narrows nothing, some are all that is left. Refuses whatever the caller doesn't have already, and
//! leaving out a role that may restrict it.

use std::sync::Arc;

use weir_wire::fault::Endpoint;

use crate::identity::Identified;
use crate::identity::stored::{covers, narrower};

/// Entries of one scope at most.
const ENTRIES_MAX: usize = 64;
/// Bytes of one entry at most.
const ENTRY_BYTES_MAX: usize = 256;

/// Why a scope can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScopeFault {
    /// Not as RFC 6749 writes it, or too much of it.
    #[error("the scope is malformed or too long")]
    Shape,
    /// Neither `model:`, `endpoint:` nor `role:`.
    #[error("a scope is model:NAME, endpoint:NAME or role:NAME")]
    Kind,
    /// No endpoint has that name.
    #[error("the scope names an unknown endpoint")]
    Endpoint,
    /// Wider than what the subject may.
    #[error("the scope is wider than that of the subject")]
    Wider,
    /// A role that may restrict the subject would be left out.
    #[error("the scope leaves out a role that the subject must keep")]
    KeptRole,
}

impl ScopeFault {
    /// Reason code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Shape => "scope_malformed",
            Self::Kind => "scope_unknown",
            Self::Endpoint => "scope_endpoint",
            Self::Wider => "scope_wider",
            Self::KeptRole => "scope_kept_role",
        }
    }
}

/// What is left of a caller's rights; a list that is absent narrows nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Narrowing {
    /// Models, by name or by a beginning followed by `*`.
    pub models: Option<Vec<String>>,
    /// Names of endpoints.
    pub endpoints: Option<Vec<String>>,
    /// Roles.
    pub roles: Option<Vec<String>>,
}

impl Narrowing {
    /// Reads a scope; an empty text narrows nothing.
    ///
    /// # Errors
    /// It is none that Weir understands.
    pub fn parse(text: &str) -> Result<Self, ScopeFault> {
        let mut all = Self::default();
        let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        for (at, entry) in text.split(' ').filter(|entry| !entry.is_empty()).enumerate() {
            if at >= ENTRIES_MAX || entry.len() > ENTRY_BYTES_MAX || !entry.bytes().all(allowed) {
                return Err(ScopeFault::Shape);
            }
            let (kind, name) = entry.split_once(':').ok_or(ScopeFault::Kind)?;
            if name.is_empty() {
                return Err(ScopeFault::Shape);
            }
            let list = match kind {
                "model" if name.strip_suffix('*').unwrap_or(name).contains('*') => return Err(ScopeFault::Shape),
                "model" => &mut all.models,
                "endpoint" if !Endpoint::ALL.iter().any(|known| known.name() == name) => {
                    return Err(ScopeFault::Endpoint);
                }
                "endpoint" => &mut all.endpoints,
                "role" => &mut all.roles,
                _ => return Err(ScopeFault::Kind),
            };
            list.get_or_insert_default().push(name.to_owned());
        }
        Ok(all)
    }

    /// As [`parse`](Self::parse) reads it; `None` where nothing is narrowed.
    pub fn text(&self) -> Option<String> {
        let lists = [("model", &self.models), ("endpoint", &self.endpoints), ("role", &self.roles)];
        let entries =
            lists.into_iter().flat_map(|(kind, list)| list.iter().flatten().map(move |name| format!("{kind}:{name}")));
        Some(entries.collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty())
    }

    /// Whether the caller has all of it already, and gives up no role but those of `optional`.
    ///
    /// # Errors
    /// It is wider somewhere, or leaves out a role that a policy may restrict the caller by.
    pub fn check(&self, caller: &Identified, optional: &[String]) -> Result<(), ScopeFault> {
        let models = |granted: &Arc<[String]>| {
            self.models.iter().flatten().all(|asked| granted.iter().any(|granted| covers(granted, asked)))
        };
        let is_within = caller.key_models.as_ref().is_none_or(models)
            && caller
                .gate
                .as_ref()
                .is_none_or(|gate| self.endpoints.iter().flatten().all(|name| gate.covers_endpoint(name)))
            && self.roles.iter().flatten().all(|asked| caller.subject.roles.iter().any(|role| **role == **asked));
        if !is_within {
            return Err(ScopeFault::Wider);
        }
        let is_kept = |role: &Arc<str>| {
            let stays = self.roles.as_ref().is_none_or(|roles| roles.iter().any(|kept| **kept == **role));
            stays || optional.iter().any(|name| **name == **role)
        };
        if caller.subject.roles.iter().all(is_kept) { Ok(()) } else { Err(ScopeFault::KeptRole) }
    }

    /// This narrowing, and within it the one that was asked for.
    #[must_use]
    pub fn with(&self, asked: &Self) -> Self {
        let or = |asked: &Option<Vec<String>>, held: &Option<Vec<String>>| asked.clone().or_else(|| held.clone());
        Self {
            models: or(&asked.models, &self.models),
            endpoints: or(&asked.endpoints, &self.endpoints),
            roles: or(&asked.roles, &self.roles),
        }
    }

    /// Takes away what is not left. What the caller lost since stays lost: this only ever narrows, also when it is done
    /// once more. Of roles only the `optional` ones go: one that the caller got since may restrict it.
    pub fn apply(&self, caller: &mut Identified, optional: &[String]) {
        if let Some(models) = &self.models {
            let held = caller.key_models.take().map(|held| held.to_vec());
            caller.key_models = narrower(held, Some(models)).map(Arc::from);
        }
        if let Some(endpoints) = &self.endpoints {
            let gate = caller.gate.take().unwrap_or_default();
            caller.gate = Some(Arc::new(gate.only(endpoints)));
        }
        if let Some(roles) = &self.roles {
            let named = |list: &[String], role: &Arc<str>| list.iter().any(|name| **name == **role);
            let left = |role: &&Arc<str>| named(roles, role) || !named(optional, role);
            caller.subject.roles = caller.subject.roles.iter().filter(left).cloned().collect();
        }
    }
}
