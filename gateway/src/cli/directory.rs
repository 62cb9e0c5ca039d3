//! `weir directory`: who is in the directories, and what they add to a caller.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::place::{Place, PlaceError};
use crate::config::{self, Faults};
use crate::identity::directory::{Added, Directories, DirectoryFault, UserName};
use crate::identity::tenant::{PathError, TenantPath};
use crate::store::directory::Pick;
use crate::store::sqlite::Create;
use crate::store::{Store, StoreError};

/// Users of one look at the store.
const PAGE: u64 = 500;

/// Arguments of `weir directory`.
#[derive(Debug, clap::Args)]
pub struct DirectoryArgs {
    /// What to do
    #[command(subcommand)]
    pub command: DirectoryCommand,
}

/// What can be done with directories.
#[derive(Debug, clap::Subcommand)]
pub enum DirectoryCommand {
    /// List the users that identity providers told of, one JSON object a line
    List(ListArgs),
    /// Say what all directories of a tenant, LDAP servers included, add to a user, or why they refuse
    Lookup(LookupArgs),
}

/// Arguments of `weir directory list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Where
    #[command(flatten)]
    pub place: Place,
    /// Only the directory of this tenant
    #[arg(long, value_name = "PATH", value_parser = parse_path)]
    pub tenant: Option<TenantPath>,
}

/// Arguments of `weir directory lookup`.
#[derive(Debug, clap::Args)]
pub struct LookupArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The caller's tenant
    #[arg(long, value_name = "PATH", value_parser = parse_path)]
    pub tenant: TenantPath,
    /// A name of the user: the fourth level of a key's path, a token's subject, or an e-mail address
    pub user: String,
}

/// Why a directory command failed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The place is no good.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The configuration has faults.
    #[error(transparent)]
    Config(#[from] Faults),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output can't be written.
    #[error("the output can't be written")]
    Output(#[from] std::io::Error),
}

impl DirectoryError {
    /// The process's exit status: 78 for faults of the configuration, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Place(PlaceError::Config(_)) => super::EX_CONFIG,
            Self::Place(_) | Self::Store(_) | Self::Output(_) => 1,
        }
    }
}

fn parse_path(text: &str) -> Result<TenantPath, PathError> {
    TenantPath::parse(text)
}

/// Runs a directory command; the exit status is 2 where a looked-up user is refused. `now_ms` is Unix time.
pub async fn run(args: &DirectoryArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<u8, DirectoryError> {
    match &args.command {
        DirectoryCommand::List(args) => list(args, out).await.map(|()| 0),
        DirectoryCommand::Lookup(args) => lookup(args, now_ms, out).await,
    }
}

async fn list(args: &ListArgs, out: &mut (dyn Write + Send)) -> Result<(), DirectoryError> {
    let store = Store::open(&args.place.store()?, Create::Never).await?;
    let done = list_of(&store, args.tenant.as_ref(), out).await;
    store.close().await;
    done
}

async fn list_of(store: &Store, only: Option<&TenantPath>, out: &mut (dyn Write + Send)) -> Result<(), DirectoryError> {
    let mut tenants: BTreeSet<String> = store.people_all().await?.into_iter().map(|person| person.tenant).collect();
    tenants.retain(|tenant| only.is_none_or(|only| only.as_str() == tenant));
    for tenant in tenants {
        for page in 0.. {
            let rows = store.users_list(&tenant, &Pick::All, (PAGE.saturating_mul(page), PAGE)).await?;
            for row in &rows {
                let user: Value = serde_json::from_str(&row.document).unwrap_or_default();
                let groups = store.groups_of(&tenant, &row.id).await?;
                let groups: Vec<Value> = groups.iter().filter_map(|(_, group)| display(group)).collect();
                let shown = json!({
                    "tenant": tenant, "id": row.id, "user": user.get("userName"), "groups": groups,
                    "active": user.get("active") != Some(&Value::Bool(false)), "changed_ms": row.changed_ms,
                });
                writeln!(out, "{shown}")?;
            }
            if rows.is_empty() {
                break;
            }
        }
    }
    Ok(())
}

fn display(group: &str) -> Option<Value> {
    serde_json::from_str::<Value>(group).ok()?.get("displayName").cloned()
}

async fn lookup(args: &LookupArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<u8, DirectoryError> {
    let settings = config::load(&args.config)?.settings;
    let store = Store::open(&settings.store, Create::IfMissing).await?;
    let directories = Directories::new();
    let read = directories.refresh(&store, now_ms).await;
    store.close().await;
    read?;
    let user = args.user.as_str();
    // Which of these it is, only a credential tells; LDAP is asked once, because all are the same text.
    let names = [UserName::Level(user.into()), UserName::Claim(user.into()), UserName::Mail(user.into())];
    let asked = directories.lookup(&settings.directory, &args.tenant, &names, now_ms).await;
    writeln!(out, "{}", told(&asked))?;
    Ok(if asked.is_ok() { 0 } else { 2 })
}

fn told(asked: &Result<Added, DirectoryFault>) -> Value {
    match asked {
        Ok(added) => {
            let roles: Vec<&str> = added.roles.iter().map(|role| &**role).collect();
            json!({"ok": true, "roles": roles, "attributes": added.attributes})
        }
        Err(fault) => json!({"ok": false, "reason": fault.code(), "text": fault.to_string()}),
    }
}
