//! Secrets by reference: `env:NAME` or `file:PATH`.
//!
//! Refuses literals without repeating them, and files that every user of the machine can read.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::fault::Wrong;
use super::settings::Secret;

/// Bytes of a secret at most.
pub const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Looks an environment variable up; `None` where it isn't set or isn't text.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's own environment: the only place that reads it.
#[allow(clippy::disallowed_methods)]
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A reference as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference<'a> {
    /// `env:NAME`.
    Env(&'a str),
    /// `file:PATH`.
    File(&'a str),
}

impl<'a> Reference<'a> {
    /// Parses a reference; anything else is taken for a literal secret.
    pub fn parse(text: &'a str) -> Result<Self, Wrong> {
        match (text.strip_prefix("env:"), text.strip_prefix("file:")) {
            (Some(name), _) if is_variable(name) => Ok(Self::Env(name)),
            (_, Some(path)) if !path.is_empty() => Ok(Self::File(path)),
            _ => Err(Wrong::LiteralSecret),
        }
    }

    /// The file it names, seen from `folder`.
    pub fn file(&self, folder: &Path) -> Option<PathBuf> {
        match self {
            Self::Env(_) => None,
            Self::File(path) => Some(super::resolve(folder, path)),
        }
    }

    /// Reads the secret; one line break at its end is not part of it.
    pub fn read(&self, folder: &Path, environment: Environment<'_>) -> Result<Secret, Wrong> {
        let (bytes, place) = match self {
            Self::Env(name) => {
                let text = environment(name).ok_or_else(|| Wrong::EnvMissing((*name).to_owned()))?;
                (text.into_bytes(), format!("the environment variable `{name}`"))
            }
            Self::File(path) => {
                let path = super::resolve(folder, path);
                (read_private(&path)?, format!("`{}`", path.display()))
            }
        };
        let bytes = without_line_break(&bytes);
        if bytes.is_empty() { Err(Wrong::SecretEmpty(place)) } else { Ok(Secret::new(bytes)) }
    }
}

/// The bytes without one line break at their end, which editors and `echo` add.
pub fn without_line_break(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// Reads a file that only its owner and group may read.
pub fn read_private(path: &Path) -> Result<Vec<u8>, Wrong> {
    let unreadable = |why: String| Wrong::File { path: path.to_owned(), why };
    let file = File::open(path).map_err(|e| unreadable(e.to_string()))?;
    let meta = file.metadata().map_err(|e| unreadable(e.to_string()))?;
    if !meta.is_file() {
        return Err(unreadable("it is not a file".to_owned()));
    }
    if meta.permissions().mode() & 0o004 != 0 {
        return Err(Wrong::WorldReadable(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX).read_to_end(&mut bytes).map_err(|e| unreadable(e.to_string()))?;
    Ok(bytes)
}

fn is_variable(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        (name == "SET").then(|| "from the environment\n".to_owned())
    }

    fn private_file(folder: &Path, name: &str, bytes: &[u8], mode: u32) {
        std::fs::write(folder.join(name), bytes).unwrap();
        std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn references_are_read_and_their_last_line_break_dropped() {
        let folder = tempfile::tempdir().unwrap();
        private_file(folder.path(), "s", b"from a file\r\n", 0o640);
        let read = |text| Reference::parse(text).unwrap().read(folder.path(), &environment).unwrap();
        assert_eq!(read("env:SET").expose(), b"from the environment");
        assert_eq!(read("file:./s").expose(), b"from a file");
    }

    #[test]
    fn a_literal_is_refused_and_not_repeated() {
        for literal in ["sk-very-secret", "env:not a name", "file:", "ENV:SET", ""] {
            let wrong = Reference::parse(literal).unwrap_err();
            assert_eq!(wrong, Wrong::LiteralSecret);
            assert!(!wrong.to_string().contains("very-secret"));
        }
    }

    #[test]
    fn what_cannot_be_trusted_is_refused_by_kind() {
        let folder = tempfile::tempdir().unwrap();
        private_file(folder.path(), "open", b"x", 0o644);
        private_file(folder.path(), "empty", b"\n", 0o600);
        let read = |text| Reference::parse(text).unwrap().read(folder.path(), &environment).unwrap_err();
        assert_eq!(read("env:UNSET"), Wrong::EnvMissing("UNSET".to_owned()));
        assert!(matches!(read("file:absent"), Wrong::File { .. }));
        assert!(matches!(read("file:."), Wrong::File { .. }));
        assert!(matches!(read("file:open"), Wrong::WorldReadable(_)));
        assert!(matches!(read("file:empty"), Wrong::SecretEmpty(_)));
    }
}
