//! The pool of KV pages: a free list and a reference count per page.
//!
//! A page is shared when several choices answer one prompt; only full pages are ever shared, so nobody writes into a
//! page that another reads. It refuses to hand out what it hasn't; it never waits.

use crate::core::PageId;

/// All pages of an executor.
#[derive(Debug)]
pub struct PagePool {
    free: Vec<PageId>,
    holders: Vec<u32>,
}

impl PagePool {
    /// A pool of `total` free pages, handed out in ascending order at first.
    pub fn new(total: usize) -> Self {
        let count = PageId::try_from(total).unwrap_or(PageId::MAX);
        Self { free: (0..count).rev().collect(), holders: vec![0; total] }
    }

    /// Pages that exist.
    pub fn total(&self) -> usize {
        self.holders.len()
    }

    /// Pages that nobody holds.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Pages that somebody holds.
    // INVARIANT: free + owned = total, counted independently of each other so that the check can fail.
    pub fn owned(&self) -> usize {
        self.holders.iter().filter(|holders| **holders > 0).count()
    }

    /// Takes a free page for one holder.
    pub fn take(&mut self) -> Option<PageId> {
        let page = self.free.pop()?;
        let holders = self.holders.get_mut(slot(page))?;
        assert!(*holders == 0, "a free page has no holder");
        *holders = 1;
        Some(page)
    }

    /// Adds a holder to a page that has one.
    pub fn share(&mut self, page: PageId) {
        if let Some(holders) = self.holders.get_mut(slot(page)) {
            assert!(*holders > 0, "only a held page is shared");
            *holders = holders.saturating_add(1);
        }
    }

    /// Takes one holder away; the last one frees the page.
    pub fn release(&mut self, page: PageId) {
        let Some(holders) = self.holders.get_mut(slot(page)) else { return };
        assert!(*holders > 0, "only a held page is released");
        *holders = holders.saturating_sub(1);
        if *holders == 0 {
            self.free.push(page);
        }
    }

    /// Holders of a page; zero for a page that does not exist.
    pub fn holders(&self, page: PageId) -> u32 {
        self.holders.get(slot(page)).copied().unwrap_or(0)
    }

    pub(super) fn free_list(&self) -> &[PageId] {
        &self.free
    }
}

fn slot(page: PageId) -> usize {
    usize::try_from(page).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_free_again_only_after_its_last_holder() {
        let mut pool = PagePool::new(2);
        let page = pool.take().unwrap();
        pool.share(page);
        pool.release(page);
        assert_eq!((pool.free(), pool.owned(), pool.holders(page)), (1, 1, 1));
        pool.release(page);
        assert_eq!((pool.free(), pool.owned(), pool.holders(page)), (2, 0, 0));
    }

    #[test]
    fn an_empty_pool_gives_none() {
        let mut pool = PagePool::new(1);
        assert_eq!(pool.take(), Some(0));
        assert_eq!(pool.take(), None);
    }
}
