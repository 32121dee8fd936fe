//! Waiting for a condition. No test sleeps for a time: it looks again, up to a bound that only a fault reaches.

use std::time::{Duration, Instant};

/// How long anything may take to come about, on a machine that is busy with other things too. A consumer alone may need a minute: 20 s
/// until it is known to hang, 18 s until it joins again where brokers did not answer, 15 s while they wait for others of its group.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until there is something to see.
///
/// # Panics
/// With `what`, when it has not come about within [`PATIENCE`].
#[track_caller]
pub fn until<T, L: AsyncFnMut() -> Option<T>>(what: &str, look: L) -> impl Future<Output = T> {
    until_within(PATIENCE, what, look)
}

/// The same, where it may take longer or shorter.
///
/// # Panics
/// With `what`, when it has not come about in time.
#[track_caller]
pub fn until_within<T, L: AsyncFnMut() -> Option<T>>(
    patience: Duration,
    what: &str,
    mut look: L,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let began = Instant::now();
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            assert!(began.elapsed() < patience, "{caller}: waited {patience:?} in vain: {what}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
