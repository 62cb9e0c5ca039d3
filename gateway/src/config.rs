//! Configuration: the file as written, the settings as meant, every fault at once.
//!
//! Start at [`load`]. [`keys_table`] says which keys there are, [`settings`] what they become, [`check`] what must
//! hold. Refuses unknown keys, keys that stand twice, and secrets that aren't references (`env:NAME`, `file:PATH`).

pub mod check;
pub mod fault;
pub mod file;
pub mod finance_table;
pub mod keys_table;
pub mod limits_table;
pub mod prices_table;
pub mod reference;
pub mod secret;
pub mod settings;
pub mod shape;
pub mod url;
pub mod watch;

use std::path::{Path, PathBuf};

pub use fault::{Fault, Faults, Warning, Wrong};
pub use settings::Settings;

/// One revision of the configuration, checked.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Warning>,
    /// Files and folders that it names and whose change is a change of the configuration.
    pub watched: Vec<PathBuf>,
}

/// Reads, checks and resolves a configuration file; relative paths in it start at its own folder.
pub fn load(path: &Path) -> Result<Loaded, Faults> {
    load_with(path, &secret::process_environment)
}

/// [`load`] with an environment of the caller's choice.
pub fn load_with(path: &Path, environment: secret::Environment<'_>) -> Result<Loaded, Faults> {
    let file = file_name(path);
    let whole =
        |wrong| Faults { file: file.clone(), list: vec![Fault { path: String::new(), wrong }], watched: Vec::new() };
    let absolute = std::path::absolute(path).map_err(|e| whole(Wrong::Unreadable(e.to_string())))?;
    let node = file::read(&absolute).map_err(whole)?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    check::settings(&node, folder, environment).map_err(|(list, watched)| Faults { file: file.clone(), list, watched })
}

/// A file's name without its folder, as faults begin.
pub fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// A path of the file, seen from the file's folder, without `.` inside.
pub fn resolve(folder: &Path, text: &str) -> PathBuf {
    folder.join(text).components().collect()
}

/// Keys whose values differ and can't change in a running gateway; a reload that changes one is refused.
pub fn needs_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let changed = [
        ("listen", old.listeners != new.listeners),
        ("admin.listen", old.admin.listen != new.admin.listen),
        ("data", old.data != new.data),
        ("store", old.store != new.store && old.data == new.data),
        ("redis", old.redis != new.redis),
        ("threads", old.threads != new.threads),
        ("engine", old.engine != new.engine),
        ("policy.decision_log", !old.decision_log.has_sink_of(&new.decision_log)),
        ("upstream.ca_file", old.upstream_ca != new.upstream_ca),
    ];
    changed.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests;
