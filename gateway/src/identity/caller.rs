//! From a credential to a proven caller, whatever kind it is of.

use std::sync::Arc;

use super::credential::{Credential, CredentialKind};
use super::issuer::{IssuerRule, Proven};
use super::keyring::union;
use super::own_tokens::TokenEndpointRule;
use super::own_tokens::claims::{Origin, OwnProven};
use super::stored::joined;
use super::token::TokenFault;
use super::{Identified, IdentityFault, KeyId, Subject, api_key};
use crate::running::Running;
use crate::world::World;

/// Proves who calls. Waits only where an issuer has to be asked.
///
/// # Errors
/// The reason goes on the audit record; a client learns less.
pub async fn identify(
    running: &Running,
    world: &World,
    credential: &Credential<'_>,
    now_ms: u64,
) -> Result<Identified, IdentityFault> {
    match credential {
        Credential::ApiKey(key) => running.keyring.identify(key, &world.peppers, &world.tenants, now_ms),
        Credential::Token(text) if let Some(rule) = own_rule(world, text) => {
            of_own(running, world, &*running.own_tokens.prove(text, rule, now_ms)?, now_ms)
        }
        // Without an issuer, what is no API key is a mistyped one.
        Credential::Token(_) if world.settings.issuers.is_empty() => Err(IdentityFault::Key(api_key::KeyFault::Shape)),
        Credential::Token(text) => {
            let (rule, proven) = running.issuers.prove(text, &world.settings.issuers, now_ms).await?;
            of_issuer(running, world, &rule, &proven)
        }
    }
}

/// The rule of Weir's own token endpoint, where a token says that it is from there.
pub(super) fn own_rule<'w>(world: &'w World, text: &str) -> Option<&'w TokenEndpointRule> {
    world.settings.token_endpoint.as_ref().filter(|rule| rule.claims_issue_of(text))
}

/// The caller of a proven token of an issuer.
///
/// # Errors
/// It is bound to a proof that is missing, or its tenant is not configured or disabled.
pub(super) fn of_issuer(
    running: &Running,
    world: &World,
    rule: &IssuerRule,
    proven: &Proven,
) -> Result<Identified, IdentityFault> {
    narrow(token_subject(rule, proven, world)?, running)
}

/// The caller of a proven token of Weir's own: what its source may do at this moment, and of that what is left.
///
/// # Errors
/// A key that it rests on no longer holds, or its issuer no longer speaks for its tenant.
pub(super) fn of_own(
    running: &Running,
    world: &World,
    token: &OwnProven,
    now_ms: u64,
) -> Result<Identified, IdentityFault> {
    let rests_on = &token.own.keys;
    if running.keyring.is_stale(now_ms) {
        return Err(IdentityFault::StoreUnavailable);
    }
    if !rests_on.iter().all(|(key, epoch)| running.keyring.is_live(key, *epoch, now_ms)) {
        return Err(IdentityFault::Revoked);
    }
    let mut vouchers = rests_on.clone();
    let mut caller = match &token.own.from {
        Origin::Key { id, epoch } => {
            vouchers.push((id.clone(), *epoch));
            running.keyring.stand_in(id, *epoch, &world.tenants, now_ms)?
        }
        Origin::Issuer { name, key, tenant, roles, attributes } => {
            let rule = world.settings.issuers.iter().find(|rule| rule.name == *name);
            let rule = rule.ok_or(IdentityFault::Token(TokenFault::Issuer))?;
            if !tenant.is_within(&rule.tenant) {
                return Err(IdentityFault::Token(TokenFault::Tenant));
            }
            let proven = Proven {
                credential: CredentialKind::WeirToken,
                tenant: tenant.clone(),
                key: key.clone(),
                roles: roles.clone(),
                attributes: attributes.clone(),
                expires_s: token.expires_s,
                confirmation: None,
            };
            of_issuer(running, world, rule, &proven)?
        }
    };
    token.narrowing.apply(&mut caller);
    caller.subject.credential = CredentialKind::WeirToken;
    caller.subject.vouchers = vouchers.into();
    Ok(caller)
}

/// The caller of a proven token: what its issuer says, and what the configuration grants at its level.
fn token_subject(rule: &IssuerRule, proven: &Proven, world: &World) -> Result<Identified, IdentityFault> {
    if proven.confirmation.is_some() {
        // A token that is bound to a key or a certificate is nothing without the proof.
        return Err(IdentityFault::Token(TokenFault::Unbound));
    }
    debug_assert!(proven.tenant.is_within(&rule.tenant), "an issuer speaks for its own tenant alone");
    let grants = world.tenants.covering(&proven.tenant).ok_or(IdentityFault::NoTenant)?;
    let mut attributes = (*grants.attributes).clone();
    // What the configuration says of a level, a token can't change.
    for (name, text) in &proven.attributes {
        attributes.entry(name.clone()).or_insert_with(|| text.clone());
    }
    let subject = Subject {
        tenant: proven.tenant.clone(),
        key: proven.key.clone(),
        key_epoch: 0,
        credential: proven.credential,
        vouchers: Arc::default(),
        roles: union(grants.roles.iter().chain(&proven.roles).cloned()),
        attributes: Arc::new(attributes),
    };
    Ok(Identified { subject, key_models: None, gate: None })
}

/// What the stored levels of a token's tenant take away; of a key's, the keyring has taken it already.
fn narrow(mut caller: Identified, running: &Running) -> Result<Identified, IdentityFault> {
    let Some(narrowed) = running.keyring.narrowed(&caller.subject.tenant) else { return Ok(caller) };
    if narrowed.disabled {
        return Err(IdentityFault::TenantDisabled);
    }
    caller.subject.roles = narrowed.left_of(caller.subject.roles);
    caller.subject.attributes = joined(&caller.subject.attributes, &narrowed.attributes);
    caller.key_models = narrowed.models.map(Arc::from);
    Ok(caller)
}

/// Whether a caller that was proven still is. Cheap: for streams that are running.
pub fn is_live(running: &Running, subject: &Subject, now_ms: u64) -> bool {
    match subject.credential {
        CredentialKind::ApiKey => running.keyring.is_live(&subject.key, subject.key_epoch, now_ms),
        // A token that was valid when the call began carries it to its end, unless its tenant is disabled.
        CredentialKind::Jwt | CredentialKind::Introspected | CredentialKind::Certificate => {
            running.keyring.is_enabled(&subject.tenant)
        }
        CredentialKind::WeirToken => {
            let holds = |(key, epoch): &(KeyId, u64)| running.keyring.is_live(key, *epoch, now_ms);
            running.keyring.is_enabled(&subject.tenant) && subject.vouchers.iter().all(holds)
        }
    }
}
