//! A cache of versions at which a commit is known to end, so that an append need not look them up.

use std::num::NonZeroUsize;

use event_sourcing::{StreamId, Version};
use lru::LruCache;
use parking_lot::Mutex;

/// The capacity: about 100 bytes for each stream. The compiler checks that the number is not 0.
const KEPT: NonZeroUsize = NonZeroUsize::new(16 * 1024).unwrap();

/// The last version that this process has seen, by stream. An entry stays true whatever other processes append, because commits
/// are neither changed nor deleted. A version that is not in the cache is looked up.
pub(super) struct HeadCache(Mutex<LruCache<StreamId, Version>>);

impl Default for HeadCache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(KEPT)))
    }
}

impl HeadCache {
    /// Notes that a durable commit of the stream ends at this version.
    pub(super) fn note(&self, stream: &StreamId, version: Version) {
        let mut ends = self.0.lock();
        match ends.get_mut(stream) {
            Some(end) => *end = version.max(*end),
            None => {
                ends.put(stream.clone(), version);
            }
        }
    }

    /// Returns true if a commit is known to end at this version.
    pub(super) fn has(&self, stream: &StreamId, version: Version) -> bool {
        self.0.lock().get(stream) == Some(&version)
    }

    /// Returns the last version that is known; [`Version::NONE`] if none is.
    pub(super) fn get(&self, stream: &StreamId) -> Version {
        self.0.lock().peek(stream).copied().unwrap_or(Version::NONE)
    }

    /// Removes all entries.
    pub(super) fn forget(&self) {
        self.0.lock().clear();
    }
}
