//! The files that the rules read: what git tracks or would track.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A text file of the tree; `path` is relative to the root, with `/`.
pub struct Text {
    pub path: String,
    pub text: String,
}

/// The repository's root, from where this package was built.
pub fn root() -> Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(package.parent().context("xtask has no parent folder")?.to_path_buf())
}

/// Every text file below `root`, in order. Files that are not UTF-8 are pictures or models and are left out.
pub fn read(root: &Path) -> Result<Vec<Text>> {
    let mut files = Vec::new();
    for path in list(root)? {
        let Ok(bytes) = std::fs::read(root.join(&path)) else {
            continue; // deleted, but git does not know yet
        };
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(Text { path, text });
        }
    }
    if files.is_empty() {
        bail!("no files below `{}`", root.display());
    }
    Ok(files)
}

/// Git's list; a copy of the tree without git is walked instead.
fn list(root: &Path) -> Result<Vec<String>> {
    let git = Command::new("git").arg("-C").arg(root).args(["ls-files", "-co", "--exclude-standard"]).output();
    let mut paths: Vec<String> = match git {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect(),
        _ => walk(root, "")?,
    };
    paths.sort();
    paths.dedup();
    Ok(paths)
}

fn walk(root: &Path, folder: &str) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        match entry.file_type()? {
            kind if kind.is_file() => paths.push(path),
            kind if kind.is_dir() && !["target", ".git", ".venv"].contains(&name.as_str()) => {
                paths.extend(walk(root, &path)?);
            }
            _ => {}
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_file_is_part_of_the_tree() {
        let paths = list(&root().unwrap()).unwrap();
        assert!(paths.contains(&"xtask/src/tidy/tree.rs".to_owned()));
    }

    #[test]
    fn a_tree_without_git_is_walked() {
        let paths = walk(&root().unwrap(), "xtask").unwrap();
        assert!(paths.contains(&"xtask/src/tidy/tree.rs".to_owned()));
    }
}
