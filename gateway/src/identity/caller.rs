//! From a credential to a proven caller, whatever kind it is of.
//!
//! A request may carry a credential and come over a connection with a certificate: then the credential says who calls,
//! and the certificate only binds. Without a credential the certificate is the identity.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;

use super::certificate::names::Names;
use super::certificate::{self, ClientCertificate};
use super::confirmation::Confirmation;
use super::credential::{self, Credential, CredentialFault, CredentialKind, PresentedFault};
use super::dpop::{self, DpopFault, DpopRule};
use super::issuer::{IssuerRule, Proven};
use super::keyring::union;
use super::own_tokens::TokenEndpointRule;
use super::own_tokens::claims::{Origin, OwnProven};
use super::own_tokens::narrowing::Narrowing;
use super::stored::joined;
use super::token::TokenFault;
use super::{Identified, IdentityFault, KeyId, Subject, TenantPath, UserName, api_key, directory};
use crate::running::Running;
use crate::telemetry::metric;
use crate::world::World;

/// What a request proves beside its credential.
#[derive(Clone, Copy)]
pub struct Witness<'a> {
    /// What the connection's client presented.
    pub certificate: Option<&'a ClientCertificate>,
    /// The request's method.
    pub method: &'a str,
    /// The request's path, without the query.
    pub path: &'a str,
    /// The request's headers.
    pub headers: &'a HeaderMap,
}

/// The one credential of a request; the certificate where there is no other and some rule takes certificates.
///
/// # Errors
/// None, two, or one in a wrong place.
pub fn presented<'a>(
    world: &World,
    witness: &Witness<'a>,
    query: Option<&'a str>,
) -> Result<Credential<'a>, PresentedFault> {
    let found = credential::presented(witness.headers, query, world.settings.key_parameter.as_deref());
    let stands_alone = witness.certificate.is_some() && !world.settings.certificates.is_empty();
    match found {
        Err(PresentedFault::Credential(CredentialFault::Missing)) if stands_alone => Ok(Credential::Certificate),
        found => found,
    }
}

/// Proves who calls. Waits only where an issuer or a directory has to be asked.
///
/// # Errors
/// The reason goes on the audit record; a client learns less.
pub async fn identify(
    running: &Running,
    world: &World,
    credential: &Credential<'_>,
    witness: &Witness<'_>,
    now_ms: u64,
) -> Result<Identified, IdentityFault> {
    let (caller, claimed, narrowing) = proven(running, world, credential, witness, now_ms).await?;
    let mut caller = told(caller, &claimed, running, world, now_ms).await?;
    // Last, so that what a directory adds comes back through no token that was narrowed.
    narrowing.apply(&mut caller, optional_roles(world));
    Ok(caller)
}

/// Roles that a token of Weir's own may be without.
fn optional_roles(world: &World) -> &[String] {
    world.settings.token_endpoint.as_ref().map_or(&[], |rule| &rule.optional_roles)
}

/// The caller that a request proves, the names that its credential claims for its user, and what is left of its rights.
async fn proven(
    running: &Running,
    world: &World,
    credential: &Credential<'_>,
    witness: &Witness<'_>,
    now_ms: u64,
) -> Result<(Identified, Arc<[UserName]>, Narrowing), IdentityFault> {
    // A bad certificate ends the call, also where another credential would do: it is presented to count.
    let names = witness.certificate.map(|certificate| certificate.judged(world.judges(), now_ms)).transpose();
    let names = names.inspect_err(|fault| metric::certificate_judged("", fault.code()))?;
    let (text, is_proven) = match credential {
        Credential::ApiKey(key) => {
            let caller = running.keyring.identify(key, &world.peppers, &world.tenants, now_ms)?;
            return Ok((caller, Arc::default(), Narrowing::default()));
        }
        Credential::Certificate => {
            let caller = narrow(of_certificate(names, world)?, running)?;
            return Ok((caller, Arc::default(), Narrowing::default()));
        }
        Credential::Token(text) if let Some(rule) = own_rule(world, text) => {
            let token = running.own_tokens.prove(text, rule, now_ms)?;
            let caller = of_own(running, world, &token, now_ms)?;
            return Ok((caller, token.own.from.user(), token.narrowing.clone()));
        }
        Credential::Token(text) => (*text, false),
        Credential::BoundToken(text) => (*text, true),
    };
    // Without an issuer, what is no API key is a mistyped one.
    if world.settings.issuers.is_empty() {
        return Err(IdentityFault::Key(api_key::KeyFault::Shape));
    }
    let (rule, proven) = running.issuers.prove(text, &world.settings.issuers, now_ms).await?;
    let bound = Confirmation::read(proven.confirmation.as_ref())?;
    bound.fits_certificate(names.map(|names| &names.sha256))?;
    match (is_proven, bound.key) {
        (false, None) => {}
        // A token that is bound to a key is nothing without the proof.
        (false, Some(_)) => return Err(TokenFault::Unbound.into()),
        (true, key) => {
            let held = holds_key(running, world.settings.dpop.as_ref(), (text, key), witness, now_ms);
            metric::proof_judged(held.as_ref().err().map_or("accepted", |fault| fault.code()));
            held?;
        }
    }
    let caller = narrow(of_token(&rule, &proven, world)?, running)?;
    Ok((caller, Arc::clone(&proven.user), Narrowing::default()))
}

