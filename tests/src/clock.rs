//! Waiting with a bound: for a future, or for something outside this process that can only be looked at.

use std::time::{Duration, Instant};

/// How long anything that should happen soon may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// The future's value.
///
/// # Panics
/// It is not ready within [`SOON`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(what, SOON, future).await
}

/// The future's value.
///
/// # Panics
/// It is not ready within `limit`.
pub async fn within<T>(what: &str, limit: Duration, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {limit:?}: {what}"),
    }
}

/// The first Some that `look` gives; it looks again and again.
///
/// # Panics
/// There is none within [`SOON`].
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < SOON, "never happened: {what}");
        tokio::time::sleep(LOOK).await;
    }
}
