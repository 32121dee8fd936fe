//! Waiting for a condition. No test sleeps for a fixed time: it looks again and again, up to a limit that only a fault reaches.

use std::time::{Duration, Instant};

/// The time limit for any condition, on a machine that is busy with other things too. A consumer alone may need a minute. It
/// takes 20 s until it is known to hang, and 18 s until it joins again where brokers did not answer. Then brokers wait 15 s for
/// others of its group.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Calls `look` until it returns a value, and returns that value.
///
/// # Panics
/// With `what`, when there is no value within [`PATIENCE`].
#[track_caller]
pub fn until<T, L: AsyncFnMut() -> Option<T>>(what: &str, look: L) -> impl Future<Output = T> {
    until_within(PATIENCE, what, look)
}

/// Does the same with another time limit.
///
/// # Panics
/// With `what`, when there is no value in time.
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
