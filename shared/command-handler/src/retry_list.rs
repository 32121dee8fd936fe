//! What failed in this process: to all others it looks as if it were on its way, so it is for this one's relay, however young it is.

use std::collections::HashMap;

use event_sourcing::{StreamId, Version};
use event_store::CommitId;
use parking_lot::Mutex;

/// The most streams that are known by name. What is over it waits until it is old enough for any relay.
const LIMIT: usize = 100_000;

/// Streams that were not published, each with the oldest of its commits that was not.
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

    /// Some of them, which are forgotten here.
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
