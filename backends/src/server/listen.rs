//! The engine's doors: a Unix socket in a folder that only its owner may enter, and TCP only behind a secret.
//!
//! Whoever reaches the engine bypasses the gateway's policy, limits and audit; so a folder that others may enter is
//! refused instead of repaired, and TCP without a secret can't be expressed.

use super::secret::{self, Secret};
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::serve::ListenerExt;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, UnixListener};

/// A door could not be opened: the operator's fault.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The path has no folder.
    #[error("the socket's path `{0}` names no folder")]
    NoFolder(PathBuf),
    /// The folder can't be made or looked at.
    #[error("the socket's folder `{folder}` can't be used")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others may enter the folder.
    #[error("the socket's folder `{folder}` has mode {mode:o}: it must be entered by its owner only (chmod 700)")]
    Open {
        /// The folder.
        folder: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The folder is somebody else's, or no folder.
    #[error("the socket's folder `{0}` must be a folder of the user that runs the engine")]
    Foreign(PathBuf),
    /// Something else lies or listens there.
    #[error("`{0}` is in use")]
    InUse(PathBuf),
    /// The socket can't be bound.
    #[error("can't listen on `{address}`")]
    Bind {
        /// As given.
        address: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Opens the Unix socket; makes its folder where there is none, and takes away a socket that nobody listens on.
///
/// # Errors
/// [`ListenError`] when the folder is open to others or the socket is in use.
pub fn unix(path: &Path) -> Result<UnixListener, ListenError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.ok_or_else(|| ListenError::NoFolder(path.to_owned()))?;
    check_folder(folder)?;
    remove_stale(path)?;
    let bind = |source| ListenError::Bind { address: path.display().to_string(), source };
    let listener = UnixListener::bind(path).map_err(bind)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(bind)?;
    Ok(listener)
}

fn check_folder(folder: &Path) -> Result<(), ListenError> {
    let fault = |source| ListenError::Folder { folder: folder.to_owned(), source };
    if !folder.exists() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fault)?;
    }
    let found = std::fs::metadata(folder).map_err(fault)?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        return Err(ListenError::Foreign(folder.to_owned()));
    }
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(ListenError::Open { folder: folder.to_owned(), mode });
    }
    Ok(())
}

fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let in_use = || ListenError::InUse(path.to_owned());
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() || std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(in_use());
    }
    std::fs::remove_file(path).map_err(|_| in_use())
}

/// Opens a TCP port.
///
/// # Errors
/// [`ListenError::Bind`].
pub async fn tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError::Bind { address: address.to_string(), source })
}

/// Serves a Unix socket until `stop`, then until the running answers are out.
///
/// # Errors
/// The listener failed for good.
pub async fn serve_unix(
    listener: UnixListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

/// Serves a TCP port until `stop`; every request must carry the secret.
///
/// # Errors
/// The listener failed for good.
pub async fn serve_tcp(
    listener: TcpListener,
    router: Router,
    secret: Secret,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let listener = listener.tap_io(|stream| {
        // Small chunks must not wait for acknowledgements; a stream that can't be told so still works.
        stream.set_nodelay(true).ok();
    });
    let guarded = router.layer(from_fn_with_state(secret, secret::guard));
    axum::serve(listener, guarded).with_graceful_shutdown(stop).await
}
