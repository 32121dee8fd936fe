//! Detects that librdkafka hangs for a member. Its main thread joins the group and sends heartbeats.
//!
//! The problem: that thread can stop for good, because librdkafka takes two of its locks in both orders (its issue 5476). Then a
//! poll returns no record and no error.
//!
//! The trick: the main thread also gives statistics, every few seconds, whatever the brokers do. When a member was polled for
//! [`SILENCE`] and got none, it is dropped and the group is joined anew.
//!
//! The proof: the fault test `servers::hung_client` stops those threads.

use std::time::{Duration, Instant};

/// The interval of the statistics.
pub(super) const STATISTICS: Duration = Duration::from_secs(2);

/// The time without statistics after which the main thread counts as hung.
pub(super) const SILENCE: Duration = Duration::from_secs(20);

/// The least time between two checks that count. Time without a check does not count, because the whole process may have stood
/// still.
const LOOK: Duration = Duration::from_secs(1);

/// The signs of life of one member, and the time of the last check that counts.
pub(super) struct Pulse {
    heard: usize,
    looked: Instant,
    silent: Duration,
}

impl Pulse {
    pub(super) fn new(now: Instant) -> Self {
        Self { heard: 0, looked: now, silent: Duration::ZERO }
    }

    /// Returns whether no statistics have come for [`SILENCE`]. `heard` is their number up to now.
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
