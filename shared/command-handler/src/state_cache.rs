//! The states that a warm process keeps, so that a second command on a stream skips the load.
//!
//! An entry may be stale: another process may have gone on. That is safe, because an append checks the version; what is
//! decided from an entry and appends nothing is decided again on a fresh load.

use std::num::NonZeroUsize;
use std::sync::Arc;

use event_sourcing::{Aggregate, Snapshot, StreamId, Version};
use event_store::Commit;
use lru::LruCache;
use parking_lot::Mutex;

use crate::marks::{Awaiting, StreamTip};

/// What a publisher asks and tells of the streams that this process knows.
pub(crate) trait StreamProgress: Send + Sync {
    /// What is known of a stream, whether or not somebody uses it again.
    fn known(&self, stream: &StreamId) -> StreamTip;

    /// Everything of the stream up to this version is published.
    fn published(&self, stream: &StreamId, up_to: Version);
}

/// An aggregate as this process last saw it.
#[derive(Clone, Debug)]
pub(crate) struct State<A> {
    /// The aggregate.
    pub(crate) snapshot: Snapshot<A>,
    /// Its commits from the oldest that is not known to be published: what a publisher must send before anything newer.
    pub(crate) unpublished: Vec<Arc<Commit>>,
    /// Everything up to this version is known to be published.
    published: Version,
    /// The last of its commits that awaits an outcome, or did.
    awaiting: Option<Awaiting>,
}

impl<A: Aggregate> State<A> {
    /// Before the first event.
    pub(crate) fn absent(stream: StreamId) -> Self {
        Self::of(Snapshot::absent(stream))
    }

    /// A state of which nothing is known to be unpublished.
    pub(crate) fn of(snapshot: Snapshot<A>) -> Self {
        Self { snapshot, unpublished: vec![], published: Version::NONE, awaiting: None }
    }

    /// A commit of the stream, later than those before.
    pub(crate) fn note(&mut self, commit: &Commit) {
        self.awaiting = Awaiting::of(commit).or(self.awaiting);
    }

    pub(crate) fn mark_published(&mut self, up_to: Version) {
        self.published = self.published.max(up_to);
        self.unpublished.retain(|commit| commit.version > up_to);
    }
}

/// A bounded number of states; the least recently used goes first. Whatever is forgotten is read again from the event
/// store, with the marks of what is published, so nothing is lost by it.
pub(crate) struct StateCache<A> {
    states: Mutex<LruCache<StreamId, State<A>>>,
}

impl<A: Aggregate> StateCache<A> {
    pub(crate) fn new(capacity: NonZeroUsize) -> Self {
        Self { states: Mutex::new(LruCache::new(capacity)) }
    }

    pub(crate) fn get(&self, stream: &StreamId) -> Option<State<A>> {
        self.states.lock().get(stream).cloned()
    }

    /// Keeps a state, unless a newer one is there: two commands may end in another sequence than they were appended. What became
    /// published while the command was in hand is taken over. Gives back what the state has unpublished.
    pub(crate) fn put(&self, mut state: State<A>) -> Vec<Arc<Commit>> {
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
            |state: &State<A>| StreamTip { version: state.snapshot.version, awaiting: state.awaiting };
        self.states.lock().peek(stream).map(known).unwrap_or_default()
    }

    fn published(&self, stream: &StreamId, up_to: Version) {
        if let Some(state) = self.states.lock().peek_mut(stream) {
            state.mark_published(up_to);
        }
    }
}
