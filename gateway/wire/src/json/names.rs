//! The names already seen in each open object, so that a second one is found.
//!
//! Small objects compare names one by one; above [`LINEAR_MAX`] names they are hashed with a random state, so that an
//! object of a million members costs a million steps whatever its names are.

use std::borrow::Cow;
use std::collections::HashSet;

/// The most names that are compared one by one.
const LINEAR_MAX: usize = 16;

/// The names of one object.
#[derive(Debug, Default)]
pub(super) struct Seen<'a> {
    /// Where this object's names start in the shared list.
    first: usize,
    /// All names, once there are more than [`LINEAR_MAX`].
    hashed: Option<HashSet<Cow<'a, [u8]>>>,
}

/// The names of all open objects, in one list that grows and shrinks with the nesting.
#[derive(Debug)]
pub(super) struct Names<'a> {
    list: Vec<Cow<'a, [u8]>>,
}

impl<'a> Names<'a> {
    pub(super) fn new() -> Self {
        Self { list: Vec::with_capacity(32) }
    }

    /// Opens an object.
    pub(super) fn open(&self) -> Seen<'a> {
        Seen { first: self.list.len(), hashed: None }
    }

    /// Closes the innermost object.
    pub(super) fn close(&mut self, seen: &Seen<'a>) {
        self.list.truncate(seen.first);
    }

    /// Adds a name to the innermost object; false where it was there already.
    pub(super) fn add(&mut self, seen: &mut Seen<'a>, name: Cow<'a, [u8]>) -> bool {
        if let Some(hashed) = &mut seen.hashed {
            return hashed.insert(name);
        }
        let mine = self.list.get(seen.first..).unwrap_or_default();
        if mine.contains(&name) {
            return false;
        }
        if mine.len() < LINEAR_MAX {
            self.list.push(name);
            return true;
        }
        let mut hashed: HashSet<_> = self.list.drain(seen.first..).collect();
        hashed.insert(name);
        seen.hashed = Some(hashed);
        true
    }
}
