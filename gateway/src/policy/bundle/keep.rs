//! Bundles on the disk: the archives that were taken, and which of them decide. One folder for each bundle.
//!
//! A file is there whole or not at all. What is read back is checked by its digest here and by its signature again
//! where it is used, so that nobody who can write this folder can make a policy of his own decide.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::archive::ARCHIVE_BYTES_MAX;

/// Where it is written which revisions decide.
const STATE_FILE: &str = "state.json";
/// Bytes of that.
const STATE_BYTES_MAX: u64 = 256 << 10;
/// Digests that are held back, beside which a server may go on to offer.
const HELD_MAX: usize = 16;

/// Why a bundle can't be kept or read back.
#[derive(Debug, thiserror::Error)]
pub enum KeepFault {
    /// The disk.
    #[error("`{}`: {source}", path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not what was written.
    #[error("`{}` was changed or is malformed", .0.display())]
    Changed(PathBuf),
}

/// One archive that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// SHA-256 of its bytes, in hexadecimal.
    pub digest: String,
    /// Its revision's name.
    pub revision: String,
    /// Unix milliseconds at which it came into use first.
    pub activated_ms: u64,
}

/// Which archives decide.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Digest of what decides.
    pub newest: Option<String>,
    /// Digest of what decides about callers that the newest isn't rolled out to.
    pub base: Option<String>,
    /// Digests that a roll-back left: they are not taken when they are offered again. Oldest first.
    pub held: Vec<String>,
    /// The server's tag of what it offered last and was taken or is held.
    pub etag: Option<String>,
    /// Unix milliseconds at which the source last confirmed it.
    pub confirmed_ms: u64,
    /// Archives on the disk, in the order in which they came into use.
    pub kept: Vec<Kept>,
}

impl State {
    /// Holds a digest back.
    pub fn hold(&mut self, digest: &str) {
        self.held.retain(|one| one != digest);
        self.held.push(digest.to_owned());
        let over = self.held.len().saturating_sub(HELD_MAX);
        self.held.drain(..over);
    }

    /// Forgets the oldest archives beyond `keep`; those that decide stay. Gives the digests that are gone.
    pub fn prune(&mut self, keep: usize) -> Vec<String> {
        let mut gone = Vec::new();
        while self.kept.len() > keep {
            let decides = |kept: &Kept| [&self.newest, &self.base].contains(&&Some(kept.digest.clone()));
            let Some(place) = self.kept.iter().position(|kept| !decides(kept)) else { break };
            gone.push(self.kept.remove(place).digest);
        }
        gone
    }
}

/// SHA-256 in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The folder of one bundle.
#[derive(Debug, Clone)]
pub struct Shelf(PathBuf);

impl Shelf {
    /// The shelf of `name` in the folder of all bundles; `name` is one level of a path by its own check.
    pub fn of(folder: &Path, name: &str) -> Self {
        Self(folder.join(name))
    }

    /// Which archives decide; nothing does where none was ever taken.
    ///
    /// # Errors
    /// It can't be read, or is not what was written.
    pub fn state(&self) -> Result<State, KeepFault> {
        let path = self.0.join(STATE_FILE);
        let Some(bytes) = read_whole(&path, STATE_BYTES_MAX)? else { return Ok(State::default()) };
        serde_json::from_slice(&bytes).map_err(|_| KeepFault::Changed(path))
    }

    /// Writes down which archives decide.
    ///
    /// # Errors
    /// The disk's; what was there before is still there.
    pub fn save(&self, state: &State) -> Result<(), KeepFault> {
        write_whole(&self.0, STATE_FILE, &serde_json::to_vec(state).unwrap_or_default())
    }

