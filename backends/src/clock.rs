//! The clock: the only place of the engine that reads time. The scheduler takes `now` as an argument.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time, for intervals.
#[allow(clippy::disallowed_methods)]
pub fn instant() -> Instant {
    Instant::now()
}

/// Whole seconds since the Unix epoch; zero if the system's clock stands before it.
#[allow(clippy::disallowed_methods)]
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
