//! Responses that providers keep: who made them, and where they lie. Without a place here nobody reads one, goes on
//! from one or takes one away: a provider knows only Weir's own key, and would show any tenant's response to any.
//!
//! Kept in memory, and in the store with the usage rows of the calls that made them: the memory knows what is not yet
//! in the store, the store what another gateway made, or an earlier run of this one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::identity::TenantPath;
use crate::store::{Store, StoreError};

/// Places kept at most; the oldest goes first. One takes about 300 bytes.
const PLACES_MAX: usize = 100_000;

/// Waits for the rows of other gateways, which are written some moments after the end of a call.
const WAITS: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(300), Duration::from_millis(600)];

/// Where a stored response lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The alias that its call named: policy decides about it again.
    pub model: Arc<str>,
    /// The deployment that made it.
    pub deployment: Arc<str>,
    /// Tokens that its model reads of whoever goes on from it: all that it read and made. While it is still being made,
    /// what was held for that.
    pub tokens: u64,
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
    /// None: it was taken away.
    by_name: HashMap<Name, Option<Place>>,
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
        self.set(tenant, id, Some(place));
    }

    /// It is known now how many tokens the response has, with all that went before it.
    pub fn learn(&self, tenant: &TenantPath, id: &str, tokens: u64) {
        if let Some(Some(place)) = self.places.lock().by_name.get_mut(&(tenant.clone(), id.into())) {
            place.tokens = tokens;
        }
    }

    fn set(&self, tenant: &TenantPath, id: &str, place: Option<Place>) {
        let name: Name = (tenant.clone(), id.into());
        let mut places = self.places.lock();
        if places.by_name.insert(name.clone(), place).is_some() {
            return;
        }
        places.order.push_back(name);
        if places.order.len() > self.max
            && let Some(oldest) = places.order.pop_front()
        {
            places.by_name.remove(&oldest);
        }
    }

    /// Where the response of that id lies, if `tenant` made it.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn find(&self, store: &Store, tenant: &TenantPath, id: &str) -> Result<Option<Place>, StoreError> {
        for wait in WAITS.into_iter().map(Some).chain([None]) {
            if let Some(known) = self.known(tenant, id) {
                return Ok(known);
            }
            if let Some(place) = store.stored_response(tenant.as_str(), id).await? {
                return Ok(Some(place));
            }
            // Another gateway may have made it a moment ago.
            match wait.filter(|_| store.is_shared()) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => break,
            }
        }
        Ok(None)
    }

    /// What the memory knows: a place, or that there is none any more.
    fn known(&self, tenant: &TenantPath, id: &str) -> Option<Option<Place>> {
        self.places.lock().by_name.get(&(tenant.clone(), id.into())).cloned()
    }

    /// The response is gone.
    pub fn forget(&self, tenant: &TenantPath, id: &str) {
        self.set(tenant, id, None);
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
        let place = |name: &str| Place { model: "m".into(), deployment: name.into(), tokens: 9 };
        let acme = tenant("acme");
        stored.keep(&acme, "r1", place("a"));
        stored.keep(&tenant("globex"), "r1", place("b"));
        assert_eq!(stored.known(&acme, "r1"), Some(Some(place("a"))));
        assert_eq!(stored.known(&tenant("globex"), "r1"), Some(Some(place("b"))));
        assert_eq!(stored.known(&tenant("acme/team"), "r1"), None);
        stored.learn(&acme, "r1", 12);
        assert_eq!(stored.known(&acme, "r1"), Some(Some(Place { tokens: 12, ..place("a") })));
        stored.keep(&acme, "r1", place("c"));
        assert_eq!(stored.known(&acme, "r1"), Some(Some(place("c"))));
        stored.keep(&acme, "r2", place("a"));
        assert_eq!(stored.known(&acme, "r1"), None);
        stored.forget(&acme, "r2");
        stored.learn(&acme, "r2", 12);
        assert_eq!(stored.known(&acme, "r2"), Some(None), "gone, whatever the store says until it knows");
        for number in 0..10 {
            stored.keep(&acme, &format!("x{number}"), place("a"));
        }
        assert_eq!(stored.places.lock().by_name.len(), 2);
    }
}
