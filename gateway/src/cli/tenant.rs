//! `weir tenant create|list|set|disable|enable|delete`: levels below those of the configuration, straight in the store.
//! They only narrow what the configuration grants. Running gateways see a change within a second.

pub mod secret;

use std::io::Write;
use std::num::{NonZeroU32, NonZeroU64};

use super::place::{Place, PlaceError};
use crate::identity::TenantPath;
use crate::identity::sealed::SealFault;
use crate::identity::stored::{SettingsFault, StoredLimits, TenantSettings};
use crate::identity::tenant::PathError;
use crate::store::sqlite::Create;
use crate::store::{Store, StoreError, TenantRow};

/// Bytes of a tenant's name at most.
const NAME_BYTES_MAX: usize = 256;

/// Arguments of `weir tenant`.
#[derive(Debug, clap::Args)]
pub struct TenantArgs {
    /// What to do
    #[command(subcommand)]
    pub command: TenantCommand,
}

/// What one does with tenants.
#[derive(Debug, clap::Subcommand)]
pub enum TenantCommand {
    /// Add a tenant
    Create(CreateArgs),
    /// List the tenants of the store, one line of JSON each
    List(Place),
    /// Give a tenant other settings, in the place of all that it had
    Set(SetArgs),
    /// Refuse everybody at a level and below; running streams end too
    Disable(OneArgs),
    /// Let them in again
    Enable(OneArgs),
    /// Take a tenant out: everything below it goes, its keys are revoked, its secrets removed
    Delete(OneArgs),
    /// Keep secrets of tenants, such as their own keys at providers
    Secret(secret::SecretArgs),
}

/// One tenant.
#[derive(Debug, clap::Args)]
pub struct OneArgs {
    /// Where the store is
    #[command(flatten)]
    pub place: Place,
    /// ORG[/TEAM[/PROJECT[/USER]]]
    #[arg(value_name = "PATH", value_parser = parse_path)]
    pub path: TenantPath,
}

