//! The validator of FOCUS exports, in a Python environment of its own: it needs a later Python than the other tests.
//!
//! Start at `make`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache;

/// Pinned, so that a test run means the same next month. Its rules are those of FOCUS 1.2; the latest pyarrow doesn't
/// go with the numpy that it asks for.
const PINS: [&str; 3] = ["focus-validator==2.2.1", "numpy==1.26.4", "pyarrow==18.1.0"];
/// Oldest Python that it runs on.
const VERSION_CHECK: &str = "import sys; sys.exit(sys.version_info < (3, 12))";

/// The path of the validator; `None` where no Python is late enough.
pub fn make() -> Result<Option<PathBuf>> {
    let folder = cache::folder()?.join("focus");
    let validator = folder.join("bin/focus-validator");
    let stamp = folder.join("weir-pins");
    let pins = PINS.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == pins) && validator.exists() {
        return Ok(Some(validator));
    }
    let is_late = |python: &PathBuf| cache::works(Command::new(python).args(["-c", VERSION_CHECK]));
    let Some(python) = pythons().into_iter().find(is_late) else {
        eprintln!("focus: no Python of 3.12 or later is there");
        return Ok(None);
    };
    eprintln!("focus: making {} with {pins}", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("can't remove `{}`", folder.display()))?;
    }
    cache::run(Command::new(&python).args(["-m", "venv"]).arg(&folder)).context("can't make a Python environment")?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    cache::run(Command::new(folder.join("bin/python")).args(install).args(PINS))
        .context("can't install the validator")?;
    std::fs::write(&stamp, pins)?;
    Ok(Some(validator))
}

/// Where Pythons are looked for: on the path, and among pyenv's.
fn pythons() -> Vec<PathBuf> {
    let named = ["python3.13", "python3.12", "python3"].map(PathBuf::from);
    let versions = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv/versions"));
    let entries = versions.and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let mut pyenv: Vec<PathBuf> = entries.map(|entry| entry.path().join("bin/python")).collect();
    pyenv.sort();
    named.into_iter().chain(pyenv.into_iter().rev()).collect()
}
