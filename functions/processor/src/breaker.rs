//! Stops calls while the service that they go to is down (the circuit breaker pattern).
//!
//! After several failures in a row the breaker opens, and no call is made for a while. Then the breaker lets one call through. If
//! that call succeeds, the breaker closes; if it fails, the breaker stays open twice as long. A failure that asks for a pause
//! opens the breaker at once, at least for that pause.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use runtime::Backoff;

/// Failures in a row that open the breaker.
const FAILURES: u32 = 5;
/// The time that the breaker stays open.
const OPEN: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(30) };

/// A circuit breaker. The caller passes the current time.
#[derive(Debug, Default)]
pub struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
    /// How often it has opened since the last success.
    openings: u32,
    /// The service asked for no call before this time. Answers to calls that were under way do not shorten it.
    paused_until: Option<Instant>,
}

impl Breaker {
    /// Returns whether a call may be made now. Once the open time is over, one caller gets `true`, and its call decides for the
    /// others.
    pub fn allows(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        if state.paused_until.is_some_and(|until| now < until) {
            return false;
        }
        match state.open_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                state.open_until = Some(now + OPEN.after(state.openings));
                true
            }
        }
    }

    /// Notes that a call was answered.
    pub fn succeeded(&self) {
        let mut state = self.state.lock();
        *state = State { paused_until: state.paused_until, ..State::default() };
    }

    /// Notes that a call failed, and the pause that the service asked for.
    pub fn failed(&self, now: Instant, pause: Option<Duration>) {
        let mut state = self.state.lock();
        state.failures += 1;
        state.paused_until = state.paused_until.max(pause.map(|pause| now + pause));
        if state.failures >= FAILURES || pause.is_some() {
            state.openings += 1;
            state.open_until = Some(now + OPEN.after(state.openings));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(now: Instant) -> Breaker {
        let breaker = Breaker::default();
        (0..FAILURES).for_each(|_| breaker.failed(now, None));
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_not_before() {
        let now = Instant::now();
        let breaker = Breaker::default();
        (1..FAILURES).for_each(|_| breaker.failed(now, None));
        assert!(breaker.allows(now));
        breaker.succeeded();
        (1..FAILURES).for_each(|_| breaker.failed(now, None));
        assert!(breaker.allows(now));
        breaker.failed(now, None);
        assert!(!breaker.allows(now));
    }

    #[test]
    fn after_its_time_one_call_is_let_through_and_closes_it_when_answered() {
        let now = Instant::now();
        let breaker = open(now);
        let later = now + OPEN.first;
        assert!(breaker.allows(later));
        assert!(!breaker.allows(later), "only one");
        breaker.succeeded();
        assert!(breaker.allows(later) && breaker.allows(later));
    }

    #[test]
    fn it_stays_open_twice_as_long_each_time_up_to_a_bound() {
        let mut now = Instant::now();
        let breaker = open(now);
        let mut wait = OPEN.first;
        for _ in 0..10 {
            assert!(!breaker.allows(now + wait - Duration::from_millis(1)));
            now += wait;
            assert!(breaker.allows(now));
            breaker.failed(now, None);
            wait = (wait * 2).min(OPEN.longest);
        }
        assert_eq!(wait, OPEN.longest);
    }

    #[test]
    fn it_pauses_as_long_as_the_service_asks_whatever_calls_under_way_say() {
        let now = Instant::now();
        let breaker = Breaker::default();
        let pause = Duration::from_secs(60);
        breaker.failed(now, Some(pause));
        breaker.failed(now, Some(Duration::ZERO));
        breaker.succeeded();
        assert!(!breaker.allows(now + pause - Duration::from_millis(1)));
        assert!(breaker.allows(now + pause));
        breaker.failed(now + pause, Some(Duration::ZERO));
        assert!(!breaker.allows(now + pause), "it is open all the same");
    }
}
