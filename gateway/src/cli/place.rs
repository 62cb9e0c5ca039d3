//! Where a command works: the data folder itself, or the configuration that names it.

use std::path::{Path, PathBuf};

use crate::config::secret::read_private;
use crate::config::settings::{Pepper, Secret, TenantRule};
use crate::config::{self, Faults, Wrong};
use crate::identity::Peppers;
use crate::store::node::NODE_FILE;
use crate::store::{STORE_FILE, StoreUrl};

/// File name of the pepper in a data folder that the demo made.
pub const PEPPER_FILE: &str = "pepper";

/// `--config FILE` or `--data DIR`.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Place {
    /// Configuration file, which names the data folder
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data folder
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Why a place can't be worked in.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The configuration has faults.
    #[error(transparent)]
    Config(#[from] Faults),
    /// A data folder without a pepper.
    #[error(
        "there is no `{PEPPER_FILE}` in `{}`: name the configuration with --config, or make it with `weir demo`",
        .0.display()
    )]
    NoPepper(PathBuf),
    /// A data folder that was used with a shared store.
    #[error("the store of `{}` is on a server: name the configuration with --config", .0.display())]
    Elsewhere(PathBuf),
    /// The pepper is there and can't be used.
    #[error("the pepper can't be used")]
    Pepper(#[source] Wrong),
}

impl Place {
    /// Where the store is: as the configuration says, or the data folder's own file.
    pub fn store(&self) -> Result<StoreUrl, PlaceError> {
        match (&self.data, &self.config) {
            (None, Some(file)) => Ok(config::load(file)?.settings.store),
            (_, _) => file_in(&self.folder()?),
        }
    }

    /// The data folder.
    pub fn folder(&self) -> Result<PathBuf, PlaceError> {
        match (&self.data, &self.config) {
            (Some(data), _) => Ok(data.clone()),
            (None, Some(file)) => Ok(config::load(file)?.settings.data),
            (None, None) => Ok(PathBuf::from(".")),
        }
    }

    /// Everything that making a key needs: store, peppers, and the tenants where a configuration was named.
    pub fn issuer(&self) -> Result<Issuer, PlaceError> {
        if let (Some(file), None) = (&self.config, &self.data) {
            let settings = config::load(file)?.settings;
            let store = settings.store;
            return Ok(Issuer { store, peppers: Peppers::new(&settings.peppers), tenants: Some(settings.tenants) });
        }
        let folder = self.folder()?;
        let pepper = Pepper { version: 1, secret: folder_pepper(&folder)? };
        Ok(Issuer { store: file_in(&folder)?, peppers: Peppers::new(&[pepper]), tenants: None })
    }
}

/// What making a key needs.
#[derive(Debug)]
pub struct Issuer {
    /// Where the store is.
    pub store: StoreUrl,
    /// Peppers of the place.
    pub peppers: Peppers,
    /// Tenants of the configuration, where one was named.
    pub tenants: Option<Vec<TenantRule>>,
}

/// The store in a data folder. One whose gateway keeps it on a server has none, and an empty one is never made there.
fn file_in(folder: &Path) -> Result<StoreUrl, PlaceError> {
    let file = folder.join(STORE_FILE);
    match !file.exists() && folder.join(NODE_FILE).exists() {
        true => Err(PlaceError::Elsewhere(folder.to_owned())),
        false => Ok(StoreUrl::File(file)),
    }
}

fn folder_pepper(folder: &Path) -> Result<Secret, PlaceError> {
    let path = folder.join(PEPPER_FILE);
    if !path.exists() {
        return Err(PlaceError::NoPepper(folder.to_owned()));
    }
    let bytes = read_private(&path).map_err(PlaceError::Pepper)?;
    let bytes = crate::config::secret::without_line_break(&bytes);
    match bytes.len() {
        got if got < config::check::SECRET_BYTES_LEAST => {
            Err(PlaceError::Pepper(Wrong::SecretShort { got, least: config::check::SECRET_BYTES_LEAST }))
        }
        _ => Ok(Secret::new(bytes)),
    }
}
