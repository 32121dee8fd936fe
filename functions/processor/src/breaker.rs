//! Stops calls while the service that they go to is down (the circuit breaker pattern).
//!
//! After a number of failures in a row the breaker is open: no call is made for a while. Then one call is let through; if it
//! succeeds the breaker closes, else it stays open twice as long.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row that open the breaker.
const FAILURES: u32 = 5;
/// How long it stays open at first, and at the most.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// A circuit breaker. Time comes in as an argument.
#[derive(Debug, Default)]
pub struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
    open_for: Duration,
}

impl Breaker {
    /// Whether a call may be made now. Once the time is over, the first who asks may, and decides for the others.
    pub fn allows(&self, now: Instant) -> bool {
        let mut state = self.state();
        match state.open_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                state.open_until = Some(now + state.open_for);
                true
            }
        }
    }

    /// A call was answered.
    pub fn succeeded(&self) {
        *self.state() = State::default();
    }

    /// A call was not answered.
    pub fn failed(&self, now: Instant) {
        let mut state = self.state();
        state.failures += 1;
        if state.failures >= FAILURES {
            state.open_for =
                if state.open_for.is_zero() { SHORTEST } else { (state.open_for * 2).min(LONGEST) };
            state.open_until = Some(now + state.open_for);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is whole, so a panic elsewhere left nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(now: Instant) -> Breaker {
        let breaker = Breaker::default();
        (0..FAILURES).for_each(|_| breaker.failed(now));
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_not_before() {
        let now = Instant::now();
        let breaker = Breaker::default();
        (1..FAILURES).for_each(|_| breaker.failed(now));
        assert!(breaker.allows(now));
        breaker.succeeded();
        (1..FAILURES).for_each(|_| breaker.failed(now));
        assert!(breaker.allows(now));
        breaker.failed(now);
        assert!(!breaker.allows(now));
    }

    #[test]
    fn after_its_time_one_call_is_let_through_and_closes_it_when_answered() {
        let now = Instant::now();
        let breaker = open(now);
        let later = now + SHORTEST;
        assert!(breaker.allows(later));
        assert!(!breaker.allows(later), "only one");
        breaker.succeeded();
        assert!(breaker.allows(later) && breaker.allows(later));
    }

    #[test]
    fn it_stays_open_twice_as_long_each_time_up_to_a_bound() {
        let mut now = Instant::now();
        let breaker = open(now);
        let mut wait = SHORTEST;
        for _ in 0..10 {
            assert!(!breaker.allows(now + wait - Duration::from_millis(1)));
            now += wait;
            assert!(breaker.allows(now));
            breaker.failed(now);
            wait = (wait * 2).min(LONGEST);
        }
        assert_eq!(wait, LONGEST);
    }
}