    /// An archive that was kept.
    ///
    /// # Errors
    /// It can't be read, or its bytes are others.
    pub fn archive(&self, digest_wanted: &str) -> Result<Vec<u8>, KeepFault> {
        let path = self.path(digest_wanted);
        let file = File::open(&path).map_err(|source| KeepFault::Disk { path: path.clone(), source })?;
        let bytes = read(file, u64::try_from(ARCHIVE_BYTES_MAX).unwrap_or(u64::MAX), &path)?;
        if digest(&bytes) == digest_wanted { Ok(bytes) } else { Err(KeepFault::Changed(path)) }
    }

    /// Keeps an archive.
    ///
    /// # Errors
    /// The disk's.
    pub fn put(&self, digest: &str, bytes: &[u8]) -> Result<(), KeepFault> {
        write_whole(&self.0, &format!("{digest}.tar.gz"), bytes)
    }

    /// Removes archives; one that can't be removed only takes room.
    pub fn remove(&self, digests: &[String]) {
        for digest in digests {
            let path = self.path(digest);
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "an old policy bundle could not be removed");
            }
        }
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.0.join(format!("{digest}.tar.gz"))
    }
}

/// Writes a file of a folder so that it is there whole or not at all, for its owner alone.
///
/// # Errors
/// The disk's; what was there before is still there.
pub(in crate::policy) fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), KeepFault> {
    let (path, aside) = (folder.join(name), folder.join(format!("{name}.new")));
    let written = || {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, &path)?;
        // The name too must survive a power loss.
        File::open(folder)?.sync_all()
    };
    written().map_err(|source| KeepFault::Disk { path: path.clone(), source })
}

/// A file's bytes; nothing where there is no such file.
///
/// # Errors
/// The disk's, or it is longer than that.
pub(in crate::policy) fn read_whole(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, KeepFault> {
    match File::open(path) {
        Ok(file) => read(file, bytes_max, path).map(Some),
        Err(fault) if fault.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeepFault::Disk { path: path.to_owned(), source }),
    }
}

fn read(file: File, bytes_max: u64, path: &Path) -> Result<Vec<u8>, KeepFault> {
    let mut bytes = Vec::new();
    let done = file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes);
    done.map_err(|source| KeepFault::Disk { path: path.to_owned(), source })?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= bytes_max => Ok(bytes),
        _ => Err(KeepFault::Changed(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn kept(digest: &str) -> Kept {
        Kept { digest: digest.to_owned(), revision: "r".to_owned(), activated_ms: 1 }
    }

    #[test]
    fn what_is_kept_comes_back_and_what_was_changed_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(folder.path(), "b");
        assert_eq!(shelf.state().unwrap(), State::default());
        let state = State { newest: Some(digest(b"one")), kept: vec![kept(&digest(b"one"))], ..State::default() };
        shelf.put(&digest(b"one"), b"one").unwrap();
        shelf.save(&state).unwrap();
        assert_eq!(shelf.state().unwrap(), state);
        assert_eq!(shelf.archive(&digest(b"one")).unwrap(), b"one");
        for entry in fs::read_dir(folder.path().join("b")).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(shelf.path(&digest(b"one")), b"two").unwrap();
        assert!(matches!(shelf.archive(&digest(b"one")), Err(KeepFault::Changed(_))));
        fs::write(folder.path().join("b").join(STATE_FILE), b"{").unwrap();
        assert!(matches!(shelf.state(), Err(KeepFault::Changed(_))));
        shelf.remove(&[digest(b"one"), digest(b"never")]);
        assert!(shelf.archive(&digest(b"one")).is_err());
    }

    #[test]
    fn what_decides_is_never_forgotten() {
        let mut state = State {
            newest: Some("a".to_owned()),
            base: Some("c".to_owned()),
            kept: ["a", "b", "c", "d"].map(kept).to_vec(),
            ..State::default()
        };
        assert_eq!(state.prune(1), ["b", "d"]);
        assert_eq!(state.kept, ["a", "c"].map(kept));
        for number in 0..40 {
            state.hold(&number.to_string());
        }
        state.hold("39");
        assert_eq!((state.held.len(), state.held.last().map(String::as_str)), (HELD_MAX, Some("39")));
    }
}