/// Adds what directories tell of the user. What the configuration, a token or a stored level says stays as it is, and
/// what a stored level withholds stays withheld.
async fn told(
    mut caller: Identified,
    claimed: &[UserName],
    running: &Running,
    world: &World,
    now_ms: u64,
) -> Result<Identified, IdentityFault> {
    let (rules, tenant) = (&world.settings.directory, &caller.subject.tenant);
    if !rules.cover(tenant) {
        return Ok(caller);
    }
    let user = directory::names(tenant, claimed);
    // A key of a project is nobody's in particular.
    if user.is_empty() {
        return Ok(caller);
    }
    let added = running.directories.lookup(rules, tenant, &user, now_ms).await?;
    let mut roles = union(caller.subject.roles.iter().cloned().chain(added.roles));
    if let Some(narrowed) = running.keyring.narrowed(tenant) {
        roles = narrowed.left_of(roles);
    }
    let attributes = joined(&caller.subject.attributes, &added.attributes);
    caller.subject = Subject { roles, attributes, user: Some(user.into()), ..caller.subject };
    Ok(caller)
}

/// The rule of Weir's own token endpoint, where a token says that it is from there.
pub(super) fn own_rule<'w>(world: &'w World, text: &str) -> Option<&'w TokenEndpointRule> {
    world.settings.token_endpoint.as_ref().filter(|rule| rule.claims_issue_of(text))
}

/// The caller of a proven token of an issuer, where nothing else is presented.
///
/// # Errors
/// It is bound to a proof that is missing, or its tenant is not configured or disabled.
pub(super) fn of_issuer(
    running: &Running,
    world: &World,
    rule: &IssuerRule,
    proven: &Proven,
) -> Result<Identified, IdentityFault> {
    if proven.confirmation.is_some() {
        // A token that is bound to a key or a certificate is nothing without the proof.
        return Err(TokenFault::Unbound.into());
    }
    narrow(of_token(rule, proven, world)?, running)
}

/// The caller of a proven token of Weir's own: what its source may do at this moment. What the token is narrowed to is
/// still to be taken off.
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
        Origin::Issuer { name, key, tenant, roles, attributes, user } => {
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
                user: user.clone().into(),
                expires_s: token.expires_s,
                confirmation: None,
            };
            of_issuer(running, world, rule, &proven)?
        }
    };
    caller.subject.credential = CredentialKind::WeirToken;
    caller.subject.vouchers = vouchers.into();
    Ok(caller)
}

/// Whether the request proves the possession of the token's key, for the first time with this proof.
fn holds_key(
    running: &Running,
    rule: Option<&DpopRule>,
    (token, key): (&str, Option<[u8; 32]>),
    witness: &Witness<'_>,
    now_ms: u64,
) -> Result<(), DpopFault> {
    let rule = rule.ok_or(DpopFault::NotConfigured)?;
    let key = key.ok_or(DpopFault::TokenUnbound)?;
    let text = dpop::presented(witness.headers)?;
    let asked = dpop::Asked { method: witness.method, path: witness.path, token };
    let proof = dpop::judge(rule, text, &asked, now_ms / 1_000)?;
    if proof.key != key {
        return Err(DpopFault::OtherKey);
    }
    running.replays.take(&proof, now_ms / 1_000)
}

/// The caller of a certificate: what the first rule that takes it says.
fn of_certificate(names: Option<&Names>, world: &World) -> Result<Identified, IdentityFault> {
    let names = names.ok_or(CredentialFault::Missing)?;
    let spoken = certificate::caller(&world.settings.certificates, names);
    let rule = spoken.as_ref().map_or("", |spoken| &*spoken.rule);
    metric::certificate_judged(rule, spoken.as_ref().err().map_or("accepted", |fault| fault.code()));
    let spoken = spoken?;
    let said = Said { tenant: &spoken.tenant, key: &spoken.key, roles: &spoken.roles, attributes: &spoken.attributes };
    said.by(CredentialKind::Certificate, world)
}

/// The caller of a proven token.
fn of_token(rule: &IssuerRule, proven: &Proven, world: &World) -> Result<Identified, IdentityFault> {
    debug_assert!(proven.tenant.is_within(&rule.tenant), "an issuer speaks for its own tenant alone");
    let said = Said { tenant: &proven.tenant, key: &proven.key, roles: &proven.roles, attributes: &proven.attributes };
    said.by(proven.credential, world)
}

/// What others say of a caller.
struct Said<'a> {
    tenant: &'a TenantPath,
    key: &'a KeyId,
    roles: &'a [Arc<str>],
    attributes: &'a BTreeMap<String, String>,
}

impl Said<'_> {
    /// The caller, with what the configuration grants at its level.
    fn by(&self, credential: CredentialKind, world: &World) -> Result<Identified, IdentityFault> {
        let grants = world.tenants.covering(self.tenant).ok_or(IdentityFault::NoTenant)?;
        let mut attributes = (*grants.attributes).clone();
        // What the configuration says of a level, nobody else can change.
        for (name, text) in self.attributes {
            attributes.entry(name.clone()).or_insert_with(|| text.clone());
        }
        let subject = Subject {
            tenant: self.tenant.clone(),
            key: self.key.clone(),
            key_epoch: 0,
            credential,
            vouchers: Arc::default(),
            roles: union(grants.roles.iter().chain(self.roles).cloned()),
            attributes: Arc::new(attributes),
            user: None,
        };
        Ok(Identified { subject, key_models: None, gate: None })
    }
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
    // A user who is switched off ends here, whatever the credential was.
    if let Some(user) = &subject.user {
        let world = running.world.load();
        if !running.directories.is_live(&world.settings.directory, &subject.tenant, user) {
            return false;
        }
    }
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
