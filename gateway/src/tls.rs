//! Whether the certificates and keys that the settings name can be used. Pingora finds out too late: in the middle of
//! its start, by a panic that leaves a process without that listener. [`door`] opens the listeners.

pub mod door;

use std::path::Path;

use pingora::tls::{
    RootCertStore, ServerConfig, install_default_crypto_provider, load_ca_file_into_store, load_certs_and_key_files,
    version,
};

use crate::config::settings::{Settings, TlsFiles};
use crate::identity::certificate::trust::Trust;

/// What can't be used: the setting, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {why}")]
pub struct TlsFault {
    /// The path of the setting in the configuration file.
    pub setting: String,
    /// Why, with the file.
    pub why: String,
}

/// Loads everything as the listeners and the connector will, and says what can't be.
pub fn faults(settings: &Settings) -> Vec<TlsFault> {
    let listeners = settings.listeners.iter().enumerate();
    let with_tls = listeners.filter_map(|(at, listener)| listener.tls.as_ref().map(|files| (at, files)));
    let served = with_tls.filter_map(|(at, files)| {
        let why = server(files).err()?;
        Some(TlsFault { setting: format!("listen[{at}].tls"), why })
    });
    let trusted = settings.upstream_ca.iter().filter_map(|path| {
        let why = authorities(path).err()?;
        Some(TlsFault { setting: "upstream.ca_file".to_owned(), why })
    });
    served.chain(trusts(settings).err()).chain(trusted).collect()
}

/// Who vouches for client certificates, by listener.
///
/// # Errors
/// The first file that can't be used.
pub fn trusts(settings: &Settings) -> Result<Vec<Option<Trust>>, TlsFault> {
    let all = settings.client_trust.iter().enumerate().map(|(at, files)| {
        let trust = files.as_ref().map(Trust::new).transpose();
        trust.map_err(|why| TlsFault { setting: format!("listen[{at}].tls"), why })
    });
    all.collect()
}

fn server(files: &TlsFiles) -> Result<(), String> {
    install_default_crypto_provider();
    let (cert, key) = (files.cert.display().to_string(), files.key.display().to_string());
    let loaded = load_certs_and_key_files(&cert, &key).map_err(|error| error.to_string())?;
    let (certs, secret) = loaded.ok_or_else(|| format!("`{cert}` or `{key}` holds nothing that can be used"))?;
    let versions = [&version::TLS12, &version::TLS13];
    let config = ServerConfig::builder_with_protocol_versions(&versions).with_no_client_auth();
    let built = config.with_single_cert(certs, secret);
    built.map(|_| ()).map_err(|error| format!("certificate `{cert}` with key `{key}`: {error}"))
}

fn authorities(path: &Path) -> Result<(), String> {
    let mut store = RootCertStore::empty();
    load_ca_file_into_store(path, &mut store).map_err(|error| format!("`{}`: {error}", path.display()))?;
    match store.is_empty() {
        true => Err(format!("`{}` holds no PEM block `CERTIFICATE`", path.display())),
        false => Ok(()),
    }
}
