//! Why a body is refused, always the caller's fault.

use crate::json;

/// Why a body is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeFault {
    /// The body is not the JSON that every parser reads the same.
    #[error("invalid json: {0}")]
    Json(#[from] json::Fault),
    /// A member that must be there is not.
    #[error("`{param}` is missing")]
    Missing {
        /// The member.
        param: &'static str,
    },
    /// A member of another type.
    #[error("`{param}` must be {expected}")]
    Type {
        /// The member.
        param: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A value outside its limits.
    #[error("`{param}` must be {expected}")]
    Range {
        /// The member.
        param: String,
        /// What it must be.
        expected: &'static str,
    },
    /// Two members that say the same thing.
    #[error("`{one}` and `{other}` must not be sent together")]
    Conflict {
        /// The one.
        one: &'static str,
        /// The other, which the error names.
        other: &'static str,
    },
    /// A member that reaches for what lies at a provider outside of the call, or that lets it run on after it.
    #[error("`{param}` is not supported by this gateway: it could not be traced to its tenant or metered")]
    Unsupported {
        /// The member.
        param: &'static str,
    },
    /// Another spelling of a name that is read here, which some servers would take for that name.
    #[error("`{found}` must be spelled `{param}`")]
    Spelling {
        /// What was sent.
        found: String,
        /// The name in its own spelling.
        param: String,
    },
}

impl EnvelopeFault {
    /// The parameter at fault, for the error body.
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::Json(_) => None,
            Self::Missing { param } | Self::Unsupported { param } => Some(param),
            Self::Type { param, .. } | Self::Range { param, .. } | Self::Spelling { param, .. } => Some(param),
            Self::Conflict { other, .. } => Some(other),
        }
    }
}
