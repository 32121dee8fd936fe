//! The records that one consumer group still has to process in one partition.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::Delivery;

/// Records that one group has not committed in one partition, oldest first. The first `delivered` of them are with the consumer.
#[derive(Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    delivered: usize,
}

struct Entry {
    delivery: Delivery,
    run: Arc<Run>,
}

/// A run of records that were published together. Every queue entry of the run holds a clone. The commit of the last entry
/// settles the run. When the channel is closed, the entries are dropped, and the run is never settled.
pub(super) struct Run(pub(super) oneshot::Sender<()>);

impl Queue {
    /// Returns whether a run's records have room in this partition. The capacity counts all uncommitted records, so it also
    /// bounds the records that a stuck consumer holds. A run longer than the capacity is let into an empty queue; otherwise it
    /// would be refused for ever.
    pub(super) fn has_room(&self, records: usize, capacity: usize) -> bool {
        self.entries.is_empty() || self.entries.len() + records <= capacity
    }

    pub(super) fn push(&mut self, delivery: Delivery, run: Arc<Run>) {
        self.entries.push_back(Entry { delivery, run });
    }

    /// The number of records that are not delivered yet.
    pub(super) fn waiting(&self) -> usize {
        self.entries.len() - self.delivered
    }

    /// The number of records that are not committed yet.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Delivers the next `count` records, or all undelivered ones when there are fewer.
    pub(super) fn take(&mut self, count: usize, into: &mut Vec<Delivery>) {
        let end = (self.delivered + count).min(self.entries.len());
        into.extend(self.entries.range(self.delivered..end).map(|entry| entry.delivery.clone()));
        self.delivered = end;
    }

    /// Drops all records before `next_offset`, and settles the runs of which this was the last open commit. Returns `true` when
    /// that made room.
    pub(super) fn commit(&mut self, next_offset: i64) -> bool {
        let done = self.entries.partition_point(|entry| entry.delivery.offset < next_offset);
        for entry in self.entries.drain(..done) {
            // The publisher may have stopped waiting for its receipt.
            let _ = Arc::into_inner(entry.run).map(|run| run.0.send(()));
        }
        self.delivered = self.delivered.saturating_sub(done);
        done > 0
    }

    /// Makes all uncommitted records undelivered, because the consumer is gone. The next one gets them again.
    pub(super) fn rewind(&mut self) {
        self.delivered = 0;
    }

    /// Drops all records, because the channel is closed: nothing here is delivered or settled any more.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.delivered = 0;
    }
}
