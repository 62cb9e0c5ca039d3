//! How often one address or one client may ask for tokens. State; bounded.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::identity::KeyId;
use crate::limits::bucket::{Bucket, Refused};

/// Addresses and clients that are counted at a time. Where it is full of busy ones, a new one has to wait: nobody who
/// is counted already does.
const COUNTED_MAX: usize = 16_384;
/// How long a new one waits then.
const FULL_WAIT: Duration = Duration::from_secs(5);

/// Who is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Asker {
    /// An address; of IPv6 the network, since one machine has 2^64 of them.
    Address(Option<IpAddr>),
    /// A client that proved itself.
    Client(KeyId),
}

impl Asker {
    /// The peer of a connection.
    pub fn address(ip: Option<IpAddr>) -> Self {
        Self::Address(ip.map(|ip| match ip.to_canonical() {
            IpAddr::V4(ip) => IpAddr::V4(ip),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        }))
    }
}

/// The counters.
pub struct Throttle {
    born: Instant,
    buckets: Mutex<HashMap<Asker, Bucket>>,
}

impl Throttle {
    /// Nobody has asked yet.
    pub fn new(now: Instant) -> Self {
        Self { born: now, buckets: Mutex::default() }
    }

    /// Counts one request.
    ///
    /// # Errors
    /// It is one too many; the wait until the next one would pass.
    pub fn count(&self, asker: Asker, per_minute: NonZeroU64, now: Instant) -> Result<(), Duration> {
        let now_ns = u64::try_from(now.saturating_duration_since(self.born).as_nanos()).unwrap_or(u64::MAX);
        let mut buckets = self.buckets.lock();
        if buckets.len() >= COUNTED_MAX && !buckets.contains_key(&asker) {
            buckets.retain(|_, bucket| !bucket.is_idle(now_ns));
            if buckets.len() >= COUNTED_MAX {
                return Err(FULL_WAIT);
            }
        }
        let bucket = buckets.entry(asker).or_insert_with(|| Bucket::new(per_minute, now_ns));
        if bucket.quota() != per_minute {
            bucket.change(per_minute, now_ns);
        }
        match bucket.take(1, now_ns) {
            Ok(_) => {
                bucket.settle(1, 1, now_ns);
                Ok(())
            }
            Err(Refused::Later { wait_ns }) => Err(Duration::from_nanos(wait_ns)),
            Err(Refused::TooLarge) => Err(FULL_WAIT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_asker_has_its_own_count_and_one_network_is_one_asker() {
        let begin = crate::clock::instant();
        let throttle = Throttle::new(begin);
        let two = NonZeroU64::new(2).unwrap();
        let ask = |asker: Asker, after_s: u64| throttle.count(asker, two, begin + Duration::from_secs(after_s));
        let of = |ip: &str| Asker::address(ip.parse().ok());
        assert_eq!((ask(of("2001:db8::1"), 0), ask(of("2001:db8::2"), 0)), (Ok(()), Ok(())));
        assert_eq!(ask(of("2001:db8::3"), 0), Err(Duration::from_secs(30)));
        assert_eq!(ask(of("2001:db8:0:1::3"), 0), Ok(()));
        assert_eq!(ask(Asker::Client(KeyId("a".into())), 0), Ok(()));
        assert_eq!(ask(of("2001:db8::3"), 30), Ok(()));
        assert_eq!((ask(of("10.0.0.1"), 0), ask(of("::ffff:10.0.0.1"), 0)), (Ok(()), Ok(())));
        assert!(ask(of("10.0.0.1"), 0).is_err());
    }

    #[test]
    fn a_full_table_lets_those_wait_who_are_new() {
        let begin = crate::clock::instant();
        let throttle = Throttle::new(begin);
        let two = NonZeroU64::new(2).unwrap();
        for at in 0..COUNTED_MAX {
            throttle.count(Asker::Client(KeyId(at.to_string().into())), two, begin).unwrap();
        }
        let new = || Asker::Client(KeyId("new".into()));
        assert_eq!(throttle.count(new(), two, begin), Err(FULL_WAIT));
        assert_eq!(throttle.count(Asker::Client(KeyId("7".into())), two, begin), Ok(()));
        assert_eq!(throttle.count(new(), two, begin + Duration::from_secs(60)), Ok(()));
    }
}
