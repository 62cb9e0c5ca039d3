//! `weir key expire|rotate|scope|delete`: changes of keys, straight in the store.

use std::io::Write;
use std::time::Duration;

use super::{KeyError, Place, RevokeArgs, ScopeArgs, Shown, Wanted, date_or, draw, parse_pattern, parse_time};
use crate::identity::TenantPath;
use crate::identity::keyring::EVERYWHERE;
use crate::store::Store;
use crate::store::sqlite::Create;

/// Arguments of `weir key expire`.
#[derive(Debug, clap::Args)]
pub struct ExpireArgs {
    /// Where the store is
    #[command(flatten)]
    pub place: Place,
    /// The key's eight-character id
    #[arg(value_name = "ID")]
    pub id: String,
    /// Time that it still has, such as 1h; a key is never given more than it had
    #[arg(long = "in", value_name = "TIME", value_parser = parse_time)]
    pub within: Duration,
}

/// Arguments of `weir key rotate`.
#[derive(Debug, clap::Args)]
pub struct RotateArgs {
    /// Where the store is
    #[command(flatten)]
    pub place: Place,
    /// The old key's eight-character id
    #[arg(value_name = "ID")]
    pub id: String,
    /// Time for which both keys work, such as 24h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub overlap: Duration,
    /// The new key's time; without it the new key holds until it is revoked
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub expires_in: Option<Duration>,
    /// One line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `weir key scope`.
#[derive(Debug, clap::Args)]
pub struct ScopeKeyArgs {
    /// Where the store is
    #[command(flatten)]
    pub place: Place,
    /// The key's eight-character id
    #[arg(value_name = "ID")]
    pub id: String,
    /// A model that it may use, or a beginning with `*`; may be repeated; none: those of its tenant
    #[arg(long = "model", value_name = "MODEL", value_parser = parse_pattern)]
    pub models: Vec<String>,
    /// Where it may be used
    #[command(flatten)]
    pub scopes: ScopeArgs,
}

fn after(now_ms: u64, time: Duration) -> u64 {
    now_ms.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Lets a key end sooner.
pub async fn expire(args: &ExpireArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), KeyError> {
    let store = Store::open(&args.place.store()?, Create::Never).await?;
    let done = store.key_expire(&args.id, after(now_ms, args.within)).await;
    let row = store.key_get(&args.id).await;
    store.close().await;
    match (done?, row?) {
        (true, Some(row)) => writeln!(out, "{} ends at {}", row.id, date_or(row.expires_ms, "never"))?,
        (_, _) => return Err(KeyError::Unknown(args.id.clone())),
    }
    Ok(())
}

/// Makes a key like the old one, which ends with the overlap.
pub async fn rotate(args: &RotateArgs, now_ms: u64, out: &mut (dyn Write + Send)) -> Result<(), KeyError> {
    let issuer = args.place.issuer()?;
    let store = Store::open(&issuer.store, Create::Never).await?;
    let turn = Turn { id: &args.id, overlap: args.overlap, expires_in: args.expires_in };
    let made = rotated(&store, &issuer.peppers, &turn, now_ms).await;
    store.close().await;
    let (key, row, until_ms) = made?;
    if args.json {
        let shown = Shown { key: Some(key.reveal()), ..Shown::of(&row, now_ms) };
        writeln!(out, "{}", serde_json::to_string(&shown).unwrap_or_default())?;
        return Ok(());
    }
    writeln!(out, "{}\n\nid       {}\ntenant   {}", key.reveal(), row.id, row.tenant)?;
    writeln!(out, "replaces {}, which works until {}", args.id, date_or(Some(until_ms), "never"))?;
    writeln!(out, "\nThis is the only time the key is shown: Weir keeps its hash.")?;
    Ok(())
}

/// A rotation.
pub(crate) struct Turn<'a> {
    /// The old key.
    pub(crate) id: &'a str,
    /// Time for which both work.
    pub(crate) overlap: Duration,
    /// The new key's time.
    pub(crate) expires_in: Option<Duration>,
}

/// Makes a key that replaces another; the old one ends with the overlap, at the time that comes last.
pub(crate) async fn rotated(
    store: &Store,
    peppers: &crate::identity::Peppers,
    args: &Turn<'_>,
    now_ms: u64,
) -> Result<(crate::identity::api_key::NewKey, crate::store::KeyRow, u64), KeyError> {
    let unknown = || KeyError::Unknown(args.id.to_owned());
    let old = store.key_get(args.id).await?.ok_or_else(unknown)?;
    if old.revoked_ms.is_some() || old.expires_ms.is_some_and(|at_ms| at_ms <= now_ms) {
        return Err(KeyError::Wanted("a key that is revoked or expired can't be rotated: make a new one"));
    }
    let tenant = match old.tenant.as_str() {
        EVERYWHERE => None,
        path => Some(TenantPath::parse(path).map_err(|_| unknown())?),
    };
    let wanted = Wanted {
        tenant: tenant.as_ref(),
        name: &old.name,
        roles: &old.roles,
        models: old.models.as_ref(),
        expires_ms: args.expires_in.map(|time| after(now_ms, time)),
        kind: old.kind,
        scopes: &old.scopes,
        replaces: Some(&old.id),
    };
    let (key, row) = draw(store, peppers, &wanted, now_ms).await?;
    let until_ms = old.expires_ms.map_or(u64::MAX, |at_ms| at_ms).min(after(now_ms, args.overlap));
    match store.key_rotate(&old.id, &row, until_ms).await? {
        true => Ok((key, row, until_ms)),
        false => Err(unknown()),
    }
}

/// Gives a key other models and scopes.
pub async fn scope(args: &ScopeKeyArgs, out: &mut (dyn Write + Send)) -> Result<(), KeyError> {
    let scopes = args.scopes.scopes();
    scopes.check()?;
    let models = (!args.models.is_empty()).then_some(args.models.as_slice());
    let store = Store::open(&args.place.store()?, Create::Never).await?;
    let done = store.key_narrow(&args.id, models, &scopes).await;
    store.close().await;
    match done? {
        true => writeln!(out, "changed {}: gateways follow, and end its streams, within a second", args.id)?,
        false => return Err(KeyError::Unknown(args.id.clone())),
    }
    Ok(())
}

/// Takes a key out.
pub async fn delete(args: &RevokeArgs, out: &mut (dyn Write + Send)) -> Result<(), KeyError> {
    let store = Store::open(&args.place.store()?, Create::Never).await?;
    let done = store.key_delete(&args.id).await;
    store.close().await;
    match done? {
        true => writeln!(out, "deleted {}: gateways refuse it, and end its streams, within a second", args.id)?,
        false => return Err(KeyError::Unknown(args.id.clone())),
    }
    Ok(())
}
