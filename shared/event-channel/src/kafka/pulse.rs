//! Whether librdkafka still works for a member. Its main thread, which joins the group and gives the brokers signs of life, may come
//! to stand for good: two of its locks are taken in both orders (its issue 5476). Whoever polls gets nothing then, and no error. But
//! the main thread also gives statistics, every few seconds, whatever the brokers do. A member that was polled for [`SILENCE`] without
//! any is dropped, and the group is joined anew. The fault test `servers::hung_client` stops those threads and shows it.

use std::time::{Duration, Instant};

/// How often there are statistics.
pub(super) const STATISTICS: Duration = Duration::from_secs(2);

/// Without statistics for so long, the main thread hangs.
pub(super) const SILENCE: Duration = Duration::from_secs(20);

/// Between two looks that count. The time in which nobody looked says nothing: the whole process may have stood.
const LOOK: Duration = Duration::from_secs(1);

/// What was heard of one member, and when somebody looked.
pub(super) struct Pulse {
    heard: usize,
    looked: Instant,
    silent: Duration,
}

impl Pulse {
    pub(super) fn new(now: Instant) -> Self {
        Self { heard: 0, looked: now, silent: Duration::ZERO }
    }

    /// Whether nothing was heard for [`SILENCE`], when so many statistics have come by now.
    pub(super) fn is_silent(&mut self, heard: usize, now: Instant) -> bool {
        if heard != self.heard {
            (self.heard, self.looked, self.silent) = (heard, now, Duration::ZERO);
        } else if now.duration_since(self.looked) >= LOOK {
            self.looked = now;
            self.silent += LOOK;
        }
        self.silent >= SILENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64, began: Instant) -> Instant {
        began + Duration::from_secs(seconds)
    }

    #[test]
    fn who_is_heard_of_is_not_silent() {
        let began = Instant::now();
        let mut pulse = Pulse::new(began);
        assert!((1..100).all(|second| !pulse.is_silent(second / 19, after(second as u64, began))));
    }

    #[test]
    fn who_was_not_heard_of_for_long_is_silent() {
        let began = Instant::now();
        let mut pulse = Pulse::new(began);
        assert!(!pulse.is_silent(1, began));
        let silent = (1..=20).find(|second| pulse.is_silent(1, after(*second, began)));
        assert_eq!(silent, Some(20));
    }

    #[test]
    fn looks_count_once_a_second_and_no_time_counts_in_which_nobody_looked() {
        let began = Instant::now();
        let mut pulse = Pulse::new(began);
        assert!((0..1_000).all(|_| !pulse.is_silent(0, began)));
        assert!(!pulse.is_silent(0, after(3_600, began)));
    }
}
