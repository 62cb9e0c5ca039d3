//! `weir key create|list|revoke`: API keys, straight in the store. Running gateways see a change within a second.

pub mod change;

use std::io::Write;
use std::time::Duration;

use serde::Serialize;

use super::date::utc;
use super::place::{Place, PlaceError};
use crate::config::settings::TenantRule;
use crate::identity::TenantPath;
use crate::identity::api_key::{self, NewKey};
use crate::identity::keyring::EVERYWHERE;
use crate::identity::pepper::WrongPepper;
use crate::identity::scope::{KeyKind, Scopes, ScopesFault};
use crate::identity::tenant::PathError;
use crate::store::sqlite::Create;
use crate::store::{KeyRow, Store, StoreError};

/// Bytes of a key's name and of a model's name at most.
const NAME_BYTES_MAX: usize = 256;
/// Bytes of a role at most.
const ROLE_BYTES_MAX: usize = 64;
/// Roles, and models, of one key at most.
const LIST_MAX: usize = 64;

/// What an administrator's key has none of.
const NOT_FOR_ADMINS: [&str; 6] = ["service", "roles", "models", "endpoints", "ips", "environments"];

/// Arguments of `weir key`.
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    /// What to do
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// What one does with keys.
#[derive(Debug, clap::Subcommand)]
pub enum KeyCommand {
    /// Make a key and show it, once
    Create(CreateArgs),
    /// List the keys of the store; never their secrets
    List(ListArgs),
    /// Revoke a key for good; its running streams end too
    Revoke(RevokeArgs),
    /// Let a key end sooner than it would
    Expire(change::ExpireArgs),
    /// Make a key that replaces another; both work until the overlap ends
    Rotate(change::RotateArgs),
    /// Give a key other models and scopes; its running streams end
    Scope(change::ScopeKeyArgs),
    /// Take a key out of the store
    Delete(RevokeArgs),
}

/// Arguments of `weir key create`.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// Where the store is
    #[command(flatten)]
    pub place: Place,
    /// Tenant that the key proves: ORG[/TEAM[/PROJECT[/USER]]]; an administrator without one is one of everything
    #[arg(long, value_name = "PATH", value_parser = parse_tenant, required_unless_present = "admin")]
    pub tenant: Option<TenantPath>,
    /// A name to know it by
    #[arg(long, default_value = "")]
    pub name: String,
    /// Its time, such as 12h, 30d or 52w; without it the key holds until it is revoked
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub expires_in: Option<Duration>,
    /// A role beside those of its tenant; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<String>,
    /// A model that it may use, or a beginning with `*`; narrows what its tenant may use; may be repeated
    #[arg(long = "model", value_name = "MODEL", value_parser = parse_pattern)]
    pub models: Vec<String>,
    /// A service account's key: a program's, not a person's
    #[arg(long)]
    pub service: bool,
    /// An administrator's key, for the admin API alone: owner, security, finance, developer or auditor
    #[arg(long, value_name = "ROLE", conflicts_with_all = NOT_FOR_ADMINS)]
    pub admin: Option<String>,
    /// Where it may be used
    #[command(flatten)]
    pub scopes: ScopeArgs,
    /// One line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Where a key may be used; what is not named narrows nothing.
#[derive(Debug, Clone, clap::Args)]
pub struct ScopeArgs {
    /// An endpoint that it may be used at, such as `chat_completions`; may be repeated
    #[arg(long = "endpoint", value_name = "ENDPOINT")]
    pub endpoints: Vec<String>,
    /// A client address or CIDR range that it may be used from; may be repeated
    #[arg(long = "ip", value_name = "RANGE")]
    pub ips: Vec<String>,
    /// A listener's environment that it may be used in; may be repeated
    #[arg(long = "environment", value_name = "NAME")]
    pub environments: Vec<String>,
}

impl ScopeArgs {
    fn scopes(&self) -> Scopes {
        let list = |texts: &[String]| (!texts.is_empty()).then(|| texts.to_vec());
        Scopes { endpoints: list(&self.endpoints), ips: list(&self.ips), environments: list(&self.environments) }
    }
}

