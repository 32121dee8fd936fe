//! The streams whose publish failed in this process. To other processes their commits look as if they were on their way. So
//! this process's relay sends them, however young they are.

use std::collections::HashMap;

use event_sourcing::{StreamId, Version};
use event_store::CommitId;
use parking_lot::Mutex;

/// The most streams in the list. The commits of a stream beyond it wait until they are old enough for any relay.
const LIMIT: usize = 100_000;

/// Streams whose publish failed, each with its oldest unpublished commit.
#[derive(Default)]
pub(crate) struct RetryList {
    streams: Mutex<HashMap<StreamId, Version>>,
}

impl RetryList {
    pub(crate) fn note(&self, stream: &StreamId, oldest: Version) {
        let mut streams = self.streams.lock();
        if let Some(known) = streams.get_mut(stream) {
            *known = oldest.min(*known);
        } else if streams.len() < LIMIT {
            streams.insert(stream.clone(), oldest);
        }
    }

    /// Removes up to `limit` streams from the list and returns them.
    pub(crate) fn take(&self, limit: usize) -> Vec<CommitId> {
        let mut streams = self.streams.lock();
        let some: Vec<StreamId> = streams.keys().take(limit).cloned().collect();
        let commit = |stream| Some(CommitId { version: streams.remove(&stream)?, stream });
        some.into_iter().filter_map(commit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_left_from_its_oldest_commit_on_and_taken_once() {
        let list = RetryList::default();
        let a = StreamId::parse("a").unwrap();
        for version in [3, 2, 5] {
            list.note(&a, Version::new(version));
        }
        assert_eq!(list.take(10), [CommitId { stream: a, version: Version::new(2) }]);
        assert!(list.take(10).is_empty());
    }
}
