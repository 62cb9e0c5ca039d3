//! Responses that providers keep: who made them, and where they lie. Without a place here nobody reads one, goes on
//! from one or takes one away: a provider knows only Weir's own key, and would show any tenant's response to any.
//!
//! Kept in memory alone: after a restart, or on another gateway, an id is unknown, and refused.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::identity::TenantPath;

/// Places kept at most; the oldest goes first. One takes about 300 bytes.
const PLACES_MAX: usize = 100_000;

/// Where a stored response lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The alias that its call named: policy decides about it again.
    pub model: Arc<str>,
    /// The deployment that made it.
    pub deployment: Arc<str>,
}

/// Tenant and id: the same id of two tenants is two responses.
type Name = (TenantPath, Arc<str>);

/// The places of the stored responses.
#[derive(Debug)]
pub struct Stored {
    places: Mutex<Places>,
    max: usize,
}

#[derive(Debug, Default)]
struct Places {
    by_name: HashMap<Name, Place>,
    /// In the order in which they came.
    order: VecDeque<Name>,
}

impl Default for Stored {
    fn default() -> Self {
        Self { places: Mutex::default(), max: PLACES_MAX }
    }
}

impl Stored {
    /// A response was made for `tenant`.
    pub fn keep(&self, tenant: &TenantPath, id: &str, place: Place) {
        let name: Name = (tenant.clone(), id.into());
        let mut places = self.places.lock();
        if places.by_name.insert(name.clone(), place).is_some() {
            return;
        }
        places.order.push_back(name);
        // Names whose place was taken away are in the order still: it is what is bounded.
        if places.order.len() > self.max
            && let Some(oldest) = places.order.pop_front()
        {
            places.by_name.remove(&oldest);
        }
    }

    /// Where the response of that id lies, if `tenant` made it.
    pub fn find(&self, tenant: &TenantPath, id: &str) -> Option<Place> {
        self.places.lock().by_name.get(&(tenant.clone(), id.into())).cloned()
    }

    /// The response is gone.
    pub fn forget(&self, tenant: &TenantPath, id: &str) {
        self.places.lock().by_name.remove(&(tenant.clone(), id.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(path: &str) -> TenantPath {
        TenantPath::parse(path).unwrap()
    }

    #[test]
    fn only_its_maker_finds_a_response_and_the_oldest_goes_first() {
        let stored = Stored { max: 2, ..Stored::default() };
        let place = |name: &str| Place { model: "m".into(), deployment: name.into() };
        let acme = tenant("acme");
        stored.keep(&acme, "r1", place("a"));
        stored.keep(&tenant("globex"), "r1", place("b"));
        assert_eq!(stored.find(&acme, "r1"), Some(place("a")));
        assert_eq!(stored.find(&tenant("globex"), "r1"), Some(place("b")));
        assert_eq!(stored.find(&tenant("acme/team"), "r1"), None);
        stored.keep(&acme, "r1", place("c"));
        assert_eq!(stored.find(&acme, "r1"), Some(place("c")));
        stored.keep(&acme, "r2", place("a"));
        assert_eq!(stored.find(&acme, "r1"), None);
        stored.forget(&acme, "r2");
        assert_eq!(stored.find(&acme, "r2"), None);
        for number in 0..10 {
            stored.keep(&acme, &format!("x{number}"), place("a"));
        }
        assert_eq!(stored.places.lock().by_name.len(), 2);
    }
}
