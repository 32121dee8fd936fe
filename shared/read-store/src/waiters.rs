//! The callers that wait for a stream to reach a version, and the answers that they get.
//!
//! Knows nothing of stores: a writer says which entries it has written. A writer in another process can't say so, so a waiting
//! caller also looks again from time to time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use event_sourcing::{StreamId, Version};
use parking_lot::Mutex;
use runtime::Backoff;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::plan::Upsert;
use crate::{Lookup, ReadStoreError};

/// All waiting callers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Waiters<R> {
    shared: Arc<Shared<R>>,
}

impl<R> Default for Waiters<R> {
    fn default() -> Self {
        Self { shared: Arc::new(Shared { count: AtomicUsize::new(0), by_stream: Mutex::default() }) }
    }
}

struct Shared<R> {
    /// The number of waiting callers. A writer looks at it first, without a lock.
    count: AtomicUsize,
    by_stream: Mutex<ByStream<R>>,
}

struct ByStream<R> {
    waiting: HashMap<StreamId, Vec<Waiter<R>>>,
    tickets: u64,
}

impl<R> Default for ByStream<R> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), tickets: 0 }
    }
}

struct Waiter<R> {
    ticket: u64,
    wanted: Version,
    tell: oneshot::Sender<Lookup<R>>,
}

/// The registration of a waiting caller. Dropping it ends it.
pub(crate) struct Ticket<R> {
    shared: Arc<Shared<R>>,
    stream: StreamId,
    ticket: u64,
    told: oneshot::Receiver<Lookup<R>>,
}

impl<R: Clone> Waiters<R> {
    /// Waits until the stream is at `version` or a later one, but no longer than `patience`. Returns the stream as it is then.
    /// `get` reads it, again after each of these pauses.
    pub(crate) async fn wait_for<F>(
        &self,
        id: &StreamId,
        version: Version,
        patience: Duration,
        pauses: Backoff,
        get: impl Fn() -> F,
    ) -> Result<Lookup<R>, ReadStoreError>
    where
        F: Future<Output = Result<Lookup<R>, ReadStoreError>>,
    {
        let reached = async {
            // Registered before the first look, so that a write between the two is not missed.
            let mut waiting = self.register(id, version);
            let mut looks = 0;
            loop {
                let seen = get().await?;
                if seen.entry.as_ref().map_or(Version::NONE, |entry| entry.version) >= version {
                    return Ok(seen);
                }
                looks += 1;
                if let Ok(seen) = timeout(pauses.after(looks), waiting.told()).await {
                    return Ok(seen);
                }
            }
        };
        match timeout(patience, reached).await {
            Ok(seen) => seen,
            Err(_) => get().await,
        }
    }

    /// Registers a caller. It is told only of later writes, so look at the store after this.
    pub(crate) fn register(&self, stream: &StreamId, wanted: Version) -> Ticket<R> {
        let (tell, told) = oneshot::channel();
        let mut by_stream = self.shared.by_stream.lock();
        by_stream.tickets += 1;
        let ticket = by_stream.tickets;
        by_stream.waiting.entry(stream.clone()).or_default().push(Waiter { ticket, wanted, tell });
        self.shared.count.fetch_add(1, Ordering::SeqCst);
        drop(by_stream);
        Ticket { shared: Arc::clone(&self.shared), stream: stream.clone(), ticket, told }
    }

    /// Answers the callers that wait for one of these entries, which are committed.
    pub(crate) fn tell(&self, entries: &[Upsert<R>]) {
        if self.shared.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut by_stream = self.shared.by_stream.lock();
        for Upsert { entry, held, .. } in entries {
            let Some(waiting) = by_stream.waiting.get_mut(&entry.id) else { continue };
            for waiter in waiting.extract_if(.., |waiter| waiter.wanted <= entry.version) {
                // A caller that stopped waiting just now needs no answer.
                let _ = waiter.tell.send(Lookup { entry: Some(entry.clone()), held: *held });
            }
        }
    }
}

impl<R> Ticket<R> {
    /// Waits for the answer. It comes once, so this must not be called again after it.
    pub(crate) async fn told(&mut self) -> Lookup<R> {
        match (&mut self.told).await {
            Ok(seen) => seen,
            Err(_) => std::future::pending().await,
        }
    }
}

impl<R> Drop for Ticket<R> {
    fn drop(&mut self) {
        let mut by_stream = self.shared.by_stream.lock();
        self.shared.count.fetch_sub(1, Ordering::SeqCst);
        if let Some(waiting) = by_stream.waiting.get_mut(&self.stream) {
            waiting.retain(|waiter| waiter.ticket != self.ticket);
            if waiting.is_empty() {
                by_stream.waiting.remove(&self.stream);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use event_sourcing::Entry;
    use event_sourcing::testing::TaskRow;

    use super::*;

    fn stream() -> StreamId {
        StreamId::parse("a").unwrap()
    }

    fn written(version: u64, held: bool) -> Upsert<TaskRow> {
        let entry = Entry { version: Version::new(version), ..Entry::absent(stream()) };
        Upsert { from: Version::NONE, entry, held }
    }

    fn seen(version: u64, held: bool) -> Lookup<TaskRow> {
        Lookup { entry: Some(written(version, held).entry), held }
    }

    #[tokio::test]
    async fn only_the_wanted_version_or_a_later_one_is_told() {
        let waiters = Waiters::default();
        let mut second = waiters.register(&stream(), Version::new(2));
        let mut third = waiters.register(&stream(), Version::new(3));
        waiters.tell(&[written(2, true)]);
        assert_eq!(second.told().await, seen(2, true));
        assert!(third.told.try_recv().is_err());
        waiters.tell(&[written(5, false)]);
        assert_eq!(third.told().await, seen(5, false));
    }

    #[test]
    fn who_stopped_waiting_is_forgotten() {
        let waiters = Waiters::<TaskRow>::default();
        let register = || waiters.register(&stream(), Version::new(1));
        let (first, second) = (register(), register());
        drop(first);
        assert_eq!(waiters.shared.by_stream.lock().waiting[&stream()].len(), 1);
        drop(second);
        assert!(waiters.shared.by_stream.lock().waiting.is_empty());
        assert_eq!(waiters.shared.count.load(Ordering::SeqCst), 0);
    }
}
