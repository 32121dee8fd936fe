//! The states that a warm process caches, so that a second command on a stream skips the load.
//!
//! An entry may be stale, because another process may have appended to the stream. That is safe: an append checks the version. A
//! decision from an entry that appends nothing is made again on a fresh load.

use std::num::NonZeroUsize;
use std::sync::Arc;

use event_sourcing::{Aggregate, Snapshot, StreamId, Version};
use event_store::{Commit, LoadedStream, SNAPSHOT_EVERY, UnreadableStream};
use lru::LruCache;
use parking_lot::Mutex;

use crate::marks::{AwaitingCommit, StreamTip};

/// The number of a stream's last events that are not counted for the next snapshot.
const UNCOUNTED: u64 = 16;

/// The knowledge of streams that a publisher reads and updates.
pub(crate) trait StreamProgress: Send + Sync {
    /// Returns what is known of a stream. This does not count as a use, so it does not keep the stream in the cache.
    fn known(&self, stream: &StreamId) -> StreamTip;

    /// Notes that everything of the stream up to this version is published.
    fn published(&self, stream: &StreamId, up_to: Version);
}

/// An aggregate as this process last saw it.
#[derive(Clone, Debug)]
pub(crate) struct CachedState<A> {
    /// The aggregate.
    pub(crate) snapshot: Snapshot<A>,
    /// The stream's commits from the oldest that is not known to be published. A publisher must send them before anything newer.
    pub(crate) unpublished: Vec<Arc<Commit>>,
    /// The version up to which everything is known to be published.
    published: Version,
    /// The last of the stream's commits that awaits an outcome, or awaited one.
    awaiting: Option<AwaitingCommit>,
    /// The version up to which the stream has its snapshots, or somebody is adding them.
    snapshotted: Version,
}

impl<A: Aggregate> CachedState<A> {
    /// The state before the first event.
    pub(crate) fn absent(stream: StreamId) -> Self {
        Self::of(Snapshot::absent(stream))
    }

    /// A state without commits that are known to be unpublished.
    pub(crate) fn of(snapshot: Snapshot<A>) -> Self {
        Self {
            snapshot,
            unpublished: vec![],
            published: Version::NONE,
            awaiting: None,
            snapshotted: Version::NONE,
        }
    }

    /// The state of a stream as it was loaded.
    ///
    /// # Errors
    /// When this program does not know one of the events.
    pub(crate) fn loaded(loaded: LoadedStream<A>) -> Result<Self, UnreadableStream> {
        let mut state = Self { snapshotted: loaded.base.version, ..Self::of(loaded.fold()?) };
        loaded.commits.iter().for_each(|commit| state.note(commit));
        let oldest_unpublished = loaded.commits.iter().position(|commit| commit.unpublished);
        if let Some(oldest) = oldest_unpublished {
            state.unpublished = loaded.commits.into_iter().skip(oldest).map(Arc::new).collect();
        }
        Ok(state)
    }

    /// Returns true if the stream has enough events for another snapshot, and notes that somebody adds it. The last events are not
    /// counted, because they may not be marked yet.
    pub(crate) fn take_snapshot_turn(&mut self) -> bool {
        let counted = self.snapshot.version.get().saturating_sub(UNCOUNTED);
        let is_due = counted >= self.snapshotted.get() + SNAPSHOT_EVERY;
        if is_due {
            self.snapshotted = Version::new(counted);
        }
        is_due
    }

    /// Notes a commit of the stream, which is later than those before.
    pub(crate) fn note(&mut self, commit: &Commit) {
        self.awaiting = AwaitingCommit::of(commit).or(self.awaiting);
    }

    pub(crate) fn mark_published(&mut self, up_to: Version) {
        self.published = self.published.max(up_to);
        self.unpublished.retain(|commit| commit.version > up_to);
    }
}

/// A bounded number of states. The least recently used one is evicted first. An evicted state is read again from the event store,
/// with the marks of published commits, so nothing is lost.
pub(crate) struct StateCache<A> {
    states: Mutex<LruCache<StreamId, CachedState<A>>>,
}

impl<A: Aggregate> StateCache<A> {
    pub(crate) fn new(capacity: NonZeroUsize) -> Self {
        Self { states: Mutex::new(LruCache::new(capacity)) }
    }

    pub(crate) fn get(&self, stream: &StreamId) -> Option<CachedState<A>> {
        self.states.lock().get(stream).cloned()
    }

    /// Caches a state, unless a newer one is there: two commands may end in another sequence than they were appended. If commits
    /// were published while the command was in hand, the state takes that over. Returns the state's unpublished commits.
    pub(crate) fn put(&self, mut state: CachedState<A>) -> Vec<Arc<Commit>> {
        let mut states = self.states.lock();
        let kept = states.peek(&state.snapshot.id);
        state.mark_published(kept.map_or(Version::NONE, |kept| kept.published));
        let unpublished = state.unpublished.clone();
        if kept.is_none_or(|kept| kept.snapshot.version <= state.snapshot.version) {
            states.put(state.snapshot.id.clone(), state);
        }
        unpublished
    }

    pub(crate) fn forget(&self, stream: &StreamId) {
        self.states.lock().pop(stream);
    }
}

impl<A: Aggregate> StreamProgress for StateCache<A> {
    fn known(&self, stream: &StreamId) -> StreamTip {
        let known =
            |state: &CachedState<A>| StreamTip { version: state.snapshot.version, awaiting: state.awaiting };
        self.states.lock().peek(stream).map(known).unwrap_or_default()
    }

    fn published(&self, stream: &StreamId, up_to: Version) {
        if let Some(state) = self.states.lock().peek_mut(stream) {
            state.mark_published(up_to);
        }
    }
}
