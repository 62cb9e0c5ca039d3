//! Servers of the tests from Debian's packages, unpacked in the cache folder.
//!
//! Nothing is installed and no service starts: apt downloads a package and what it needs, and `dpkg -x` unpacks them.
//! Where there is no apt, or it knows no such package, the tests that need the server are skipped. Start at `unpacked`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache;

/// Unpacks a package and all that it needs, once; `None`, with a note, where it can't be had here. `is_whole` looks
/// into the folder for what must be there.
pub fn unpacked(package: &str, folder: PathBuf, is_whole: impl Fn(&Path) -> bool) -> Result<Option<PathBuf>> {
    let without = |why: &str| {
        eprintln!("{package}: {why}: the tests that need it are skipped");
        Ok(None)
    };
    let stamp = folder.join("weir-whole");
    if stamp.exists() && is_whole(&folder) {
        return Ok(Some(folder));
    }
    if !cache::works(&mut cache::command(&["apt-get", "--version"])) {
        return without("no apt-get");
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("can't remove `{}`", folder.display()))?;
    }
    let archives = folder.join("archives");
    std::fs::create_dir_all(archives.join("partial"))?;
    if download(package, &archives).is_err() {
        return without("apt-get can't download it");
    }
    for archive in std::fs::read_dir(&archives)?.flatten().map(|entry| entry.path()) {
        if archive.extension().is_some_and(|kind| kind == "deb") {
            cache::run(Command::new("dpkg").arg("-x").arg(&archive).arg(&folder)).context("can't unpack")?;
        }
    }
    if !is_whole(&folder) {
        return without("the package holds no server");
    }
    std::fs::write(&stamp, "")?;
    Ok(Some(folder))
}

/// Downloads without a right to install: into a folder of our own, and without the system's locks.
fn download(package: &str, archives: &Path) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(["install", "--download-only", "--reinstall", "-y", "-q", "--no-install-recommends"]);
    command.arg("-o").arg("Debug::NoLocking=1");
    command.arg("-o").arg(format!("Dir::Cache::archives={}", archives.display())).arg(package);
    cache::run(&mut command)
}
