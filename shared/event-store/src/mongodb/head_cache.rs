//! Versions that are known to end a commit, so that an append need not look.

use std::num::NonZeroUsize;

use event_sourcing::{StreamId, Version};
use lru::LruCache;
use parking_lot::Mutex;

/// About 100 bytes each. The number is not 0, which the compiler checks.
const KEPT: NonZeroUsize = NonZeroUsize::new(16 * 1024).unwrap();

/// The last version that this process has seen of streams. What it says stays true, whatever others append, because commits are
/// neither changed nor deleted; what it does not say is looked up.
pub(super) struct HeadCache(Mutex<LruCache<StreamId, Version>>);

impl Default for HeadCache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(KEPT)))
    }
}

impl HeadCache {
    /// A durable commit of the stream ends at this version.
    pub(super) fn note(&self, stream: &StreamId, version: Version) {
        let mut ends = self.0.lock();
        match ends.get_mut(stream) {
            Some(end) => *end = version.max(*end),
            None => {
                ends.put(stream.clone(), version);
            }
        }
    }

    /// Whether a commit is known to end at this version.
    pub(super) fn has(&self, stream: &StreamId, version: Version) -> bool {
        self.0.lock().get(stream) == Some(&version)
    }

    /// Nothing is known any more.
    pub(super) fn forget(&self) {
        self.0.lock().clear();
    }
}
