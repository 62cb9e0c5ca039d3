//! Installs the identity provider of the end-to-end tests: npm `oidc-provider`, pinned by the lock in `tests/idp`.
//!
//! It lives in the cache folder and is made once per lock; a stamp file, written last, says that it is whole. Where
//! node or npm is missing, the tests that need it are skipped. Start at `make`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache;

/// What `oidc-provider` asks for.
const NODE_LEAST: u32 = 20;

/// The folder of the installed packages; `None`, with a note, where it can't be installed here.
pub fn make() -> Result<Option<PathBuf>> {
    let Some(version) = node_version().filter(|version| *version >= NODE_LEAST) else {
        return Ok(without(&format!("no node of version {NODE_LEAST} or later")));
    };
    let folder = cache::folder()?.join("idp");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/idp");
    let lock = std::fs::read_to_string(source.join("package-lock.json")).context("can't read the lock of the idp")?;
    let stamp = folder.join("weir-lock");
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == lock) {
        return Ok(Some(folder));
    }
    if !cache::works(&mut cache::command(&["npm", "--version"])) {
        return Ok(without("no npm"));
    }
    eprintln!("idp: installing {} with node {version}", folder.display());
    std::fs::create_dir_all(&folder).with_context(|| format!("can't make `{}`", folder.display()))?;
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(source.join(name), folder.join(name)).with_context(|| format!("can't copy `{name}`"))?;
    }
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"];
    cache::run(Command::new("npm").args(install).current_dir(&folder)).context("can't install the tests' idp")?;
    std::fs::write(&stamp, lock)?;
    Ok(Some(folder))
}

fn without(why: &str) -> Option<PathBuf> {
    eprintln!("idp: {why}: the tests with a real identity provider are skipped");
    None
}

/// The major version of node.
pub(crate) fn node_version() -> Option<u32> {
    let output = Command::new("node").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}
