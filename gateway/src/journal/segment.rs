//! The file that is appended to, and its older siblings: `journal/000001.log` and on.
//!
//! Owns appends that leave nothing behind when they fail, and the count of calls that each segment opened.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A segment is left for the next one beyond this size: a start reads at most what is not yet projected of a few.
pub(super) const SEGMENT_BYTES: u64 = 16 << 20;
/// What a probe must be able to write before calls are admitted again: room for the closings of calls in flight.
const PROBE_BYTES: usize = 256 << 10;

/// A place in the journal: everything before it is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// Segment's number; 0 before the first.
    pub segment: u64,
    /// Byte in it.
    pub offset: u64,
}

/// The segment that grows.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) file: Arc<File>,
    pub(super) number: u64,
    /// Bytes of whole frames. Writes go here, so a failed one is overwritten even if it can't be cut off.
    pub(super) len: u64,
    /// Appends so far, over all segments.
    pub(super) appended: u64,
    /// Calls that were opened in a segment and whose closing is not yet projected.
    pub(super) open: BTreeMap<u64, u64>,
}

impl Tail {
    /// Starts segment `number`, which must not exist.
    pub(super) fn create(folder: &Path, number: u64) -> io::Result<Self> {
        let file = Arc::new(create(folder, number)?);
        Ok(Self { file, number, len: 0, appended: 0, open: BTreeMap::new() })
    }

    /// Appends whole frames with one write; on an error none of them is in the file.
    pub(super) fn append(&mut self, frames: &[u8]) -> io::Result<Position> {
        if let Err(error) = self.file.write_all_at(frames, self.len) {
            self.undo();
            return Err(error);
        }
        let written = u64::try_from(frames.len()).unwrap_or(u64::MAX);
        self.len = self.len.saturating_add(written);
        self.appended = self.appended.saturating_add(1);
        Ok(Position { segment: self.number, offset: self.len })
    }

    /// Whether there is room again. Leaves nothing behind.
    pub(super) fn probe(&mut self) -> io::Result<()> {
        let probe = self.file.write_all_at(&vec![0; PROBE_BYTES], self.len);
        self.undo();
        probe
    }

    fn undo(&self) {
        if let Err(error) = self.file.set_len(self.len) {
            // The next append overwrites what is left, and a start cuts it off.
            tracing::warn!(%error, segment = self.number, "a failed journal write could not be cut off");
        }
    }

    /// Goes on in the next segment; returns the file that was left, which has yet to be synced.
    pub(super) fn rotate(&mut self, folder: &Path) -> io::Result<Arc<File>> {
        let number = self.number.saturating_add(1);
        let file = Arc::new(create(folder, number)?);
        self.number = number;
        self.len = 0;
        Ok(std::mem::replace(&mut self.file, file))
    }

    /// One more call was opened in the present segment.
    pub(super) fn count_opening(&mut self) -> u64 {
        let count = self.open.entry(self.number).or_default();
        *count = count.saturating_add(1);
        self.number
    }

    /// The closing of a call that was opened in `segment` is projected.
    pub(super) fn count_closing(&mut self, segment: u64) {
        if let Some(count) = self.open.get_mut(&segment) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.open.remove(&segment);
            }
        }
    }

    /// Segments below this number hold nothing that a start would need, once `projected` is in the store.
    pub(super) fn needed_from(&self, projected: Position) -> u64 {
        let oldest_open = self.open.keys().next().copied().unwrap_or(self.number);
        oldest_open.min(projected.segment).min(self.number)
    }
}

/// A segment's file.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:06}.log"))
}

/// Numbers of the segments in a folder, in order.
pub(super) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number: Option<u64> =
            name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|stem| stem.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes the folder's entries survive a power loss.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn create(folder: &Path, number: u64) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path(folder, number))?;
    sync_folder(folder)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_needed_while_a_call_it_opened_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let mut tail = Tail::create(folder.path(), 1).unwrap();
        assert_eq!(tail.count_opening(), 1);
        tail.rotate(folder.path()).unwrap();
        let projected = Position { segment: 2, offset: 10 };
        assert_eq!(tail.needed_from(projected), 1);
        tail.count_closing(1);
        assert_eq!(tail.needed_from(projected), 2);
        assert_eq!(tail.needed_from(Position { segment: 1, offset: 5 }), 1);
        assert_eq!(numbers(folder.path()).unwrap(), [1, 2]);
    }

    #[test]
    fn a_probe_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut tail = Tail::create(folder.path(), 1).unwrap();
        tail.append(b"abc").unwrap();
        tail.probe().unwrap();
        assert_eq!(std::fs::read(path(folder.path(), 1)).unwrap(), b"abc");
    }
}
