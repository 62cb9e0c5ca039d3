//! What other rooms say no with, as a refusal.

use weir_wire::envelope::EnvelopeFault;

use super::Refusal;
use crate::identity::api_key::KeyFault;
use crate::identity::credential::{CredentialFault, PresentedFault};
use crate::identity::directory::DirectoryFault;
use crate::identity::dpop::DpopFault;
use crate::identity::keyring::IdentityFault;
use crate::identity::scope::OutOfScope;
use crate::identity::token::TokenFault;
use crate::limits::LimitExceeded;
use crate::limits::counter::NotGranted;
use crate::policy::Denied;
use crate::policy::decision_log::LogIsFull;

impl From<IdentityFault> for Refusal {
    fn from(fault: IdentityFault) -> Self {
        match fault {
            IdentityFault::Credential(fault) => fault.into(),
            IdentityFault::StoreUnavailable => Refusal::KeyStoreUnavailable,
            IdentityFault::Directory(DirectoryFault::Unavailable) => Refusal::DirectoryUnavailable,
            IdentityFault::Token(TokenFault::NoKeys | TokenFault::NoAnswer) => {
                Refusal::IssuerUnavailable { why: fault.code() }
            }
            IdentityFault::Proof(DpopFault::ReplaysFull) => Refusal::IssuerUnavailable { why: fault.code() },
            IdentityFault::Token(_) => Refusal::InvalidToken { why: fault.code() },
            IdentityFault::Certificate(_) => Refusal::InvalidCertificate { why: fault.code() },
            IdentityFault::Proof(fault) => Refusal::InvalidProof(fault),
            IdentityFault::Key(_)
            | IdentityFault::Unknown
            | IdentityFault::WrongSecret
            | IdentityFault::Revoked
            | IdentityFault::Expired
            | IdentityFault::NoPepper
            | IdentityFault::NoTenant
            | IdentityFault::Directory(
                DirectoryFault::Inactive | DirectoryFault::Ambiguous | DirectoryFault::Unknown,
            )
            | IdentityFault::TenantDisabled => Refusal::InvalidKey { why: fault.code() },
        }
    }
}

impl From<OutOfScope> for Refusal {
    fn from(scope: OutOfScope) -> Self {
        Refusal::OutOfScope(scope)
    }
}

impl From<LimitExceeded> for Refusal {
    fn from(exceeded: LimitExceeded) -> Self {
        Refusal::Limit(exceeded)
    }
}

impl From<NotGranted> for Refusal {
    fn from(not_granted: NotGranted) -> Self {
        match not_granted {
            NotGranted::Exceeded(exceeded) => Refusal::Limit(exceeded),
            NotGranted::Unavailable { why } => Refusal::LimitsUnavailable { why },
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        tracing::debug!(rule = %denied.rule, private = %denied.private, "policy refused a call");
        Refusal::PolicyDenied { rule: denied.rule, reason: denied.reason, status: denied.status }
    }
}

impl From<PresentedFault> for Refusal {
    fn from(fault: PresentedFault) -> Self {
        IdentityFault::from(fault).into()
    }
}

impl From<CredentialFault> for Refusal {
    fn from(fault: CredentialFault) -> Self {
        match fault {
            CredentialFault::Missing => Refusal::MissingKey,
            CredentialFault::Scheme => Refusal::InvalidKey { why: IdentityFault::Credential(fault).code() },
            CredentialFault::Ambiguous => Refusal::AmbiguousCredentials,
            CredentialFault::InQuery => Refusal::KeyInQuery,
        }
    }
}

impl From<LogIsFull> for Refusal {
    fn from(LogIsFull: LogIsFull) -> Self {
        Refusal::DecisionLogFull
    }
}

impl From<KeyFault> for Refusal {
    fn from(fault: KeyFault) -> Self {
        IdentityFault::Key(fault).into()
    }
}

impl From<EnvelopeFault> for Refusal {
    fn from(fault: EnvelopeFault) -> Self {
        let code = match &fault {
            EnvelopeFault::Json(_) => "invalid_json",
            EnvelopeFault::Missing { .. } => "missing_parameter",
            EnvelopeFault::Type { .. } | EnvelopeFault::Range { .. } => "invalid_parameter",
            EnvelopeFault::Conflict { .. } => "conflicting_parameters",
            EnvelopeFault::Spelling { .. } => "misspelled_parameter",
            EnvelopeFault::Unsupported { .. } => "unsupported_parameter",
        };
        Refusal::Malformed { message: fault.to_string(), param: fault.param().map(str::to_owned), code }
    }
}
