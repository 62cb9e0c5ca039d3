//! Finds Redis's server for the tests of shared limits, or brings Debian's.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{cache, debian};

/// Where Debian's package has it.
const BINARY: &str = "usr/bin/redis-server";

/// The server's binary; `None`, with a note, where it can't be had here. Its libraries lie beside it, or are the
/// system's.
pub fn bring() -> Result<Option<PathBuf>> {
    let installed = Path::new("/").join(BINARY);
    if cache::works(std::process::Command::new(&installed).arg("--version")) {
        return Ok(Some(installed));
    }
    let folder = debian::unpacked("redis-server", cache::folder()?.join("redis"), |folder| {
        // A link to `redis-check-rdb`, which the package with the tools has.
        folder.join(BINARY).exists()
    })?;
    Ok(folder.map(|folder| folder.join(BINARY)))
}