/// Arguments of `weir key list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Where the store is
    #[command(flatten)]
    pub place: Place,
    /// Only keys of this tenant and below
    #[arg(long, value_name = "PATH", value_parser = parse_tenant)]
    pub tenant: Option<TenantPath>,
    /// One line of JSON per key
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `weir key revoke`.
#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    /// Where the store is
    #[command(flatten)]
    pub place: Place,
    /// The key's eight-character id
    #[arg(value_name = "ID")]
    pub id: String,
}

/// Why a key command failed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The place is no good.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The pepper isn't the one of the stored keys.
    #[error(transparent)]
    Pepper(#[from] WrongPepper),
    /// There is none to hash with; a checked configuration always has one.
    #[error("no pepper is configured")]
    NoPepper,
    /// The key would be refused.
    #[error("no tenant of the configuration covers `{0}`: the key would be refused; add the tenant first")]
    UncoveredTenant(TenantPath),
    /// The system gave no random bytes.
    #[error("the system's random generator failed")]
    Random(#[from] getrandom::Error),
    /// The key is not to be had like this.
    #[error("{0}")]
    Wanted(&'static str),
    /// Scopes that can't be meant.
    #[error(transparent)]
    Scopes(#[from] ScopesFault),
    /// No such key.
    #[error("no key has the id `{0}`")]
    Unknown(String),
    /// Nothing to revoke.
    #[error("the key `{0}` was revoked before")]
    RevokedBefore(String),
    /// The output can't be written.
    #[error("the output can't be written")]
    Output(#[from] std::io::Error),
}

impl KeyError {
    /// The process's exit status: 78 for faults of the configuration, else 1.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::Place(PlaceError::Config(_))) { 78 } else { 1 }
    }
}

/// A length of time or a pattern that isn't one.
#[derive(Debug, thiserror::Error)]
pub enum ArgumentFault {
    /// No time.
    #[error("write a number and a unit: s, m, h, d or w, such as `30d`; at most 100 years")]
    Time,
    /// No pattern.
    #[error("`*` may stand only at the end")]
    Pattern,
}

fn parse_tenant(text: &str) -> Result<TenantPath, PathError> {
    TenantPath::parse(text)
}

fn parse_time(text: &str) -> Result<Duration, ArgumentFault> {
    let unit = text.chars().last().ok_or(ArgumentFault::Time)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(ArgumentFault::Time),
    };
    let number: u64 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or(ArgumentFault::Time)?;
    let all = number.checked_mul(seconds).filter(|all| (1..=36_525 * 86_400).contains(all));
    all.map(Duration::from_secs).ok_or(ArgumentFault::Time)
}

fn parse_pattern(text: &str) -> Result<String, ArgumentFault> {
    let beginning = text.strip_suffix('*').unwrap_or(text);
    if text.is_empty() || beginning.contains('*') { Err(ArgumentFault::Pattern) } else { Ok(text.to_owned()) }
}

/// Runs a key command; `now_ms` is Unix time.
pub async fn run(args: &KeyArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), KeyError> {
    match &args.command {
        KeyCommand::Create(args) => create(args, now_ms, out).await,
        KeyCommand::List(args) => list(args, now_ms, out).await,
        KeyCommand::Revoke(args) => revoke(args, now_ms, out).await,
        KeyCommand::Expire(args) => change::expire(args, now_ms, out).await,
        KeyCommand::Rotate(args) => change::rotate(args, now_ms, out).await,
        KeyCommand::Scope(args) => change::scope(args, out).await,
        KeyCommand::Delete(args) => change::delete(args, out).await,
    }
}

async fn create(args: &CreateArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), KeyError> {
    let issuer = args.place.issuer()?;
    if let (Some(tenant), Some(rules)) = (&args.tenant, &issuer.tenants)
        && !rules.iter().any(|rule: &TenantRule| tenant.is_within(&rule.path))
    {
        return Err(KeyError::UncoveredTenant(tenant.clone()));
    }
    let (kind, roles) = match &args.admin {
        Some(role) => (KeyKind::Admin, std::slice::from_ref(role)),
        None if args.service => (KeyKind::Service, args.roles.as_slice()),
        None => (KeyKind::User, args.roles.as_slice()),
    };
    let store = Store::open(&issuer.store, Create::IfMissing).await?;
    let wanted = Wanted {
        tenant: args.tenant.as_ref(),
        name: &args.name,
        roles,
        models: (!args.models.is_empty()).then_some(&args.models),
        expires_ms: args
            .expires_in
            .map(|time| now_ms.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))),
        kind,
        scopes: &args.scopes.scopes(),
        replaces: None,
    };
    let made = issue(&store, &issuer.peppers, &wanted, now_ms).await;
    store.close().await;
    let (key, row) = made?;
    let shown = Shown { key: Some(key.reveal()), ..Shown::of(&row, now_ms) };
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&shown).unwrap_or_default())?;
        return Ok(());
    }
    writeln!(out, "{}\n", key.reveal())?;
    writeln!(out, "id       {}\ntenant   {}\nexpires  {}", row.id, row.tenant, date_or(row.expires_ms, "never"))?;
    writeln!(out, "\nThis is the only time the key is shown: Weir keeps its hash.")?;
    Ok(())
}

