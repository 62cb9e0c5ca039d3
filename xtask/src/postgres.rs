//! Finds PostgreSQL's programs for the tests of the store, or brings Debian's.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::{cache, debian};

/// Where Debian's packages have them, below the folder of each version.
const VERSIONS: &str = "usr/lib/postgresql";
/// The oldest that Weir's store is written for.
const VERSION_MIN: u32 = 15;

/// The folder of `initdb`, `postgres` and `createdb`; `None`, with a note, where they can't be had here. Their
/// libraries lie beside it, or are the system's.
pub fn bring() -> Result<Option<PathBuf>> {
    if let Some(installed) = newest(Path::new("/")) {
        return Ok(Some(installed));
    }
    let folder = debian::unpacked("postgresql", place()?, |folder| newest(folder).is_some())?;
    Ok(folder.as_deref().and_then(newest))
}

/// Where it is unpacked. The server refuses to run as root, so the tests of root run it as nobody, who can't look into
/// root's own cache folder.
fn place() -> Result<PathBuf> {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    Ok(if is_root { PathBuf::from("/var/tmp/weir-postgres") } else { cache::folder()?.join("postgres") })
}

/// The programs' folder of the newest version below a root.
fn newest(root: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(root.join(VERSIONS)).ok()?.flatten();
    let mut known: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(version, bin)| *version >= VERSION_MIN && is_whole(bin))
        .collect();
    known.sort();
    known.pop().map(|(_, bin)| bin)
}

fn is_whole(bin: &Path) -> bool {
    ["initdb", "postgres", "createdb"].into_iter().all(|name| bin.join(name).exists())
}
