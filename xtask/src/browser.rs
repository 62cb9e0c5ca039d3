//! Brings a browser for the end-to-end tests of the finance page: Debian's Chromium, and npm `playwright-core` to drive
//! it, pinned by the lock in `tests/browser`.
//!
//! The packages live in the cache folder, made once per lock; a stamp file, written last, says that they are whole, and
//! the file `chromium` beside them names the browser's program. Where node, npm or the browser can't be had, the tests
//! that need it are skipped. Start at `make`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{cache, idp};

/// What `playwright-core` asks for.
const NODE_LEAST: u32 = 20;
/// Names of the browser's program, the package's own first.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// The folder of the installed packages; `None`, with a note, where it can't be installed here.
pub fn make() -> Result<Option<PathBuf>> {
    if idp::node_version().is_none_or(|version| version < NODE_LEAST) {
        return Ok(without(&format!("no node of version {NODE_LEAST} or later")));
    }
    if !cache::works(&mut cache::command(&["npm", "--version"])) {
        return Ok(without("no npm"));
    }
    let Some(program) = program().or_else(|| cache::apt_install("chromium").then(program).flatten()) else {
        return Ok(without("no chromium, and it can't be installed"));
    };
    let folder = cache::folder()?.join("browser");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/browser");
    let lock = std::fs::read_to_string(source.join("package-lock.json")).context("can't read the browser's lock")?;
    let stamp = folder.join("weir-lock");
    std::fs::create_dir_all(&folder).with_context(|| format!("can't make `{}`", folder.display()))?;
    std::fs::write(folder.join("chromium"), program.as_os_str().as_encoded_bytes())?;
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == lock) {
        return Ok(Some(folder));
    }
    eprintln!("browser: installing {}", folder.display());
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(source.join(name), folder.join(name)).with_context(|| format!("can't copy `{name}`"))?;
    }
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"];
    if cache::run(Command::new("npm").args(install).current_dir(&folder)).is_err() {
        return Ok(without("npm can't install its driver"));
    }
    std::fs::write(&stamp, lock)?;
    Ok(Some(folder))
}

/// The browser's program, where the search path has one.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    PROGRAMS.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()))
}

fn without(why: &str) -> Option<PathBuf> {
    eprintln!("browser: {why}: the tests in a real browser are skipped");
    None
}
