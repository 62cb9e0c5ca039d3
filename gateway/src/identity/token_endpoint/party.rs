//! Who stands behind a key or token that came in a form, and until when.

use std::net::IpAddr;

use serde_json::Value as Json;

use super::fault::OAuthFault;
use super::form::ClientSecret;
use crate::identity::keyring::{Identified, IdentityFault};
use crate::identity::own_tokens::TokenEndpointRule;
use crate::identity::own_tokens::claims::{Act, Origin, Own};
use crate::identity::own_tokens::narrowing::Narrowing;
use crate::identity::scope::{KeyKind, OutOfScope};
use crate::identity::token::Token;
use crate::identity::{KeyId, api_key, caller};
use crate::running::Running;
use crate::world::World;

/// Where one request is handled.
pub struct Desk<'a> {
    /// Keys, issuers, tokens.
    pub running: &'a Running,
    /// The configuration.
    pub world: &'a World,
    /// The token endpoint's own part of it.
    pub rule: &'a TokenEndpointRule,
    /// The client's address, as far as trusted proxies tell it.
    pub ip: Option<IpAddr>,
    /// Unix milliseconds.
    pub now_ms: u64,
}

/// Which kind of thing proves a party.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// An API key.
    ApiKey,
    /// A token of an issuer, or of Weir's own.
    Token,
}

/// A proven party.
pub struct Party {
    /// What it may do.
    pub caller: Identified,
    /// What a token for it comes from and rests on.
    pub own: Own,
    /// What it is narrowed to already.
    pub narrowing: Narrowing,
    /// Who acts for it already.
    pub act: Option<Act>,
    /// Unix milliseconds of its end; `None`: it has none.
    pub ends_ms: Option<u64>,
    /// Whose key it is, where it is one.
    pub kind: Option<KeyKind>,
    /// As its issuer names it: `iss` and `sub`.
    pub named: (String, String),
    /// Who may act for it, where its token says so (RFC 8693, section 4.4).
    pub may_act: Option<Json>,
}

/// Why nobody stands behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartyFault {
    /// It proves nothing.
    #[error(transparent)]
    Identity(#[from] IdentityFault),
    /// Not from this address.
    #[error(transparent)]
    Scope(#[from] OutOfScope),
}

impl PartyFault {
    /// What is said of a token, by the parameter that it came in.
    pub fn of_token(self, of: fn(IdentityFault) -> OAuthFault) -> OAuthFault {
        match self {
            Self::Identity(fault) => of(fault),
            Self::Scope(scope) => OAuthFault::Address(scope),
        }
    }
}

impl Party {
    /// Every key that it rests on, its own included.
    pub fn keys(&self) -> impl Iterator<Item = (KeyId, u64)> + '_ {
        let own = match &self.own.from {
            Origin::Key { id, epoch } => Some((id.clone(), *epoch)),
            Origin::Issuer { .. } => None,
        };
        self.own.keys.iter().cloned().chain(own)
    }

    /// Whether both are of one organisation: nobody acts for a stranger.
    pub fn is_of(&self, other: &Party) -> bool {
        self.caller.subject.tenant.org() == other.caller.subject.tenant.org()
    }

    /// Whether its token lets that party act for it.
    pub fn lets_act(&self, actor: &Party) -> bool {
        let Some(may_act) = &self.may_act else { return true };
        let text = |name: &str| may_act.get(name).and_then(Json::as_str);
        let issuer = text("iss").unwrap_or(&self.named.0);
        text("sub") == Some(&actor.named.1) && issuer == actor.named.0
    }
}

impl Desk<'_> {
    /// Proves a party.
    ///
    /// # Errors
    /// The exact reason, for the audit log.
    pub async fn party(&self, text: &str, proof: Proof) -> Result<Party, PartyFault> {
        let party = match proof {
            Proof::ApiKey => self.key(text)?,
            Proof::Token if self.rule.claims_issue_of(text) => self.own(text)?,
            Proof::Token => self.issued(text).await?,
        };
        // A key that is bound to addresses must not be carried out of them, and a token of it neither.
        if let Some(gate) = &party.caller.gate {
            gate.admits_address(self.ip)?;
        }
        Ok(party)
    }

    /// Proves a client by its key.
    ///
    /// # Errors
    /// It is not that client, or not from there.
    pub async fn client(&self, sent: &ClientSecret) -> Result<Party, OAuthFault> {
        let party = self.party(&sent.secret, Proof::ApiKey).await.map_err(|fault| match fault {
            PartyFault::Identity(fault) => OAuthFault::Client(fault),
            PartyFault::Scope(scope) => OAuthFault::ClientAddress(scope),
        })?;
        match *party.caller.subject.key.0 == *sent.id {
            true => Ok(party),
            false => Err(OAuthFault::Client(IdentityFault::Unknown)),
        }
    }

    fn key(&self, text: &str) -> Result<Party, IdentityFault> {
        let key = api_key::parse(text)?;
        let keyring = &self.running.keyring;
        let caller = keyring.identify(&key, &self.world.peppers, &self.world.tenants, self.now_ms)?;
        let (id, epoch) = (caller.subject.key.clone(), caller.subject.key_epoch);
        let (kind, ends_ms) = keyring.term(&id).ok_or(IdentityFault::Unknown)?;
        Ok(Party {
            named: (self.rule.issuer.to_string(), id.to_string()),
            own: Own { from: Origin::Key { id, epoch }, keys: Vec::new() },
            narrowing: Narrowing::default(),
            act: None,
            ends_ms,
            kind: Some(kind),
            may_act: None,
            caller,
        })
    }

    fn own(&self, text: &str) -> Result<Party, IdentityFault> {
        let proven = self.running.own_tokens.prove(text, self.rule, self.now_ms)?;
        let mut caller = caller::of_own(self.running, self.world, &proven, self.now_ms)?;
        proven.narrowing.apply(&mut caller, &self.rule.optional_roles);
        Ok(Party {
            named: (self.rule.issuer.to_string(), proven.own.from.subject().to_string()),
            own: proven.own.clone(),
            narrowing: proven.narrowing.clone(),
            act: proven.act.clone(),
            ends_ms: Some(proven.expires_s.saturating_mul(1_000)),
            kind: None,
            may_act: None,
            caller,
        })
    }

    async fn issued(&self, text: &str) -> Result<Party, IdentityFault> {
        let (rule, proven) = self.running.issuers.prove(text, &self.world.settings.issuers, self.now_ms).await?;
        let caller = caller::of_issuer(self.running, self.world, &rule, &proven)?;
        // An opaque token has no claims here: its subject is nobody that a claim could name.
        let claims = Token::parse(text).and_then(|token| token.claims()).unwrap_or_default();
        let named = claims.get("sub").and_then(Json::as_str).unwrap_or_default();
        let from = Origin::Issuer {
            name: rule.name.clone(),
            key: proven.key.clone(),
            tenant: proven.tenant.clone(),
            roles: proven.roles.clone(),
            attributes: proven.attributes.clone(),
            // Only where a directory has to be asked does a token name its subject.
            user: if self.world.settings.directory.cover(&proven.tenant) { proven.user.to_vec() } else { Vec::new() },
        };
        Ok(Party {
            caller,
            own: Own { from, keys: Vec::new() },
            narrowing: Narrowing::default(),
            act: None,
            ends_ms: Some(proven.expires_s.saturating_mul(1_000)),
            kind: None,
            named: (rule.issuer.to_string(), named.to_owned()),
            may_act: claims.get("may_act").cloned(),
        })
    }
}
