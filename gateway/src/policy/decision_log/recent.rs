//! The last decisions in memory, as they were written: what a rehearsal runs on.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

/// Decisions kept.
pub const DECISIONS_MAX: usize = 20_000;
/// Bytes kept.
const BYTES_MAX: usize = 32 << 20;

/// Bounded by number and bytes; the oldest goes.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Arc<[u8]>>,
    bytes: usize,
}

impl Recent {
    /// Adds a line without its line break.
    pub(super) fn add(&self, line: &[u8]) {
        if line.len() > BYTES_MAX {
            return;
        }
        let mut kept = self.0.lock();
        kept.bytes = kept.bytes.saturating_add(line.len());
        kept.lines.push_back(line.into());
        while kept.bytes > BYTES_MAX || kept.lines.len() > DECISIONS_MAX {
            let gone = kept.lines.pop_front().map_or(0, |line| line.len());
            kept.bytes = kept.bytes.saturating_sub(gone);
        }
    }

    /// The last lines, oldest first.
    pub(super) fn last(&self, most: usize) -> Vec<Arc<[u8]>> {
        let kept = self.0.lock();
        let skipped = kept.lines.len().saturating_sub(most);
        kept.lines.iter().skip(skipped).cloned().collect()
    }
}
