//! The waits between tries of what failed.

use std::time::Duration;

/// Waits that double with each failure in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait, however many failures there were.
    pub longest: Duration,
}

impl Backoff {
    /// Returns the wait after this many failures in a row; zero after none.
    #[must_use]
    pub fn after(self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        self.first.saturating_mul(1 << doublings.min(31)).min(self.longest)
    }

    /// Returns the wait after this many failures in a row. `jitter`, 0 to 1, chooses from the upper half of it, so that those that
    /// failed together don't come again together.
    #[must_use]
    pub fn with_jitter(self, failures: u32, jitter: f64) -> Duration {
        self.after(failures).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_jitter_takes_off_half_at_most() {
        let backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1) };
        let whole: Vec<u128> = (0..=6).map(|failures| backoff.after(failures).as_millis()).collect();
        assert_eq!(whole, [0, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.with_jitter(1, 1.0), Duration::from_millis(100));
        assert_eq!(backoff.with_jitter(1, 0.0), Duration::from_millis(50));
        assert_eq!(backoff.with_jitter(u32::MAX, 0.0), Duration::from_millis(500));
    }
}
