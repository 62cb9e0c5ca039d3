//! The audit log's files in order, and their lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Folder of the audit log in the data folder.
pub const AUDIT_FOLDER: &str = "audit";
/// Longest line that is read; a longer one is damage.
pub const LINE_BYTES_MAX: u64 = 4 << 20;

/// The file of a number.
pub fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:06}.jsonl"))
}

/// Numbers of the files in a folder, in order; none where there is no folder.
pub fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number: Option<u64> =
            name.to_str().and_then(|name| name.strip_suffix(".jsonl")).and_then(|stem| stem.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The lines of one file, from a byte on.
#[derive(Debug)]
pub struct Lines {
    reader: BufReader<File>,
    line: Vec<u8>,
}

/// One read.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A whole line, without its newline.
    Whole(&'a [u8]),
    /// Bytes without a newline at the end of the file, or a line that is far too long.
    Torn(u64),
}

impl Lines {
    /// Opens a file at `offset`.
    pub fn open(path: &Path, offset: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
        Ok(Self { reader: BufReader::with_capacity(256 << 10, file), line: Vec::new() })
    }

    /// The next line; `None` at the end.
    pub fn read(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let read = io::Read::take(&mut self.reader, LINE_BYTES_MAX).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        Ok(Some(match self.line.strip_suffix(b"\n") {
            Some(line) => Line::Whole(line),
            None => Line::Torn(u64::try_from(read).unwrap_or(u64::MAX)),
        }))
    }
}