/// What a new key is to be.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Tenant that it proves; an administrator without one is one of everything.
    pub tenant: Option<&'a TenantPath>,
    /// What its owner calls it.
    pub name: &'a str,
    /// Its own roles.
    pub roles: &'a [String],
    /// Its own list of models.
    pub models: Option<&'a Vec<String>>,
    /// Unix milliseconds; `None`: never.
    pub expires_ms: Option<u64>,
    /// Whose key it is.
    pub kind: KeyKind,
    /// Where it may be used.
    pub scopes: &'a Scopes,
    /// The key that it replaces.
    pub replaces: Option<&'a str>,
}

impl Wanted<'_> {
    fn check(&self) -> Result<(), KeyError> {
        let plain = |text: &str, most: usize| text.len() <= most && !text.chars().any(char::is_control);
        let models = self.models.map_or(&[][..], Vec::as_slice);
        let fault = if !plain(self.name, NAME_BYTES_MAX) {
            "the key's name must be at most 256 bytes without control characters"
        } else if !self.roles.iter().all(|role| !role.is_empty() && plain(role, ROLE_BYTES_MAX)) {
            "a role must be 1 to 64 bytes without control characters"
        } else if self.models.is_some_and(Vec::is_empty) {
            "an empty list of models would let the key use none; leave it out to let it use its tenant's"
        } else if !models.iter().all(|model| parse_pattern(model).is_ok() && plain(model, NAME_BYTES_MAX)) {
            "a model is a name, or a beginning followed by `*`"
        } else if self.roles.len() > LIST_MAX || models.len() > LIST_MAX {
            "a key has at most 64 roles and 64 models"
        } else if self.kind == KeyKind::Admin && self.roles.len() != 1 {
            "an administrator has one role"
        } else if self.kind != KeyKind::Admin && self.tenant.is_none() {
            "a key for calls has a tenant"
        } else {
            return Ok(());
        };
        Err(KeyError::Wanted(fault))
    }
}

/// Makes a key and stores its hash under the newest pepper; refuses a pepper that isn't the one of the stored keys.
pub async fn issue(
    store: &Store,
    peppers: &crate::identity::Peppers,
    wanted: &Wanted<'_>,
    now_ms: u64,
) -> Result<(NewKey, KeyRow), KeyError> {
    let (key, row) = draw(store, peppers, wanted, now_ms).await?;
    store.key_insert(&row).await?;
    Ok((key, row))
}

/// Makes a key without storing it.
async fn draw(
    store: &Store,
    peppers: &crate::identity::Peppers,
    wanted: &Wanted<'_>,
    now_ms: u64,
) -> Result<(NewKey, KeyRow), KeyError> {
    wanted.check()?;
    wanted.scopes.check()?;
    let newest = peppers.fingerprints().max_by_key(|(version, _)| *version);
    let (version, fingerprint) = newest.ok_or(KeyError::NoPepper)?;
    store.pepper_record(version, &fingerprint).await?;
    peppers.check(&store.pepper_fingerprints().await?)?;
    let key = NewKey::generate()?;
    let hash = api_key::parse(key.reveal()).ok().and_then(|presented| peppers.hash(version, &presented));
    let row = KeyRow {
        id: key.id.to_string(),
        tenant: wanted.tenant.map_or(EVERYWHERE, TenantPath::as_str).to_owned(),
        name: wanted.name.to_owned(),
        pepper_version: version,
        hash: hash.ok_or(WrongPepper { version })?,
        roles: wanted.roles.to_vec(),
        models: wanted.models.cloned(),
        created_ms: now_ms,
        expires_ms: wanted.expires_ms,
        revoked_ms: None,
        epoch: 0,
        kind: wanted.kind,
        scopes: wanted.scopes.clone(),
        replaces: wanted.replaces.map(str::to_owned),
        used_ms: None,
    };
    Ok((key, row))
}

