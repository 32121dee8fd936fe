//! How often the service has failed with an order, and whether it fails with others too.
//!
//! An order that fails again and again while another succeeds is the one that is at fault, and stops nobody: it is set aside. Where none
//! succeeds, the service is at fault, and an order is set aside only after it was the service's probe some times: it may be the one that
//! the service can't bear, and others would wait behind it for ever. In memory, since a reminder is there whoever forgets.

use std::collections::HashMap;
use std::time::Duration;

use domain::{OrderId, Version};
use parking_lot::Mutex;

/// Calls that may fail before an order is set aside.
const TRIES: u32 = 5;

/// The same while no other succeeds. The breaker is open by then, so that these calls are the only ones.
const PROBES: u32 = 10;

/// The pause after the first call that failed; it doubles with each.
const PAUSE: Duration = Duration::from_millis(100);

/// The most orders that are counted. Others may have finished those that failed here, so the numbers are forgotten from time to time.
const LIMIT: usize = 10_000;

/// Tries of orders that failed.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Calls that succeeded, of whatever order.
    successes: u64,
    failing: HashMap<(OrderId, Version), Failing>,
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    tries: u32,
    /// How many calls had succeeded when it first failed.
    successes: u64,
}

/// What happens to an order that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is asked for again, after a pause.
    TryAgain(Duration),
    /// The service is down: its batch comes again.
    ComeAgain,
    /// It waits alone.
    SetAside,
}

impl Tries {
    /// The service has answered for an order, whatever it said.
    pub(crate) fn succeeded(&self, order: &OrderId, version: Version) {
        let mut state = self.state.lock();
        state.successes += 1;
        state.failing.remove(&(order.clone(), version));
    }

    /// The service has failed with an order, which came as reminder number `reminder`, or 0: a reminder has few tries, since others
    /// were before it.
    pub(crate) fn failed(&self, order: &OrderId, version: Version, reminder: u32) -> Next {
        let mut state = self.state.lock();
        if state.failing.len() >= LIMIT {
            state.failing.clear();
        }
        let (key, successes) = ((order.clone(), version), state.successes);
        let tries_before = if reminder == 0 { 0 } else { TRIES - 1 };
        let failing = state.failing.entry(key.clone()).or_insert(Failing { tries: tries_before, successes });
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
