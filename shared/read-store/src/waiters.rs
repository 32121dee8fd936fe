//! Who waits for an order to reach a version, and how they are told.
//!
//! Knows nothing of stores: the one that writes says what was written. A writer in another process can't, so whoever
//! waits also looks again from time to time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::{OrderId, Version};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::plan::Upsert;
use crate::{Lookup, ReadStoreError};

/// All who wait. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Waiters {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// How many wait: what a writer looks at first, without a lock.
    count: AtomicUsize,
    by_order: Mutex<ByOrder>,
}

#[derive(Default)]
struct ByOrder {
    waiting: HashMap<OrderId, Vec<Waiter>>,
    tickets: u64,
}

struct Waiter {
    ticket: u64,
    wanted: Version,
    tell: oneshot::Sender<Lookup>,
}

/// How long who waits does nothing before it looks again: at first this long, then ever longer.
#[derive(Clone, Copy)]
pub(crate) struct Pauses {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

/// One who waits; ends when dropped.
pub(crate) struct Waiting {
    shared: Arc<Shared>,
    order: OrderId,
    ticket: u64,
    told: oneshot::Receiver<Lookup>,
}

impl Waiters {
    /// Waits until an order is at this version or a later one, for as long as patience lasts; what there is of it then.
    /// `get` looks.
    pub(crate) async fn wait_for<F>(
        &self,
        id: &OrderId,
        version: Version,
        patience: Duration,
        pauses: Pauses,
        get: impl Fn() -> F,
    ) -> Result<Lookup, ReadStoreError>
    where
        F: Future<Output = Result<Lookup, ReadStoreError>>,
    {
        let reached = async {
            // Registered before the first look, so that what is written between the two is told.
            let mut waiting = self.register(id, version);
            let mut pause = pauses.first;
            loop {
                let seen = get().await?;
                if seen.order.as_ref().map_or(Version::NONE, |order| order.version) >= version {
                    return Ok(seen);
                }
                if let Ok(seen) = timeout(pause, waiting.told()).await {
                    return Ok(seen);
                }
                pause = (pause * 2).min(pauses.longest);
            }
        };
        match timeout(patience, reached).await {
            Ok(seen) => seen,
            Err(_) => get().await,
        }
    }

    /// Registers. Only what is written after this is told, so look at the store after it.
    pub(crate) fn register(&self, order: &OrderId, wanted: Version) -> Waiting {
        let (tell, told) = oneshot::channel();
        let mut by_order = self.shared.by_order.lock();
        by_order.tickets += 1;
        let ticket = by_order.tickets;
        by_order.waiting.entry(order.clone()).or_default().push(Waiter { ticket, wanted, tell });
        self.shared.count.fetch_add(1, Ordering::SeqCst);
        drop(by_order);
        Waiting { shared: Arc::clone(&self.shared), order: order.clone(), ticket, told }
    }

    /// Tells those who wait for one of these rows, which are committed.
    pub(crate) fn tell(&self, rows: &[Upsert]) {
        if self.shared.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut by_order = self.shared.by_order.lock();
        for Upsert { row, held, .. } in rows {
            let Some(waiting) = by_order.waiting.get_mut(&row.id) else { continue };
            for waiter in waiting.extract_if(.., |waiter| waiter.wanted <= row.version) {
                // Whoever stopped waiting just now needs no answer.
                let _ = waiter.tell.send(Lookup { order: Some(row.clone()), held: *held });
            }
        }
    }
}

impl Waiting {
    /// What was waited for, once it is told; never, when it was told before.
    pub(crate) async fn told(&mut self) -> Lookup {
        match (&mut self.told).await {
            Ok(seen) => seen,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut by_order = self.shared.by_order.lock();
        self.shared.count.fetch_sub(1, Ordering::SeqCst);
        if let Some(waiting) = by_order.waiting.get_mut(&self.order) {
            waiting.retain(|waiter| waiter.ticket != self.ticket);
            if waiting.is_empty() {
                by_order.waiting.remove(&self.order);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::Snapshot;

    use super::*;

    fn order() -> OrderId {
        OrderId::parse("a").unwrap()
    }

    fn row(version: u64, held: bool) -> Upsert {
        let row = Snapshot { version: Version::new(version), ..Snapshot::absent(order()) };
        Upsert { from: Version::NONE, row, held }
    }

    fn seen(version: u64, held: bool) -> Lookup {
        Lookup { order: Some(row(version, held).row), held }
    }

    #[tokio::test]
    async fn only_the_wanted_version_or_a_later_one_is_told() {
        let waiters = Waiters::default();
        let mut second = waiters.register(&order(), Version::new(2));
        let mut third = waiters.register(&order(), Version::new(3));
        waiters.tell(&[row(2, true)]);
        assert_eq!(second.told().await, seen(2, true));
        assert!(third.told.try_recv().is_err());
        waiters.tell(&[row(5, false)]);
        assert_eq!(third.told().await, seen(5, false));
    }

    #[test]
    fn who_stopped_waiting_is_forgotten() {
        let waiters = Waiters::default();
        let register = || waiters.register(&order(), Version::new(1));
        let (first, second) = (register(), register());
        drop(first);
        assert_eq!(waiters.shared.by_order.lock().waiting[&order()].len(), 1);
        drop(second);
        assert!(waiters.shared.by_order.lock().waiting.is_empty());
        assert_eq!(waiters.shared.count.load(Ordering::SeqCst), 0);
    }
}
