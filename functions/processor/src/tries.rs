//! Counts how often the service has failed with an order, and knows whether other orders succeed.
//!
//! If an order fails again and again while another succeeds, the order is at fault. It is set aside and stops no other. If no
//! order succeeds, the service is at fault. Then an order is set aside only after it has been the service's probe some times. It
//! may be the order that brings the service down, and others would wait behind it for ever. The counts are in memory only,
//! because a reminder exists even if a process forgets.

use std::collections::HashMap;
use std::time::Duration;

use domain::{OrderId, Version};
use parking_lot::Mutex;

/// The number of failed calls after which an order is set aside, if another order succeeds.
const TRIES: u32 = 5;

/// The same number while no other order succeeds. The breaker is open by then, so the service gets no other calls.
const PROBES: u32 = 10;

/// The pause after the first failed call; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(100);

/// The largest number of orders that are counted. Another process may have finished an order that failed here, so all counts are
/// dropped from time to time.
const LIMIT: usize = 10_000;

/// The failed calls of each order.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of calls that succeeded, for all orders.
    successes: u64,
    failing: HashMap<(OrderId, Version), FailureCount>,
}

#[derive(Clone, Copy, Debug)]
struct FailureCount {
    tries: u32,
    /// The number of calls that had succeeded when this order first failed.
    successes: u64,
}

/// The next step for an order that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The service is asked again, after a pause.
    TryAgain(Duration),
    /// The service is down: the order's batch comes again.
    ComeAgain,
    /// The order is set aside and waits for its reminder.
    SetAside,
}

impl Tries {
    /// Notes that the service has answered for an order, with success or refusal.
    pub(crate) fn succeeded(&self, order: &OrderId, version: Version) {
        let mut state = self.state.lock();
        state.successes += 1;
        state.failing.remove(&(order.clone(), version));
    }

    /// Notes that the service has failed with an order, and returns the next step. `reminder` is the number of the reminder that
    /// brought the order, or 0. An order that a reminder brought has fewer tries, because it failed before.
    pub(crate) fn failed(&self, order: &OrderId, version: Version, reminder: u32) -> Next {
        let mut state = self.state.lock();
        if state.failing.len() >= LIMIT {
            state.failing.clear();
        }
        let (key, successes) = ((order.clone(), version), state.successes);
        let tries_before = if reminder == 0 { 0 } else { TRIES - 1 };
        let failing =
            state.failing.entry(key.clone()).or_insert(FailureCount { tries: tries_before, successes });
        failing.tries = failing.tries.saturating_add(1);
        let others_succeed = failing.successes < successes;
        match failing.tries {
            tries if tries < TRIES => return Next::TryAgain(PAUSE * (1 << (tries - 1))),
            tries if tries < PROBES && !others_succeed => return Next::ComeAgain,
            _ => {}
        }
        state.failing.remove(&key);
        Next::SetAside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: Version = Version::new(2);

    fn order(id: &str) -> OrderId {
        OrderId::parse(id).unwrap()
    }

    fn fail(tries: &Tries, times: u32, reminder: u32) -> Vec<Next> {
        (0..times).map(|_| tries.failed(&order("bad"), STARTED, reminder)).collect()
    }

    fn after(pauses: impl IntoIterator<Item = u64>) -> Vec<Next> {
        pauses.into_iter().map(|pause| Next::TryAgain(Duration::from_millis(pause))).collect()
    }

    #[test]
    fn an_order_is_set_aside_after_five_tries_if_another_succeeded_meanwhile() {
        let tries = Tries::default();
        assert_eq!(fail(&tries, 1, 0), after([100]));
        tries.succeeded(&order("good"), STARTED);
        assert_eq!(fail(&tries, 3, 0), after([200, 400, 800]));
        assert_eq!(fail(&tries, 1, 0), [Next::SetAside]);
        assert_eq!(fail(&tries, 1, 0), after([100]), "and is counted anew");
    }

    #[test]
    fn while_no_other_succeeds_it_comes_again_and_is_set_aside_after_ten() {
        let tries = Tries::default();
        tries.succeeded(&order("good"), STARTED);
        assert_eq!(fail(&tries, 4, 0), after([100, 200, 400, 800]));
        assert_eq!(fail(&tries, 5, 0), [Next::ComeAgain; 5]);
        assert_eq!(fail(&tries, 1, 0), [Next::SetAside]);
        assert!(!fail(&tries, 9, 0).contains(&Next::SetAside));
        tries.succeeded(&order("good"), STARTED);
        assert_eq!(fail(&tries, 1, 0), [Next::SetAside]);
    }

    #[test]
    fn one_that_came_as_a_reminder_is_set_aside_sooner() {
        let tries = Tries::default();
        assert_eq!(fail(&tries, 2, 1), [Next::ComeAgain; 2]);
        tries.succeeded(&order("good"), STARTED);
        assert_eq!(fail(&tries, 1, 1), [Next::SetAside]);
    }
}
