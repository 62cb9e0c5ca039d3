//! `weir tenant secret set|list|rm|rewrap`: a tenant's secrets, such as its own key at a provider. Sealed in the store
//! under the master key; never shown again.

use std::io::{Read, Write};
use std::path::PathBuf;

use super::{TenantError, parse_path};
use crate::cli::place::PlaceError;
use crate::config::{self, Settings};
use crate::identity::TenantPath;
use crate::identity::sealed::{MasterKeys, SECRET_BYTES_MAX, SealFault};
use crate::store::Store;
use crate::store::sqlite::Create;
use crate::store::tenant_secret::SecretRow;

/// Bytes of a secret's name at most.
const NAME_BYTES_MAX: usize = 64;

/// Arguments of `weir tenant secret`.
#[derive(Debug, clap::Args)]
pub struct SecretArgs {
    /// What to do
    #[command(subcommand)]
    pub command: SecretCommand,
}

/// What one does with secrets.
#[derive(Debug, clap::Subcommand)]
pub enum SecretCommand {
    /// Read a secret from standard input and seal it
    Set(NamedArgs),
    /// List the names of secrets, one line of JSON each
    List(ConfigArgs),
    /// Take a secret out
    Rm(NamedArgs),
    /// Seal every secret anew under the newest master key; older ones can be taken out of the configuration then
    Rewrap(ConfigArgs),
}

/// The configuration, which names the store and the master key.
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// One secret.
#[derive(Debug, clap::Args)]
pub struct NamedArgs {
    /// Where
    #[command(flatten)]
    pub place: ConfigArgs,
    /// ORG[/TEAM[/PROJECT[/USER]]]
    #[arg(value_name = "PATH", value_parser = parse_path)]
    pub path: TenantPath,
    /// Its name, as deployments call it in `tenant_key`
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Runs a command on secrets.
///
/// # Errors
/// The place, the store, or the secret is no good.
pub async fn run(args: &SecretArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), TenantError> {
    match &args.command {
        SecretCommand::Set(args) => {
            let (settings, store) = open(&args.place).await?;
            let mut secret = Vec::new();
            let most = u64::try_from(SECRET_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(2);
            std::io::stdin().take(most).read_to_end(&mut secret)?;
            let secret = config::secret::without_line_break(&secret);
            let row = sealed(&MasterKeys::new(&settings.master_keys), &args.path, &args.name, secret, now_ms);
            let done = match row {
                Ok(row) => store.secret_set(&row).await.map_err(TenantError::from),
                Err(fault) => Err(fault.into()),
            };
            store.close().await;
            done?;
            Ok(writeln!(out, "set {} of {}: gateways use it within a second", args.name, args.path)?)
        }
        SecretCommand::List(args) => {
            let (_, store) = open(args).await?;
            let rows = store.secrets_all().await;
            store.close().await;
            for row in rows? {
                writeln!(out, "{}", shown(&row))?;
            }
            Ok(())
        }
        SecretCommand::Rm(args) => {
            let (_, store) = open(&args.place).await?;
            let done = store.secret_remove(args.path.as_str(), &args.name).await;
            store.close().await;
            match done? {
                true => Ok(writeln!(out, "removed {} of {}", args.name, args.path)?),
                false => Err(TenantError::NoSecret { tenant: args.path.clone(), name: args.name.clone() }),
            }
        }
        SecretCommand::Rewrap(args) => {
            let (settings, store) = open(args).await?;
            let done = rewrap(&store, &MasterKeys::new(&settings.master_keys), now_ms).await;
            store.close().await;
            let (count, all) = done?;
            Ok(writeln!(out, "{count} of {all} secrets are sealed anew")?)
        }
    }
}

async fn open(args: &ConfigArgs) -> Result<(Settings, Store), TenantError> {
    let settings = config::load(&args.config).map_err(PlaceError::from)?.settings;
    let store = Store::open(&settings.store, Create::IfMissing).await?;
    Ok((settings, store))
}

/// What may be told of a stored secret.
pub(crate) fn shown(row: &SecretRow) -> serde_json::Value {
    serde_json::json!({
        "tenant": row.tenant, "name": row.name, "version": row.version, "changed_ms": row.changed_ms,
    })
}

/// A row to store. What could not be sent as a credential is refused now, and not with each call.
pub(crate) fn sealed(
    keys: &MasterKeys,
    tenant: &TenantPath,
    name: &str,
    secret: &[u8],
    changed_ms: u64,
) -> Result<SecretRow, SealFault> {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_name) {
        return Err(SealFault::Name);
    }
    if http::HeaderValue::from_bytes(secret).is_err() {
        return Err(SealFault::NoHeader);
    }
    let (version, sealed) = keys.seal(tenant, name, secret)?;
    Ok(SecretRow { tenant: tenant.to_string(), name: name.to_owned(), version, sealed, changed_ms })
}

/// Seals what an older key sealed anew: how many, of how many. Nothing is lost where one can't be opened.
async fn rewrap(store: &Store, keys: &MasterKeys, now_ms: u64) -> Result<(usize, usize), TenantError> {
    let rows = store.secrets_all().await?;
    let mut fresh = Vec::new();
    for row in rows.iter().filter(|row| Some(row.version) != keys.newest()) {
        let tenant = TenantPath::parse(&row.tenant).map_err(|_| SealFault::Forged)?;
        let secret = keys.open(&tenant, &row.name, row.version, &row.sealed)?;
        fresh.push(sealed(keys, &tenant, &row.name, secret.expose(), now_ms)?);
    }
    for row in &fresh {
        store.secret_set(row).await?;
    }
    Ok((fresh.len(), rows.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{Pepper, Secret};

    fn keys(list: &[u32]) -> MasterKeys {
        let key = |version: &u32| Pepper {
            version: *version,
            secret: Secret::new(format!("a master key of version {version}").as_bytes()),
        };
        MasterKeys::new(&list.iter().map(key).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn a_new_master_key_takes_all_secrets_over_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("weir.db"), Create::IfMissing).await.unwrap();
        let tenant = TenantPath::parse("acme").unwrap();
        for name in ["a", "b"] {
            store.secret_set(&sealed(&keys(&[1]), &tenant, name, name.as_bytes(), 1).unwrap()).await.unwrap();
        }
        let before = store.secrets_all().await.unwrap();
        let lost = rewrap(&store, &keys(&[2]), 2).await.unwrap_err();
        assert!(matches!(lost, TenantError::Seal(SealFault::Version(1))), "{lost}");
        assert_eq!(store.secrets_all().await.unwrap(), before);
        assert_eq!(rewrap(&store, &keys(&[1, 2]), 2).await.unwrap(), (2, 2));
        assert_eq!(rewrap(&store, &keys(&[2]), 2).await.unwrap(), (0, 2));
        for row in store.secrets_all().await.unwrap() {
            let secret = keys(&[2]).open(&tenant, &row.name, row.version, &row.sealed).unwrap();
            assert_eq!(secret.expose(), row.name.as_bytes());
        }
    }
}