/// Arguments of `weir tenant create`.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// Which
    #[command(flatten)]
    pub one: OneArgs,
    /// What people call it
    #[arg(long, default_value = "")]
    pub name: String,
    /// What holds there
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Arguments of `weir tenant set`.
#[derive(Debug, clap::Args)]
pub struct SetArgs {
    /// Which
    #[command(flatten)]
    pub one: OneArgs,
    /// What holds there
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// What holds at a level and below; each only narrows.
#[derive(Debug, clap::Args)]
pub struct SettingsArgs {
    /// A model that may be used, or a beginning with `*`; may be repeated; none: those of the outer levels
    #[arg(long = "model", value_name = "MODEL")]
    pub models: Vec<String>,
    /// A role that nobody has there; may be repeated
    #[arg(long = "without-role", value_name = "ROLE")]
    pub without_roles: Vec<String>,
    /// An attribute for policy that the configuration leaves open: NAME=VALUE; may be repeated
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    pub attributes: Vec<String>,
    /// Calls in a minute, shared by all
    #[arg(long)]
    pub requests_per_minute: Option<NonZeroU32>,
    /// Tokens in a minute, shared by all
    #[arg(long)]
    pub tokens_per_minute: Option<NonZeroU64>,
    /// Calls at the same time, shared by all
    #[arg(long)]
    pub concurrency: Option<NonZeroU32>,
}

impl SettingsArgs {
    fn settings(&self) -> Result<TenantSettings, TenantError> {
        let attribute = |text: &String| {
            let (name, value) = text.split_once('=').ok_or_else(|| TenantError::Attribute(text.clone()))?;
            Ok::<_, TenantError>((name.to_owned(), value.to_owned()))
        };
        let settings = TenantSettings {
            models: (!self.models.is_empty()).then(|| self.models.clone()),
            without_roles: self.without_roles.clone(),
            attributes: self.attributes.iter().map(attribute).collect::<Result<_, _>>()?,
            limits: StoredLimits {
                requests_per_minute: self.requests_per_minute,
                tokens_per_minute: self.tokens_per_minute,
                concurrency: self.concurrency,
            },
            key_limits: StoredLimits::default(),
        };
        settings.check()?;
        Ok(settings)
    }
}

/// Why a tenant command failed.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// The place is no good.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Settings that can't be kept.
    #[error(transparent)]
    Settings(#[from] SettingsFault),
    /// No `NAME=VALUE`.
    #[error("`{0}` is no NAME=VALUE")]
    Attribute(String),
    /// A name that can't be kept.
    #[error("a tenant's name has at most {NAME_BYTES_MAX} bytes without control characters")]
    Name,
    /// A secret that can't be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealFault),
    /// No such secret.
    #[error("`{tenant}` has no secret `{name}`")]
    NoSecret {
        /// The tenant.
        tenant: TenantPath,
        /// The name.
        name: String,
    },
    /// Not stored.
    #[error("no stored tenant has the path `{0}`")]
    Unknown(TenantPath),
    /// The output can't be written.
    #[error("the output can't be written")]
    Output(#[from] std::io::Error),
}

impl TenantError {
    /// The process's exit status: 78 for faults of the configuration, else 1.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::Place(PlaceError::Config(_))) { super::EX_CONFIG } else { 1 }
    }
}

fn parse_path(text: &str) -> Result<TenantPath, PathError> {
    TenantPath::parse(text)
}

/// Runs a tenant command; `now_ms` is Unix time.
pub async fn run(args: &TenantArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), TenantError> {
    match &args.command {
        TenantCommand::Create(args) => create(args, now_ms, out).await,
        TenantCommand::List(place) => list(place, out).await,
        TenantCommand::Set(args) => {
            let settings = args.settings.settings()?;
            let (store, path) = open(&args.one).await?;
            let done = store.tenant_set(path.as_str(), &settings, now_ms).await;
            store.close().await;
            known(done?, path)?;
            Ok(writeln!(out, "changed {path}: gateways follow within a second")?)
        }
        TenantCommand::Disable(args) => {
            let (store, path) = open(args).await?;
            let done = store.tenant_disable(path.as_str(), now_ms).await;
            store.close().await;
            done?;
            Ok(writeln!(out, "disabled {path}: gateways refuse everybody below it, and end streams, within a second")?)
        }
        TenantCommand::Enable(args) => {
            let (store, path) = open(args).await?;
            let done = store.tenant_enable(path.as_str(), now_ms).await;
            store.close().await;
            known(done?, path)?;
            Ok(writeln!(out, "enabled {path}")?)
        }
        TenantCommand::Delete(args) => delete(args, now_ms, out).await,
        TenantCommand::Secret(args) => secret::run(args, now_ms, out).await,
    }
}

async fn open(args: &OneArgs) -> Result<(Store, &TenantPath), TenantError> {
    Ok((Store::open(&args.place.store()?, Create::Never).await?, &args.path))
}

fn known(done: bool, path: &TenantPath) -> Result<(), TenantError> {
    if done { Ok(()) } else { Err(TenantError::Unknown(path.clone())) }
}

async fn create(args: &CreateArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), TenantError> {
    if args.name.len() > NAME_BYTES_MAX || args.name.chars().any(char::is_control) {
        return Err(TenantError::Name);
    }
    let row = TenantRow {
        path: args.one.path.to_string(),
        name: args.name.clone(),
        disabled: false,
        settings: args.settings.settings()?,
        created_ms: now_ms,
        changed_ms: now_ms,
    };
    let store = Store::open(&args.one.place.store()?, Create::IfMissing).await?;
    let done = store.tenant_insert(&row).await;
    store.close().await;
    done?;
    Ok(writeln!(out, "created {}", row.path)?)
}

async fn list(place: &Place, out: &mut (dyn Write + Send)) -> Result<(), TenantError> {
    let store = Store::open(&place.store()?, Create::Never).await?;
    let rows = store.tenants_all().await;
    store.close().await;
    for row in rows? {
        let shown = serde_json::json!({
            "path": row.path, "name": row.name, "disabled": row.disabled, "settings": row.settings,
            "created_ms": row.created_ms, "changed_ms": row.changed_ms,
        });
        writeln!(out, "{shown}")?;
    }
    Ok(())
}

async fn delete(args: &OneArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), TenantError> {
    let (store, path) = open(args).await?;
    let gone = store.tenant_delete(path.as_str(), now_ms).await;
    store.close().await;
    let gone = gone?;
    known(gone != crate::store::tenant::TenantGone::default(), path)?;
    let (tenants, keys, secrets) = (gone.tenants, gone.keys, gone.secrets);
    Ok(writeln!(out, "deleted {path}: levels {tenants}, keys revoked {keys}, secrets removed {secrets}")?)
}
