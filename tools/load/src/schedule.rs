//! Decides which order comes next, and when it is due.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// Hands out the orders, each once: as fast as they are taken, or at a fixed rate.
pub(crate) struct Schedule {
    orders: u64,
    next: AtomicU64,
    pace: Option<Pace>,
}

/// The number of an order, and the time from which its first call counts.
pub(crate) struct Slot {
    pub(crate) number: u64,
    pub(crate) due: Instant,
}

struct Pace {
    timetable: Timetable,
    /// One permit for each order that is due and was not taken.
    due: Arc<Semaphore>,
}

#[derive(Clone, Copy)]
struct Timetable {
    start: Instant,
    /// The time between two orders, in seconds.
    every: f64,
}

impl Timetable {
    fn due(self, number: u64) -> Instant {
        self.start + Duration::from_secs_f64(self.every * number as f64)
    }
}

impl Schedule {
    /// Starts the schedule. With a rate, in orders a second, the first order is due at once.
    ///
    /// # Errors
    /// When the system can't start another thread.
    pub(crate) fn start(orders: u64, rate: Option<f64>) -> io::Result<Self> {
        let pace = rate.map(|rate| Pace::start(orders, rate)).transpose()?;
        Ok(Self { orders, next: AtomicU64::new(0), pace })
    }

    /// The next order, once it is due; `None` after the last.
    pub(crate) async fn next(&self) -> Option<Slot> {
        let Some(pace) = &self.pace else {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            return (number < self.orders).then(|| Slot { number, due: Instant::now() });
        };
        // The semaphore is closed with the last order, and then this returns `None`.
        pace.due.acquire().await.ok()?.forget();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number + 1 == self.orders {
            pace.due.close();
        }
        Some(Slot { number, due: pace.timetable.due(number) })
    }
}

impl Pace {
    /// Starts a thread that keeps the time. The runtime's timer is coarse (a millisecond), and its error would count as latency
    /// of the system.
    fn start(orders: u64, rate: f64) -> io::Result<Self> {
        let timetable = Timetable { start: Instant::now(), every: rate.recip() };
        let due = Arc::new(Semaphore::new(0));
        if orders == 0 {
            due.close();
        }
        let permits = Arc::downgrade(&due);
        thread::Builder::new().name("pace".into()).spawn(move || {
            for number in 0..orders {
                thread::sleep(timetable.due(number).saturating_duration_since(Instant::now()));
                let Some(permits) = permits.upgrade() else { return };
                permits.add_permits(1);
            }
        })?;
        Ok(Self { timetable, due })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_order_is_handed_out_once_and_then_none() {
        let schedule = Schedule::start(3, None).unwrap();
        for number in 0..3 {
            assert_eq!(schedule.next().await.unwrap().number, number);
        }
        assert!(schedule.next().await.is_none());
        assert!(schedule.next().await.is_none());
    }

    #[tokio::test]
    async fn without_orders_nothing_is_handed_out() {
        assert!(Schedule::start(0, None).unwrap().next().await.is_none());
        assert!(Schedule::start(0, Some(1.0)).unwrap().next().await.is_none());
    }

    #[tokio::test]
    async fn a_paced_order_is_never_early_and_is_due_by_the_timetable_however_late_it_is_taken() {
        let schedule = Schedule::start(20, Some(1000.0)).unwrap();
        let first = schedule.next().await.unwrap();
        for number in 1..20 {
            let slot = schedule.next().await.unwrap();
            assert!(Instant::now() >= slot.due);
            assert_eq!(slot.due - first.due, Duration::from_secs_f64(number as f64 / 1000.0));
        }
        assert!(schedule.next().await.is_none());
        assert!(schedule.next().await.is_none());
    }
}
