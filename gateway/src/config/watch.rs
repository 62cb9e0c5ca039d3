//! Watching the configuration: whether the file, or anything that it names, is no longer what it was.
//!
//! Owns the fingerprint and the loop that compares it; what a change leads to is the caller's. A poke (SIGHUP) counts
//! as a change even where nothing differs. Polling, since notifications miss bind mounts and symbolic links that are
//! swapped (as Kubernetes does).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

/// Time between two looks.
pub const POLL: Duration = Duration::from_secs(1);
/// Files of one watched folder at most; those beyond it are not watched.
pub const FILES_MAX: usize = 10_000;
/// Folders below a watched one at most.
pub const DEPTH_MAX: usize = 8;
/// Bytes of one file that are hashed.
const HASHED_MAX: u64 = 16 << 20;

/// What one file was at the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    modified: Option<SystemTime>,
    size: u64,
    hash: [u8; 32],
}

/// What all watched files were at the last look; a file that isn't there is absent here too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprint(BTreeMap<PathBuf, Seen>);

impl Fingerprint {
    /// Looks at every file, and at every file below every folder; contents that `earlier` saw with the same time and
    /// size are not read again.
    pub fn take(paths: &[PathBuf], earlier: &Fingerprint) -> Self {
        let mut files = Vec::new();
        for path in paths {
            collect(path, 0, &mut files);
        }
        let seen = files.into_iter().filter_map(|path| see(&path, earlier.0.get(&path)).map(|seen| (path, seen)));
        Self(seen.collect())
    }

    /// Whether the contents are the same; a file that was only touched is the same.
    pub fn same_contents(&self, other: &Fingerprint) -> bool {
        let contents =
            |print: &Fingerprint| print.0.iter().map(|(path, seen)| (path.clone(), seen.hash)).collect::<Vec<_>>();
        contents(self) == contents(other)
    }
}

fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    if files.len() >= FILES_MAX || depth > DEPTH_MAX {
        return;
    }
    let Ok(entries) = std::fs::read_dir(path) else {
        files.push(path.to_owned());
        return;
    };
    for entry in entries.flatten() {
        collect(&entry.path(), depth.saturating_add(1), files);
    }
}

fn see(path: &Path, earlier: Option<&Seen>) -> Option<Seen> {
    let file = File::open(path).ok()?;
    let meta = file.metadata().ok()?;
    let (modified, size) = (meta.modified().ok(), meta.len());
    match earlier {
        Some(seen) if modified.is_some() && seen.modified == modified && seen.size == size => Some(*seen),
        Some(_) | None => {
            let mut bytes = Vec::new();
            file.take(HASHED_MAX).read_to_end(&mut bytes).ok()?;
            Some(Seen { modified, size, hash: *blake3::hash(&bytes).as_bytes() })
        }
    }
}

/// Says when the configuration may have changed.
#[derive(Debug)]
pub struct ConfigWatch {
    file: PathBuf,
    named: Vec<PathBuf>,
    last: Fingerprint,
    poke: Arc<Notify>,
    /// A poke that no call of `next` has returned yet.
    poked: bool,
}

/// Makes a watch look at once and report a change; the integrator wires SIGHUP to it.
#[derive(Debug, Clone)]
pub struct Poke(Arc<Notify>);

impl Poke {
    /// Wakes the watch. Pokes that come before it looks count as one.
    pub fn poke(&self) {
        self.0.notify_one();
    }
}

impl ConfigWatch {
    /// Watches `file` and what it names (`Loaded::watched`, or `Faults::watched`).
    pub fn new(file: &Path, named: Vec<PathBuf>) -> Self {
        let mut watch =
            Self { file: file.to_owned(), named, last: Fingerprint::default(), poke: Arc::default(), poked: false };
        watch.last = watch.look();
        watch
    }

    /// The handle that wakes it.
    pub fn poker(&self) -> Poke {
        Poke(Arc::clone(&self.poke))
    }

    /// Names anew what the file names, after a load; what is there now counts as seen.
    ///
    /// A file that changed between that load and this call is not lost: paths that were watched before keep what was
    /// seen.
    pub fn names(&mut self, named: Vec<PathBuf>) {
        self.named = named;
        let mut now = self.look();
        let watched: Vec<_> = now.0.keys().cloned().collect();
        for path in watched {
            if let Some(seen) = self.last.0.get(&path) {
                now.0.insert(path, *seen);
            }
        }
        self.last = now;
    }

    /// Looks once: whether contents differ from the last look.
    pub fn changed(&mut self) -> bool {
        let now = self.look();
        let differs = !now.same_contents(&self.last);
        self.last = now;
        differs
    }

    /// Waits for the next change or poke. Safe to drop at any point: neither is lost.
    pub async fn next(&mut self) {
        loop {
            self.poked |= tokio::time::timeout(POLL, self.poke.notified()).await.is_ok();
            let (paths, last) = (self.paths(), self.last.clone());
            // Off the workers: a policy folder may hold thousands of files.
            let look = tokio::task::spawn_blocking(move || Fingerprint::take(&paths, &last));
            let Ok(now) = look.await else { continue };
            let differs = !now.same_contents(&self.last);
            self.last = now;
            if std::mem::take(&mut self.poked) || differs {
                return;
            }
        }
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.named.iter().chain([&self.file]).cloned().collect()
    }

    fn look(&self) -> Fingerprint {
        Fingerprint::take(&self.paths(), &self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_change_is_seen_once_in_the_file_and_in_what_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let (file, secret, rules) =
            (folder.path().join("w.yaml"), folder.path().join("s"), folder.path().join("rules"));
        std::fs::create_dir(&rules).unwrap();
        write(&file, "a: 1");
        let mut watch = ConfigWatch::new(&file, vec![secret.clone(), rules.clone()]);
        assert!(!watch.changed());
        for change in [(&file, "a: 22"), (&secret, "appears"), (&rules.join("x.rego"), "package x")] {
            write(change.0, change.1);
            assert!(watch.changed(), "{}", change.0.display());
            assert!(!watch.changed());
        }
        std::fs::remove_file(&secret).unwrap();
        assert!(watch.changed());
    }

    #[test]
    fn the_same_size_with_another_time_is_seen_by_its_contents() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("w.yaml");
        write(&file, "a: 1");
        let mut watch = ConfigWatch::new(&file, Vec::new());
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        File::options().append(true).open(&file).unwrap().set_modified(later).unwrap();
        assert!(!watch.changed(), "touched only");
        write(&file, "a: 2");
        assert!(watch.changed());
    }

    #[test]
    fn a_change_between_load_and_naming_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("w.yaml");
        write(&file, "a: 1");
        let mut watch = ConfigWatch::new(&file, Vec::new());
        write(&file, "a: 333");
        watch.names(vec![folder.path().join("new")]);
        assert!(watch.changed());
    }

    #[tokio::test]
    async fn a_change_of_the_file_ends_the_wait() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("w.yaml");
        let mut watch = ConfigWatch::new(&file, Vec::new());
        write(&file, "a: 1");
        watch.next().await;
        assert!(!watch.changed());
    }

    #[tokio::test]
    async fn a_poke_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = ConfigWatch::new(&folder.path().join("w.yaml"), Vec::new());
        watch.poker().poke();
        watch.next().await;
    }
}
