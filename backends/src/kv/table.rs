//! A sequence's block table: which page holds which of its positions.
//!
//! ```text
//! positions   0..16   16..32   32..48        page_tokens = 16
//! pages      [  7  ,    2   ,    9   ]       position p lies in pages[p / 16] at p % 16
//! ```

use crate::core::PageId;
use crate::kv::pages::PagePool;

/// The pages of one sequence, in the order of their positions.
#[derive(Debug, Default)]
pub struct BlockTable {
    pages: Vec<PageId>,
}

impl BlockTable {
    /// The pages.
    pub fn pages(&self) -> &[PageId] {
        &self.pages
    }

    /// Pages that are missing for `tokens` positions.
    pub fn missing(&self, tokens: usize, page_tokens: usize) -> usize {
        tokens.div_ceil(page_tokens).saturating_sub(self.pages.len())
    }

    /// Grows to cover `tokens` positions; all or nothing. `false` when the pool has too few free pages.
    pub fn grow(&mut self, tokens: usize, page_tokens: usize, pool: &mut PagePool) -> bool {
        let missing = self.missing(tokens, page_tokens);
        if missing > pool.free() {
            return false;
        }
        self.pages.extend((0..missing).filter_map(|_| pool.take()));
        true
    }

    /// Starts with the first `count` pages of another table, shared. Only for an empty table and full pages.
    pub fn share_from(&mut self, other: &BlockTable, count: usize, pool: &mut PagePool) {
        assert!(self.pages.is_empty(), "only an empty table starts with shared pages");
        for page in other.pages.iter().take(count) {
            pool.share(*page);
            self.pages.push(*page);
        }
    }

    /// Gives every page back.
    pub fn clear(&mut self, pool: &mut PagePool) {
        for page in self.pages.drain(..) {
            pool.release(page);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_by_whole_pages_and_all_or_nothing() {
        let mut pool = PagePool::new(3);
        let mut table = BlockTable::default();
        for (tokens, grown, held) in [(1, true, 1), (16, true, 1), (17, true, 2), (49, false, 2), (48, true, 3)] {
            assert_eq!(table.grow(tokens, 16, &mut pool), grown, "{tokens} tokens");
            assert_eq!(table.pages().len(), held, "{tokens} tokens");
        }
        table.clear(&mut pool);
        assert_eq!(pool.free(), 3);
    }
}