async fn list(args: &ListArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), KeyError> {
    let store = Store::open(&args.place.store()?, Create::Never).await?;
    let rows = store.key_list(args.tenant.as_ref().map(TenantPath::as_str)).await;
    store.close().await;
    let rows = rows?;
    if args.json {
        for row in &rows {
            writeln!(out, "{}", serde_json::to_string(&Shown::of(row, now_ms)).unwrap_or_default())?;
        }
        return Ok(());
    }
    let width = rows.iter().map(|row| row.tenant.len()).max().unwrap_or(0).max("TENANT".len());
    writeln!(
        out,
        "{:8}  {:width$}  {:7}  {:20}  {:20}  {:20}  NAME",
        "ID", "TENANT", "STATE", "CREATED", "EXPIRES", "USED"
    )?;
    for row in &rows {
        let (created, expires) = (utc(row.created_ms), date_or(row.expires_ms, "never"));
        let (state, used) = (state(row, now_ms), date_or(row.used_ms, "never"));
        writeln!(
            out,
            "{:8}  {:width$}  {state:7}  {created:20}  {expires:20}  {used:20}  {}",
            row.id,
            row.tenant,
            row.name.escape_default()
        )?;
    }
    Ok(())
}

async fn revoke(args: &RevokeArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), KeyError> {
    // Somebody who has only the key itself can revoke it as well; it is never repeated.
    let id = api_key::parse(&args.id).map_or(args.id.as_str(), |presented| presented.id());
    let store = Store::open(&args.place.store()?, Create::Never).await?;
    let done = store.key_revoke(id, now_ms).await;
    let known = store.key_get(id).await;
    store.close().await;
    match (done?, known?) {
        (true, _) => writeln!(out, "revoked {id}: gateways refuse it, and end its streams, within a second")?,
        (false, Some(_)) => return Err(KeyError::RevokedBefore(id.to_owned())),
        (false, None) if id.len() > 16 => return Err(KeyError::Unknown("..".to_owned())),
        (false, None) => return Err(KeyError::Unknown(id.to_owned())),
    }
    Ok(())
}

/// A key as shown. The secret only where it was just made.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    tenant: &'a str,
    name: &'a str,
    state: &'static str,
    roles: &'a [String],
    models: Option<&'a [String]>,
    created_ms: u64,
    expires_ms: Option<u64>,
    revoked_ms: Option<u64>,
    used_ms: Option<u64>,
    kind: &'static str,
    scopes: &'a Scopes,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<&'a str>,
}

impl<'a> Shown<'a> {
    fn of(row: &'a KeyRow, now_ms: u64) -> Self {
        Self {
            id: &row.id,
            key: None,
            tenant: &row.tenant,
            name: &row.name,
            state: state(row, now_ms),
            roles: &row.roles,
            models: row.models.as_deref(),
            created_ms: row.created_ms,
            expires_ms: row.expires_ms,
            revoked_ms: row.revoked_ms,
            used_ms: row.used_ms,
            kind: row.kind.name(),
            scopes: &row.scopes,
            replaces: row.replaces.as_deref(),
        }
    }
}

fn state(row: &KeyRow, now_ms: u64) -> &'static str {
    match (row.revoked_ms, row.expires_ms) {
        (Some(_), _) => "revoked",
        (None, Some(expires_ms)) if expires_ms <= now_ms => "expired",
        (None, _) => "active",
    }
}

fn date_or(at_ms: Option<u64>, otherwise: &str) -> String {
    at_ms.map_or_else(|| otherwise.to_owned(), utc)
}

#[cfg(test)]
mod tests;
