//! Files of JSON lines in blocks of whole lines. A name that ends in `.gz` is unpacked on the way.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;

/// Bytes of one block: large enough that threads seldom meet, small enough that all of them fit in a cache or two.
const BLOCK_BYTES: usize = 1 << 20;
/// Bytes of one line at most.
const LINE_BYTES_MAX: usize = 16 << 20;

/// The lines of all files, one file after the other.
pub struct Blocks {
    files: VecDeque<PathBuf>,
    open: Option<Box<dyn Read + Send>>,
    /// Bytes behind the last whole line.
    rest: Vec<u8>,
    /// Handed out first.
    first: Option<Vec<u8>>,
}

impl Blocks {
    /// Of these files.
    pub fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { files: files.into_iter().collect(), open: None, rest: Vec::new(), first: None }
    }

    /// Looks at the first block, which comes again.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn peek(&mut self) -> io::Result<&[u8]> {
        if self.first.is_none() {
            self.first = self.next_block()?;
        }
        Ok(self.first.as_deref().unwrap_or_default())
    }

    /// Whole lines; the last one of a file may lack its line break. `None` at the end.
    ///
    /// # Errors
    /// A file can't be read, or a line is longer than a line may be.
    pub fn next_block(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        loop {
            if self.open.is_none() && !self.open_next()? {
                return Ok(None);
            }
            let Some(open) = self.open.as_mut() else { return Ok(None) };
            let mut block = std::mem::take(&mut self.rest);
            let wanted = u64::try_from(BLOCK_BYTES).unwrap_or(u64::MAX);
            let read = open.take(wanted).read_to_end(&mut block)?;
            if read == 0 {
                self.open = None;
                if block.is_empty() {
                    continue;
                }
                return Ok(Some(block));
            }
            match memchr::memrchr(b'\n', &block) {
                Some(end) => {
                    self.rest = block.split_off(end.saturating_add(1));
                    return Ok(Some(block));
                }
                None if block.len() > LINE_BYTES_MAX => {
                    return Err(io::Error::other(format!("a line is longer than {LINE_BYTES_MAX} bytes")));
                }
                None => self.rest = block,
            }
        }
    }

    fn open_next(&mut self) -> io::Result<bool> {
        let Some(path) = self.files.pop_front() else { return Ok(false) };
        let named = |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
        let file = File::open(&path).map_err(named)?;
        let is_packed = path.extension().is_some_and(|end| end == "gz");
        self.open = Some(if is_packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) });
        Ok(true)
    }
}
