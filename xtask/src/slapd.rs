//! Brings Debian's LDAP server for the end-to-end tests, unpacked in the cache folder.
//!
//! Nothing is installed and no service starts: apt downloads the package and what it needs, and `dpkg -x` unpacks them.
//! Where there is no apt, or it knows no such package, the tests that need it are skipped. Start at `bring`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache;

/// The package, and what of it must be there.
const PACKAGE: &str = "slapd";
const BINARY: &str = "usr/sbin/slapd";

/// The folder that it is unpacked in; `None`, with a note, where it can't be had here.
pub fn bring() -> Result<Option<PathBuf>> {
    let folder = cache::folder()?.join("slapd");
    let stamp = folder.join("weir-whole");
    if stamp.exists() && folder.join(BINARY).exists() {
        return Ok(Some(folder));
    }
    if !cache::works(&mut cache::command(&["apt-get", "--version"])) {
        return Ok(without("no apt-get"));
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("can't remove `{}`", folder.display()))?;
    }
    let archives = folder.join("archives");
    std::fs::create_dir_all(archives.join("partial"))?;
    if download(&archives).is_err() {
        return Ok(without("apt-get can't download it"));
    }
    for archive in std::fs::read_dir(&archives)?.flatten().map(|entry| entry.path()) {
        if archive.extension().is_some_and(|kind| kind == "deb") {
            cache::run(Command::new("dpkg").arg("-x").arg(&archive).arg(&folder)).context("can't unpack")?;
        }
    }
    if !folder.join(BINARY).exists() {
        return Ok(without("the package holds no server"));
    }
    std::fs::write(&stamp, "")?;
    Ok(Some(folder))
}

/// Downloads without a right to install: into a folder of our own, and without the system's locks.
fn download(archives: &Path) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(["install", "--download-only", "--reinstall", "-y", "-q", "--no-install-recommends"]);
    command.arg("-o").arg("Debug::NoLocking=1");
    command.arg("-o").arg(format!("Dir::Cache::archives={}", archives.display())).arg(PACKAGE);
    cache::run(&mut command)
}

fn without(why: &str) -> Option<PathBuf> {
    eprintln!("slapd: {why}: the tests with a real LDAP server are skipped");
    None
}
