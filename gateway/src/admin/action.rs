//! What administrators do, by the names that their policy knows.

/// One kind of thing that a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Look at the gateway's own state.
    StatusRead,
    /// List keys.
    KeysRead,
    /// Make keys for calls.
    KeysCreate,
    /// End keys for good.
    KeysRevoke,
    /// Replace keys.
    KeysRotate,
    /// Let keys end sooner.
    KeysExpire,
    /// Give keys other lists.
    KeysScope,
    /// Make, replace and end administrators' keys.
    AdminsChange,
    /// List stored tenants.
    TenantsRead,
    /// Make stored tenants.
    TenantsCreate,
    /// Narrow, disable and enable stored tenants.
    TenantsChange,
    /// Delete stored tenants with their keys.
    TenantsDelete,
    /// List names of tenants' secrets.
    SecretsRead,
    /// Set and remove tenants' secrets.
    SecretsChange,
    /// Look at issuers of tokens.
    IssuersRead,
    /// Give Weir's own tokens another signing key.
    IssuersRotate,
    /// Try a policy on the calls of just now.
    PolicyRehearse,
    /// Look at policies and bundles.
    PolicyRead,
    /// Ask policies, as OPA is asked.
    PolicyAsk,
    /// Let another policy decide.
    PolicyChange,
    /// Look at directories of users.
    DirectoryRead,
    /// Look at usage and cost.
    UsageRead,
    /// Hold usage against the prices, and correct what was charged otherwise.
    UsageReprice,
    /// Close months for good.
    StatementsClose,
    /// Verify the audit log.
    AuditVerify,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 25] = [
        Self::StatusRead,
        Self::KeysRead,
        Self::KeysCreate,
        Self::KeysRevoke,
        Self::KeysRotate,
        Self::KeysExpire,
        Self::KeysScope,
        Self::AdminsChange,
        Self::TenantsRead,
        Self::TenantsCreate,
        Self::TenantsChange,
        Self::TenantsDelete,
        Self::SecretsRead,
        Self::SecretsChange,
        Self::IssuersRead,
        Self::IssuersRotate,
        Self::PolicyRehearse,
        Self::PolicyRead,
        Self::PolicyAsk,
        Self::PolicyChange,
        Self::DirectoryRead,
        Self::UsageRead,
        Self::UsageReprice,
        Self::StatementsClose,
        Self::AuditVerify,
    ];

    /// As the policy and the audit log name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::StatusRead => "status.read",
            Self::KeysRead => "keys.read",
            Self::KeysCreate => "keys.create",
            Self::KeysRevoke => "keys.revoke",
            Self::KeysRotate => "keys.rotate",
            Self::KeysExpire => "keys.expire",
            Self::KeysScope => "keys.scope",
            Self::AdminsChange => "admins.change",
            Self::TenantsRead => "tenants.read",
            Self::TenantsCreate => "tenants.create",
            Self::TenantsChange => "tenants.change",
            Self::TenantsDelete => "tenants.delete",
            Self::SecretsRead => "secrets.read",
            Self::SecretsChange => "secrets.change",
            Self::IssuersRead => "issuers.read",
            Self::IssuersRotate => "issuers.rotate",
            Self::PolicyRehearse => "policy.rehearse",
            Self::PolicyRead => "policy.read",
            Self::PolicyAsk => "policy.ask",
            Self::PolicyChange => "policy.change",
            Self::DirectoryRead => "directory.read",
            Self::UsageRead => "usage.read",
            Self::UsageReprice => "usage.reprice",
            Self::StatementsClose => "statements.close",
            Self::AuditVerify => "audit.verify",
        }
    }

    /// Whether it is about the deployment as a whole, which no administrator of a tenant sees.
    pub fn is_of_deployment(self) -> bool {
        matches!(
            self,
            Self::StatusRead
                | Self::IssuersRead
                | Self::IssuersRotate
                | Self::PolicyRehearse
                | Self::PolicyRead
                | Self::PolicyAsk
                | Self::PolicyChange
                | Self::DirectoryRead
                | Self::UsageReprice
                | Self::AuditVerify
        )
    }

    /// Whether it changes something: then it is noted on the audit log.
    pub fn is_change(self) -> bool {
        !self.name().ends_with(".read") && self != Self::AuditVerify
    }
}
