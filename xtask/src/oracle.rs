//! Brings the real OPA, as a C library within a Python wheel, so that tests can ask it what Weir is asked.
//!
//! It is an oracle for tests and no part of Weir; where it can't be had, those tests say so and do nothing.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{cache, venv};

/// The wheel; it claims a later Python than it needs, so pip is told one.
const PIN: &str = "opa-golib-python-bindings==0.4.4";
const PYTHON: &str = "3.14";

/// The folder that holds the package.
pub fn bring() -> Result<PathBuf> {
    let folder = cache::folder()?.join("opa");
    let stamp = folder.join("weir-pin");
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == PIN) {
        return Ok(folder);
    }
    eprintln!("oracle: bringing {PIN}");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("can't remove `{}`", folder.display()))?;
    }
    std::fs::create_dir_all(&folder)?;
    let python = venv::make()?;
    let download = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"];
    let only = ["--only-binary=:all:", "--python-version", PYTHON, "--dest"];
    cache::run(Command::new(&python).args(download).args(only).arg(&folder).arg(PIN)).context("can't download OPA")?;
    let wheel = std::fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
    let wheel = wheel.filter(|path| path.extension().is_some_and(|kind| kind == "whl")).last().context("no wheel")?;
    cache::run(Command::new(&python).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&folder)).context("can't unpack")?;
    std::fs::write(&stamp, PIN)?;
    Ok(folder)
}
