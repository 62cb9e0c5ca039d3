//! The integrity check of the page bookkeeping: run when idle, and after every step in tests.

use crate::core::PageId;
use crate::kv::{pages::PagePool, table::BlockTable};
use std::collections::HashMap;

/// The bookkeeping contradicts itself: a fault of the engine, never of a caller.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Broken {
    /// Pages were lost or invented.
    #[error("{free} free + {owned} owned pages are not {total}")]
    Sum {
        /// Pages in the free list.
        free: usize,
        /// Pages with holders.
        owned: usize,
        /// Pages that exist.
        total: usize,
    },
    /// A page's count of holders differs from the tables that hold it.
    #[error("page {page} counts {counted} holders, {found} tables hold it")]
    Holders {
        /// The page.
        page: PageId,
        /// What the pool says.
        counted: u32,
        /// What the tables say.
        found: u32,
    },
    /// A page is in the free list twice.
    #[error("page {0} is free twice")]
    FreeTwice(PageId),
}

/// Compares the pool with the tables of all live sequences.
///
/// # Errors
/// The first contradiction found.
// INVARIANT: free + owned = total; a page has holders iff a live sequence reaches it, and exactly as many.
pub fn check<'a>(pool: &PagePool, tables: impl Iterator<Item = &'a BlockTable>) -> Result<(), Broken> {
    let (free, owned, total) = (pool.free(), pool.owned(), pool.total());
    if free.checked_add(owned) != Some(total) {
        return Err(Broken::Sum { free, owned, total });
    }
    let mut found: HashMap<PageId, u32> = HashMap::new();
    for page in tables.flat_map(|table| table.pages().iter()) {
        let count = found.entry(*page).or_default();
        *count = count.saturating_add(1);
    }
    for page in 0..PageId::try_from(total).unwrap_or(PageId::MAX) {
        let (counted, found) = (pool.holders(page), found.get(&page).copied().unwrap_or(0));
        if counted != found {
            return Err(Broken::Holders { page, counted, found });
        }
    }
    let mut list = pool.free_list().to_vec();
    list.sort_unstable();
    match list.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first()) {
        Some(page) => Err(Broken::FreeTwice(*page)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_page_is_found() {
        let mut pool = PagePool::new(4);
        let mut table = BlockTable::default();
        assert!(table.grow(20, 16, &mut pool));
        assert_eq!(check(&pool, [&table].into_iter()), Ok(()));
        let nobody: [&BlockTable; 0] = [];
        assert_eq!(check(&pool, nobody.into_iter()), Err(Broken::Holders { page: 0, counted: 1, found: 0 }));
        assert_eq!(check(&pool, [&table, &table].into_iter()), Err(Broken::Holders { page: 0, counted: 1, found: 2 }));
    }
}
