//! Makes the Python environment in which the end-to-end tests drive Weir with the official SDKs of OpenAI and
//! Anthropic, and judge its SCIM endpoint with scim2-tester.
//!
//! It lives in the cache folder and is made once per pin: a stamp file, written last, says that it is whole.
//! Start at `make`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache;

/// What the tests import; pinned, so that a test run means the same next month.
const PINS: [&str; 5] =
    ["openai==3.57.0", "anthropic==2.14.0", "scim2-tester==0.5.2", "scim2-client==0.13.2", "scim2-models==0.12.3"];

/// The path of the environment's python.
pub fn make() -> Result<PathBuf> {
    let folder = cache::folder()?.join("venv");
    let python = folder.join("bin/python");
    let stamp = folder.join("weir-pins");
    let pins = PINS.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == pins) && python.exists() {
        return Ok(python);
    }
    eprintln!("venv: making {} with {pins}", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("can't remove `{}`", folder.display()))?;
    }
    create(&folder)?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    cache::run(Command::new(&python).args(install).args(PINS)).context("can't install the tests' Python packages")?;
    std::fs::write(&stamp, pins)?;
    Ok(python)
}

/// `python3 -m venv`, or virtualenv where Python came without it.
fn create(folder: &Path) -> Result<()> {
    const WAYS: [&[&str]; 3] = [&["python3", "-m", "venv"], &["virtualenv"], &["python3", "-m", "virtualenv"]];
    let made = || WAYS.iter().any(|way| cache::run(cache::command(way).arg(folder)).is_ok());
    if made() || (cache::apt_install("python3-venv") && made()) {
        return Ok(());
    }
    bail!("can't make a Python environment; install one of python3-venv, virtualenv")
}
