//! Appends to the audit log; at start, adopts the lines that the store does not know of yet and cuts a torn one off.
//!
//! Refuses nothing by itself: a failed write leaves the file as it was and is tried again by the journal's writer.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::files::{self, Line, Lines};
use super::record::{Link, Place};
use crate::exchange::CallId;
use crate::journal::segment::sync_folder;

/// A file is left for the next one beyond this size.
pub(crate) const FILE_BYTES: u64 = 64 << 20;

/// How far the log is known: the store's row says so, and the sink while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The last line.
    pub link: Link,
    /// File that holds it.
    pub file: u64,
    /// Byte behind its newline.
    pub offset: u64,
}

impl Head {
    /// Before the first line.
    pub const GENESIS: Head = Head { link: Link::GENESIS, file: 1, offset: 0 };
}

/// What a start found behind the store's head.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Ids on lines that fit the chain, in order: they must not be written again.
    pub adopted: Vec<CallId>,
    /// Bytes that were no whole line of the chain and were cut off.
    pub cut_bytes: u64,
    /// The log was shorter than the store says: the lines between are gone.
    pub missing: bool,
}

/// The growing end of the audit log.
#[derive(Debug)]
pub struct Sink {
    folder: PathBuf,
    file: File,
    head: Head,
    /// A file is left for the next one beyond this size.
    file_bytes: u64,
    /// Lines are built here; kept for its capacity.
    buffer: Vec<u8>,
}

/// Why lines were not appended. None of them was.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The file or folder.
    #[error("the audit log can't be written")]
    Io(#[from] io::Error),
    /// A value that is no JSON.
    #[error("an audit record can't be encoded")]
    Encode(#[from] serde_json::Error),
}

impl Sink {
    /// Opens the log at the store's `head` and repairs its end. A file is left once it has `file_bytes`.
    pub fn open(data: &Path, head: Head, file_bytes: u64) -> io::Result<(Self, Found)> {
        let folder = data.join(files::AUDIT_FOLDER);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut found = Found::default();
        let mut head = head;
        let known = std::fs::metadata(files::path(&folder, head.file)).map_or(0, |meta| meta.len());
        if known < head.offset {
            // The chain goes on from the store's head in a new file, so that verify shows the gap for ever.
            found.missing = true;
            head = Head { file: last_number(&folder)?.max(head.file).saturating_add(1), offset: 0, ..head };
        }
        adopt(&folder, &mut head, &mut found)?;
        let file = open_file(&folder, head.file)?;
        cut(&folder, &file, &head, &mut found)?;
        Ok((Self { folder, file, head, file_bytes, buffer: Vec::new() }, found))
    }

    /// The last line.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Appends the lines that `build` writes from the present link on; all of them or, on an error, none.
    pub fn append<F>(&mut self, build: F) -> Result<(), SinkError>
    where
        F: FnOnce(&mut Vec<u8>, Link) -> Result<Link, serde_json::Error>,
    {
        if self.head.offset >= self.file_bytes {
            let number = self.head.file.saturating_add(1);
            self.file.sync_data()?;
            self.file = open_file(&self.folder, number)?;
            self.head = Head { file: number, offset: 0, ..self.head };
        }
        self.buffer.clear();
        let link = build(&mut self.buffer, self.head.link)?;
        if let Err(error) = self.file.write_all_at(&self.buffer, self.head.offset) {
            if let Err(undo) = self.file.set_len(self.head.offset) {
                tracing::warn!(error = %undo, "a failed audit write could not be cut off");
            }
            return Err(error.into());
        }
        let written = u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        self.head = Head { link, offset: self.head.offset.saturating_add(written), ..self.head };
        Ok(())
    }

    /// Makes what was appended survive a power loss.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Walks the lines behind `head`, over all files, as long as they fit the chain.
fn adopt(folder: &Path, head: &mut Head, found: &mut Found) -> io::Result<()> {
    loop {
        let path = files::path(folder, head.file);
        if !path.exists() {
            return Ok(());
        }
        let mut lines = Lines::open(&path, head.offset)?;
        while let Some(line) = lines.read()? {
            let Line::Whole(line) = line else { return Ok(()) };
            let Ok(place) = serde_json::from_slice::<Place<'_>>(line) else { return Ok(()) };
            if !place.follows(&head.link) {
                return Ok(());
            }
            let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX).saturating_add(1);
            found.adopted.push(place.id);
            *head = Head { link: head.link.next(line), offset: head.offset.saturating_add(bytes), ..*head };
        }
        let following = head.file.saturating_add(1);
        if !files::path(folder, following).exists() {
            return Ok(());
        }
        *head = Head { file: following, offset: 0, ..*head };
    }
}

/// Cuts off what does not fit, and removes files behind it.
fn cut(folder: &Path, file: &File, head: &Head, found: &mut Found) -> io::Result<()> {
    let surplus = file.metadata()?.len().saturating_sub(head.offset);
    found.cut_bytes = surplus;
    if surplus > 0 {
        file.set_len(head.offset)?;
    }
    for number in files::numbers(folder)?.into_iter().filter(|number| *number > head.file) {
        let path = files::path(folder, number);
        found.cut_bytes = found.cut_bytes.saturating_add(std::fs::metadata(&path)?.len());
        // Kept aside: whatever it is, it is no part of the chain, and nothing of an audit log is thrown away.
        std::fs::rename(&path, path.with_extension("unchained"))?;
    }
    file.sync_all()
}

fn last_number(folder: &Path) -> io::Result<u64> {
    Ok(files::numbers(folder)?.last().copied().unwrap_or(0))
}

fn open_file(folder: &Path, number: u64) -> io::Result<File> {
    let path = files::path(folder, number);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    sync_folder(folder)?;
    Ok(file)
}
