//! What is remembered of failures: a deployment that failed cools down while others can serve.
//!
//! Failures are classified by meaning: a caller's fault never cools, a fault of the account keeps the deployment out
//! for longer, a lack of capacity cools for the configured time or as long as the upstream asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

/// How long a deployment stays out whose credential, credit or model name was refused.
const ACCOUNT_COOLDOWN: Duration = Duration::from_secs(60);
/// Longest cool-down that an upstream may ask for.
const COOLDOWN_MAX: Duration = Duration::from_secs(300);

/// Why a deployment is to cool down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setback {
    /// Not reachable, too slow, 408, 429 or 5xx; with the upstream's own `retry-after`.
    Capacity(Option<Duration>),
    /// 401, 402, 403 or 404: Weir's own credential or model name is wrong there.
    Account,
}

/// Cool-downs by deployment. Bounded by the deployments of the configuration.
#[derive(Debug, Default)]
pub struct Health {
    cooling: RwLock<HashMap<Arc<str>, Instant>>,
    /// Entries in `cooling`: the usual zero costs no lock.
    count: AtomicUsize,
}

impl Health {
    /// What is left of `deployment`'s cool-down.
    pub fn cooling(&self, deployment: &str, now: Instant) -> Option<Duration> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let until = *self.cooling.read().get(deployment)?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Records a failure.
    pub fn failed(&self, deployment: &Arc<str>, setback: Setback, cooldown: Duration, now: Instant) {
        let wait = match setback {
            Setback::Capacity(hint) => hint.unwrap_or(cooldown).max(cooldown).min(COOLDOWN_MAX),
            Setback::Account => ACCOUNT_COOLDOWN.max(cooldown),
        };
        let Some(until) = now.checked_add(wait) else { return };
        let mut cooling = self.cooling.write();
        cooling.insert(deployment.clone(), until);
        self.count.store(cooling.len(), Ordering::Relaxed);
    }

    /// Records a success: the cool-down is over.
    pub fn succeeded(&self, deployment: &str) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut cooling = self.cooling.write();
        cooling.remove(deployment);
        self.count.store(cooling.len(), Ordering::Relaxed);
    }

    /// Deployments that cool down now, for the admin pages and metrics.
    pub fn all_cooling(&self, now: Instant) -> Vec<(Arc<str>, Duration)> {
        let left = |until: &Instant| until.checked_duration_since(now).filter(|left| !left.is_zero());
        self.cooling.read().iter().filter_map(|(name, until)| Some((name.clone(), left(until)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_failure_cools_and_a_success_ends_it() {
        let (health, now, name) = (Health::default(), clock::instant(), Arc::from("a"));
        assert_eq!(health.cooling("a", now), None);
        health.failed(&name, Setback::Capacity(None), Duration::from_secs(5), now);
        assert_eq!(health.cooling("a", now), Some(Duration::from_secs(5)));
        assert_eq!(health.cooling("a", now + Duration::from_secs(5)), None);
        health.failed(&name, Setback::Account, Duration::from_secs(5), now);
        assert_eq!(health.cooling("a", now), Some(ACCOUNT_COOLDOWN));
        health.succeeded("a");
        assert_eq!(health.cooling("a", now), None);
        assert!(health.all_cooling(now).is_empty());
    }

    #[test]
    fn an_absurd_hint_is_clamped() {
        let (health, now, name) = (Health::default(), clock::instant(), Arc::from("a"));
        health.failed(&name, Setback::Capacity(Some(Duration::from_secs(86_400))), Duration::from_secs(5), now);
        assert_eq!(health.cooling("a", now), Some(COOLDOWN_MAX));
    }
}
