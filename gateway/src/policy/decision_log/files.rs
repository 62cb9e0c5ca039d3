//! Numbered files of JSON lines in one folder, each readable by its owner alone: `decisions-000001.jsonl` and on.
//!
//! Appends leave nothing behind when they fail. Bounded by the number of files, of which the oldest goes, or by bytes,
//! past which nothing is appended until a reader has removed some.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const PREFIX: &str = "decisions-";
const SUFFIX: &str = ".jsonl";
/// Bytes looked through at a time for the end of the last whole line.
const LOOK_BYTES: u64 = 64 << 10;

/// What limits the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// So many files are kept.
    Files(usize),
    /// So many bytes may wait; nothing is thrown away.
    Bytes(u64),
}

/// A place in the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// The file's number.
    pub file: u64,
    /// Byte in it.
    pub offset: u64,
}

/// The folder, and the file that grows.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    bound: Bound,
    file_bytes: u64,
    file: File,
    end: Position,
    /// Bytes of all files but the growing one.
    older: u64,
}

impl Files {
    /// Opens the folder, cuts off a line that a crash tore, and goes on behind the last whole one.
    ///
    /// # Errors
    /// The folder or a file in it can't be used.
    pub fn open(folder: &Path, file_bytes: u64, bound: Bound) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let known = numbers(folder)?;
        let number = known.last().copied().unwrap_or(1);
        let file = open_file(folder, number)?;
        let offset = whole_lines(&file)?;
        file.set_len(offset)?;
        let older = known.iter().rev().skip(1).map(|number| length(folder, *number)).sum();
        // A spool is left in eighths, so that what was sent goes while the rest waits.
        let file_bytes = match bound {
            Bound::Files(_) => file_bytes,
            Bound::Bytes(most) => file_bytes.min(most.div_euclid(8)),
        };
        let end = Position { file: number, offset };
        Ok(Self { folder: folder.to_owned(), bound, file_bytes, file, end, older })
    }

    /// Appends whole lines; all of them or, on an error, none. `false` where the bound leaves no room.
    ///
    /// # Errors
    /// The disk is full, or worse.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<bool> {
        if let Bound::Bytes(most) = self.bound
            && self.bytes() >= most
        {
            return Ok(false);
        }
        if self.end.offset >= self.file_bytes {
            self.next_file()?;
        }
        if let Err(error) = self.file.write_all_at(lines, self.end.offset) {
            if let Err(undo) = self.file.set_len(self.end.offset) {
                tracing::warn!(error = %undo, "a failed write to the decision log could not be cut off");
            }
            return Err(error);
        }
        self.end.offset = self.end.offset.saturating_add(u64::try_from(lines.len()).unwrap_or(u64::MAX));
        Ok(true)
    }

    fn next_file(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        let number = self.end.file.saturating_add(1);
        self.file = open_file(&self.folder, number)?;
        self.older = self.older.saturating_add(self.end.offset);
        self.end = Position { file: number, offset: 0 };
        let Bound::Files(kept) = self.bound else { return Ok(()) };
        let known = numbers(&self.folder)?;
        let surplus = known.len().saturating_sub(kept);
        known.into_iter().take(surplus).try_for_each(|number| self.remove(number))
    }

    /// Removes a file that is no longer wanted; the growing one stays.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn remove(&mut self, number: u64) -> io::Result<()> {
        if number >= self.end.file {
            return Ok(());
        }
        let bytes = length(&self.folder, number);
        std::fs::remove_file(path(&self.folder, number))?;
        self.older = self.older.saturating_sub(bytes);
        Ok(())
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.older.saturating_add(self.end.offset)
    }

    /// Behind the last line.
    pub fn end(&self) -> Position {
        self.end
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes what was appended survive a power loss.
    ///
    /// # Errors
    /// The disk says no.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// The numbers of the files in a folder, ascending.
///
/// # Errors
/// The folder can't be read.
pub fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
        found.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// A file's path.
pub fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{PREFIX}{number:06}{SUFFIX}"))
}

fn length(folder: &Path, number: u64) -> u64 {
    std::fs::metadata(path(folder, number)).map_or(0, |meta| meta.len())
}

fn open_file(folder: &Path, number: u64) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path(folder, number))
}

/// Bytes up to the end of the last whole line.
fn whole_lines(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    while end > 0 {
        let from = end.saturating_sub(LOOK_BYTES);
        let mut block = vec![0; usize::try_from(end.saturating_sub(from)).unwrap_or_default()];
        file.read_exact_at(&mut block, from)?;
        if let Some(at) = memchr::memrchr(b'\n', &block) {
            return Ok(from.saturating_add(u64::try_from(at).unwrap_or_default()).saturating_add(1));
        }
        end = from;
    }
    Ok(0)
}

/// Whole lines from a place on, at most `bytes_max` of them unless the first alone is longer; with the place behind
/// them. Nothing where there are none.
///
/// # Errors
/// The file can't be read.
pub fn read(folder: &Path, from: Position, end: Position, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path(folder, from.file))?;
    let length = if from.file == end.file { end.offset } else { file.metadata()?.len() };
    let left = length.saturating_sub(from.offset);
    let mut wanted = left.min(u64::try_from(bytes_max).unwrap_or(u64::MAX));
    loop {
        let mut block = Vec::new();
        let mut reader = &file;
        io::Seek::seek(&mut reader, io::SeekFrom::Start(from.offset))?;
        reader.take(wanted).read_to_end(&mut block)?;
        match memchr::memrchr(b'\n', &block) {
            Some(at) => {
                block.truncate(at.saturating_add(1));
                return Ok(block);
            }
            None if wanted >= left => return Ok(Vec::new()),
            // One line is longer than a block: at most a file's length is left.
            None => wanted = wanted.saturating_mul(2).max(1).min(left),
        }
    }
}
